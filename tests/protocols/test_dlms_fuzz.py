"""Mutated octets into everything that reads octets of others: no hang, no foreign error, no growth.

The reduced size of ``python tests/protocols/fuzz_dlms.py --count 10000000 --seed 1``.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

COUNT = 20_000


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    path = Path(__file__).with_name("fuzz_dlms.py")
    spec = importlib.util.spec_from_file_location("fuzz_dlms", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_twenty_thousand_mutations_of_everything_hang_nothing_and_leak_nothing(fuzz: ModuleType) -> None:
    found = fuzz.mutate_everything(COUNT, seed=20_260_301)
    assert sum(report.inputs for report in found.values()) == COUNT
    for name, report in found.items():
        assert report.foreign == [], name
        assert report.slow == [], name
        assert report.growth_bytes < 20_000_000, name
    # The mutations must not all be refused at the first octet; what was tampered with must be, always.
    refused = {name for name, report in found.items() if not report.accepted}
    assert refused <= {"ciphered", "general", "server-tampered", "server-stream"}
    assert found["server-tampered"].accepted == 0


def test_findings_are_seen(fuzz: ModuleType) -> None:
    """The runner can fail: a target that raises, one that is slow, one that never ends."""
    rng = fuzz.random.Random(1)

    def wrong(octets: bytes) -> bool:
        raise ValueError("foreign")

    def slow(octets: bytes) -> bool:
        return sum(range(5_000_000)) > 0

    assert len(fuzz.attack(wrong, fuzz.SEEDS, 3, rng).foreign) == 3
    assert len(fuzz.attack(slow, fuzz.SEEDS, 2, rng).slow) == 2


def test_the_same_seed_finds_the_same(fuzz: ModuleType) -> None:
    one, other = (fuzz.mutate_apdus(2_000, seed=5) for _ in range(2))
    assert (one.inputs, one.accepted) == (other.inputs, other.accepted)
    assert fuzz.mutate_apdus(2_000, seed=6).accepted != one.accepted
