"""`ami dlms keys show`, `import` and `import-own`: what the keyring of a workspace has.

Rule of this file: of a key its fingerprint is shown, of a password that there is one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from openami.cli.dlms_access import (
    GakOption,
    GuekOption,
    KekOption,
    keys_of,
    opened_keyring,
    secret_key,
    title_of,
)
from openami.cli.dlms_public_keys import TrustOption, passphrase_of, peer_key
from openami.cli.output import DEFAULT_WORKSPACE, JsonOption, print_json, print_table, stdout
from openami.protocols.dlms.apdus.authentication import Mechanism
from openami.protocols.dlms.client.client_security import send_counter_name
from openami.quantities.errors import FormatError, RegistryError, SecurityError
from openami.security.certificates import CertificateKind
from openami.security.key_files import certificate_file, private_key_file
from openami.security.keyring import Keyring, MeterCredentials
from openami.security.meter_keys import KeyKind, MeterKeys
from openami.security.public_keys import MeterPublicKeys, meter_keys_of, put_meter_keys, put_own_key
from openami.security.secret import Secret
from openami.security.signature import public_octets
from openami.security.suites import suite
from openami.workspace.meter_access import HEAD_END_TITLE, open_keyring

KINDS: Final = {
    "encryption": KeyKind.GLOBAL_UNICAST,
    "authentication": KeyKind.AUTHENTICATION,
    "master": KeyKind.MASTER,
    "broadcast": KeyKind.GLOBAL_BROADCAST,
}
NAMES: Final = {kind: name for name, kind in KINDS.items()}

FolderOption = Annotated[
    Path,
    typer.Option("--keyring", help="Workspace whose keyring has the keys.", envvar="OPENAMI_WORKSPACE"),
]
MeterIdOption = Annotated[str | None, typer.Option("--meter", help="Which meter of the keyring.")]


def show(
    keyring: FolderOption = DEFAULT_WORKSPACE, meter: MeterIdOption = None, json: JsonOption = False
) -> None:
    """Show the keys of meters by their fingerprints, what is on its way, and our invocation counters.

    A fingerprint is the first eight digits of the key's SHA-256: two people compare keys by it.

    Example: ami dlms keys show --keyring ami-data --meter H000001
    """
    with opened_keyring(keyring) as ring:
        known = named_meters(ring, meter)
        found = [_shown(ring, meter_id, ring.credentials(meter_id)) for meter_id in known]
    if json:
        print_json({"keyring": keyring, "meters": found})
        return
    kinds = tuple(KINDS)
    print_table(
        f"keys in {keyring}",
        ("meter", "system title", "suite", "mechanism", *kinds, "counter", "password", "on their way"),
        [
            (
                item["id"], item["system_title"], item["suite"], item["mechanism"],
                *(item["keys"].get(kind) for kind in kinds), item["counter"], item["password"],
                ", ".join(f"{kind} {print_}" for kind, print_ in item["pending"].items()),
            )
            for item in found
        ],
    )  # fmt: skip


def import_keys(
    meter: Annotated[str, typer.Argument(metavar="METER", help="Serial number of the meter.")],
    keyring: FolderOption = DEFAULT_WORKSPACE,
    guek: GuekOption = None,
    gak: GakOption = None,
    kek: KekOption = None,
    gbek: Annotated[
        str | None,
        typer.Option("--gbek", help="Global broadcast encryption key, hex.", envvar="OPENAMI_DLMS_GBEK"),
    ] = None,
    password: Annotated[
        str | None,
        typer.Option(help="Password, where it has no keys.", envvar="OPENAMI_DLMS_PASSWORD"),
    ] = None,
    suite_number: Annotated[int, typer.Option("--suite", help="Security suite: 0, 1 or 2.")] = 0,
    meter_title: Annotated[
        str | None, typer.Option("--meter-title", help="System title that the meter has.")
    ] = None,
    mechanism: Annotated[
        int | None, typer.Option(help="By which its management client proves itself: 5 or 7.")
    ] = None,
    meter_certificate: Annotated[
        Path | None,
        typer.Option("--meter-certificate", help="Its signature certificate or public key."),
    ] = None,
    meter_agreement_certificate: Annotated[
        Path | None,
        typer.Option("--meter-agreement-certificate", help="Its key agreement certificate or public key."),
    ] = None,
    trust: TrustOption = None,
    json: JsonOption = False,
) -> None:
    """Put the keys that a meter has into the keyring; secrets are better in the environment.

    What the keyring knew before stays as a version. With a signature certificate the meter is read by
    mechanism 7 from then on, signed by our key of `ami dlms keys import-own`; --trust is held against it now,
    its dates whenever it is used.

    Example: ami dlms keys import H000001 --keyring ami-data --meter-title 4f414d0000000001

    Example: ami dlms keys import H000001 --keyring ami-data --meter-certificate meter.der --trust root.der
    """
    keys = keys_of(guek, gak, suite_number, kek)
    public = meter_certificate is not None or meter_agreement_certificate is not None or mechanism is not None
    if keys is None and password is None and not public:
        raise SecurityError(
            "no secrets", where="--guek", expected="--guek, --gak and --kek, --password, or a certificate"
        )
    if keys is not None and kek is None:
        raise SecurityError(
            "no master key", where="--kek", expected="that of the meter: keys travel under it"
        )
    if gbek is not None:
        if keys is None:
            raise SecurityError("a broadcast key alone", where="--gbek", expected="--guek and --gak, too")
        broadcast = secret_key(gbek, "--gbek", suite(suite_number).key_octets)
        keys = keys.with_key(KeyKind.GLOBAL_BROADCAST, broadcast)
    secret = None if password is None else Secret(password.encode("utf-8"))
    title = title_of(meter_title, "--meter-title")
    with open_keyring(_folder(keyring)) as ring:
        credentials = MeterCredentials(secret, keys, title)
        if keys is None and secret is None:
            credentials = ring.credentials(meter)
        recorded = {}
        if public:
            files = (meter_certificate, meter_agreement_certificate)
            credentials, recorded[meter] = _with_public(ring, meter, credentials, mechanism, files, trust)
        ring.put({meter: credentials})
        put_meter_keys(ring, recorded)
        shown = _shown(ring, meter, credentials)
    if json:
        print_json(shown)
    else:
        stdout.print(f"{meter}: {prints(shown['keys']) or 'a password'}", markup=False)


def import_own(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Private key, PEM or DER, mode 0600.")],
    keyring: FolderOption = DEFAULT_WORKSPACE,
    purpose: Annotated[str, typer.Option(help="What it is for: signature or agreement.")] = "signature",
    suite_number: Annotated[int, typer.Option("--suite", help="Security suite: 1 (P-256) or 2 (P-384).")] = 1,
    json: JsonOption = False,
) -> None:
    """Put our own private key into the keyring, by which meters of mechanism 7 know us.

    There is one for each purpose and suite, for all meters; the one before stays as a version. A passphrase
    is asked for, or taken from OPENAMI_DLMS_PASSPHRASE. The file is not needed afterwards.

    Example: ami dlms keys import-own client.pem --keyring ami-data
    """
    kinds = {"signature": CertificateKind.SIGNATURE, "agreement": CertificateKind.AGREEMENT}
    if purpose not in kinds:
        raise FormatError(f"purpose {purpose!r}", where="--purpose", expected=", ".join(kinds))
    key = private_key_file(file, suite(suite_number), lambda: passphrase_of(file))
    with open_keyring(_folder(keyring)) as ring:
        put_own_key(ring, kinds[purpose], suite(suite_number), key)
    print_ = Secret(public_octets(key.public_key())).fingerprint
    if json:
        print_json({"purpose": purpose, "suite": suite_number, "public_key": print_})
    else:
        stdout.print(f"{purpose} key of suite {suite_number}: public key {print_}", markup=False)


def _with_public(
    ring: Keyring,
    meter: str,
    credentials: MeterCredentials,
    mechanism: int | None,
    files: tuple[Path | None, Path | None],
    trust: Path | None,
) -> tuple[MeterCredentials, MeterPublicKeys]:
    """What is public of a meter beside what is known, and its title, where a certificate says it first."""
    if credentials.keys is None:
        raise SecurityError(
            "certificates of a meter without keys", where="--guek", expected="--guek, --gak and --kek, too"
        )
    authority = None if trust is None else certificate_file(trust)
    known = meter_keys_of(ring, (meter,)).get(meter, MeterPublicKeys())
    octets, titles = [], {credentials.title} - {None}
    for file, kind, before in (
        (files[0], CertificateKind.SIGNATURE, known.signature),
        (files[1], CertificateKind.AGREEMENT, known.agreement),
    ):
        key, certificate = peer_key(file, suite(credentials.keys.suite_number), kind, authority)
        if certificate is not None:
            titles.add(certificate.title)
            octets.append(certificate.der)
        else:
            octets.append(before if key is None else public_octets(key))
    if len(titles) > 1:
        raise SecurityError(
            f"a certificate of another system title than the meter's: {_either(titles)}",
            where="--meter-certificate",
        )
    chosen = mechanism or (int(Mechanism.HIGH_ECDSA) if octets[0] else known.mechanism)
    title = next(iter(titles), None)
    return replace(credentials, title=title), MeterPublicKeys(chosen, *octets)


def _either(titles: Iterable[bytes | None]) -> str:
    return ", ".join(sorted(title.hex() for title in titles if title is not None))


def named_meters(ring: Keyring, meter: str | None) -> Sequence[str]:
    """The meter of an option, or all of a keyring; raises `RegistryError` where it is not there."""
    known = ring.meters()
    if meter is None:
        return known
    if meter not in known:
        raise RegistryError(
            f"the keyring has no secrets of meter {meter!r}",
            where="--meter",
            expected=", ".join(known[:10]) or "a keyring with meters",
        )
    return (meter,)


def _folder(folder: Path) -> Path:
    if not folder.is_dir():
        raise SecurityError("no folder", where=str(folder), expected="the folder of a workspace")
    return folder


def _shown(ring: Keyring, meter_id: str, known: MeterCredentials) -> dict[str, Any]:
    pending = ring.pending(meter_id)
    keys = known.keys
    return {
        "id": meter_id,
        "system_title": None if known.title is None else known.title.hex(),
        "suite": None if keys is None else keys.suite_number,
        "keys": _fingerprints(keys),
        "counter": None if keys is None else ring.load(send_counter_name(HEAD_END_TITLE, keys)),
        "password": known.password is not None,
        "mechanism": None
        if keys is None
        else meter_keys_of(ring, (meter_id,)).get(meter_id, MeterPublicKeys()).mechanism,
        "pending": {
            kind: shown
            for kind, shown in _fingerprints(pending).items()
            if _fingerprints(keys).get(kind) != shown
        },
    }


def _fingerprints(keys: MeterKeys | None) -> dict[str, str]:
    return {} if keys is None else {NAMES[kind]: shown for kind, shown in keys.fingerprints.items()}


def prints(keys: dict[str, str]) -> str:
    """Fingerprints in one line."""
    return ", ".join(f"{kind} {shown}" for kind, shown in keys.items())
