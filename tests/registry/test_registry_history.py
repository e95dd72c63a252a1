"""Whatever is recorded, corrected and withdrawn: every revision is seen for ever as it was known then.

The model keeps a full copy of everything at every revision and answers by looking at all of it; the registry
keeps superseded rows, indexes and derived snapshots. Both must refuse the same changes and give the same
answers, the registry that made the changes as well as one that finds the database later.
"""

from __future__ import annotations

from collections.abc import Hashable
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from itertools import combinations, count, product
from typing import Any, TypeAlias

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openami.quantities.clock import SimulatedClock
from openami.quantities.errors import RegistryError
from openami.quantities.obis import IMPORT_INTERVAL
from openami.registry.database import open_database
from openami.registry.entities import (
    BEGINNING,
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
from openami.registry.registry import Registry

KEYS: dict[type, tuple[str, ...]] = {
    Meter: ("meter_id", "valid_from"),
    UsagePoint: ("usage_point_id", "valid_from"),
    TransformerArea: ("area_id", "valid_from"),
    Customer: ("customer_id", "valid_from"),
    Account: ("account_id", "valid_from"),
    Installation: ("meter_id", "usage_point_id", "valid_from"),
    Multiplier: ("meter_id", "valid_from"),
    Agreement: ("agreement_id",),
}
REFERENCES = [
    (Multiplier, "meter_id", Meter),
    (Installation, "meter_id", Meter),
    (Installation, "usage_point_id", UsagePoint),
    (UsagePoint, "area_id", TransformerArea),
    (TransformerArea, "meter_usage_point_id", UsagePoint),
    (Account, "customer_id", Customer),
    (Agreement, "account_id", Account),
    (Agreement, "usage_point_id", UsagePoint),
]
EXCLUSIVE = [
    (Installation, "meter_id"),
    (Installation, "usage_point_id"),
    (Multiplier, "meter_id"),
    (Agreement, "usage_point_id"),
]
INSTANTS = [datetime(2024, 1, 1, 12, 7, tzinfo=UTC) + timedelta(days=n) for n in range(5)]
DAYS = [instant.date() for instant in INSTANTS]

State: TypeAlias = dict[tuple[type, Hashable], Any]

metres, points, areas = ("M-0", "M-1", "M-2"), ("U-0", "U-1", "U-2"), ("A-0", "A-1")
begin = st.sampled_from([BEGINNING, *INSTANTS[1:3]])
span = st.tuples(st.sampled_from(INSTANTS), st.none() | st.sampled_from(INSTANTS))
day_span = st.tuples(st.sampled_from(DAYS), st.none() | st.sampled_from(DAYS))
rows: st.SearchStrategy[Entity] = st.one_of(
    st.builds(
        lambda i, digits, since: Meter(i, "m", "", 0, 1, "UTC", 900, digits, 0, (IMPORT_INTERVAL,), since),
        st.sampled_from(metres),
        st.sampled_from([6, 8]),
        begin,
    ),
    st.builds(
        lambda i, area, kind, since: UsagePoint(i, "UTC", area, kind, None, "x", since),
        st.sampled_from(points),
        st.none() | st.sampled_from(areas),
        st.sampled_from(["customer", "customer", "area"]),
        begin,
    ),
    st.builds(
        lambda i, point, since: TransformerArea(i, "a", None, point, since),
        st.sampled_from(areas),
        st.none() | st.sampled_from(points),
        begin,
    ),
    st.builds(lambda m, u, v: Installation(m, u, *v), st.sampled_from(metres), st.sampled_from(points), span),
    st.builds(
        lambda m, n, v: Multiplier(m, n, 5, 1, 1, *v), st.sampled_from(metres), st.integers(1, 3), span
    ),
    st.builds(
        lambda g, u, v: Agreement(g, "K-0", u, "flat", *v),
        st.sampled_from(["G-0", "G-1", "G-2"]),
        st.sampled_from(points),
        day_span,
    ),
)
# a change: rows to record, and which of the standing rows to withdraw (by place, modulo their number)
changes = st.lists(
    st.tuples(st.lists(rows, max_size=4), st.lists(st.integers(0, 99), max_size=1)), min_size=1, max_size=10
)


def renamed(entity: Entity, prefix: str) -> Entity:
    """The same row in a registry of its own within the one database."""
    names = {
        name: prefix + value
        for name in type(entity).__dataclass_fields__
        if name.endswith("_id") and (value := getattr(entity, name)) is not None
    }
    kept = {name: getattr(entity, name) for name in type(entity).__dataclass_fields__}
    return type(entity)(**{**kept, **names})


def key(entity: Entity) -> tuple[type, Hashable]:
    return type(entity), tuple(getattr(entity, name) for name in KEYS[type(entity)])


def overlap(one: Any, other: Any) -> bool:
    ends = [row.valid_to or type(row.valid_from).max for row in (one, other)]
    ends = [end.replace(tzinfo=UTC) if isinstance(end, datetime) else end for end in ends]
    return bool(one.valid_from < ends[1] and other.valid_from < ends[0])


def of(state: State, kind: type) -> list[Any]:
    return [row for (rows_kind, _), row in state.items() if rows_kind is kind]


def consistent(state: State) -> bool:
    for row in state.values():
        if row.valid_to is not None and row.valid_to <= row.valid_from:
            return False
    for kind, name, target in REFERENCES:
        known = {getattr(row, KEYS[target][0]) for row in of(state, target)} | {None}
        if any(getattr(row, name) not in known for row in of(state, kind)):
            return False
    for kind, name in EXCLUSIVE:
        for one, other in combinations(of(state, kind), 2):
            if getattr(one, name) == getattr(other, name) and overlap(one, other):
                return False
    kinds = [(point.usage_point_id, point.kind) for point in of(state, UsagePoint)]
    return all((area.meter_usage_point_id, "customer") not in kinds for area in of(state, TransformerArea))


def changed(state: State, entities: list[Entity], withdrawn: list[Entity]) -> State | None:
    """The state after a change, or None where it must be refused."""
    wanted: State = {}
    for entity in entities:
        if wanted.setdefault(key(entity), entity) != entity:
            return None
    if any(key(entity) in wanted for entity in withdrawn):
        return None
    gone = {key(entity) for entity in withdrawn}
    after = {place: row for place, row in {**state, **wanted}.items() if place not in gone}
    return after if consistent(after) else None


def latest(state: State, kind: type, at: datetime | None) -> dict[str, Any]:
    """The version of each thing in force at an instant (None: the last), by id."""
    found: dict[str, Any] = {}
    for row in sorted(of(state, kind), key=lambda row: row.valid_from):
        if at is None or row.valid_from <= at:
            found[getattr(row, KEYS[kind][0])] = row
    return dict(sorted(found.items()))


def by_point(found: list[Any]) -> list[Any]:
    return sorted(found, key=lambda row: (row.usage_point_id, row.valid_from))


def agree(registry: Registry, revision: int, state: State, prefix: str) -> None:
    """Every answer of the registry about this revision is the model's."""
    for at in (None, *INSTANTS):
        for kind, read in ((Meter, registry.meters), (TransformerArea, registry.areas)):
            mine = [row for row in read(at=at, revision=revision) if str(row).find(prefix) > 0]
            assert mine == list(latest(state, kind, at).values())
        seen = latest(state, UsagePoint, at)
        for area in areas:
            expected = [point for point in seen.values() if point.area_id == prefix + area]
            assert registry.usage_points(prefix + area, at=at, revision=revision) == expected
    for meter, at in product(latest(state, Meter, None), INSTANTS):
        factor = [
            Fraction(row.ct_numerator, 5)
            for row in of(state, Multiplier)
            if row.meter_id == meter and overlap(row, Installation("", "", at, at + timedelta.resolution))
        ]
        assert registry.multiplier(meter, at, revision=revision) == (factor or [Fraction(1)])[0]
    windows = [(None, None), *combinations(INSTANTS, 2)]
    for (start, end), meter, point in product(windows, metres, points):
        window = Installation("", "", start or BEGINNING, end)
        expected = [row for row in of(state, Installation) if overlap(row, window)]
        ask: dict[str, Any] = {"start": start, "end": end, "revision": revision}
        assert registry.installations(meter_id=prefix + meter, **ask) == by_point(
            [row for row in expected if row.meter_id == prefix + meter]
        )
        assert registry.installations(usage_point_id=prefix + point, **ask) == by_point(
            [row for row in expected if row.usage_point_id == prefix + point]
        )
    for first_day, last_day in [(None, None), *combinations(DAYS, 2)]:
        days = Agreement("", "", "", "", first_day or date.min, last_day)
        expected = by_point([row for row in of(state, Agreement) if overlap(row, days)])
        ask = {"first_day": first_day, "last_day": last_day, "revision": revision}
        assert registry.agreements(account_id=f"{prefix}K-0", **ask) == expected


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def _history_is_the_models(url: str, numbers: count[int], data: st.DataObject) -> None:
    prefix = f"x{next(numbers)}-"
    clock = SimulatedClock(INSTANTS[0])
    engine = open_database(url)
    registry = Registry(engine, clock)
    world: list[Entity] = [
        *(Meter(name, "m", "", 0, 1, "UTC", 900, 8, 0, (IMPORT_INTERVAL,)) for name in metres),
        *(UsagePoint(name, "UTC", None, "customer", None, "x") for name in points),
        TransformerArea("A-0", "a"),
        Customer("C-0", "c"),
        Account("K-0", "C-0", "EUR"),
    ]
    past: list[tuple[int, State]] = []
    state: State = {}
    for entities, places in [(world, []), *data.draw(changes)]:
        recorded = [renamed(entity, prefix) for entity in entities]
        standing = sorted(state.values(), key=str)
        withdrawn = [standing[place % len(standing)] for place in places]
        expected = changed(state, recorded, withdrawn)
        newest = registry.revision
        if expected is None:
            try:
                registry.record(recorded, withdraw=withdrawn, actor="a", why="w")
            except RegistryError:
                assert registry.revision == newest
            else:
                raise AssertionError(f"must be refused: {recorded}, withdrawn {withdrawn}, on {standing}")
        else:
            revision = registry.record(recorded, withdraw=withdrawn, actor="a", why="w")
            assert revision == (newest if expected == state else newest + 1)
            state = expected
            past.append((revision, state))
        clock.advance(timedelta(minutes=1))
    for revision, known in past:
        agree(registry, revision, known, prefix)
    late = Registry(engine, clock)
    for revision, known in data.draw(st.permutations(past)):
        agree(late, revision, known, prefix)
    engine.dispose()


def test_a_correction_does_not_change_what_is_seen_at_an_old_revision(database_url: str) -> None:
    _history_is_the_models(database_url, count())
