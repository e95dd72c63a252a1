"""`ami dlms serve`: software meters that speak DLMS/COSEM, to try clients against.

Rule of this file: what is printed is where the meters listen and who may get in, never a secret.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

import typer

from openami.cli.dlms_access import GakOption, GuekOption, KekOption, keys_of
from openami.cli.dlms_models import clients_of, model_named
from openami.cli.dlms_public_keys import (
    AgreementKeyOption,
    PublicKeyFiles,
    SigningKeyOption,
    public_key_spec,
)
from openami.cli.output import JsonOption, print_json, stderr
from openami.cli.whole_file import whole_file
from openami.meter.companion.model import CompanionModel
from openami.meter.companion.surroundings import signed_image
from openami.meter.fleet_spec import FleetSpec, KeySpec, MeterSpec, household_fleet
from openami.meter.public_key_spec import PublicKeySpec
from openami.meter.push_sender import AS_ASKED
from openami.meter.serve import Link, Serving, run
from openami.protocols.dlms.apdus.authentication import MANAGEMENT_CLIENT
from openami.protocols.dlms.protection.ciphered_apdu import Form
from openami.protocols.dlms.protection.ciphering import Cipher
from openami.protocols.dlms.protection.security_control import AUTHENTICATED_ENCRYPTION
from openami.quantities.civil_time import midnight, zone_of
from openami.quantities.clock import SystemClock
from openami.quantities.errors import FormatError, SecurityError
from openami.security.counters import MemoryCounters, ReceiveCounters, SendCounter
from openami.security.keyring import MeterCredentials
from openami.security.meter_keys import MeterKeys
from openami.security.public_keys import MeterPublicKeys, put_meter_keys
from openami.security.secret import Secret
from openami.security.suites import suite
from openami.workspace.meter_access import HEAD_END_TITLE, open_keyring
from openami.workspace.settings import write_whole

_LISTED: Final = 8
_IMAGE_OCTETS: Final = 64 << 10


def serve(
    meters: Annotated[int, typer.Option(help="How many meters, 1000 to a port.", min=1, max=5000)] = 1,
    model: Annotated[
        str | None,
        typer.Option(help="Companion model whose objects they have, see `ami dlms models`; few without."),
    ] = None,
    days: Annotated[int, typer.Option(help="Days that they have been counting.", min=0, max=400)] = 3,
    password: Annotated[
        str,
        typer.Option(help="Password of the clients that need one.", envvar="OPENAMI_DLMS_PASSWORD"),
    ] = "00000000",
    guek: GuekOption = None,
    gak: GakOption = None,
    kek: KekOption = None,
    keyring: Annotated[
        Path | None,
        typer.Option(
            help="Folder of a workspace, made where there is none: each meter has keys of its own, kept in "
            "its keyring, and those that are there already are used."
        ),
    ] = None,
    suite_number: Annotated[int, typer.Option("--suite", help="Security suite: 0, 1 or 2.")] = 0,
    mechanism: Annotated[
        int, typer.Option(help="Of the management client of meters with keys: 5 (GMAC) or 7 (ECDSA).")
    ] = 5,
    signing_key: SigningKeyOption = None,
    client_certificate: Annotated[
        Path | None,
        typer.Option("--client-certificate", help="The client's signature certificate or public key."),
    ] = None,
    agreement_key: AgreementKeyOption = None,
    client_agreement_certificate: Annotated[
        Path | None,
        typer.Option(
            "--client-agreement-certificate", help="The client's key agreement certificate or public key."
        ),
    ] = None,
    trust: Annotated[
        Path | None,
        typer.Option(
            help="Certificate of the authority that the meters believe of certificates they import."
        ),
    ] = None,
    zone: Annotated[str, typer.Option(help="IANA zone of the meters.")] = "Europe/Berlin",
    seed: Annotated[int, typer.Option(help="Seed of the load curves.")] = 1,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="First port; 0 takes free ones.", min=0, max=65535)] = 4059,
    transport: Annotated[str, typer.Option(help="tcp (wrapper), udp (wrapper), or hdlc over TCP.")] = "tcp",
    site: Annotated[
        Path | None,
        typer.Option(
            "--write-site", help="Write a site file for `ami import`, secrets included; not with --model."
        ),
    ] = None,
    image: Annotated[
        Path | None,
        typer.Option("--write-image", help="Write a firmware image that the meters of a model accept."),
    ] = None,
    no_push: Annotated[
        bool,
        typer.Option("--no-push", help="Call nobody, whatever destination a client gives a push setup."),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Serve software meters until ctrl-c: logical devices 16, 17 and on.

    Without keys the management client needs the password; with --guek and --gak (the same for every meter:
    for trying out only) or --keyring (its own for each) high level security 5 and ciphering. The public
    client reads what is public; a companion model has more clients, which are listed at the start. Meters
    of a model push to the destination that a client sets in a push setup (class 40), as text host:port.

    With a signing key and the client's certificate (or public key) mechanism 7 is served, and signed and
    general-ciphered services are taken; --trust is whom the meters believe of certificates that they import.

    Serve a secured meter:  ami dlms serve --model idis-like-3p --keyring ami-data

    and read it:  ami dlms read 127.0.0.1 1-0:1.8.0 --server 16 --keyring ami-data --meter H000001

    Example: ami dlms serve --model smr-5.0-3p --keyring ami-data
    """
    link = _link(transport)
    chosen = None if model is None else model_named(model, "--model")
    if image is not None and (chosen is None or not chosen.of_class(18)):
        raise FormatError(
            "these meters take no firmware", where="--write-image", expected="--model NAME, too"
        )
    if site is not None and chosen is not None:
        raise FormatError(
            f"`ami collect` does not read the load profile of {chosen.name}",
            where="--write-site",
            expected="--keyring FOLDER for its keys, or meters without --model",
        )
    spec = _fleet(meters, days, zone, seed, password, chosen)
    given = keys_of(guek, gak, suite_number, kek)
    counters_from = 0
    if keyring is not None:
        spec, counters_from = _with_keyring(spec, keyring, given, suite_number)
    elif given is not None:
        spec = _with_keys(spec, dict.fromkeys((meter.meter_id for meter in spec.meters), given))
    public = public_key_spec(
        PublicKeyFiles(
            signing_key,
            client_certificate,
            agreement_key,
            client_agreement_certificate,
            "--client-certificate",
            "--client-agreement-certificate",
        ),
        mechanism,
        suite_number,
        trust,
    )
    if public is not None:
        client = MANAGEMENT_CLIENT if chosen is None else chosen.management
        spec = _with_public_keys(spec, replace(public, client=client))
        if keyring is not None:
            signature, agreement = public.published(suite(suite_number))
            published = MeterPublicKeys(public.mechanism, signature, agreement)
            with open_keyring(keyring) as ring:
                put_meter_keys(ring, dict.fromkeys((meter.meter_id for meter in spec.meters), published))
    if image is not None and chosen is not None:
        with whole_file(image) as file:
            file.write_bytes(_firmware(seed, chosen))

    def ready(serving: Serving) -> None:
        if site is not None:
            from openami.cli.meter import site_text

            write_whole(site, site_text(spec, serving), 0o600)  # keys and passwords are in it
        keys = spec.meters[0].keys
        clients = clients_of(chosen, keys is not None, None if keys is None else keys.public_keys)
        document = {
            "host": serving.host,
            "ports": list(serving.ports),
            "transport": link.value,
            "control_port": serving.control_port,
            "model": model,
            "keyring": None if keyring is None else str(keyring),
            "site": None if site is None else str(site),
            "image": None if image is None else str(image),
            "pushes": not no_push,
            "clients": clients,
            "meters": [
                {"id": meter.meter_id, "logical_device": meter.wport, "port": serving.ports[meter.port_index],
                 "system_title": meter.system_title.hex() if meter.keys else None}
                for meter in spec.meters
            ],
        }  # fmt: skip
        if json:
            print_json(document)
        else:
            _tell(spec, serving, link, clients, model)

    run(
        spec,
        SystemClock(),
        link=link,
        host=host,
        port=port,
        ready=ready,
        counters_from=counters_from,
        pushing=None if no_push else AS_ASKED,
    )


