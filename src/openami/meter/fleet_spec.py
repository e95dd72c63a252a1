"""A fleet as data: its meters, their customers, areas and faults; read from and written to TOML or JSON.

One table ``[[meter]]`` a meter and one ``[[fault]]`` a fault; times are timezone-aware. Rule never to be
broken: a file that is not understood completely is refused, with the place and what would be right.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

import orjson
from pydantic import TypeAdapter
from pydantic import ValidationError as PydanticError

from openami.quantities.civil_time import zone_of
from openami.quantities.errors import FormatError, QuantityError, SecurityError
from openami.security.meter_keys import MeterKeys, system_title_of
from openami.security.secret import Secret

from .companion.model import companion_names
from .faults import FAULT_KINDS, Fault, Outage
from .load_curve import CurveKind, CurveSpec
from .management_core import ProfileShape
from .public_key_spec import PublicKeySpec

T = TypeVar("T")
_ADAPTERS: dict[object, TypeAdapter[Any]] = {}

MANUFACTURER = b"OAM"
"""Three letters that open device names and system titles; not registered with the FLAG association."""

MANAGEMENT_WPORT = 1
FIRST_WPORT = 16


@dataclass(frozen=True, slots=True)
class AreaCurve:
    """What flows into a transformer area: the sum of its customers' true flows plus technical losses.

    Parameters
    ----------
    area:
        The area, as named by `MeterSpec.area` of its customers.
    loss_permille:
        Losses in thousandths of the energy at a load a quarter above the mean; they grow with the square
        of the load.
    """

    area: str
    loss_permille: int = 25

    def __post_init__(self) -> None:
        if not 0 <= self.loss_permille <= 200:
            raise QuantityError(f"losses of {self.loss_permille} permille", expected="0 .. 200")


@dataclass(frozen=True, slots=True)
class KeySpec:
    """Keys of one meter as hexadecimal digits, and its security suite.

    Parameters
    ----------
    global_unicast, authentication, master:
        Global unicast encryption key, authentication key, key encryption key.
    suite:
        Security suite, 0 to 2.
    public_keys:
        Public key cryptography; None without.
    """

    global_unicast: str = field(repr=False)
    authentication: str = field(repr=False)
    master: str = field(repr=False)
    suite: int = 0
    public_keys: PublicKeySpec | None = None

    def __post_init__(self) -> None:
        self.meter_keys()

    def meter_keys(self) -> MeterKeys:
        """The keys; raises `SecurityError` where they are none of the suite."""
        return MeterKeys(
            Secret.from_hex(self.global_unicast),
            Secret.from_hex(self.authentication),
            Secret.from_hex(self.master),
            None,
            self.suite,
        )

    @classmethod
    def of_seed(cls, seed: int, meter_id: str) -> KeySpec:
        """Keys of a simulated meter: a function of the fleet's seed, so that a scenario can be replayed.

        Never for a meter that measures anything: whoever knows the seed knows the keys.
        """
        drawn = hashlib.shake_256(f"{seed} {meter_id}".encode()).digest(48).hex()
        return cls(drawn[:32], drawn[32:64], drawn[64:])


@dataclass(frozen=True, slots=True)
class MeterSpec:
    """One meter of a fleet.

    Parameters
    ----------
    meter_id:
        Serial number, 1 to 32 ASCII characters.
    wport:
        Wrapper port of the logical device on its TCP port, 16 .. 65535.
    curve:
        What flows: a customer's load curve, or an area's sum.
    zone:
        IANA zone of the meter's civil time.
    area:
        Transformer area the customer belongs to.
    port_index:
        On which of the fleet's TCP ports the meter answers.
    password:
        Secret of low level security (client 1), where the meter has no keys.
    keys:
        Keys of high level security and ciphering (client 1); None for low level security.
    digits:
        Digits of the dials, in Wh.
    start_wh:
        Dials at installation: import, or import and export; None: as many zeros as the curve has channels.
    drift_ppm, clock_offset_ms:
        Rate error of the clock and its error at the fleet's start.
    companion:
        Companion model whose objects the meter serves (`companion.model.companion_names`); None: its own few.
    installed_at, removed_at:
        Life in service; None: from the fleet's start, and for ever.
    """

    meter_id: str
    wport: int
    curve: CurveSpec | AreaCurve
    zone: str = "Europe/Berlin"
    area: str | None = None
    port_index: int = 0
    password: str = field(default="00000000", repr=False)
    keys: KeySpec | None = None
    digits: int = 8
    start_wh: tuple[int, ...] | None = None
    drift_ppm: int = 0
    clock_offset_ms: int = 0
    companion: str | None = None
    installed_at: datetime | None = None
    removed_at: datetime | None = None

    def __post_init__(self) -> None:
        where = f"meter {self.meter_id!r}"
        if not (self.meter_id.isascii() and self.meter_id.isprintable() and 1 <= len(self.meter_id) <= 32):
            raise QuantityError("serial number", where=where, expected="1 to 32 printable ASCII characters")
        if not FIRST_WPORT <= self.wport <= 0xFFFF:
            raise QuantityError(f"wPort {self.wport}", where=where, expected=f"{FIRST_WPORT} .. 65535")
        if self.port_index < 0:
            raise QuantityError(f"port index {self.port_index}", where=where, expected="0 or more")
        if not (self.password.isascii() and 1 <= len(self.password) <= 64):
            raise QuantityError("password", where=where, expected="1 to 64 ASCII characters")
        if self.start_wh is not None and not 1 <= len(self.start_wh) <= 2:
            raise QuantityError("start values", where=where, expected="import, or import and export")
        if self.exports and self.start_wh is not None and len(self.start_wh) < 2:
            raise QuantityError("a feeding customer without export register", where=where)
        if isinstance(self.curve, AreaCurve) and self.area is not None:
            raise QuantityError("an area meter is no customer of an area", where=where)
        for instant in (self.installed_at, self.removed_at):
            if instant is not None and instant.tzinfo is None:
                raise QuantityError(f"naive time {instant}", where=where, expected="timezone-aware")
        if self.companion is not None and self.companion not in companion_names():
            raise QuantityError(
                f"companion model {self.companion!r}", where=where, expected=", ".join(companion_names())
            )
        if self.installed_at and self.removed_at and self.removed_at <= self.installed_at:
            raise QuantityError("removed before it was installed", where=where)
        zone_of(self.zone)

    @property
    def exports(self) -> bool:
        """True when the meter needs an export register."""
        return isinstance(self.curve, AreaCurve) or self.curve.kind.exports

    @property
    def system_title(self) -> bytes:
        """System title of a meter with keys."""
        return system_title_of(MANUFACTURER, self.meter_id)

    @property
    def starts_at_wh(self) -> tuple[int, ...]:
        """Start values of the dials, one a channel."""
        return self.start_wh if self.start_wh is not None else (0, 0) if self.exports else (0,)


@dataclass(frozen=True, slots=True)
class FleetSpec:
    """Meters, faults and seed of a fleet.

    Parameters
    ----------
    seed:
        Of every curve and fault.
    start:
        True instant from which the fleet exists.
    meters:
        The meters; serial numbers and addresses are unique.
    faults:
        What will go wrong.
    shape:
        Capture period and capacity of the profiles.
    """

    seed: int
    start: datetime
    meters: tuple[MeterSpec, ...]
    faults: tuple[Fault, ...] = ()
    shape: ProfileShape = field(default_factory=ProfileShape)

    def __post_init__(self) -> None:
        if self.start.tzinfo is None:
            raise QuantityError(f"naive start {self.start} of a fleet", expected="timezone-aware")
        _refuse_doubles([spec.meter_id for spec in self.meters], "serial number")
        _refuse_doubles([(spec.port_index, spec.wport) for spec in self.meters], "address (port, wPort)")
        measured = [spec.curve.area for spec in self.meters if isinstance(spec.curve, AreaCurve)]
        areas = {spec.area for spec in self.meters if spec.area is not None}
        if empty := [area for area in measured if area not in areas]:
            raise QuantityError(f"area {empty[0]!r} has a meter and no customer")
        known = {spec.meter_id for spec in self.meters}
        for fault in self.faults:
            if fault.meter_id is not None and fault.meter_id not in known:
                raise QuantityError(f"a fault of {fault.meter_id!r}, which is not in the fleet")
            if isinstance(fault, Outage) and fault.area is not None and fault.area not in areas:
                raise QuantityError(f"an outage of area {fault.area!r}, which has no customer")

    @property
    def ports(self) -> int:
        """Number of TCP ports the fleet needs."""
        return 1 + max((spec.port_index for spec in self.meters), default=0)


def exchange(old: MeterSpec, new: MeterSpec, at: datetime) -> tuple[MeterSpec, MeterSpec]:
    """Old and new meter of an exchange at an instant: the new one measures the old one's customer."""
    successor = replace(new, curve=old.curve, zone=old.zone, area=old.area, installed_at=at)
    return replace(old, removed_at=at), successor


