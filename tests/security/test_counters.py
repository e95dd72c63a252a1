"""No two messages under one key carry one counter: not after crashes, by two processes or by retries."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from openami.quantities.errors import ProtectionError, SecurityError
from openami.security.counters import (
    MAX_COUNTER,
    CounterStore,
    MemoryCounters,
    ReceiveCounters,
    SendCounter,
)
from openami.security.keyring import Keyring
from openami.security.secret import Secret

KEY = Secret(bytes(range(32)))


def keyring(tmp_path: Path) -> Keyring:
    return Keyring(tmp_path / "keyring.sqlite", KEY)


@pytest.mark.parametrize("make", [lambda _: MemoryCounters(), keyring])
def test_two_senders_of_one_store_never_share_a_counter(
    tmp_path: Path, make: Callable[[Path], CounterStore]
) -> None:
    store = make(tmp_path)
    one, other = SendCounter(store, "n", 4), SendCounter(store, "n", 4)
    taken = [counter.take() for _ in range(32) for counter in (one, other)]
    assert sorted(taken) == list(range(64))


def test_two_collections_at_once_never_share_a_counter_however_often_they_try(tmp_path: Path) -> None:
    with keyring(tmp_path) as first, keyring(tmp_path) as second:
        with first.session(["m"]) as ours, second.session(["m"]) as theirs:
            taken: list[int] = []
            for attempt in range(9):  # each attempt is an association with a sender of its own
                for store in (ours, theirs):
                    sender = SendCounter(store, "m")
                    taken += [sender.take() for _ in range(40 + 30 * attempt)]
        with first.session(["m"]) as later:
            taken.append(SendCounter(later, "m").take())
    assert len(set(taken)) == len(taken)
    assert taken[-1] == max(taken)


def test_processes_that_take_from_one_keyring_at_once_never_share_a_counter(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from openami.security.counters import SendCounter
from openami.security.keyring import Keyring
from openami.security.secret import Secret
with Keyring(Path(sys.argv[1]), Secret(bytes(range(32)))) as ring:
    for _ in range(20):
        with ring.session(["n"]) as counters:
            sender = SendCounter(counters, "n", 16)
            for _ in range(300):
                print(sender.take())
"""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / "keyring.sqlite")],
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    taken = [int(line) for process in running for line in process.communicate()[0].split()]
    assert [process.returncode for process in running] == [0, 0, 0]
    assert len(taken) == 3 * 20 * 300
    assert len(set(taken)) == len(taken)


def test_what_another_process_believed_meanwhile_is_kept_and_no_error(tmp_path: Path) -> None:
    with keyring(tmp_path) as first, keyring(tmp_path) as second:
        with first.session([]) as ours:
            slow = ReceiveCounters(ours)
            slow.believe("meter", 10)
            slow.persist()
            with second.session([]) as theirs:
                quick = ReceiveCounters(theirs)
                quick.believe("meter", 99)
                quick.persist()
        assert first.load("meter") == 100


def test_a_session_begins_where_it_is_told_and_not_below_what_was_used(tmp_path: Path) -> None:
    with keyring(tmp_path) as ring:
        with ring.session(["n"], at_least=5000) as counters:
            assert SendCounter(counters, "n").take() == 5000
        with ring.session(["n"], at_least=100) as counters:
            assert SendCounter(counters, "n").take() == 5256


@pytest.mark.parametrize("distance", [0, 1, 100, 255, 256, 257, 100_000])
def test_going_forward_is_durable_before_the_next_counter_is_given_out(tmp_path: Path, distance: int) -> None:
    with keyring(tmp_path) as ring, ring.session(["n"]) as counters:
        sender = SendCounter(counters, "n")
        sender.take()
        to = sender.value + distance
        sender.advance(to)
        assert sender.take() == to
        with keyring(tmp_path) as another:
            assert another.load("n") > to


def test_nobody_goes_back_or_beyond_the_end() -> None:
    sender = SendCounter(MemoryCounters({"n": 500}), "n")
    sender.take()
    for to in (0, 500, MAX_COUNTER + 1):
        with pytest.raises(SecurityError, match="forward only"):
            sender.advance(to)
    assert sender.take() == 501
    sender.advance(MAX_COUNTER)
    assert sender.take() == MAX_COUNTER
    for _ in range(2):
        with pytest.raises(SecurityError, match="new key"):
            sender.take()


def test_the_last_counters_of_a_key_are_each_given_out_once_and_stay_used_up(tmp_path: Path) -> None:
    with keyring(tmp_path) as ring:
        ring.save({"n": MAX_COUNTER - 9})
        sender = SendCounter(ring, "n")
        assert [sender.take() for _ in range(10)] == list(range(MAX_COUNTER - 9, MAX_COUNTER + 1))
    with keyring(tmp_path) as ring, pytest.raises(SecurityError, match="used up"):
        SendCounter(ring, "n").take()


def test_a_number_that_no_store_can_keep_is_refused_when_it_comes(tmp_path: Path) -> None:
    with keyring(tmp_path) as ring:
        received = ReceiveCounters(ring)
        for number in ((1 << 63) - 1, 1 << 64):
            with pytest.raises(ProtectionError):
                received.believe("n", number)
        received.believe("n", (1 << 63) - 2)
        received.persist()
        assert ring.load("n") == (1 << 63) - 1


def test_names_that_were_only_asked_about_take_no_room() -> None:
    received = ReceiveCounters(MemoryCounters())
    for number in range(1000):
        assert received.expected(f"stranger {number}") == 0
    assert not received._highest
