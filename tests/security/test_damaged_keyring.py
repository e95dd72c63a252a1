"""A keyring that is damaged, swapped or cut is refused by name: nothing but `SecurityError` comes out."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import pytest

from openami.quantities.errors import SecurityError
from openami.security.counters import SendCounter
from openami.security.keyring import MAX_SECRET_OCTETS, Keyring, MeterCredentials
from openami.security.meter_keys import MeterKeys
from openami.security.secret import Secret

KEY = Secret(bytes(range(32)))
METERS = {
    f"M{number}": MeterCredentials(Secret(b"password %d" % number), MeterKeys.random(), b"OAM%05d" % number)
    for number in range(30)
}


def made(folder: Path) -> Path:
    file = folder / "keyring.sqlite"
    with Keyring(file, KEY) as ring:
        ring.put(METERS)
        SendCounter(ring, "n").take()
    return file


def use(file: Path) -> dict[str, MeterCredentials]:
    with Keyring(file, KEY) as ring:
        SendCounter(ring, "n").take()
        ring.save({"n": 5, "other": 7})
        return ring.credentials_of(METERS)


def test_damage_anywhere_is_a_security_error_or_does_no_harm(tmp_path: Path) -> None:
    file = made(tmp_path)
    whole = file.read_bytes()
    draw = random.Random(4)
    refused: list[str] = []
    for _ in range(700):
        wrong = bytearray(whole)
        for _ in range(draw.choice((1, 1, 8, 400))):
            wrong[draw.randrange(len(wrong))] = draw.randrange(256)
        if draw.random() < 0.2:
            del wrong[draw.randrange(len(wrong)) :]
        file.write_bytes(wrong)
        file.with_name("keyring.sqlite-journal").unlink(missing_ok=True)
        try:
            found = use(file)
        except SecurityError as error:
            refused.append(str(error))
            continue
        for meter, credentials in found.items():
            # A row may be lost, as its meter's name may be damaged; what comes back is what was put.
            assert credentials.password in (None, METERS[meter].password)
            if (keys := credentials.keys) is not None:
                true = METERS[meter].keys
                assert true is not None
                assert (keys.global_unicast, keys.authentication, keys.master) == (
                    true.global_unicast, true.authentication, true.master,
                )  # fmt: skip
    assert len(refused) > 100
    assert not any("password 1" in text for text in refused)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("M1/master", "M1/password"),
        ("M1/global_unicast", "M2/global_unicast"),
        ("M1/password", "M2/password"),
        ("M1/authentication", "M1/title"),
    ],
)
def test_a_secret_that_was_moved_is_refused_and_not_used(tmp_path: Path, source: str, target: str) -> None:
    """Whoever can write to the file but lacks its key shall not have a master key sent as a password."""
    file = made(tmp_path)
    database = sqlite3.connect(file)
    database.execute(
        "insert into secret (meter, kind, suite, wrapped)"
        " select ?, ?, 0, wrapped from secret where meter = ? and kind = ?",
        (*target.split("/"), *source.split("/")),
    )
    database.commit()
    database.close()
    with Keyring(file, KEY) as ring:
        with pytest.raises(SecurityError, match="a secret of something else"):
            ring.credentials(target.split("/")[0])
        assert ring.credentials("M9") == METERS["M9"], "the others are as they were"


def test_keys_of_which_one_was_taken_away_are_none(tmp_path: Path) -> None:
    file = made(tmp_path)
    database = sqlite3.connect(file)
    database.execute("drop trigger secrets_are_kept")
    database.execute("delete from secret where meter = 'M1' and kind = 'authentication'")
    database.commit()
    database.close()
    with Keyring(file, KEY) as ring, pytest.raises(SecurityError, match="a part of its keys"):
        ring.credentials("M1")


def test_a_secret_that_does_not_fit_is_refused_and_nothing_of_the_batch_is_kept(tmp_path: Path) -> None:
    with Keyring(tmp_path / "keyring.sqlite", KEY) as ring:
        long = MeterCredentials(Secret(bytes(MAX_SECRET_OCTETS + 1)))
        with pytest.raises(SecurityError, match="password of meter M2"):
            ring.put({"M1": METERS["M1"], "M2": long})
        assert ring.meters() == ()
        most = MeterCredentials(Secret(b"\1" * MAX_SECRET_OCTETS))
        ring.put({"M2": most})
        assert ring.credentials("M2") == most


def test_while_another_process_writes_a_keyring_is_waited_for(tmp_path: Path) -> None:
    file = made(tmp_path)
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("begin immediate")
    with Keyring(file, KEY) as ring:
        assert ring.credentials("M3") == METERS["M3"], "it can be read"
        ring._database.execute("pragma busy_timeout = 50")
        with pytest.raises(SecurityError, match="locked"):
            ring.reserve("n", 1)
        other.execute("rollback")
        ring.reserve("n", 1)
    other.close()