def load_fleet(path: Path) -> FleetSpec:
    """Fleet of a TOML or JSON file (by suffix).

    Raises
    ------
    FormatError
        The file cannot be read or is not a fleet.
    """
    try:
        content = path.read_bytes()
        document = orjson.loads(content) if path.suffix == ".json" else tomllib.loads(content.decode())
    except (OSError, ValueError) as error:
        raise FormatError(f"not a fleet file: {error}", where=str(path)) from None
    return fleet_from_document(document, where=str(path))


def fleet_from_document(document: object, *, where: str = "fleet") -> FleetSpec:
    """Fleet of the tables of a file.

    Raises
    ------
    FormatError
        A table or key is missing, unknown, or of the wrong type.
    QuantityError
        A value is out of its range.
    """
    table = _table(document, where)
    unknown = set(table) - {"seed", "start", "meter", "fault", "profile"}
    if unknown or not {"seed", "start", "meter"} <= set(table):
        raise FormatError(
            f"keys {sorted(table)}", where=where, expected="seed, start, meter and, if wanted, fault, profile"
        )
    entries = _list(table["meter"], where)
    meters = tuple(_meter(entry, f"{where}, meter {number}") for number, entry in enumerate(entries, 1))
    faults = tuple(
        _fault(entry, f"{where}, fault {number}")
        for number, entry in enumerate(_list(table.get("fault", []), where), 1)
    )
    shape = _build(ProfileShape, _table(table.get("profile", {}), where), f"{where}, profile")
    head = _build(_Head, {"seed": table["seed"], "start": table["start"]}, where)
    return FleetSpec(head.seed, head.start, meters, faults, shape)


