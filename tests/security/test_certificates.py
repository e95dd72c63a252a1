"""Certificates: whose they are, what they are for, and whom a meter believes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from certified import DER, FIRST, LAST, Authority, hashed, name, usage
from openami.quantities.errors import SecurityError
from openami.security.certificate_store import MOST_CERTIFICATES, CertificateStore
from openami.security.certificates import (
    MAX_CERTIFICATE_OCTETS,
    Certificate,
    CertificateEntity,
    CertificateKind,
    certificate_request,
    verify_chain,
)
from openami.security.signature import new_private_key
from openami.security.suites import SUITE_0, SUITE_1, SUITE_2

NOW = datetime(2026, 11, 1, tzinfo=UTC)
METER, CLIENT = b"OAM\x00\x00\x00\x00\x07", b"OAMHES01"
SIGNATURE, AGREEMENT = CertificateKind.SIGNATURE, CertificateKind.AGREEMENT


@pytest.fixture(scope="module")
def root() -> Authority:
    return Authority()


def store(root: Authority, now: datetime = NOW) -> CertificateStore:
    return CertificateStore(METER, [Certificate.from_der(root.der)], lambda: now)


def key() -> ec.EllipticCurvePublicKey:
    return new_private_key(SUITE_1).public_key()


def test_a_certificate_says_whose_it_is_and_what_for(root: Authority) -> None:
    other = x509.SubjectAlternativeName([x509.DNSName("hes.example")])
    public = key()
    read = Certificate.from_der(root.certify(CLIENT, public, extra=other))
    assert (read.title, read.kind, read.authority) == (CLIENT, SIGNATURE, False)
    assert read.public_key.public_numbers() == public.public_numbers()
    assert read.subject.hex() == "301b3119301706035504030c1034463431344434383435353333303331"
    assert read.issuer == root.name.public_bytes()
    assert int.from_bytes(read.serial_number) == read.parsed.serial_number
    assert read.alternative_name == other.public_bytes()
    assert Certificate.from_der(root.certify(CLIENT, public, AGREEMENT)).kind is AGREEMENT
    assert Certificate.from_der(root.der).authority
    tls = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    assert Certificate.from_der(root.certify(CLIENT, public, extra=tls)).kind is CertificateKind.TLS
    for text in ("OAMHES01", "4f414d48455330", "4F 41 4D 48 45 53 30 31", "zz" * 8):
        assert Certificate.from_der(root.certify(text, public)).title == b""


def test_octets_that_are_no_certificate_of_the_suites_are_refused(root: Authority) -> None:
    good = root.certify(CLIENT, key())
    for cut in range(len(good)):
        with pytest.raises(SecurityError):
            Certificate.from_der(good[:cut])
    for bad in (good + b"\0", bytes(MAX_CERTIFICATE_OCTETS + 1), b"\x30\x80" * 200):
        with pytest.raises(SecurityError):
            Certificate.from_der(bad)
    version = good.index(bytes.fromhex("a003020102")) + 4
    for number in (3, 16, 127, 255):  # X.509 has the versions 0, 1 and 2
        with pytest.raises(SecurityError):
            Certificate.from_der(good[:version] + bytes((number,)) + good[version + 1 :])
    builder = (
        x509.CertificateBuilder().subject_name(name("A")).issuer_name(root.name)
        .serial_number(7).not_valid_before(FIRST).not_valid_after(LAST)
    )  # fmt: skip
    signing = usage(digital_signature=True)

    def refused(what: x509.CertificateBuilder, match: str) -> None:
        with pytest.raises(SecurityError, match=match):
            Certificate.from_der(what.sign(root.key, hashed(root.key)).public_bytes(DER))

    of_rsa = rsa.generate_private_key(65537, 2048).public_key()
    refused(builder.public_key(of_rsa).add_extension(signing, True), "another kind of key")
    of_k1 = ec.generate_private_key(ec.SECP256K1()).public_key()
    refused(builder.public_key(of_k1).add_extension(signing, True), "another kind of key")
    plain = builder.public_key(key())
    refused(plain, "what its key is for")
    refused(plain.add_extension(usage(digital_signature=True, key_agreement=True), True), "both purposes")
    refused(plain.add_extension(usage(crl_sign=True), True), "both purposes or none")
    refused(plain.add_extension(usage(key_cert_sign=True), True), "half an authority")
    authority = plain.add_extension(x509.BasicConstraints(True, None), True)
    refused(authority.add_extension(signing, True), "half an authority")
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    refused(plain.add_extension(signing, True).add_extension(unknown, True), "critical extension 1.2.3.4")


def test_a_chain_is_verified_whole_and_at_the_present(root: Authority) -> None:
    anchor = Certificate.from_der(root.der)
    middle = Authority("Middle", above=root)
    below = Authority("Below", above=middle)
    good = Certificate.from_der(below.certify(CLIENT, key()))
    between = [Certificate.from_der(item.der) for item in (middle, below)]
    verify_chain(good, between, [anchor], NOW)
    verify_chain(anchor, (), [anchor], NOW)
    with pytest.raises(SecurityError, match="no trusted authority"):
        verify_chain(good, between[:1], [anchor], NOW)
    with pytest.raises(SecurityError, match="no trusted authority"):
        verify_chain(good, between, (), NOW)
    for at in (FIRST - timedelta(seconds=1), LAST + timedelta(seconds=1)):
        with pytest.raises(SecurityError, match="valid from 2026-01-01 00:00"):
            verify_chain(good, between, [anchor], at)
    stranger = Authority()  # the same name, another key
    with pytest.raises(SecurityError, match="no trusted authority"):
        verify_chain(Certificate.from_der(stranger.certify(CLIENT, key())), (), [anchor], NOW)
    short = Authority("Short", above=root, path_length=0)
    long = Authority("Long", above=short)
    tops = [Certificate.from_der(item.der) for item in (short, long)]
    verify_chain(Certificate.from_der(short.certify(CLIENT, key())), tops, [anchor], NOW)
    with pytest.raises(SecurityError, match="no trusted authority"):
        verify_chain(Certificate.from_der(long.certify(CLIENT, key())), tops, [anchor], NOW)
    stronger = new_private_key(SUITE_2).public_key()
    with pytest.raises(SecurityError, match="no trusted authority"):
        verify_chain(Certificate.from_der(root.certify(CLIENT, stronger)), (), [anchor], NOW)
    above = Authority("Above", SUITE_2.curve)
    mixed = Certificate.from_der(above.certify(CLIENT, key()))
    verify_chain(mixed, (), [Certificate.from_der(above.der)], NOW)
    end = Certificate.from_der(root.certify(CLIENT, key()))  # no authority, whatever it signs
    false = Authority("False")
    false.name = end.parsed.subject
    with pytest.raises(SecurityError, match="no trusted authority"):
        verify_chain(Certificate.from_der(false.certify(METER, key())), [end], [anchor], NOW)


def test_a_circle_of_authorities_ends(root: Authority) -> None:
    one, two = Authority("One"), Authority("Two")
    crossed = []
    for signer, signed in ((one, two), (two, one)):
        builder = (
            x509.CertificateBuilder().subject_name(signed.name).issuer_name(signer.name).serial_number(1)
            .public_key(signed.key.public_key()).not_valid_before(FIRST).not_valid_after(LAST)
            .add_extension(x509.BasicConstraints(True, None), True)
            .add_extension(usage(key_cert_sign=True), True)
        )  # fmt: skip
        crossed.append(Certificate.from_der(builder.sign(signer.key, hashed(signer.key)).public_bytes(DER)))
    with pytest.raises(SecurityError, match="no trusted authority"):
        verify_chain(
            Certificate.from_der(one.certify(CLIENT, key())), crossed, [Certificate.from_der(root.der)], NOW
        )


def test_a_meter_takes_its_own_and_what_its_anchor_vouches_for(root: Authority) -> None:
    held = store(root)
    first = root.certify(CLIENT, key())
    assert held.entity(held.take(first, SUITE_1)) is CertificateEntity.CLIENT
    newer = key()
    held.take(root.certify(CLIENT, newer), SUITE_1)  # in the place of the first
    held.take(root.certify(CLIENT, key(), AGREEMENT), SUITE_1)
    assert len(held.certificates) == 3
    assert held.public_key(CLIENT, SIGNATURE).public_numbers() == newer.public_numbers()
    stranger = Authority("Stranger")
    for der, match in (
        (stranger.certify(CLIENT, key()), "no trusted authority"),
        (stranger.der, "no trusted authority"),
        (root.certify("nobody", key()), "nobody"),
        (root.certify(METER, key()), "a key that the meter has not"),
        (root.certify(CLIENT, new_private_key(SUITE_2).public_key()), "another curve"),
        (root.certify(CLIENT, key(), last=NOW - timedelta(days=1)), "valid from"),
        (root.der, "an anchor"),
        (b"", "no certificate"),
    ):
        with pytest.raises(SecurityError, match=match):
            held.take(der, SUITE_1)
    with pytest.raises(SecurityError, match="another curve"):
        held.take(root.certify(CLIENT, key()), SUITE_0)
    assert len(held.certificates) == 3
    assert held.public_key(CLIENT, SIGNATURE).public_numbers() == newer.public_numbers()


def test_a_new_key_pair_waits_for_its_certificate(root: Authority) -> None:
    held = store(root)
    with pytest.raises(SecurityError, match="no key pair"):
        held.request(SIGNATURE)
    old = new_private_key(SUITE_1)
    held.use(SIGNATURE, old)
    held.generate(SIGNATURE, SUITE_1)
    assert held.private_key(SIGNATURE) is old
    request = x509.load_der_x509_csr(held.request(SIGNATURE))
    assert request.is_signature_valid
    assert request.subject.rfc4514_string() == "CN=4F414D0000000007"
    asked = request.public_key()
    assert isinstance(asked, ec.EllipticCurvePublicKey)
    assert asked != old.public_key()
    with pytest.raises(SecurityError, match="a key that the meter has not"):
        held.take(root.certify(METER, asked, AGREEMENT), SUITE_1)
    held.take(root.certify(METER, asked), SUITE_1)
    new = held.private_key(SIGNATURE)
    assert new is not None
    assert new.public_key() == asked
    assert held.private_key(AGREEMENT) is None
    with pytest.raises(SecurityError, match="a key pair for tls"):
        held.generate(CertificateKind.TLS, SUITE_1)
    with pytest.raises(SecurityError, match="suite 0"):
        held.generate(SIGNATURE, SUITE_0)


def test_what_expired_or_lost_its_authority_is_worth_nothing_any_more(root: Authority) -> None:
    present = NOW
    held = CertificateStore(METER, [Certificate.from_der(root.der)], lambda: present)
    middle = Authority("Middle", above=root)
    authority = held.take(middle.der, SUITE_1)
    held.take(middle.certify(CLIENT, key(), last=NOW + timedelta(days=30)), SUITE_1)
    held.public_key(CLIENT, SIGNATURE)
    present = NOW + timedelta(days=31)
    with pytest.raises(SecurityError, match="valid from"):
        held.public_key(CLIENT, SIGNATURE)
    present = NOW
    held.remove(authority)
    with pytest.raises(SecurityError, match="no trusted authority"):
        held.public_key(CLIENT, SIGNATURE)
    with pytest.raises(SecurityError, match="an anchor"):
        held.remove(held.certificates[0])


def test_there_is_room_for_so_many_and_no_more(root: Authority) -> None:
    held = store(root)
    for number in range(MOST_CERTIFICATES):
        held.take(root.certify(bytes((number,)) * 8, key()), SUITE_1)
    with pytest.raises(SecurityError, match=f"{MOST_CERTIFICATES} certificates"):
        held.take(root.certify(CLIENT, key()), SUITE_1)
    held.take(root.certify(bytes(8), key()), SUITE_1)
    assert len(held.certificates) == 1 + MOST_CERTIFICATES


def test_requests_are_those_of_pkcs_10_for_both_curves() -> None:
    for suite, algorithm in ((SUITE_1, "sha256"), (SUITE_2, "sha384")):
        request = x509.load_der_x509_csr(certificate_request(METER, new_private_key(suite)))
        assert request.signature_hash_algorithm is not None
        assert request.signature_hash_algorithm.name == algorithm
        assert request.is_signature_valid
