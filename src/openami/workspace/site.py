"""The site file: master data of a utility as one TOML document, for `ami import`.

Tables ``[[area]]``, ``[[usage_point]]``, ``[[meter]]``, ``[[installation]]``, ``[[multiplier]]``,
``[[customer]]``, ``[[account]]`` and ``[[agreement]]``; unknown keys and missing ones are all listed before
anything is recorded. A meter's LLS password goes to the workspace's ``passwords.toml``, not the registry.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Literal

import pydantic

from openami.quantities.civil_time import zone_of
from openami.quantities.errors import FormatError, OpenAmiError
from openami.quantities.obis import ObisCode
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


class _Row(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class _Area(_Row):
    id: str
    name: str
    capacity_va: int | None = None
    meter_usage_point: str | None = None


class _UsagePoint(_Row):
    id: str
    zone: str
    area: str | None = None
    kind: Literal["customer", "area"] = "customer"
    capacity_w: int | None = None
    customer_class: str = "residential"

    @pydantic.field_validator("zone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        return _checked_zone(name)


class _Meter(_Row):
    id: str
    model: str = "unknown"
    host: str = ""
    port: Annotated[int, pydantic.Field(ge=0, le=65535)] = 0
    logical_device: Annotated[int, pydantic.Field(ge=0, le=65535)] = 1
    zone: str
    interval_s: Annotated[int, pydantic.Field(gt=0)] = 900
    digits: Annotated[int, pydantic.Field(ge=1, le=18)] = 9
    exponent: Annotated[int, pydantic.Field(ge=-6, le=6)] = 0
    channels: tuple[str, ...] = ("1-0:1.29.0",)
    password: str | None = None

    @pydantic.field_validator("zone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        return _checked_zone(name)

    @pydantic.field_validator("channels")
    @classmethod
    def _known_channels(cls, channels: tuple[str, ...]) -> tuple[str, ...]:
        for channel in channels:
            try:
                ObisCode.parse(channel)
            except OpenAmiError as error:
                raise ValueError(str(error)) from None
        return channels


class _Installation(_Row):
    meter: str
    usage_point: str
    valid_from: datetime
    valid_to: datetime | None = None


class _Multiplier(_Row):
    meter: str
    ct: tuple[int, int] = (1, 1)
    vt: tuple[int, int] = (1, 1)
    valid_from: datetime
    valid_to: datetime | None = None


class _Customer(_Row):
    id: str
    name: str


class _Account(_Row):
    id: str
    customer: str
    currency: Annotated[str, pydantic.Field(pattern=r"^[A-Z]{3}$")] = "EUR"


class _Agreement(_Row):
    id: str
    account: str
    usage_point: str
    tariff: str
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
    passwords: dict[str, bytes]


def is_site_file(path: Path) -> bool:
    """True when the file says of itself that it is a site file."""
    if path.suffix.lower() != ".toml":
        return False
    with path.open("rb") as stream:
        return b"openami-site" in stream.read(4096)


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
        faults = "; ".join(f"{_place(f['loc'])}: {f['msg']}" for f in error.errors())
        raise FormatError(faults, where=str(path)) from None
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
            Installation(row.meter, row.usage_point, _instant(row.valid_from), _open(row.valid_to))
            for row in site.installation
        ),
        *(
            Multiplier(row.meter, *row.ct, *row.vt, _instant(row.valid_from), _open(row.valid_to))
            for row in site.multiplier
        ),
        *(
            Agreement(row.id, row.account, row.usage_point, row.tariff, row.valid_from, row.valid_to)
            for row in site.agreement
        ),
    ]
    passwords = {row.id: row.password.encode() for row in site.meter if row.password is not None}
    return Site(tuple(entities), passwords)


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
        channels=tuple(ObisCode.parse(channel) for channel in row.channels),
    )


def _checked_zone(name: str) -> str:
    try:
        zone_of(name)
    except OpenAmiError as error:
        raise ValueError(str(error)) from None
    return name


def _instant(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise FormatError(f"{value} has no offset", expected="an instant as 2026-10-01T00:00:00+02:00")
    return value.astimezone(UTC)


def _open(value: datetime | None) -> datetime | None:
    return None if value is None else _instant(value)


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part + 1) if isinstance(part, int) else part for part in location)
