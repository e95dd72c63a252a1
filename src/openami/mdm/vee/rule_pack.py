"""Rule packs: everything that validation and estimation are told, as dated TOML.

A threshold without a source is a fault: nobody can defend a number whose origin is forgotten. Reading a
pack lists *all* its faults at once. A pack never changes; a new version begins on a day and finals name
the ``id@version`` that made them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from importlib import resources
from typing import Protocol

from openami.quantities.errors import QuantityError, ValidationError
from openami.quantities.obis import ObisCode
from openami.quantities.status import DeviceFlag
from openami.registry.registry import Registry

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
"""Names of weekdays in a pack; the position is `date.weekday`."""

METHOD_NAMES = (
    "linear",
    "like_day_average",
    "nearest_equivalent_day",
    "previous_days",
    "following_days",
    "register_flat",
)
"""Estimation methods a pack may order."""

_NUMBERS: dict[str, tuple[float, float]] = {
    "spike.ratio": (0.1, 1000.0),
    "spike.gap_confirmation": (0.0, 1.0),
    "spike.locate_share": (0.0, 1.0),
    "capacity.factor": (1.0, 100.0),
    "usage.high_ratio": (1.0, 1000.0),
    "usage.low_ratio": (0.0, 1.0),
    "scaling.k_max": (1.0, 1e6),
    "scaling.headroom": (1.0, 1e6),
}
_WHOLE_NUMBERS: dict[str, tuple[int, int]] = {
    "register_sum.steps": (0, 1000),
    "zero_run.hours": (1, 24 * 35),
    "usage.window_days": (1, 366),
    "usage.history_days": (1, 366),
    "usage.min_history_days": (1, 366),
    "clock.drift_s": (1, 86400),
    "linear.max_gap_s": (0, 86400),
    "like_day.count": (1, 35),
    "like_day.max_age_days": (1, 366),
    "equivalent_days.max_age_days": (1, 366),
    "scaling.max_span_days": (1, 366),
}
_LISTS = ("zero_run.channels", "usage.channels", "device.failing_flags", "device.net_channels")
_SECTION_SOURCES = ("order", "equivalent_days", "holidays")


@dataclass(frozen=True, slots=True)
class RulePack:
    """The rules of one version.

    Parameters
    ----------
    pack_id, version, valid_from, title:
        Identity; ``valid_from`` is the first civil day on which it rules.
    short_methods, long_methods:
        Order of estimation for gaps up to and beyond ``linear_max_gap_s``.
    equivalent_days:
        For each weekday (0 = Monday) the weekdays that may stand in for it, best first.
    sources:
        Where each number comes from, by dotted name (``"spike.ratio"``).

    Notes
    -----
    The other fields are the thresholds of the same name in the TOML, dots replaced by underscores; times
    in seconds, hours or days as their names say, ratios without unit.
    """

    pack_id: str
    version: str
    valid_from: date
    title: str
    short_methods: tuple[str, ...]
    long_methods: tuple[str, ...]
    spike_ratio: float
    spike_gap_confirmation: float
    spike_locate_share: float
    register_sum_steps: int
    capacity_factor: float
    zero_run_hours: int
    zero_run_channels: frozenset[ObisCode]
    usage_channels: frozenset[ObisCode]
    usage_window_days: int
    usage_history_days: int
    usage_min_history_days: int
    usage_high_ratio: float
    usage_low_ratio: float
    failing_flags: DeviceFlag
    net_channels: frozenset[ObisCode]
    clock_drift_s: int
    linear_max_gap_s: int
    like_day_count: int
    like_day_max_age_days: int
    equivalent_days: tuple[tuple[int, ...], ...]
    equivalent_days_max_age_days: int
    scaling_k_max: float
    scaling_headroom: float
    scaling_max_span_days: int
    holidays: frozenset[date]
    sources: Mapping[str, str] = field(repr=False)

    @property
    def name(self) -> str:
        """``id@version``, as finals carry it."""
        return f"{self.pack_id}@{self.version}"

    def day_class(self, day: date) -> int:
        """Weekday that counts for like days: 0 (Monday) .. 6; a holiday is a Sunday."""
        return 6 if day in self.holidays else day.weekday()

    def on(self, day: date) -> RulePack:
        """This pack, whatever the day: a single pack is a `PackSource`."""
        return self

    @classmethod
    def from_toml(cls, text: str, *, where: str = "rule pack") -> RulePack:
        """Pack of a TOML text.

        Raises
        ------
        ValidationError
            Not TOML, or with faults; the message lists every fault.
        """
        try:
            document = tomllib.loads(text)
        except (ValueError, RecursionError) as error:  # also a number of 5,000 digits, or lists in lists
            raise ValidationError(f"not TOML: {error}", where=where) from None
        reader = _Reader(document)
        pack = reader.pack()
        if reader.faults or pack is None:
            listing = "; ".join(reader.faults)
            raise ValidationError(f"{len(reader.faults)} faults: {listing}", where=where)
        return pack


class PackSource(Protocol):
    """Anything that knows which pack rules on a day."""

    def on(self, day: date) -> RulePack:
        """The pack in force on a civil day."""
        ...


class RegistryPacks:
    """The dated versions of one pack among the registry's documents.

    Invariant: the versions are read once, at ``revision``; before the first version, and without any,
    the packaged default rules.
    """

    def __init__(self, registry: Registry, pack_id: str = "default") -> None:
        documents = registry.documents("rule_pack", pack_id)
        newest = {document.valid_from: document for document in sorted(documents, key=lambda d: d.revision)}
        self._versions = [
            (valid_from, RulePack.from_toml(document.text, where=f"rule pack {pack_id} of {valid_from}"))
            for valid_from, document in sorted(newest.items())
        ]

    def on(self, day: date) -> RulePack:
        """The pack in force on a civil day."""
        ruling = [pack for valid_from, pack in self._versions if valid_from <= day]
        return ruling[-1] if ruling else default_pack()


@cache
def default_pack() -> RulePack:
    """The pack that comes with openami."""
    return RulePack.from_toml(default_pack_text(), where="vee/packs/default.toml")


def default_pack_text() -> str:
    """TOML text of the pack that comes with openami."""
    return resources.files(__package__).joinpath("packs/default.toml").read_text("utf-8")


class _Reader:
    """Reads a document and gathers faults instead of stopping at the first."""

    def __init__(self, document: Mapping[str, object]) -> None:
        self.document = document
        self.faults: list[str] = []
        self.sources: dict[str, str] = {}

    def pack(self) -> RulePack | None:
        head = self._section("pack")
        numbers = {name: self._number(name, *limits) for name, limits in _NUMBERS.items()}
        wholes = {name: self._whole(name, *limits) for name, limits in _WHOLE_NUMBERS.items()}
        lists = {name: self._texts(name, self._threshold(name)) for name in _LISTS}
        for section in _SECTION_SOURCES:
            self._source(section, self._section(section).get("source"))
        short = self._methods("short")
        long = self._methods("long")
        flags = self._flags(lists["device.failing_flags"])
        zero_channels = self._channels("zero_run.channels", lists["zero_run.channels"])
        usage_channels = self._channels("usage.channels", lists["usage.channels"])
        net_channels = self._channels("device.net_channels", lists["device.net_channels"])
        equivalent = self._equivalent_days()
        holidays = self._holidays()
        pack_id, version, title = (self._text(head, key) for key in ("id", "version", "title"))
        valid_from = head.get("valid_from")
        if type(valid_from) is not date:
            self.faults.append("pack.valid_from is not a date (expected: 2000-01-01)")
            valid_from = date.min
        self._unknown_names()
        if self.faults:
            return None
        return RulePack(
            pack_id=pack_id,
            version=version,
            valid_from=valid_from,
            title=title,
            short_methods=short,
            long_methods=long,
            spike_ratio=numbers["spike.ratio"],
            spike_gap_confirmation=numbers["spike.gap_confirmation"],
            spike_locate_share=numbers["spike.locate_share"],
            register_sum_steps=wholes["register_sum.steps"],
            capacity_factor=numbers["capacity.factor"],
            zero_run_hours=wholes["zero_run.hours"],
            zero_run_channels=zero_channels,
            usage_channels=usage_channels,
            usage_window_days=wholes["usage.window_days"],
            usage_history_days=wholes["usage.history_days"],
            usage_min_history_days=wholes["usage.min_history_days"],
            usage_high_ratio=numbers["usage.high_ratio"],
            usage_low_ratio=numbers["usage.low_ratio"],
            failing_flags=flags,
            net_channels=net_channels,
            clock_drift_s=wholes["clock.drift_s"],
            linear_max_gap_s=wholes["linear.max_gap_s"],
            like_day_count=wholes["like_day.count"],
            like_day_max_age_days=wholes["like_day.max_age_days"],
            equivalent_days=equivalent,
            equivalent_days_max_age_days=wholes["equivalent_days.max_age_days"],
            scaling_k_max=numbers["scaling.k_max"],
            scaling_headroom=numbers["scaling.headroom"],
            scaling_max_span_days=wholes["scaling.max_span_days"],
            holidays=holidays,
            sources=self.sources,
        )

    def _section(self, name: str) -> Mapping[str, object]:
        section = self.document.get(name)
        if isinstance(section, dict):
            return section
        fault = f"section [{name}] is missing"
        if fault not in self.faults:
            self.faults.append(fault)
        return {}

    def _threshold(self, name: str) -> object:
        section, _, key = name.partition(".")
        entry = self._section(section).get(key)
        if not isinstance(entry, dict) or "value" not in entry:
            self.faults.append(f"{name} is missing (expected: {{ value = ..., source = ... }})")
            return None
        self._source(name, entry.get("source"))
        if extra := set(entry) - {"value", "source"}:
            self.faults.append(f"{name} has unknown keys {sorted(extra)}")
        return entry["value"]

    def _source(self, name: str, source: object) -> None:
        if not isinstance(source, str) or not source.strip():
            self.faults.append(f"{name} has no source")
        else:
            self.sources[name] = source

    def _number(self, name: str, low: float, high: float) -> float:
        value = self._threshold(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high:
            return float(value)
        self._refuse(name, value, f"a number {low:g} .. {high:g}")
        return low

    def _whole(self, name: str, low: int, high: int) -> int:
        value = self._threshold(name)
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        self._refuse(name, value, f"a whole number {low} .. {high}")
        return low

    def _refuse(self, name: str, value: object, expected: str) -> None:
        if value is not None:
            self.faults.append(f"{name} = {value!r} (expected: {expected})")

    def _texts(self, name: str, value: object) -> tuple[str, ...]:
        if value is None:
            return ()
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        self.faults.append(f"{name} = {value!r} (expected: a list of texts)")
        return ()

    def _text(self, section: Mapping[str, object], key: str) -> str:
        value = section.get(key)
        if isinstance(value, str) and value and "@" not in value:
            return value
        self.faults.append(f"pack.{key} = {value!r} (expected: a text without @)")
        return ""

    def _methods(self, key: str) -> tuple[str, ...]:
        names = self._texts(f"order.{key}", self._section("order").get(key, "missing"))
        if unknown := [name for name in names if name not in METHOD_NAMES]:
            self.faults.append(f"order.{key} has unknown methods {unknown} (expected: {METHOD_NAMES})")
        if len(set(names)) != len(names):
            self.faults.append(f"order.{key} names a method twice")
        return names

    def _flags(self, names: Sequence[str]) -> DeviceFlag:
        flags = DeviceFlag.NONE
        for name in names:
            if name in DeviceFlag.__members__:
                flags |= DeviceFlag[name]
            else:
                self.faults.append(f"device.failing_flags has unknown flag {name!r}")
        return flags

    def _channels(self, name: str, texts: Sequence[str]) -> frozenset[ObisCode]:
        codes = set()
        for text in texts:
            try:
                codes.add(ObisCode.parse(text))
            except QuantityError as error:
                self.faults.append(f"{name}: {error}")
        return frozenset(codes)

    def _equivalent_days(self) -> tuple[tuple[int, ...], ...]:
        section = self._section("equivalent_days")
        table = []
        for weekday in WEEKDAYS:
            names = self._texts(f"equivalent_days.{weekday}", section.get(weekday, "missing"))
            if unknown := [name for name in names if name not in WEEKDAYS]:
                self.faults.append(f"equivalent_days.{weekday} has unknown days {unknown}")
            table.append(tuple(WEEKDAYS.index(name) for name in names if name in WEEKDAYS))
        return tuple(table)

    def _holidays(self) -> frozenset[date]:
        days = self._section("holidays").get("days", [])
        if isinstance(days, list) and all(type(day) is date for day in days):
            return frozenset(days)
        self.faults.append(f"holidays.days = {days!r} (expected: a list of dates)")
        return frozenset()

    def _unknown_names(self) -> None:
        known = {"pack.id", "pack.version", "pack.valid_from", "pack.title", "order.short", "order.long"}
        known |= {*_NUMBERS, *_WHOLE_NUMBERS, *_LISTS, "holidays.days"}
        known |= {f"{section}.source" for section in _SECTION_SOURCES}
        known |= {f"equivalent_days.{weekday}" for weekday in WEEKDAYS}
        for section, entries in self.document.items():
            names = entries if isinstance(entries, dict) else {"": None}
            for name in names:
                if f"{section}.{name}" not in known:
                    self.faults.append(f"{section}.{name} is not a rule of a pack")
