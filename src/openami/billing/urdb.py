"""OpenEI utility rate database (URDB): its JSON becomes a tariff in our TOML.

Fields as in the public URDB API, version 8 (energyratestructure, weekday and weekend schedules of 12 x 24,
demandratestructure, flatdemandstructure ...) [recalled]; version 7 names some fixed charges differently.
Tiers run on the month's total and are shared over the rates by their use, which is how NREL's Utilityrate5
reads them. Never to be broken: what is not carried over is named in the tariff's notes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from openami.billing.tariff import Tariff
from openami.billing.tariff_toml import load_tariff
from openami.quantities.errors import TariffError
from openami.quantities.tariff_calendar import MONTHS

_OPEN = Decimal("1e37")
_LAST_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_PER = {"$/day": "day", "$/month": "month", "$/year": "year"}
_DESCRIPTIVE = {
    "label", "uri", "approved", "country", "utility", "eiaid", "name", "startdate", "enddate",
    "supersedes", "sector", "servicetype", "description", "source", "sourceparent",
    "basicinformationcomments", "demandcomments", "energycomments", "peakkwcapacitymin",
    "peakkwcapacitymax", "peakkwcapacityhistory", "peakkwhusagemin", "peakkwhusagemax",
    "peakkwhusagehistory", "voltagecategory", "voltageminimum", "voltagemaximum", "phasewiring",
    "revisions", "usenetmetering", "is_default", "energyattrs", "demandunits", "flatdemandunit",
    "demandrateunit", "demandwindow", "fixedchargeunits", "minchargeunits", "coincidentrateunit",
}  # fmt: skip


def tariff_from_urdb(
    document: str | bytes | Mapping[str, Any] | Sequence[Any],
    *,
    zone: str = "UTC",
    currency: str = "USD",
    version: int = 8,
) -> Tariff:
    """Tariff of a URDB rate.

    Parameters
    ----------
    document:
        The JSON text, or what it was parsed to: one rate, a list of one, or ``{"items": [rate]}``.
    zone:
        IANA zone in which the schedules' hours are counted; URDB has none.
    version:
        8, or 7 to take ``fixedmonthlycharge`` and ``minmonthlycharge``, which version 8 does not have.

    Returns
    -------
    Tariff
        Its ``text`` is TOML; its ``notes`` name every field that was not carried over.

    Raises
    ------
    TariffError
        It is not a URDB rate, or it needs what cannot be priced; all faults at once.
    """
    text, _ = urdb_to_toml(document, zone=zone, currency=currency, version=version)
    return load_tariff(text)


def urdb_to_toml(
    document: str | bytes | Mapping[str, Any] | Sequence[Any],
    *,
    zone: str = "UTC",
    currency: str = "USD",
    version: int = 8,
) -> tuple[str, tuple[str, ...]]:
    """TOML text of a URDB rate, and the notes on what it does not have; see `tariff_from_urdb`."""
    rate = _one_rate(document)
    writer = _Writer({key.lower(): value for key, value in rate.items()}, version)
    writer.write()
    if writer.faults:
        raise TariffError("\n".join(writer.faults), where=f"URDB rate {writer.label!r}")
    head = [
        f"id = {_text(writer.label)}",
        f"name = {_text(str(writer.rate.get('name') or writer.label))}",
        f"currency = {_text(currency)}",
        f"zone = {_text(zone)}",
        f"valid_from = {_day(writer.rate.get('startdate')).isoformat()}",
        f"source = {_text(str(writer.rate.get('source') or writer.rate.get('uri') or 'URDB'))}",
        'rounding = "none"',
        'total_rounding = "half_up 2"',
        f"notes = [{', '.join(map(_text, writer.notes))}]",
    ]
    return "\n".join([*head, *writer.calendars, *writer.charges]) + "\n", tuple(writer.notes)


def _one_rate(document: str | bytes | Mapping[str, Any] | Sequence[Any]) -> Mapping[str, Any]:
    value: object = document
    for _ in range(4):
        if isinstance(value, str | bytes):
            try:
                value = json.loads(value, parse_float=Decimal)
            except (ValueError, RecursionError) as error:
                raise TariffError(f"not JSON: {error}", where="URDB rate") from None
        elif isinstance(value, Mapping) and "items" in value:
            value = value["items"]
        elif isinstance(value, Sequence) and len(value) == 1:
            value = value[0]
        else:
            break
    if not isinstance(value, Mapping):
        raise TariffError("not one rate", where="URDB rate", expected="an object, or a list of one")
    return value


@dataclass(slots=True)
class _Writer:
    """Writes calendars and charges of one rate; invariant: every field is written, noted or a fault."""

    rate: Mapping[str, Any]
    version: int
    calendars: list[str] = field(default_factory=list)
    charges: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)

    @property
    def label(self) -> str:
        return str(self.rate.get("label") or self.rate.get("name") or "urdb")

    def write(self) -> None:
        self._energy()
        self._demand("demand", "demandratestructure", "demandweekdayschedule", "demandweekendschedule")
        self._flat_demand()
        self._coincident()
        self._monthly_adjustment()
        self._fixed()
        self._minimum()
        for key, value in self.rate.items():
            if key not in self.taken and key not in _DESCRIPTIVE and value not in (None, "", 0, [], {}):
                shown = str(value)
                self.notes.append(f"{key} = {shown[:60]}{'...' if len(shown) > 60 else ''}: not carried over")

    def get(self, key: str) -> Any:
        self.taken.add(key)
        return self.rate.get(key)

    def _energy(self) -> None:
        structure = self._structure("energyratestructure")
        if structure is None:
            return
        used = self._calendar("energy", structure, "energyweekdayschedule", "energyweekendschedule")
        units = {str(tier.get("unit", "kWh")) for period in structure for tier in period}
        if units - {"kWh", "kWh daily"} or len(units) > 1:
            self.faults.append(f"energyratestructure: tiers in {', '.join(sorted(units))} cannot be billed")
        per = 'per = "days", days = 1' if units == {"kWh daily"} else 'per = "month"'
        sells = {tier["sell"] for period in structure for tier in period if tier.get("sell")}
        if sells:
            self.notes.append("energyratestructure.sell: export is not billed; add a charge with its netting")
        self._tiered("energy", "energy", structure, used, f'{per}, interaction = "pro_rata"')

    def _demand(self, name: str, key: str, weekday: str, weekend: str) -> None:
        structure = self._structure(key)
        if structure is None:
            return
        used = self._calendar(name, structure, weekday, weekend)
        self._tiered(name, "demand", structure, used, None)

    def _flat_demand(self) -> None:
        structure = self._structure("flatdemandstructure")
        months = self.get("flatdemandmonths")
        if structure is None:
            return
        if not _is_row(months, 12) or any(not 0 <= int(month) < len(structure) for month in months):
            self.faults.append("flatdemandmonths: not 12 indexes into flatdemandstructure")
            return
        grid = [[int(month)] * 24 for month in months]
        used = self._write_calendar("flat_demand", grid, grid)
        self._tiered("flat_demand", "demand", structure, used, None, 'measure = "overall"')
        ratchet = self.get("demandratchetpercentage")
        percents = {Decimal(str(value)) for value in ratchet} if isinstance(ratchet, Sequence) else set()
        if len(percents) == 1 and (percent := percents.pop()):
            share = percent * 100 if percent <= 1 else percent
            self.charges.append(f'ratchet = {{ percent = "{share.normalize():f}", months = 11 }}')
        elif percents - {Decimal(0)}:
            self.notes.append("demandratchetpercentage: differs between months, not carried over")

    def _coincident(self) -> None:
        structure = self._structure("coincidentratestructure")
        schedule = self.get("coincidentrateschedule") or self.get("coincidentsched")
        if structure is None:
            return
        if not _is_grid(schedule):
            self.notes.append("coincidentratestructure: no 12 x 24 schedule, not carried over")
            return
        grid = [[int(hour) for hour in row] for row in schedule]
        used = self._write_calendar("coincident", grid, grid)
        self._tiered("coincident", "demand", structure, used, None)

    def _monthly_adjustment(self) -> None:
        adjustments = self.get("fueladjustmentsmonthly")
        if not adjustments:
            return
        if not _is_row(adjustments, 12):
            self.faults.append("fueladjustmentsmonthly: not 12 prices")
            return
        grid = [[month] * 24 for month in range(12)]
        used = self._write_calendar("adjustment", grid, grid)
        structure = [[{"rate": value}] for value in adjustments]
        self._tiered("fuel adjustment", "energy", structure, used, None, calendar="adjustment")

    def _fixed(self) -> None:
        charge, per = self.get("fixedchargefirstmeter"), str(self.rate.get("fixedchargeunits", "$/month"))
        if self.version == 7 and self.rate.get("fixedmonthlycharge"):
            charge, per = self.get("fixedmonthlycharge"), "$/month"
        if charge:
            if per not in _PER:
                self.faults.append(f"fixedchargeunits = {per!r} (expected: {', '.join(_PER)})")
                return
            self._plain("standing", "fixed", f'price = "{_number(charge)}"\nper = "{_PER[per]}"')

    def _minimum(self) -> None:
        charge, per = self.get("mincharge"), str(self.rate.get("minchargeunits", "$/month"))
        if self.version == 7 and self.rate.get("minmonthlycharge"):
            charge, per = self.get("minmonthlycharge"), "$/month"
        if charge and per in ("$/day", "$/month"):
            self._plain(
                "minimum", "minimum", f'amount = "{_number(charge)}"\nper = "{_PER[per]}"\nof = "all"'
            )
        elif charge:
            self.notes.append(f"mincharge = {charge} {per}: a minimum of a year, not carried over")

    def _plain(self, kind: str, name: str, body: str) -> None:
        self.charges += ["", "[[charges]]", f'name = "{name}"', f'kind = "{kind}"', body]

    def _structure(self, key: str) -> list[list[dict[str, Any]]] | None:
        """Rates by period and tier; None when the rate has none."""
        value = self.get(key)
        if not value:
            return None
        good = isinstance(value, Sequence) and all(
            isinstance(period, Sequence)
            and period
            and all(isinstance(tier, Mapping) and ("rate" in tier or "adj" in tier) for tier in period)
            for period in value
        )
        if not good:
            self.faults.append(f"{key}: not a list of periods of tiers with a rate")
            return None
        return [[dict(tier) for tier in period] for period in value]

    def _calendar(self, name: str, structure: Sequence[Any], weekday: str, weekend: str) -> list[int]:
        """Write a calendar of two schedules; the periods it uses, in order."""
        grids = []
        for key in (weekday, weekend):
            value = self.get(key)
            if not _is_grid(value):
                self.faults.append(f"{key}: not 12 months of 24 hours")
                continue
            grid = [[int(hour) for hour in row] for row in value]
            wrong = sorted({hour for row in grid for hour in row if not 0 <= hour < len(structure)})
            if wrong:
                self.faults.append(f"{key}: period {wrong[0]}, but there are {len(structure)} (0 ...)")
                continue
            grids.append(grid)
        return self._write_calendar(name, *grids) if len(grids) == 2 else []

    def _write_calendar(self, name: str, weekday: list[list[int]], weekend: list[list[int]]) -> list[int]:
        out = ["", f"[calendars.{name}.seasons]"]
        for number, month in enumerate(MONTHS, 1):
            out.append(f'{month} = ["{number:02d}-01..{number:02d}-{_LAST_DAYS[number - 1]:02d}"]')
        days = '"Mon", "Tue", "Wed", "Thu", "Fri"'
        out += [f"[calendars.{name}.day_types]", f"weekday = [{days}]", 'weekend = ["Sat", "Sun"]']
        used = sorted({hour for grid in (weekday, weekend) for row in grid for hour in row})
        for period in used:
            for kind, grid in (("weekday", weekday), ("weekend", weekend)):
                by_hours: dict[tuple[str, ...], list[str]] = {}
                for month, row in zip(MONTHS, grid, strict=True):
                    if hours := _hours(row, period):
                        by_hours.setdefault(hours, []).append(month)
                for hours, months in by_hours.items():
                    out += [
                        f"[[calendars.{name}.rates]]",
                        f'rate = "period {period}"',
                        f"seasons = [{', '.join(map(_text, months))}]",
                        f'day_types = ["{kind}"]',
                        f"hours = [{', '.join(map(_text, hours))}]",
                    ]
        self.calendars += out
        return used

    def _tiered(
        self,
        name: str,
        kind: str,
        structure: Sequence[Sequence[Mapping[str, Any]]],
        used: Sequence[int],
        tiers: str | None,
        extra: str = "",
        calendar: str | None = None,
    ) -> None:
        """Write a charge; periods of different tiers are cut at every tier's end: no price changes."""
        sizes = sorted(
            {
                size
                for period in used
                for tier in structure[period]
                if (size := Decimal(_number(tier.get("max", "1e38")))) < _OPEN
            }
        )
        steps = []
        for low, high in zip([Decimal(0), *sizes], [*sizes, None], strict=True):
            prices = ", ".join(
                f'"period {period}" = "{_price_above(structure[period], low)}"' for period in used
            )
            end = "" if high is None else f'up_to = "{high:f}", '
            steps.append(f"{{ {end}prices = {{ {prices} }} }}")
        out = ["", "[[charges]]", f'name = "{name}"', f'kind = "{kind}"', f'calendar = "{calendar or name}"']
        out += [extra] if extra else []
        window = self.get("demandwindow")
        if kind == "demand" and window:
            out.append(f"window_s = {int(window) * 60}")
        if len(steps) == 1:
            out.append(steps[0].removeprefix("{ ").removesuffix(" }"))
        elif kind == "demand":
            out.append(f"tiers = [{', '.join(steps)}]")
        else:
            out.append(f"tiers = {{ {tiers}, steps = [{', '.join(steps)}] }}")
        self.charges += out