def fleet_document(spec: FleetSpec) -> dict[str, object]:
    """The tables from which `fleet_from_document` makes the same fleet; times as ISO 8601 text."""
    names = {kind: name for name, kind in FAULT_KINDS.items()}
    return {
        "seed": spec.seed,
        "start": spec.start.isoformat(),
        "profile": asdict(spec.shape),
        "meter": [{**_plain(meter), "curve": _curve_table(meter.curve)} for meter in spec.meters],
        "fault": [{"kind": names[type(fault)], **_plain(fault)} for fault in spec.faults],
    }


def save_fleet(spec: FleetSpec, path: Path) -> None:
    """Write a fleet as JSON, for its owner alone: the keys and passwords of its meters are in it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        os.fchmod(descriptor, 0o600)
        stream.write(orjson.dumps(fleet_document(spec), option=orjson.OPT_INDENT_2))


@dataclass(frozen=True, slots=True)
class _Head:
    seed: int
    start: datetime


def _meter(entry: object, where: str) -> MeterSpec:
    table = dict(_table(entry, where))
    curve = dict(_table(table.pop("curve", None), f"{where}, curve"))
    if curve.get("kind") == "area":
        del curve["kind"]
        made: CurveSpec | AreaCurve = _build(AreaCurve, curve, f"{where}, curve")
    else:
        curve.setdefault("zone", table.get("zone", "Europe/Berlin"))
        curve.setdefault("key", table.get("meter_id"))
        made = _build(CurveSpec, curve, f"{where}, curve")
    keys = table.pop("keys", None)
    if keys is not None:
        try:
            table["keys"] = _build(KeySpec, _table(keys, f"{where}, keys"), f"{where}, keys")
        except SecurityError as error:
            raise FormatError(str(error), where=f"{where}, keys") from None
    return _build(MeterSpec, {**table, "curve": made}, where)


def _fault(entry: object, where: str) -> Fault:
    table = dict(_table(entry, where))
    kind = table.pop("kind", None)
    if not isinstance(kind, str) or kind not in FAULT_KINDS:
        raise FormatError(f"fault kind {kind!r}", where=where, expected=f"one of {', '.join(FAULT_KINDS)}")
    return _build(FAULT_KINDS[kind], table, where)


def _build(kind: type[T], table: Mapping[str, object], where: str) -> T:
    """A dataclass from a table, with every key known and every value of its type."""
    known = list(inspect.signature(kind).parameters)
    if unknown := sorted(set(table) - set(known)):
        raise FormatError(f"unknown key {unknown[0]!r}", where=where, expected=f"one of {', '.join(known)}")
    try:
        made: T = _adapter(kind).validate_python(dict(table))
    except PydanticError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise FormatError(f"{place}: {first['msg']}", where=where) from None
    return made


def _adapter(kind: type[T]) -> TypeAdapter[T]:
    """The checker of a dataclass; making one is dear, so each is kept."""
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def _table(value: object, where: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise FormatError("a table is missing", where=where)
    return value


def _list(value: object, where: str) -> Sequence[object]:
    if not isinstance(value, list):
        raise FormatError("a list of tables is missing", where=where)
    return value


def _plain(value: MeterSpec | Fault) -> dict[str, object]:
    """Fields that differ from nothing, as JSON values."""
    table = {part.name: getattr(value, part.name) for part in fields(value) if part.name != "curve"}
    values: dict[str, object] = {}
    for name, item in table.items():
        if isinstance(item, datetime):
            values[name] = item.isoformat()
        elif isinstance(item, KeySpec):
            values[name] = asdict(item)
        elif item is not None:
            values[name] = list(item) if isinstance(item, tuple) else item
    return values


def _curve_table(curve: CurveSpec | AreaCurve) -> dict[str, object]:
    if isinstance(curve, AreaCurve):
        return {"kind": "area", **asdict(curve)}
    return {
        name: item.value if isinstance(item, Enum) else item
        for name, item in asdict(curve).items()
        if item is not None
    }


def _refuse_doubles(values: Sequence[object], what: str) -> None:
    seen: set[object] = set()
    for value in values:
        if value in seen:
            raise QuantityError(f"{what} {value!r} occurs twice in the fleet")
        seen.add(value)


def household_fleet(
    count: int,
    *,
    seed: int,
    start: datetime,
    zone: str = "Europe/Berlin",
    per_port: int = 1000,
    secured: bool = True,
) -> FleetSpec:
    """A fleet of ``count`` households, for benches and first steps: serial numbers H000001 and on.

    Parameters
    ----------
    count, seed, start, zone:
        How many, and what they are drawn from.
    per_port:
        Meters behind one TCP port.
    secured:
        Each with keys of its own (high level security 5), or all with one password.
    """
    meters = tuple(
        MeterSpec(
            f"H{number:06d}",
            FIRST_WPORT + (number - 1) % per_port,
            CurveSpec(CurveKind.HOUSEHOLD, f"H{number:06d}", zone),
            zone,
            port_index=(number - 1) // per_port,
            keys=KeySpec.of_seed(seed, f"H{number:06d}") if secured else None,
        )
        for number in range(1, count + 1)
    )
    return FleetSpec(seed, start, meters)