def _link(text: str) -> Link:
    try:
        return Link(text)
    except ValueError:
        raise FormatError(f"transport {text!r}", where="--transport", expected="tcp, udp or hdlc") from None


def _tell(
    spec: FleetSpec, serving: Serving, link: Link, clients: list[dict[str, object]], model: str | None
) -> None:
    """Say where the meters are and who gets in."""
    ports = ", ".join(map(str, serving.ports))
    count = len(spec.meters)
    what = ("1 meter" if count == 1 else f"{count} meters") + ("" if model is None else f" of {model}")
    lines = [
        f"{what} on {serving.host}, {link.value} port {ports}, logical devices 16 and on  (ctrl-c ends it)"
    ]
    for client in clients:
        how = f"mechanism {client['mechanism']}, protection {client['protection']}"
        lines.append(
            f"  client {client['client']:>3}  {client['name']}: needs {client['needs']} ({how}); "
            f"sees {client['sees']}"
        )
    for meter in spec.meters[:_LISTED]:
        title = f", system title {meter.system_title.hex()}" if meter.keys else ""
        where = f"port {serving.ports[meter.port_index]}, logical device {meter.wport}"
        lines.append(f"  meter {meter.meter_id}: {where}{title}")
    if count > _LISTED:
        lines.append(f"  and {count - _LISTED} more, to {spec.meters[-1].meter_id}")
    stderr.print("\n".join(lines), markup=False, soft_wrap=True)


