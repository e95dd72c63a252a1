"""Streaming takes no memory: an hour's worth of calls at reduced size (the full hour is in the bench)."""

from __future__ import annotations

import tracemalloc

from openami.metrology.energy.energy_path import EnergyPath


def test_memory_is_flat_while_streaming(mains) -> None:
    """36,000 pieces of 100 ms are an hour's calls; here 3,600 of them, windows looked at."""
    source = mains()
    path = EnergyPath(source.settings())
    u, i = source.codes(0, 640 * 10)
    pieces = [(u[:, k : k + 640], i[:, k : k + 640]) for k in range(0, 6400, 640)]
    for part in pieces:
        path.feed(*part)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for second in range(360):
        for part in pieces:
            path.feed(*part)
        if second % 60 == 0:
            assert path.last_window is not None
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 16_000  # 3,600 calls: not five octets each
    assert peak - before < 400_000
    assert len(path.snapshot()) < 6_000
