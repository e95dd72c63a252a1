"""`ami dlms keys rotate` and `check`: new keys for meters, and which they have.

Rule of this file: of a key its fingerprint is shown, of a password that there is one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from openami.cli.dlms_access import (
    MeterOptions,
    opened_keyring,
    reach_of,
    title_of,
    with_options,
)
from openami.cli.dlms_keyring import (
    KINDS,
    NAMES,
    FolderOption,
    MeterIdOption,
    import_keys,
    import_own,
    named_meters,
    prints,
    show,
)
from openami.cli.dlms_public_keys import PublicKeyFiles, SigningKeyOption, TrustOption
from openami.cli.output import DEFAULT_WORKSPACE, JsonOption, print_json, progress, stdout
from openami.quantities.errors import FormatError, RegistryError, SecurityError
from openami.quantities.obis import ObisCode
from openami.security.keyring import Keyring, MeterCredentials
from openami.security.meter_keys import KeyKind
from openami.security.suites import suite
from openami.workspace.meter_access import HEAD_END_TITLE

if TYPE_CHECKING:
    from openami.headend.key_rotation import Reach, Rotation

commands = typer.Typer(
    help="Keys of meters: show what the keyring has, move new ones into meters.\n\n"
    "Example: ami dlms keys rotate --all --keyring ami-data"
)

_USUAL: Final = ("encryption", "authentication", "master")


@dataclass(frozen=True, slots=True)
class ReachOptions:
    """Which meters of a keyring, and how to get to them."""

    host: Annotated[
        str | None,
        typer.Argument(
            metavar="HOST[:PORT]", help="Where the meter listens; without, as the workspace knows it."
        ),
    ] = None
    keyring: FolderOption = DEFAULT_WORKSPACE
    meter: MeterIdOption = None
    everybody: Annotated[
        bool, typer.Option("--all", help="All meters of the workspace that have keys and an address.")
    ] = False
    server: Annotated[
        int | None, typer.Option(help="Logical device: wPort or upper HDLC address; 1 at a HOST.")
    ] = None
    client: Annotated[int | None, typer.Option(help="Client; 1, management, without.")] = None
    physical: Annotated[int | None, typer.Option(help="Lower HDLC address, where there is one.")] = None
    transport: Annotated[str, typer.Option(help="tcp or udp (wrapper), or hdlc over TCP.")] = "tcp"
    mechanism: Annotated[
        int | None, typer.Option(help="Mechanism 5 or 7; as the keyring has it without.")
    ] = None
    signing_key: SigningKeyOption = None
    meter_certificate: Annotated[
        Path | None,
        typer.Option("--meter-certificate", help="The meter's signature certificate or public key."),
    ] = None
    trust: TrustOption = None
    title: Annotated[str | None, typer.Option("--title", help="Our system title, 16 hex digits.")] = None
    setup: Annotated[str, typer.Option(help="Logical name of the security setup.")] = "0-0:43.0.0"
    timeout: Annotated[float, typer.Option(help="Seconds for each answer.", min=0.01)] = 5.0
    at_once: Annotated[int, typer.Option(help="Meters at the same time.", min=1, max=1000)] = 16
    trace: Annotated[bool, typer.Option("--trace", help="Show the frames on stderr.")] = False


def rotate(
    options: ReachOptions,
    keys: Annotated[
        str, typer.Option("--keys", help="Which keys: encryption, authentication, master, broadcast.")
    ] = ",".join(_USUAL),
    agree: Annotated[
        bool,
        typer.Option(
            "--agree", help="Make the master key by key agreement (suites 1 and 2), then the others."
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Give meters new keys. Whatever is interrupted, the next run goes on where it was.

    New keys are in the keyring before they are sent, and in use when the meter let us in by them. Exit code
    1 when a meter has not the new keys.

    Example: ami dlms keys rotate --all --keyring ami-data

    Example: ami dlms keys rotate 127.0.0.1:4059 --server 16 --keyring ami-data --meter H000001
    """
    from openami.headend.key_rotation import SignatureKeys, agree_master
    from openami.headend.key_rotation import rotate as rotate_keys

    kinds = _kinds(keys)
    signed = options.signing_key is not None and options.meter_certificate is not None
    if agree and (options.everybody or not signed):
        raise SecurityError(
            "key agreement without signature keys",
            where="--agree",
            expected="one --meter with --signing-key and --meter-certificate",
        )

    async def work(ring: Keyring, meter_id: str, reach: Reach, setup: ObisCode) -> Rotation:
        if agree:
            known = ring.credentials(meter_id)
            done = await agree_master(ring, meter_id, reach, signature_keys(known), setup)
            others = [kind for kind in kinds if kind is not KeyKind.MASTER]
            if not done.outcome.good or not others:
                return done
            after = await rotate_keys(ring, meter_id, reach, others, setup)
            return replace(after, changed=tuple(dict.fromkeys((*done.changed, *after.changed))))
        return await rotate_keys(ring, meter_id, reach, kinds, setup)

    def signature_keys(known: MeterCredentials) -> SignatureKeys:
        number = 0 if known.keys is None else known.keys.suite_number
        public = _files(options).read(suite(number))
        title = known.title or public.peer_title
        if public.signing is None or public.peer_signing is None or title is None:
            raise SecurityError(
                "a meter whose system title is not known",
                where="--meter-certificate",
                expected="a certificate, or a title in the keyring",
            )
        own = title_of(options.title, "--title") or HEAD_END_TITLE
        return SignatureKeys(public.signing, public.peer_signing, own, title)

    _work_on(options, "rotating keys", work, json)


