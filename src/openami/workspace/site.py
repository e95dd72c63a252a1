"""The site file: master data of a utility as one TOML document, for `ami import`.

Tables ``[[area]]``, ``[[usage_point]]``, ``[[meter]]``, ``[[installation]]``, ``[[multiplier]]``,
``[[customer]]``, ``[[account]]`` and ``[[agreement]]``; unknown keys and missing ones are all listed before
anything is recorded. A meter's keys and password go to the workspace's keyring, not the registry.

The rule never to be broken: a site file is taken whole or refused with every fault in it named.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Literal

import pydantic

from openami.quantities.civil_time import zone_of
from openami.quantities.errors import FormatError, OpenAmiError, SecurityError
from openami.quantities.obis import IMPORT_INTERVAL, Kind, ObisCode, lookup
from openami.registry.entities import (
    Account,
    Agreement,
    Customer,
    Entity,
    Installation,
    Meter,
    Multiplier,
    TransformerArea,
    UsagePoint,
)
from openami.security.certificates import CertificateKind
from openami.security.keyring import MeterCredentials
from openami.security.meter_keys import MeterKeys
from openami.security.public_keys import MeterPublicKeys
from openami.security.secret import Secret
from openami.security.suites import suite


def _known_zone(name: str) -> str:
    try:
        zone_of(name)
    except OpenAmiError as error:
        raise ValueError(str(error)) from None
    return name


def _interval_channel(text: object) -> ObisCode:
    try:
        code = ObisCode.parse(str(text))
        entry = lookup(code)
    except OpenAmiError as error:
        raise ValueError(str(error)) from None
    if entry.kind is not Kind.INTERVAL:
        raise ValueError(f"{code} ({entry.name_en}) is no quantity of an interval (expected: as 1-0:1.29.0)")
    return code


def _instant(value: object) -> datetime:
    """An instant of a TOML document; local times and dates name no instant."""
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ValueError(f"{value} names no instant (expected: an offset, as 2026-10-01T00:00:00+02:00)")
    return value.astimezone(UTC)


Name = Annotated[str, pydantic.Field(min_length=1)]
Zone = Annotated[str, pydantic.AfterValidator(_known_zone)]
Channel = Annotated[ObisCode, pydantic.BeforeValidator(_interval_channel)]
Instant = Annotated[datetime, pydantic.BeforeValidator(_instant)]
Ratio = tuple[Annotated[int, pydantic.Field(gt=0)], Annotated[int, pydantic.Field(gt=0)]]


def _octets(value: object) -> bytes:
    try:
        return bytes.fromhex(str(value))
    except ValueError:
        raise ValueError("no hexadecimal number (expected: pairs of 0-9 a-f)") from None


Hexadecimal = Annotated[bytes, pydantic.BeforeValidator(_octets)]


class _Row(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class _Area(_Row):
    id: Name
    name: Name
    capacity_va: int | None = None
    meter_usage_point: str | None = None


class _UsagePoint(_Row):
    id: Name
    zone: Zone
    area: str | None = None
    kind: Literal["customer", "area"] = "customer"
    capacity_w: int | None = None
    customer_class: Name = "residential"


class _Keys(_Row):
    global_unicast: Annotated[str, pydantic.Field(repr=False)]
    authentication: Annotated[str, pydantic.Field(repr=False)]
    master: Annotated[str, pydantic.Field(repr=False)]
    suite: Annotated[int, pydantic.Field(ge=0, le=2)] = 0
    mechanism: Literal[5, 7] | None = None
    signature_certificate: Hexadecimal = b""
    agreement_certificate: Hexadecimal = b""


class _Meter(_Row):
    id: Name
    model: Name = "unknown"
    host: str = ""
    port: Annotated[int, pydantic.Field(ge=0, le=65535)] = 0
    logical_device: Annotated[int, pydantic.Field(ge=0, le=65535)] = 1
    zone: Zone
    interval_s: Annotated[int, pydantic.Field(gt=0)] = 900
    digits: Annotated[int, pydantic.Field(ge=1, le=18)] = 9
    exponent: Annotated[int, pydantic.Field(ge=-6, le=6)] = 0
    channels: tuple[Channel, ...] = (IMPORT_INTERVAL,)
    password: Annotated[str | None, pydantic.Field(repr=False)] = None
    keys: _Keys | None = None
    system_title: Annotated[str | None, pydantic.Field(pattern="^[0-9A-Fa-f]{16}$")] = None


class _Installation(_Row):
    meter: Name
    usage_point: Name
    valid_from: Instant
    valid_to: Instant | None = None


class _Multiplier(_Row):
    meter: Name
    ct: Ratio = (1, 1)
    vt: Ratio = (1, 1)
    valid_from: Instant
    valid_to: Instant | None = None


class _Customer(_Row):
    id: Name
    name: Name


class _Account(_Row):
    id: Name
    customer: Name
    currency: Annotated[str, pydantic.Field(pattern=r"^[A-Z]{3}$")] = "EUR"


class _Agreement(_Row):
    id: Name
    account: Name
    usage_point: Name
    tariff: Name
    valid_from: date
    valid_to: date | None = None


class _Site(_Row):
    format: Literal["openami-site"]
    area: tuple[_Area, ...] = ()
    usage_point: tuple[_UsagePoint, ...] = ()
    meter: tuple[_Meter, ...] = ()
    installation: tuple[_Installation, ...] = ()
    multiplier: tuple[_Multiplier, ...] = ()
    customer: tuple[_Customer, ...] = ()
    account: tuple[_Account, ...] = ()
    agreement: tuple[_Agreement, ...] = ()


@dataclass(frozen=True, slots=True)
class Site:
    """Master data read from a site file."""

    entities: tuple[Entity, ...]
    credentials: dict[str, MeterCredentials]
    public_keys: dict[str, MeterPublicKeys] = field(default_factory=dict)


def is_site_file(path: Path) -> bool:
    """True when the file says of itself that it is a site file; `FormatError` when it cannot be opened."""
    if path.suffix.lower() != ".toml":
        return False
    try:
        with path.open("rb") as stream:
            return b"openami-site" in stream.read(4096)
    except OSError as error:
        raise FormatError(f"cannot be opened: {error.strerror or error}", where=str(path)) from None


def read_site(path: Path) -> Site:
    """Master data of a site file.

    Raises
    ------
    FormatError
        The file is not TOML or has faults; all of them are listed.
    """
    try:
        site = _Site.model_validate(tomllib.loads(path.read_text("utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FormatError(f"not TOML: {error}", where=str(path)) from None
    except pydantic.ValidationError as error:
        faults = [f"{_place(fault['loc'])}: {fault['msg']}" for fault in error.errors()]
        text = faults[0] if len(faults) == 1 else "\n- ".join([f"{len(faults)} faults:", *faults])
        raise FormatError(text, where=str(path)) from None
    entities: list[Entity] = [
        *(Customer(row.id, row.name) for row in site.customer),
        *(Account(row.id, row.customer, row.currency) for row in site.account),
        *(TransformerArea(row.id, row.name, row.capacity_va, row.meter_usage_point) for row in site.area),
        *(
            UsagePoint(row.id, row.zone, row.area, row.kind, row.capacity_w, row.customer_class)
            for row in site.usage_point
        ),
        *(_meter(row) for row in site.meter),
        *(
            Installation(row.meter, row.usage_point, row.valid_from, row.valid_to)
            for row in site.installation
        ),
        *(Multiplier(row.meter, *row.ct, *row.vt, row.valid_from, row.valid_to) for row in site.multiplier),
        *(
            Agreement(row.id, row.account, row.usage_point, row.tariff, row.valid_from, row.valid_to)
            for row in site.agreement
        ),
    ]
    return Site(tuple(entities), _credentials(site.meter, path), _public_keys(site.meter, path))


def _credentials(rows: Iterable[_Meter], path: Path) -> dict[str, MeterCredentials]:
    """Secrets of the meters that have any; faults are named without repeating them."""
    found = {}
    for row in rows:
        if row.password is None and row.keys is None:
            continue
        try:
            keys = None
            if row.keys is not None:
                keys = MeterKeys(
                    Secret.from_hex(row.keys.global_unicast),
                    Secret.from_hex(row.keys.authentication),
                    Secret.from_hex(row.keys.master),
                    None,
                    row.keys.suite,
                )
        except SecurityError as error:
            raise FormatError(str(error), where=f"{path}, keys of meter {row.id}") from None
        password = None if row.password is None else Secret(row.password.encode())
        title = None if row.system_title is None else bytes.fromhex(row.system_title)
        found[row.id] = MeterCredentials(password, keys, title)
    return found


def _public_keys(rows: Iterable[_Meter], path: Path) -> dict[str, MeterPublicKeys]:
    """Mechanism and certificates of the meters of which the file says any."""
    found = {}
    for row in rows:
        keys = row.keys
        if keys is None or not (keys.mechanism or keys.signature_certificate or keys.agreement_certificate):
            continue
        title = None if row.system_title is None else bytes.fromhex(row.system_title)
        try:
            public = MeterPublicKeys(
                keys.mechanism or 5, keys.signature_certificate, keys.agreement_certificate
            )
            for kind in (CertificateKind.SIGNATURE, CertificateKind.AGREEMENT):
                public.held(kind, suite(keys.suite), title)
        except SecurityError as error:
            raise FormatError(str(error), where=f"{path}, keys of meter {row.id}") from None
        found[row.id] = public
    return found


def _meter(row: _Meter) -> Meter:
    return Meter(
        meter_id=row.id,
        model=row.model,
        host=row.host,
        port=row.port,
        logical_device=row.logical_device,
        zone=row.zone,
        interval_s=row.interval_s,
        digits=row.digits,
        exponent=row.exponent,
        channels=row.channels,
    )


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part + 1) if isinstance(part, int) else part for part in location)
