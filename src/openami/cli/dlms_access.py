"""How a command gets to a meter: address, client, secrets. One set of options for all commands of `ami dlms`.

Rule of this file: a secret comes in by option, environment, prompt or keyring, and goes nowhere but into the
association; no error and no output repeats it.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import MISSING, dataclass, field, fields, replace
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, get_type_hints

import typer

from openami.cli.dlms_public_keys import (
    GENERAL_CIPHERING,
    AgreementKeyOption,
    PublicKeyFiles,
    SigningKeyOption,
    TrustOption,
    key_source,
)
from openami.cli.output import stderr
from openami.protocols.dlms.apdus.authentication import Mechanism
from openami.protocols.dlms.client.client_security import ClientSecurity, send_counter_name
from openami.protocols.dlms.client.vendor_quirks import quirks_named
from openami.protocols.dlms.framing.hdlc_parameters import MAX_INFORMATION, MAX_WINDOW, HdlcParameters
from openami.protocols.dlms.protection.ciphered_apdu import Form
from openami.protocols.dlms.protection.general_ciphering import KeySource
from openami.protocols.dlms.protection.message_protection import Signing
from openami.protocols.dlms.protection.security_control import AUTHENTICATED_ENCRYPTION, Protection
from openami.quantities.civil_time import zone_of
from openami.quantities.errors import FormatError, QuantityError, RegistryError, SecurityError
from openami.quantities.obis import ObisCode
from openami.security.counters import CounterStore, MemoryCounters, earliest_counter
from openami.security.keyring import Keyring, KeysInMotionError, MeterCredentials
from openami.security.meter_keys import MeterKeys, system_title
from openami.security.public_keys import PublicKeys, keys_with, meter_keys_of
from openami.security.secret import Secret
from openami.security.suites import suite
from openami.workspace.meter_access import HEAD_END_TITLE, open_keyring

if TYPE_CHECKING:
    from openami.headend.dlms_meter import Meter
    from openami.headend.key_rotation import Reach
    from openami.protocols.driver import RecordedFrame

PROTECTIONS: Final = {
    "none": Protection.NONE,
    "authentication": Protection.AUTHENTICATED,
    "encryption": Protection.ENCRYPTED,
    "both": AUTHENTICATED_ENCRYPTION,
}
_TRANSPORTS: Final = ("tcp", "udp", "hdlc")

QuirkOption = Annotated[str, typer.Option("--quirk", help="What the manufacturer does otherwise, by name.")]
GuekOption = Annotated[
    str | None,
    typer.Option("--guek", help="Global unicast encryption key, hex.", envvar="OPENAMI_DLMS_GUEK"),
]
GakOption = Annotated[
    str | None, typer.Option("--gak", help="Authentication key, hex.", envvar="OPENAMI_DLMS_GAK")
]
KekOption = Annotated[
    str | None,
    typer.Option(
        "--kek", help="Key encryption (master) key, hex; for wrapped keys.", envvar="OPENAMI_DLMS_KEK"
    ),
]
KeyringOption = Annotated[
    Path | None, typer.Option("--keyring", help="Workspace whose keyring has the secrets and counters.")
]
MeterOption = Annotated[str | None, typer.Option("--meter", help="Which meter of the keyring it is.")]


@dataclass(frozen=True, slots=True)
class MeterOptions:
    """The options that say how to get to a meter."""

    host: Annotated[str, typer.Argument(metavar="HOST[:PORT]", help="Where the meter listens; port 4059.")]
    server: Annotated[
        int, typer.Option(help="Logical device: wPort or upper HDLC address.", min=0, max=65535)
    ] = 1
    client: Annotated[
        int | None,
        typer.Option(
            help="Client: 16 public, 1 management; without, by what secrets there are.", min=0, max=65535
        ),
    ] = None
    physical: Annotated[
        int | None, typer.Option(help="Lower HDLC address, where there is one.", min=0, max=16383)
    ] = None
    transport: Annotated[str, typer.Option(help="tcp or udp (wrapper), or hdlc over TCP.")] = "tcp"
    password: Annotated[
        str | None,
        typer.Option(help="Password; better in the environment.", envvar="OPENAMI_DLMS_PASSWORD"),
    ] = field(default=None, repr=False)
    ask_password: Annotated[bool, typer.Option("--ask-password", help="Ask for the password.")] = False
    guek: GuekOption = field(default=None, repr=False)
    gak: GakOption = field(default=None, repr=False)
    kek: KekOption = field(default=None, repr=False)
    keyring: KeyringOption = None
    meter: MeterOption = None
    suite_number: Annotated[int, typer.Option("--suite", help="Security suite: 0, 1 or 2.")] = 0
    mechanism: Annotated[
        int | None, typer.Option(help="Mechanism: 0 none, 1 password, 3 .. 7; by what secrets there are.")
    ] = None
    protection: Annotated[
        str | None, typer.Option(help="Of requests: none, authentication, encryption or both.")
    ] = None
    form: Annotated[str, typer.Option(help="glo, ded, general-glo, general-ded or general-ciphering.")] = (
        "glo"
    )
    key_source: Annotated[
        str | None,
        typer.Option(help="Key of general-ciphering: global, broadcast, wrapped, one-pass or static."),
    ] = None
    sign: Annotated[bool, typer.Option("--sign", help="Sign requests, and want signed answers.")] = False
    signing_key: SigningKeyOption = None
    meter_certificate: Annotated[
        Path | None,
        typer.Option("--meter-certificate", help="The meter's signature certificate or public key."),
    ] = None
    agreement_key: AgreementKeyOption = None
    meter_agreement_certificate: Annotated[
        Path | None,
        typer.Option(
            "--meter-agreement-certificate", help="The meter's key agreement certificate or public key."
        ),
    ] = None
    trust: TrustOption = None
    title: Annotated[str | None, typer.Option("--title", help="Our system title, 16 hex digits.")] = None
    meter_title: Annotated[
        str | None, typer.Option("--meter-title", help="System title that the meter must have.")
    ] = None
    user: Annotated[int | None, typer.Option(help="Which user of the client it is.", min=0, max=255)] = None
    zone: Annotated[str | None, typer.Option(help="IANA zone of the meter, as Europe/Berlin.")] = None
    quirk: QuirkOption = "standard"
    max_pdu: Annotated[int, typer.Option(help="Largest APDU to take.", min=32, max=65535)] = 65535
    window: Annotated[
        int, typer.Option(help="Blocks at once by general-block-transfer; 0: not used.", min=0, max=63)
    ] = 0
    counter: Annotated[
        int | None,
        typer.Option(help="Invocation counter to begin with at least; the meter is asked without.", min=0),
    ] = None
    counter_object: Annotated[
        str | None,
        typer.Option(
            "--counter-object", help="Where the meter shows everybody that counter; 0-0:43.1.0 without."
        ),
    ] = None
    hdlc_window: Annotated[
        int, typer.Option("--hdlc-window", help="HDLC frames at once to propose.", min=1, max=MAX_WINDOW)
    ] = MAX_WINDOW
    hdlc_information: Annotated[
        int,
        typer.Option(
            "--hdlc-information",
            help="Octets of an HDLC information field to propose.",
            min=32,
            max=MAX_INFORMATION,
        ),
    ] = MAX_INFORMATION
    pre_established: Annotated[
        bool, typer.Option("--pre-established", help="Of a client that need not associate: no AARQ.")
    ] = False
    timeout: Annotated[float, typer.Option(help="Seconds for each answer.", min=0.01)] = 5.0
    repeats: Annotated[int, typer.Option(help="How often to ask again.", min=0, max=20)] = 1
    trace: Annotated[bool, typer.Option("--trace", help="Show the frames on stderr.")] = False


def with_meter(run: Callable[..., None]) -> Callable[..., None]:
    """A command whose first parameter is `MeterOptions`, as one that has each of them as an option."""
    return with_options(MeterOptions, run)


def with_options(kind: type[Any], run: Callable[..., None]) -> Callable[..., None]:
    """A command whose first parameter is a dataclass of options, as one that has each of them by itself."""
    hints = get_type_hints(run, include_extras=True)
    own = list(inspect.signature(run).parameters.values())[1:]
    parts = get_type_hints(kind, include_extras=True)
    names = [part.name for part in fields(kind)]

    def command(**given: Any) -> None:
        run(kind(**{name: given.pop(name) for name in names}), **given)

    def parameter(name: str, kind: Any, default: Any) -> inspect.Parameter:
        empty = inspect.Parameter.empty if default is MISSING else default
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=empty, annotation=kind)

    listed = [parameter(part.name, parts[part.name], part.default) for part in fields(kind)]
    mine = [
        parameter(item.name, hints[item.name], MISSING if item.default is item.empty else item.default)
        for item in own
    ]
    # The meter is the first argument, what is done with it comes before how to get there.
    vars(command)["__signature__"] = inspect.Signature([listed[0], *mine, *listed[1:]])
    command.__annotations__ = {item.name: item.annotation for item in (*listed, *mine)}
    command.__name__, command.__doc__ = run.__name__, run.__doc__
    return command


@contextmanager
def meter_of(options: MeterOptions) -> Iterator[Meter]:
    """The meter that the options name, not opened yet.

    Raises
    ------
    FormatError
        An option has no such value.
    SecurityError
        A key cannot be used, or one of two is missing.
    """
    if options.keyring is None:
        yield _meter(options, _credentials(options), MemoryCounters(), None)
        return
    if options.meter is None:
        raise FormatError("which meter of the keyring", where="--meter", expected="its serial number")
    with opened_keyring(options.keyring) as keyring:
        _settle(options, keyring, options.meter)
        yield _meter(options, credentials_of(keyring, options.meter), keyring, keyring)


def reach_of(options: MeterOptions, keyring: Keyring) -> Reach:
    """The meter under some keys; their counter never begins behind the time, nor where a stranger says."""
    known = keyring.credentials(options.meter or "")
    title = title_of(options.title, "--title") or HEAD_END_TITLE

    def reach(keys: MeterKeys) -> Meter:
        keyring.reserve(send_counter_name(title, keys), 0, earliest_counter(datetime.now(UTC)))
        return _meter(options, replace(known, keys=keys), keyring, keyring)

    return reach


def _settle(options: MeterOptions, keyring: Keyring, meter_id: str) -> None:
    """Find out which keys a meter has whose rotation was interrupted, and say so."""
    if keyring.pending(meter_id) is None:
        return
    from openami.headend.key_rotation import settle

    with suppress(KeysInMotionError), keyring.rotation():
        found = asyncio.run(settle(keyring, meter_id, reach_of(options, keyring)))
        stderr.print(found.notice, markup=False, soft_wrap=True)


def _meter(
    options: MeterOptions, credentials: MeterCredentials, counters: CounterStore, keyring: Keyring | None
) -> Meter:
    """The meter that the options name with some secrets; raises as `meter_of`."""
    # Arrow comes with it: not for `--help`.
    from openami.headend.dlms_conversation import LinkSettings
    from openami.headend.dlms_meter import DEFAULT_PORT, Meter, Opening, Transport

    host, port = _address(options.host, DEFAULT_PORT)
    if options.transport not in _TRANSPORTS:
        raise FormatError(
            f"transport {options.transport!r}", where="--transport", expected="tcp, udp or hdlc"
        )
    if options.physical is not None and options.transport != "hdlc":
        raise FormatError("a lower HDLC address", where="--physical", expected="--transport hdlc")
    hdlc = HdlcParameters.of(options.hdlc_information, options.hdlc_window)
    if options.transport != "hdlc" and hdlc != HdlcParameters.of(MAX_INFORMATION, MAX_WINDOW):
        where = "--hdlc-window" if options.hdlc_window != MAX_WINDOW else "--hdlc-information"
        raise FormatError("parameters of HDLC", where=where, expected="--transport hdlc")
    password, security = _security(options, credentials, counters, keyring)
    if options.pre_established and (password is not None or security is not None or options.user is not None):
        raise FormatError(
            "a secret or a user of a client that need not associate",
            where="--pre-established",
            expected="neither a password nor keys nor --user, and the --client that needs none",
        )
    return Meter(
        host,
        port,
        server=options.server,
        client=options.client,
        password=password,
        security=security,
        transport=Transport(options.transport),
        physical=options.physical,
        zone=zone(options),
        settings=LinkSettings(options.timeout, options.timeout, options.repeats),
        max_pdu=options.max_pdu,
        hdlc=hdlc,
        window=options.window,
        counter_floor=_counter_floor(options),
        user=options.user,
        quirks=quirks_named(options.quirk),
        on_frame=_show_frame if options.trace else None,
        opening=Opening.PRE_ESTABLISHED if options.pre_established else Opening.REQUESTED,
        counter_object=_counter_object(options.counter_object),
    )


def zone(options: MeterOptions) -> tzinfo | None:
    """Zone of the meter; None where it is not given."""
    return None if options.zone is None else zone_of(options.zone)


def _counter_floor(options: MeterOptions) -> int:
    """The head-end of a workspace never goes back behind the time, other clients as they are told."""
    if options.counter is not None:
        return options.counter
    return 0 if options.keyring is None else earliest_counter(datetime.now(UTC))


def _counter_object(text: str | None) -> ObisCode | None:
    """Logical name of a counter; raises `FormatError` with the option."""
    if text is None:
        return None
    try:
        return ObisCode.parse(text)
    except QuantityError as error:
        raise FormatError(error.message, where="--counter-object", expected=error.expected) from None


def keys_of(
    guek: str | None, gak: str | None, suite_number: int = 0, kek: str | None = None
) -> MeterKeys | None:
    """Keys of two options, or three; None where there are none; raises `SecurityError`."""
    if guek is None and gak is None:
        if kek is not None:
            raise SecurityError("a key encryption key alone", where="--kek", expected="--guek and --gak, too")
        return None
    if guek is None or gak is None:
        missing = "--gak" if gak is None else "--guek"
        raise SecurityError("one key of two", where=missing, expected="both --guek and --gak")
    octets = suite(suite_number).key_octets
    # Without one nothing is wrapped: the key encryption key is one that nobody has.
    master = Secret.random(octets) if kek is None else secret_key(kek, "--kek", octets)
    return MeterKeys(
        secret_key(guek, "--guek", octets), secret_key(gak, "--gak", octets), master, None, suite_number
    )


def title_of(text: str | None, where: str) -> bytes | None:
    """System title of hexadecimal digits; raises `SecurityError`."""
    if text is None:
        return None
    try:
        return system_title(bytes.fromhex(text))
    except ValueError:
        raise SecurityError("a system title", where=where, expected="16 hexadecimal digits") from None


def credentials_of(keyring: Keyring, meter: str) -> MeterCredentials:
    """Secrets of a meter; raises `RegistryError` where the keyring has none."""
    credentials = keyring.credentials(meter)
    if credentials.keys is None and credentials.password is None:
        raise RegistryError(
            f"the keyring has no secrets of meter {meter!r}",
            where="--meter",
            expected=", ".join(keyring.meters()[:10]) or "a workspace with meters",
        )
    return credentials


def opened_keyring(folder: Path) -> Keyring:
    """The keyring of a workspace; raises `SecurityError` where there is none."""
    if not (folder / "keyring.sqlite").is_file():
        raise SecurityError("no keyring", where=str(folder), expected="the folder of a workspace")
    return open_keyring(folder)


def secret_key(text: str, where: str, octets: int) -> Secret:
    """A key of hexadecimal digits; raises `SecurityError` with the option and without the key."""
    try:
        return Secret.from_hex(text.strip(), length=octets)
    except SecurityError as error:
        raise SecurityError(error.message, where=where, expected=error.expected) from None


def _address(text: str, default: int) -> tuple[str, int]:
    expected = "HOST, HOST:PORT, or [IPV6]:PORT"
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]") or (text.count(":") > 1 and not text.startswith("[")):
        host, port = text, str(default)
    if not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise FormatError(f"port {port!r}", where=text, expected=expected)
    if host.startswith("[") != host.endswith("]") or not host.strip("[]"):
        raise FormatError("no host", where=text or "HOST", expected=expected)
    return host.removeprefix("[").removesuffix("]"), int(port)


def _credentials(options: MeterOptions) -> MeterCredentials:
    """Secrets of the options."""
    text = options.password
    if options.ask_password:
        text = typer.prompt("password", hide_input=True, err=True)
    password = None if text is None else Secret(text.encode("utf-8"))
    keys = keys_of(options.guek, options.gak, options.suite_number, options.kek)
    return MeterCredentials(password, keys)


def _security(
    options: MeterOptions, credentials: MeterCredentials, counters: CounterStore, keyring: Keyring | None
) -> tuple[Secret | None, ClientSecurity | None]:
    """Password alone, or everything else."""
    keys, password = credentials.keys, credentials.password
    recorded = None
    if keyring is not None and options.meter is not None and keys is not None:
        recorded = meter_keys_of(keyring, (options.meter,)).get(options.meter)
    known = options.mechanism
    if known is None and recorded is not None and recorded.signs:
        known = Mechanism.HIGH_ECDSA
    if known is not None and known not in Mechanism.__members__.values():
        raise FormatError(f"mechanism {known}", where="--mechanism", expected="0, 1, 3, 4, 5, 6 or 7")
    by_secrets = Mechanism.HIGH_GMAC if keys else Mechanism.LOW if password else Mechanism.NONE
    mechanism = by_secrets if known is None else Mechanism(known)
    if options.protection is not None and options.protection not in PROTECTIONS:
        raise FormatError(
            f"protection {options.protection!r}", where="--protection", expected=", ".join(PROTECTIONS)
        )
    source = key_source(options.form, options.key_source)
    try:
        form = Form.GLOBAL if source is not None else Form(options.form)
    except ValueError:
        known_forms = ", ".join((*(item.value for item in Form), GENERAL_CIPHERING))
        raise FormatError(f"form {options.form!r}", where="--form", expected=known_forms) from None
    chosen = options.protection or ("both" if keys is not None else "none")
    if keys is None and mechanism in (Mechanism.NONE, Mechanism.LOW) and chosen == "none":
        return (password if mechanism is Mechanism.LOW else None), None
    meter_title = title_of(options.meter_title, "--meter-title") or credentials.title
    chosen_suite = suite(options.suite_number if keys is None else keys.suite_number)
    files = PublicKeyFiles(
        options.signing_key,
        options.meter_certificate,
        options.agreement_key,
        options.meter_agreement_certificate,
        "--meter-certificate",
        "--meter-agreement-certificate",
        options.trust,
    )
    if keyring is None or recorded is None or files.given:
        public = files.read(chosen_suite)
    else:
        public = keys_with(keyring, recorded, chosen_suite, meter_title, datetime.now(UTC))
    _need(public, mechanism, options.sign, source)
    if public.peer_title is not None and meter_title not in (None, public.peer_title):
        raise SecurityError(
            f"a certificate of {public.peer_title.hex()}",
            where="--meter-certificate",
            expected=meter_title.hex(),
        )
    return None, ClientSecurity(
        title_of(options.title, "--title") or HEAD_END_TITLE,
        keys,
        mechanism,
        PROTECTIONS[chosen],
        form,
        password,
        meter_title or public.peer_title,
        public.signing,
        public.peer_signing,
        counters,
        source,
        Signing.REQUIRED if options.sign else Signing.REFUSED,
        public.agreement,
        public.peer_agreement,
    )


def _need(public: PublicKeys, mechanism: Mechanism, sign: bool, source: KeySource | None) -> None:
    """Say which option is missing; raises `SecurityError`."""
    signs = mechanism is Mechanism.HIGH_ECDSA or sign or source is KeySource.ONE_PASS
    if signs and public.signing is None:
        raise SecurityError(
            "signatures without keys", where="--signing-key", expected="it and --meter-certificate"
        )
    if source in (KeySource.ONE_PASS, KeySource.STATIC) and public.agreement is None:
        raise SecurityError(
            "key agreement without keys",
            where="--agreement-key",
            expected="it and --meter-agreement-certificate",
        )


def _show_frame(frame: RecordedFrame) -> None:
    stderr.print(f"{frame.direction} {frame.wire.hex(' ')}", markup=False, soft_wrap=True)