def check(options: ReachOptions, json: JsonOption = False) -> None:
    """See which keys meters have, by associating under them, and take those into use.

    For after an interrupted rotation; gives a meter no key that it has not. Exit code 1 when it let us in
    by no key that the keyring knows, or has not the newest.

    Example: ami dlms keys check --all --keyring ami-data
    """
    from openami.headend.key_rotation import check as check_keys

    _work_on(options, "checking keys", check_keys, json)


commands.command("show")(show)
commands.command("import")(import_keys)
commands.command("import-own")(import_own)
commands.command("rotate")(with_options(ReachOptions, rotate))
commands.command("check")(with_options(ReachOptions, check))


# --- pieces -------------------------------------------------------------------------------------------


def _work_on(
    options: ReachOptions,
    label: str,
    work: Callable[[Keyring, str, Reach, ObisCode], Awaitable[Rotation]],
    json: bool,
) -> None:
    """Do something with the meters that the options name, and say of each what was found."""
    from openami.headend.key_rotation import for_all

    setup = ObisCode.parse(options.setup)
    with opened_keyring(options.keyring) as ring:
        ways = _ways(options, ring)
        with ring.rotation(), progress(label) as advance:
            done = 0

            def told(found: Rotation) -> None:
                nonlocal done
                done += 1
                if not json:
                    stdout.print(_line(found), markup=False, soft_wrap=True)
                advance(done, len(ways))

            async def one(meter_id: str) -> Rotation:
                return await work(ring, meter_id, reach_of(ways[meter_id], ring), setup)

            found = asyncio.run(for_all(list(ways), one, options.at_once, told))
    if json:
        print_json({"keyring": options.keyring, "meters": [_document(item) for item in found]})
    if not all(item.outcome.good for item in found):
        raise typer.Exit(1)


def _ways(options: ReachOptions, ring: Keyring) -> dict[str, MeterOptions]:
    """How to get to each meter, by serial number."""
    if options.everybody and (options.host or options.meter):
        raise FormatError("one meter and all of them", where="--all", expected="--all, or --meter ID")
    if not options.everybody and options.meter is None:
        raise FormatError("which meter", where="--meter", expected="its serial number, or --all")
    if options.host is not None and options.meter is not None:
        named_meters(ring, options.meter)
        return {options.meter: _way(options, options.meter, options.host, options.server or 1)}
    wanted = named_meters(ring, options.meter)
    known = ring.credentials_of(wanted)
    ways = {
        meter_id: _way(options, meter_id, host, options.server or device)
        for meter_id, host, device in _addresses(options.keyring)
        if meter_id in known and known[meter_id].keys is not None
    }
    if not ways:
        raise RegistryError(
            f"no address of meter {options.meter!r}"
            if options.meter
            else "no meter with keys and an address",
            where=str(options.keyring),
            expected="HOST[:PORT] with --server, or a meter of `ami import`",
        )
    return ways


def _addresses(folder: Path) -> list[tuple[str, str, int]]:
    """Serial number, HOST:PORT and logical device of each meter that the workspace can reach."""
    from openami.workspace.settings import FILE
    from openami.workspace.workspace import opened

    if not (folder / FILE).is_file():
        return []
    with opened(folder) as utility:
        return [
            (meter.meter_id, f"{meter.host}:{meter.port}", meter.logical_device)
            for meter in utility.registry.meters()
            if meter.host
        ]


def _way(options: ReachOptions, meter_id: str, host: str, server: int) -> MeterOptions:
    return MeterOptions(
        host,
        server=server,
        client=options.client,
        physical=options.physical,
        transport=options.transport,
        keyring=options.keyring,
        meter=meter_id,
        mechanism=options.mechanism,
        signing_key=options.signing_key,
        meter_certificate=options.meter_certificate,
        trust=options.trust,
        title=options.title,
        timeout=options.timeout,
        repeats=0,
        trace=options.trace,
    )


def _files(options: ReachOptions) -> PublicKeyFiles:
    return PublicKeyFiles(
        options.signing_key,
        options.meter_certificate,
        None,
        None,
        "--meter-certificate",
        "--meter-agreement-certificate",
        options.trust,
    )


def _kinds(text: str) -> tuple[KeyKind, ...]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in KINDS]
    if unknown or not names:
        raise FormatError(f"keys {', '.join(unknown) or 'none'}", where="--keys", expected=", ".join(KINDS))
    return tuple(KINDS[name] for name in names)


def _line(found: Rotation) -> str:
    keys = prints({NAMES[kind]: shown for kind, shown in found.fingerprints.items()})
    return f"{found.meter_id}: {found.outcome.value}" + "".join(
        f"; {text}" for text in (keys, found.detail) if text
    )


def _document(found: Rotation) -> dict[str, object]:
    return {
        "id": found.meter_id,
        "outcome": found.outcome.value,
        "good": found.outcome.good,
        "changed": [NAMES[kind] for kind in found.changed],
        "keys": {NAMES[kind]: shown for kind, shown in found.fingerprints.items()},
        "detail": found.detail,
    }