def _price_above(tiers: Sequence[Mapping[str, Any]], low: Decimal) -> str:
    """Price, with its adjustment, of the tier that begins at or holds ``low``; the last tier is open."""
    for tier in tiers:
        if Decimal(_number(tier.get("max", "1e38"))) > low:
            break
    price = Decimal(_number(tier.get("rate", 0))) + Decimal(_number(tier.get("adj", 0)))
    return f"{price:f}"


def _hours(row: Sequence[int], period: int) -> tuple[str, ...]:
    spans = []
    begin = None
    for hour, own in enumerate([*row, None]):
        if own == period and begin is None:
            begin = hour
        elif own != period and begin is not None:
            spans.append(f"{begin:02d}:00-{hour:02d}:00")
            begin = None
    return tuple(spans)


def _is_row(value: object, length: int) -> bool:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and len(value) == length
        and all(isinstance(item, int | float | Decimal) and not isinstance(item, bool) for item in value)
    )


def _is_grid(value: object) -> bool:
    return isinstance(value, Sequence) and len(value) == 12 and all(_is_row(row, 24) for row in value)


def _number(value: object) -> str:
    """A JSON number as decimal text; a float by its shortest form, which is how it stood in the file."""
    return str(Decimal(repr(value) if isinstance(value, float) else str(value)))


def _text(value: str) -> str:
    return json.dumps(value)


def _day(value: object) -> date:
    """First day of validity: ISO text, seconds since 1970, or 1970 when there is none."""
    if isinstance(value, Mapping):
        value = value.get("$date")
    if isinstance(value, str):
        try:
            return date.fromisoformat(value[:10])
        except ValueError:
            raise TariffError(f"startdate = {value!r} is not a date", where="URDB rate") from None
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return datetime.fromtimestamp(int(value), UTC).date()
    return date(1970, 1, 1)
