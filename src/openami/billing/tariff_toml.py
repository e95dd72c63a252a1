"""Tariffs written in TOML. The shape of the file is described in ``docs/stations/billing.md``.

Loading reads everything and reports every fault at once, each with the place in the file. Never to be
broken: a field that is not known is a fault, so that a misspelt name cannot silently change a bill.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from enum import Enum
from fractions import Fraction

from openami.billing.power_factor import china_table, stepped_table
from openami.billing.tariff import (
    CapacityCharge,
    Charge,
    Cut,
    DemandCharge,
    Direction,
    EnergyCharge,
    Interaction,
    Losses,
    Measure,
    MinimumCharge,
    Net,
    Netting,
    Per,
    PercentCharge,
    PowerFactorCharge,
    PowerFactorTable,
    PriceSeries,
    Prorate,
    Ratchet,
    ReactiveCharge,
    RebateCharge,
    SeriesCharge,
    StandingCharge,
    Tariff,
    TierPeriod,
    Tiers,
    WhenMissing,
    WhenSuspect,
    Window,
)
from openami.billing.toml_table import UNSAID, TomlTable, day_of_year
from openami.quantities.civil_time import zone_of
from openami.quantities.errors import QuantityError, TariffError
from openami.quantities.money import UNROUNDED, Rounding
from openami.quantities.obis import (
    EXPORT_INTERVAL,
    IMPORT_INTERVAL,
    IMPORT_REACTIVE_INTERVAL,
)
from openami.quantities.tariff_calendar import (
    ALWAYS,
    EVERY_DAY,
    WEEKDAYS,
    CalendarEvent,
    DayType,
    MonthDay,
    Rule,
    Season,
    TariffCalendar,
    flat_calendar,
    tariff_calendar,
)

_SPAN = re.compile(r"(\d\d)-(\d\d)\.\.(\d\d)-(\d\d)")
_HOURS = re.compile(r"(\d\d):(\d\d)-(\d\d):(\d\d)")


def load_tariff(text: str) -> Tariff:
    """Tariff of a TOML text.

    Raises
    ------
    TariffError
        Everything that is wrong with it, one fault a line, each with its place.
    """
    try:
        document = tomllib.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError) as error:  # also a number of 5,000 digits, or lists in lists
        raise TariffError(f"not TOML: {error}", where="tariff") from None
    faults: list[str] = []
    root = TomlTable(document, "tariff", faults)
    tariff_id = root.text("id")
    place = f"tariff {tariff_id!r}"
    zone = root.text("zone")
    try:
        zone_of(zone)
    except QuantityError as error:
        faults.append(str(error))
        zone = "UTC"
    default = root.rounding("rounding", None)
    calendars = {"flat": flat_calendar(zone)}
    for name, table in root.tables_by_name("calendars"):
        calendars[name] = _calendar(table, name, zone)
    series = {
        name: one for name, table in root.tables_by_name("series") if (one := _series(table, name, zone))
    }
    charges: list[Charge] = []
    for number, table in enumerate(root.tables("charges"), 1):
        table.place = f"charge {number} ({table.peek('name')})"
        charges.append(_charge(table, calendars, default, [charge.name for charge in charges]))
        table.close()
    fields = (
        root.text("name", tariff_id),
        root.text("currency"),
        root.day("valid_from"),
        root.rounding("total_rounding", UNROUNDED),
        root.choice("prorate", Prorate, Prorate.BY_ACTUAL_USE),
        root.text("source", ""),
        root.strings("notes", []),
        root.choice("suspect", WhenSuspect, WhenSuspect.REFUSE),
    )
    root.close()
    if faults:
        raise TariffError("\n".join(faults), where=place)
    name, currency, valid_from, total_rounding, prorate, source, notes, suspect = fields
    return Tariff(
        tariff_id, name, currency, zone, valid_from, calendars, tuple(charges), total_rounding, series,
        prorate, source, notes, text, suspect,
    )  # fmt: skip


def _calendar(table: TomlTable, name: str, zone: str) -> TariffCalendar:
    seasons = []
    for label, spans in _named_lists(table, "seasons"):
        parsed = []
        for span in spans:
            match = _SPAN.fullmatch(span)
            ends = (day_of_year(span[:5]), day_of_year(span[-5:])) if match else (None, None)
            if ends[0] is None or ends[1] is None:
                table.fault(f"season {label!r}: {span!r} is not a span (expected: '04-01..09-30')")
                continue
            parsed.append((ends[0], ends[1]))
        seasons.append(Season(label, tuple(parsed)))
    kinds = []
    for label, weekdays in _named_lists(table, "day_types"):
        for weekday in weekdays:
            if weekday not in WEEKDAYS:
                table.fault(
                    f"day type {label!r}: {weekday!r} is no weekday (expected: {', '.join(WEEKDAYS)})"
                )
        kinds.append(DayType(label, frozenset(WEEKDAYS.index(day) for day in weekdays if day in WEEKDAYS)))
    seasons, kinds = seasons or [ALWAYS], kinds or [EVERY_DAY]
    special: dict[date | MonthDay, str] = {}
    if table.has("special_days"):
        days = table.table("special_days")
        for key in days.names():
            day = _special_day(key)
            if day is None:
                days.fault(f"{key!r} is no day (expected: '2026-04-03', or '12-25' for every year)")
            else:
                special[day] = days.text(key)
    rules = [
        _rule(rule, [season.name for season in seasons], [kind.name for kind in kinds])
        for rule in table.tables("rates")
    ]
    events = []
    for event in table.tables("events"):
        start, end = event.instant("start", zone), event.instant("end", zone)
        events.append(CalendarEvent(start, end, event.text("rate")))
        event.close()
    table.close()
    try:
        return tariff_calendar(
            name, zone, rules=rules, seasons=seasons, day_types=kinds, special_days=special, events=events
        )
    except TariffError as error:
        table.faults += [f"calendar {name!r}: {line}" for line in error.message.splitlines()]
        return flat_calendar(zone)


def _named_lists(table: TomlTable, key: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    if table.has(key):
        group = table.table(key)
        for label in group.names():
            yield label, group.strings(label)


def _special_day(text: str) -> date | MonthDay | None:
    if found := day_of_year(text):
        return found
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _rule(table: TomlTable, seasons: Sequence[str], kinds: Sequence[str]) -> Rule:
    spans: list[tuple[int, int]] = []
    for hours in table.strings("hours", ["00:00-24:00"]):
        match = _HOURS.fullmatch(hours)
        if match is None:
            table.fault(f"{hours!r} is no span of hours (expected: '07:00-21:00')")
            continue
        first, last = int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])
        spans += [(first, last)] if first < last else [(first, 1440), *([(0, last)] if last else [])]
    rule = Rule(
        table.text("rate"), table.strings("seasons", seasons), table.strings("day_types", kinds), tuple(spans)
    )
    table.close()
    return rule


def _series(table: TomlTable, name: str, zone: str) -> PriceSeries | None:
    prices = table.raw("prices")
    start, interval_s = table.instant("start", zone), table.integer("interval_s")
    if not isinstance(prices, list) or not prices:
        table.fault("no prices")
        prices = []
    values = tuple(table.number(price, f"price {number}") for number, price in enumerate(prices, 1))
    if interval_s <= 0:
        table.fault(f"interval_s = {interval_s}")
    table.close()
    return PriceSeries(name, start, interval_s, values)


def _charge(
    table: TomlTable, calendars: Mapping[str, TariffCalendar], default: Rounding, before: Sequence[str]
) -> Charge:
    name = table.text("name")
    rounding = table.rounding("rounding", default)
    if rounding == UNSAID:
        table.fault(
            "no rounding (expected: one for the charge or one for the tariff, as 'half_up 2', or 'none')"
        )
    skip = table.choice("when_missing", WhenMissing, WhenMissing.ERROR)
    kind = table.text("kind")
    match kind:
        case "energy":
            return _energy(table, name, calendars, rounding, skip)
        case "demand":
            return _demand(table, name, calendars, rounding, skip)
        case "series":
            return SeriesCharge(
                name,
                table.codes("channels", IMPORT_INTERVAL),
                table.text("series"),
                table.rounding("interval_rounding", UNROUNDED),
                table.choice("direction", Direction, Direction.CHARGE),
                rounding,
                skip,
            )
        case "standing":
            return StandingCharge(name, table.decimal("price"), table.choice("per", Per), rounding)
        case "capacity":
            kva = table.decimal("kva") if table.has("kva") else None
            return CapacityCharge(name, table.decimal("price"), kva, rounding)
        case "power_factor":
            return PowerFactorCharge(
                name,
                table.codes("active", IMPORT_INTERVAL)[0],
                table.codes("reactive", IMPORT_REACTIVE_INTERVAL)[0],
                _power_factor_table(table),
                _of(table, before),
                rounding,
                skip,
            )
        case "reactive":
            return ReactiveCharge(
                name,
                table.codes("active", IMPORT_INTERVAL)[0],
                table.codes("reactive", IMPORT_REACTIVE_INTERVAL)[0],
                table.decimal("free_percent"),
                table.decimal("price"),
                rounding,
                skip,
            )
        case "percent":
            return PercentCharge(name, table.decimal("percent"), _of(table, before), rounding)
        case "rebate":
            amount, per = table.decimal("amount"), table.choice("per", Per)
            return RebateCharge(name, amount, per, _of(table, before), rounding)
        case "minimum":
            amount, per = table.decimal("amount"), table.choice("per", Per)
            return MinimumCharge(name, amount, per, _of(table, before), rounding)
        case _:
            table.fault(f"kind = {kind!r} is not known (expected: {', '.join(_KINDS)})")
            table.names()
            return StandingCharge(name, Decimal(0), Per.BILL)


_KINDS = (
    "energy", "demand", "series", "standing", "capacity", "power_factor", "reactive", "percent", "rebate",
    "minimum",
)  # fmt: skip


def _of(table: TomlTable, before: Sequence[str]) -> tuple[str, ...]:
    names = table.strings("of")
    return tuple(before) if names == ("all",) else names


def _prices(table: TomlTable, calendar: TariffCalendar | None) -> tuple[Decimal, ...]:
    """Price of each rate of the calendar: one ``price`` for all, or ``prices`` by name."""
    rates = calendar.rates if calendar is not None else ()
    if table.has("price") == table.has("prices"):
        table.fault("needs either price or prices")
        table.raw("prices")
        return tuple(Decimal(0) for _ in rates)
    if table.has("price"):
        price = table.decimal("price")
        return tuple(price for _ in rates)
    by_name = table.table("prices")
    found = tuple(by_name.decimal(rate) for rate in rates)
    if calendar is not None:
        by_name.close()
    return found


def _calendar_of(
    table: TomlTable, calendars: Mapping[str, TariffCalendar]
) -> tuple[str, TariffCalendar | None]:
    name = table.text("calendar", "flat")
    if name not in calendars:
        table.fault(f"unknown calendar {name!r} (expected: {', '.join(calendars)})")
    return name, calendars.get(name)


def _energy(
    table: TomlTable,
    name: str,
    calendars: Mapping[str, TariffCalendar],
    rounding: Rounding,
    skip: WhenMissing,
) -> EnergyCharge:
    calendar_name, calendar = _calendar_of(table, calendars)
    tiers: Tiers | None = None
    adders: tuple[Decimal, ...] = ()
    if table.has("tiers"):
        rule = table.table("tiers")
        interaction = rule.choice("interaction", Interaction, Interaction.PRO_RATA)
        steps = list(rule.tables("steps"))
        if interaction is Interaction.ADDER:
            prices: tuple[tuple[Decimal, ...], ...] = (_prices(table, calendar),)
            adders = tuple(step.decimal("adder") for step in steps)
        else:
            prices = tuple(_prices(step, calendar) for step in steps)
        tiers = Tiers(
            rule.choice("per", TierPeriod),
            _up_to(rule, steps),
            interaction,
            rule.integer("days", 0),
            rule.month_day("reset"),
            rule.choice("when_cut", Cut, Cut.SCALED),
        )
        rule.close()
    else:
        prices = (_prices(table, calendar),)
    charge = EnergyCharge(
        name,
        table.codes("channels", IMPORT_INTERVAL),
        calendar_name,
        prices,
        tiers,
        adders,
        table.choice("direction", Direction, Direction.CHARGE),
        _net(table.table("net"), calendar) if table.has("net") else None,
        _losses(table.table("losses")) if table.has("losses") else None,
        rounding,
        skip,
    )
    return charge


def _up_to(place: TomlTable, steps: Sequence[TomlTable]) -> tuple[Fraction, ...]:
    """Upper ends of all tiers but the last, which must be open."""
    sizes = []
    for number, step in enumerate(steps, 1):
        if number < len(steps):
            sizes.append(Fraction(step.decimal("up_to")))
        elif step.has("up_to"):
            step.fault("the last tier is open: no up_to")
            step.raw("up_to")
        step.close()
    if not steps:
        place.fault("tiers without steps")
    return tuple(sizes)


def _net(table: TomlTable, calendar: TariffCalendar | None) -> Net:
    net = Net(
        table.codes("export", EXPORT_INTERVAL)[0],
        table.choice("interval", Netting),
        _prices(table, calendar),
        table.month_day("reset"),
    )
    table.close()
    return net


def _losses(table: TomlTable) -> Losses:
    losses = Losses(
        table.decimal("fixed_w", "0"),
        table.decimal("percent", "0"),
        table.decimal("load_w", "0"),
        table.decimal("rated_w", "0"),
        -1 if table.choice("metered", _Side, _Side.SECONDARY) is _Side.PRIMARY else 1,
    )
    table.close()
    return losses


class _Side(Enum):
    """Where the meter is: behind the transformer (losses are added) or before it (taken off)."""

    SECONDARY = "secondary"
    PRIMARY = "primary"


def _demand(
    table: TomlTable,
    name: str,
    calendars: Mapping[str, TariffCalendar],
    rounding: Rounding,
    skip: WhenMissing,
) -> DemandCharge:
    calendar_name, calendar = _calendar_of(table, calendars)
    ratchet = None
    if table.has("ratchet"):
        rule = table.table("ratchet")
        ratchet = Ratchet(rule.decimal("percent"), rule.integer("months"))
        rule.close()
    steps = list(table.tables("tiers"))
    prices = tuple(_prices(step, calendar) for step in steps) if steps else (_prices(table, calendar),)
    return DemandCharge(
        name,
        table.codes("channels", IMPORT_INTERVAL),
        calendar_name,
        prices,
        table.integer("window_s", 0),
        table.choice("window", Window, Window.BLOCK),
        table.choice("measure", Measure, Measure.PER_RATE),
        _up_to(table, steps) if steps else (),
        table.codes("reactive", IMPORT_REACTIVE_INTERVAL)[0] if table.has("reactive") else None,
        table.decimal("minimum", "0"),
        ratchet,
        table.rounding("demand_rounding", UNROUNDED),
        rounding,
        skip,
    )


def _power_factor_table(table: TomlTable) -> PowerFactorTable:
    """``table = "cn-0.90"``, or ``table = {source = "...", rows = [["0", "5"], ["0.9", "0"]]}``."""
    value = table.raw("table")
    nothing = PowerFactorTable("none", "", (Decimal(0),) * 101)
    try:
        if isinstance(value, str):
            return china_table(value.removeprefix("cn-"))
        own = table.table("table")
        rows = own.raw("rows")
        source = own.text("source")
        own.close()
        if not isinstance(rows, list) or any(not isinstance(row, list) or len(row) != 2 for row in rows):
            own.fault("rows are not pairs of power factor and percent")
            return nothing
        pairs = [(own.number(low, "rows"), own.number(percent, "rows")) for low, percent in rows]
        return stepped_table("own", source, pairs)
    except TariffError as error:
        table.fault(str(error))
        return nothing
