"""The keyring keeps secrets wrapped, as versions, and hands no counter out twice, whatever happens."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from openami.quantities.errors import SecurityError
from openami.security.counters import MAX_COUNTER, MemoryCounters, ReceiveCounters, SendCounter
from openami.security.keyring import Keyring, MeterCredentials, store_key
from openami.security.meter_keys import KeyKind, MeterKeys, system_title_of
from openami.security.secret import Secret

KEY = Secret(bytes(range(32)))


def keyring(tmp_path: Path, key: Secret = KEY) -> Keyring:
    return Keyring(tmp_path / "keyring.sqlite", key)


@pytest.mark.parametrize("suite", [0, 1, 2])
def test_what_is_put_is_found_again_by_another_process_of_the_same_key(tmp_path: Path, suite: int) -> None:
    credentials = {
        "M1": MeterCredentials(Secret(b"12345678")),
        "M2": MeterCredentials(None, MeterKeys.random(suite), b"OAM00002"),
        "M3": MeterCredentials(),
    }
    with keyring(tmp_path) as ring:
        ring.put(credentials)
    with keyring(tmp_path) as ring:
        assert {meter: ring.credentials(meter) for meter in credentials} == credentials
        assert ring.credentials("unknown") == MeterCredentials()
        assert ring.meters() == ("M1", "M2"), "of M3 there is nothing to know"


def test_a_changed_key_is_a_new_version_and_the_old_one_stays(tmp_path: Path) -> None:
    keys = MeterKeys.random()
    with keyring(tmp_path) as ring:
        ring.put({"M": MeterCredentials(None, keys, b"OAM00001")})
        ring.put({"M": MeterCredentials(None, keys, b"OAM00001")})
        fresh = keys.with_key(KeyKind.GLOBAL_UNICAST, Secret.random(16))
        ring.put({"M": MeterCredentials(None, fresh, b"OAM00001")})
        assert ring.credentials("M").keys == fresh
        ring.put({"M": MeterCredentials(Secret(b"back to low"))})
        assert ring.credentials("M") == MeterCredentials(Secret(b"back to low"))
    database = sqlite3.connect(tmp_path / "keyring.sqlite")
    assert database.execute("select count(*) from secret").fetchone() == (18,)
    database.execute("insert into counter values ('a', 7)")
    for statement in ("delete from secret", "update secret set suite = 1", "update counter set value = 6"):
        with pytest.raises(sqlite3.DatabaseError, match="never"):
            database.execute(statement)


def test_the_file_alone_is_worth_nothing(tmp_path: Path) -> None:
    keys = MeterKeys.random()
    with keyring(tmp_path) as ring:
        ring.put({"M": MeterCredentials(Secret(b"a password"), keys)})
    raw = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    for secret in (keys.global_unicast, keys.authentication, keys.master, Secret(b"a password")):
        assert secret.reveal() not in raw
        assert secret.reveal().hex().encode() not in raw
    assert stat.S_IMODE((tmp_path / "keyring.sqlite").stat().st_mode) == 0o600
    with pytest.raises(SecurityError, match="another store key"):
        keyring(tmp_path, Secret(bytes(32)))


@pytest.mark.parametrize("content", [b"", b"not a database at all, but long enough to look like one" * 20])
def test_a_file_that_is_no_keyring_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "keyring.sqlite").write_bytes(content)
    if content:
        with pytest.raises(SecurityError, match=r"keyring\.sqlite"):
            keyring(tmp_path)
    else:
        keyring(tmp_path).close()


def test_the_store_key_is_made_once_and_must_be_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAMI_KEYRING_KEY", raising=False)
    file = tmp_path / "keyring.key"
    first = store_key(file)
    assert store_key(file) == first
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o644)
    with pytest.raises(SecurityError, match="0600"):
        store_key(file)
    monkeypatch.setenv("OPENAMI_KEYRING_KEY", "ab" * 32)
    assert store_key(file) == Secret(b"\xab" * 32)
    monkeypatch.setenv("OPENAMI_KEYRING_KEY", "nonsense")
    with pytest.raises(SecurityError) as refused:
        store_key(file)
    assert "nonsense" not in str(refused.value)


def test_counters_only_go_forward_and_are_durable(tmp_path: Path) -> None:
    with keyring(tmp_path) as ring:
        counter = SendCounter(ring, "a", reserve=10)
        assert [counter.take() for _ in range(12)] == list(range(12))
    with keyring(tmp_path) as ring:
        # What was reserved and not used is skipped.
        assert SendCounter(ring, "a").take() == 20
        kept = ring.load("a")
        ring.save({"a": 3})
        assert ring.load("a") == kept
        received = ReceiveCounters(ring)
        received.believe("b", 41)
        received.persist()
        assert ring.load("b") == 42


def test_a_session_reserves_for_all_meters_at_once_and_writes_what_was_believed(tmp_path: Path) -> None:
    names = [f"meter {number}" for number in range(100)]
    with keyring(tmp_path) as ring:
        with ring.session(names) as counters:
            for name in names:
                send = SendCounter(counters, name)
                assert [send.take() for _ in range(300)] == list(range(300)), "also beyond the reservation"
            received = ReceiveCounters(counters)
            received.believe("from meter 7", 99)
            received.persist()
            assert ring.load("from meter 7") == 0
        assert ring.load("from meter 7") == 100
        with ring.session(names) as counters:
            assert SendCounter(counters, names[0]).take() >= 300


def test_kill_nine_never_lets_a_counter_be_used_twice(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from openami.security.counters import SendCounter
from openami.security.keyring import Keyring
from openami.security.secret import Secret
counter = SendCounter(Keyring(Path(sys.argv[1]), Secret(bytes(range(32)))), "n", reserve=7)
while True:
    sys.stdout.write(f"{counter.take()}\\n")
    sys.stdout.flush()
"""
    used: list[int] = []
    for turn in range(6):
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / "keyring.sqlite")],
            stdout=subprocess.PIPE, text=True, env=dict(os.environ),
        )  # fmt: skip
        assert process.stdout is not None
        used += [int(process.stdout.readline()) for _ in range(5 + 11 * turn)]
        process.kill()
        rest, _ = process.communicate()
        used += [int(line) for line in rest.splitlines() if line.isdecimal()][:-1]
    assert len(used) == len(set(used))
    assert used == sorted(used)


def test_a_key_whose_counters_are_used_up_has_to_be_changed() -> None:
    counter = SendCounter(MemoryCounters({"n": MAX_COUNTER}), "n")
    assert counter.take() == MAX_COUNTER
    with pytest.raises(SecurityError, match="new key"):
        counter.take()


def test_keys_of_different_purposes_differ_and_fit_their_suite() -> None:
    one = Secret(bytes(16))
    with pytest.raises(SecurityError, match="two purposes"):
        MeterKeys(one, one, Secret.random(16))
    with pytest.raises(SecurityError, match="expected: 32 octets"):
        MeterKeys(Secret.random(16), Secret.random(16), Secret.random(16), suite_number=2)
    with pytest.raises(SecurityError):
        MeterKeys.random(3)


def test_a_system_title_is_the_number_or_a_hash_of_the_serial() -> None:
    assert system_title_of(b"OAM", "12345678").hex() == "4f414d" + f"{12345678:010x}"
    assert len(system_title_of(b"OAM", "OA2600000001")) == 8
    assert system_title_of(b"OAM", "A") != system_title_of(b"OAM", "B")
