"""Public keys of a keyring: used for what each is for, by whom it is of, when it is valid."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from certified import FIRST, LAST, Authority
from openami.quantities.errors import SecurityError
from openami.security.certificates import MAX_CERTIFICATE_OCTETS, CertificateKind
from openami.security.keyring import Keyring, MeterCredentials
from openami.security.meter_keys import MeterKeys
from openami.security.public_keys import (
    MeterPublicKeys,
    keys_with,
    meter_keys_of,
    own_key,
    put_meter_keys,
    put_own_key,
)
from openami.security.secret import Secret
from openami.security.signature import new_private_key, public_octets
from openami.security.suites import SUITE_1, suite

TITLE, OTHER = b"OAM00001", b"OAM00002"
NOW = datetime(2026, 6, 1, tzinfo=UTC)
SIGNATURE, AGREEMENT = CertificateKind.SIGNATURE, CertificateKind.AGREEMENT
SUITE_0, SUITE_2 = suite(0), suite(2)
KEY = new_private_key(SUITE_1)
DER = Authority().certify(TITLE, KEY.public_key())


def ring(folder: Path) -> Keyring:
    return Keyring(folder / "keyring.sqlite", Secret(bytes(32)))


def test_a_certificate_is_used_for_its_purpose_by_its_title_of_its_suite_and_in_its_time() -> None:
    meter = MeterPublicKeys(7, DER)
    assert meter.key(SIGNATURE, SUITE_1, TITLE, NOW) == KEY.public_key()
    assert meter.key(SIGNATURE, SUITE_1, None, NOW) == KEY.public_key()
    assert meter.key(AGREEMENT, SUITE_1, TITLE, NOW) is None
    for wrong, message in (
        ((SIGNATURE, SUITE_1, OTHER, NOW), "a certificate of 4f414d3030303031"),
        ((SIGNATURE, SUITE_2, TITLE, NOW), "secp256r1"),
        ((SIGNATURE, SUITE_0, TITLE, NOW), "suite 0"),
        ((SIGNATURE, SUITE_1, TITLE, FIRST.replace(year=2025)), "valid from 2026"),
        ((SIGNATURE, SUITE_1, TITLE, LAST.replace(year=2037)), "valid from 2026"),
    ):
        with pytest.raises(SecurityError, match=message):
            meter.key(*wrong)
    with pytest.raises(SecurityError, match="for signature"):
        MeterPublicKeys(5, b"", DER).key(AGREEMENT, SUITE_1, TITLE, NOW)


def test_bare_keys_and_octets_that_are_none() -> None:
    bare = public_octets(KEY.public_key())
    assert MeterPublicKeys(7, bare).key(SIGNATURE, SUITE_1, TITLE, NOW) == KEY.public_key()
    for octets in (bytes(64), b"\1" * 63, DER[:-1], b"\x30"):
        with pytest.raises(SecurityError):
            MeterPublicKeys(7, octets).held(SIGNATURE, SUITE_1, TITLE)
    with pytest.raises(SecurityError, match="mechanism 6"):
        MeterPublicKeys(6, bare)
    with pytest.raises(SecurityError, match="without the meter's key"):
        MeterPublicKeys(7)


def test_what_is_recorded_comes_back_and_stays_when_keys_are_rotated(tmp_path: Path) -> None:
    own = {chosen.number: new_private_key(chosen) for chosen in (SUITE_1, SUITE_2)}
    with ring(tmp_path) as keyring:
        keyring.put({"M": MeterCredentials(None, MeterKeys.random(1), TITLE)})
        put_meter_keys(keyring, {"M": MeterPublicKeys(7, DER), "N": MeterPublicKeys(5)})
        for chosen in (SUITE_1, SUITE_2):
            put_own_key(keyring, SIGNATURE, chosen, own[chosen.number])
        keyring.settle("M", MeterKeys.random(1))
    with ring(tmp_path) as keyring:
        assert meter_keys_of(keyring, ("M", "N", "?")) == {
            "M": MeterPublicKeys(7, DER),
            "N": MeterPublicKeys(),
        }
        assert keyring.meters() == ("M", "N")
        found = keys_with(keyring, MeterPublicKeys(7, DER), SUITE_1, TITLE, NOW)
        assert found.signing is not None
        assert found.signing.private_numbers() == own[1].private_numbers()
        assert (found.peer_signing, found.agreement, found.peer_title) == (KEY.public_key(), None, TITLE)
        second = own_key(keyring, SIGNATURE, SUITE_2)
        assert second is not None
        assert second.private_numbers() == own[2].private_numbers()
        assert own_key(keyring, SIGNATURE, SUITE_0) is None
        with pytest.raises(SecurityError, match="at most 2048 octets"):
            put_meter_keys(keyring, {"M": MeterPublicKeys(7, bytes(MAX_CERTIFICATE_OCTETS + 1))})
        assert meter_keys_of(keyring, ("M",))["M"].signature == DER


def test_a_meter_of_mechanism_7_wants_our_key_and_one_of_5_does_not(tmp_path: Path) -> None:
    with ring(tmp_path) as keyring:
        with pytest.raises(SecurityError, match="no signature key of ours for suite 1"):
            keys_with(keyring, MeterPublicKeys(7, DER), SUITE_1, TITLE, NOW)
        found = keys_with(keyring, MeterPublicKeys(5, DER), SUITE_1, TITLE, NOW)
        assert (found.signing, found.peer_signing) == (None, None)