def _fleet(
    meters: int, days: int, zone: str, seed: int, password: str, model: CompanionModel | None
) -> FleetSpec:
    today = datetime.now(zone_of(zone)).date()
    start = midnight(today - timedelta(days=days), zone)
    spec = household_fleet(meters, seed=seed, start=start, zone=zone, secured=False)
    companion = None if model is None else model.name
    return replace(
        spec, meters=tuple(replace(meter, password=password, companion=companion) for meter in spec.meters)
    )


def _with_keyring(
    spec: FleetSpec, folder: Path, given: MeterKeys | None, suite_number: int
) -> tuple[FleetSpec, int]:
    """The fleet with the keys that a keyring has of its meters, and new ones there of those it has not.

    Meters that are served again go on above every counter that the keyring believed of them, else whoever
    reads with it would take their answers for old ones.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SecurityError(
            f"no keyring: {error.strerror}", where=str(folder), expected="the folder of a workspace"
        ) from None
    keys: dict[str, MeterKeys] = {}
    with open_keyring(folder) as ring:
        known = ring.credentials_of(meter.meter_id for meter in spec.meters)
        for meter in spec.meters:
            keys[meter.meter_id] = given or known[meter.meter_id].keys or _fresh(suite_number)
        ring.put({meter.meter_id: _credentials(meter, keys[meter.meter_id]) for meter in spec.meters})
        believed = max(ring.load(_counter_of(meter, keys[meter.meter_id])) for meter in spec.meters)
    return _with_keys(spec, keys), believed


def _counter_of(meter: MeterSpec, keys: MeterKeys) -> str:
    """Under which name a head-end keeps the counter that it believed of a meter."""
    sends, receives = SendCounter(MemoryCounters(), ""), ReceiveCounters(MemoryCounters())
    cipher = Cipher(keys, HEAD_END_TITLE, meter.system_title, sends, receives)
    return cipher.counter_name(Form.GLOBAL, AUTHENTICATED_ENCRYPTION)


def _credentials(meter: MeterSpec, keys: MeterKeys) -> MeterCredentials:
    return MeterCredentials(Secret(meter.password.encode("ascii")), keys, meter.system_title)


def _fresh(suite_number: int) -> MeterKeys:
    """Keys of one meter that takes no broadcasts."""
    return replace(MeterKeys.random(suite_number), global_broadcast=None)


def _with_keys(spec: FleetSpec, keys: dict[str, MeterKeys]) -> FleetSpec:
    def keyed(meter: MeterSpec) -> MeterSpec:
        own = keys[meter.meter_id]
        return replace(
            meter,
            keys=KeySpec(
                own.global_unicast.reveal().hex(),
                own.authentication.reveal().hex(),
                own.master.reveal().hex(),
                own.suite_number,
            ),
        )

    return replace(spec, meters=tuple(map(keyed, spec.meters)))


def _with_public_keys(spec: FleetSpec, public: PublicKeySpec) -> FleetSpec:
    def keyed(meter: MeterSpec) -> MeterSpec:
        if meter.keys is None:
            raise SecurityError(
                "public keys without symmetric ones",
                where="--guek",
                expected="--guek and --gak, or --keyring",
            )
        return replace(meter, keys=replace(meter.keys, public_keys=public))

    return replace(spec, meters=tuple(map(keyed, spec.meters)))


def _firmware(seed: int, model: CompanionModel) -> bytes:
    """An image that its maker signed: a line that says what it is, and octets without a meaning."""
    head = f"openami software meter, {model.name}\n".encode("ascii")
    drawn = hashlib.shake_256(f"{seed} firmware of {model.name}".encode()).digest(_IMAGE_OCTETS - len(head))
    return signed_image(seed, head + drawn)
