"""One change: all of it or nothing, every fault told, and the past left as it was known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from fractions import Fraction
from typing import TypedDict

import pytest
import sqlalchemy as sa

from openami.quantities.clock import SimulatedClock
from openami.quantities.errors import RegistryError
from openami.quantities.obis import EXPORT_INTERVAL, IMPORT_INTERVAL
from openami.registry.database import open_database, writing
from openami.registry.entities import (
    Account,
    Agreement,
    Customer,
    Entity,
    Installation,
    Meter,
    Multiplier,
    Recorded,
    Revision,
    TransformerArea,
    UsagePoint,
)
from openami.registry.records import documents
from openami.registry.registry import Registry

START = datetime(2024, 1, 1, tzinfo=UTC)
JUNE = datetime(2024, 6, 1, tzinfo=UTC)
JULY = datetime(2024, 7, 1, tzinfo=UTC)


class Audit(TypedDict):
    actor: str
    why: str


BY: Audit = {"actor": "installer 7", "why": "order 4711"}


def a_meter(meter_id: str) -> Meter:
    channels = (IMPORT_INTERVAL, EXPORT_INTERVAL)
    return Meter(meter_id, "sg2013_single", "127.0.0.1", 4059, 16, "Europe/London", 900, 8, 0, channels)


def a_point(usage_point_id: str, area_id: str | None = "A-1") -> UsagePoint:
    return UsagePoint(usage_point_id, "Europe/London", area_id, "customer", 8_000, "residential")


WORLD: list[Entity] = [
    a_meter("M-1"),
    a_meter("M-2"),
    a_meter("M-3"),
    TransformerArea("A-1", "Mill Lane", 400_000, "UP-A"),
    replace(a_point("UP-A"), kind="area"),
    a_point("UP-1"),
    a_point("UP-2"),
    Customer("C-1", "Ada Lovelace"),
    Account("K-1", "C-1", "GBP"),
    Installation("M-1", "UP-1", START),
    Agreement("G-1", "K-1", "UP-1", "tou", date(2024, 1, 1)),
]


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock(START)


@pytest.fixture
def registry(database_url: str, clock: SimulatedClock) -> Registry:
    return Registry(open_database(database_url), clock)


def test_what_is_recorded_comes_back_also_in_another_process(
    registry: Registry, database_url: str, clock: SimulatedClock
) -> None:
    assert registry.revision == 0
    assert registry.record(WORLD, **BY) == 1
    for reader in (registry, Registry(open_database(database_url), clock)):
        assert reader.revision == 1
        assert reader.meters() == WORLD[:3]
        assert reader.meter("M-2") == WORLD[1]
        assert reader.areas() == [WORLD[3]]
        assert reader.area("A-1") == WORLD[3]
        assert reader.usage_points() == [WORLD[5], WORLD[6], WORLD[4]]
        assert reader.usage_points("A-1") == [WORLD[5], WORLD[6], WORLD[4]]
        assert reader.usage_points("A-2") == []
        assert reader.usage_point("UP-A") == WORLD[4]
        assert reader.customer("C-1") == WORLD[7]
        assert reader.customers() == [WORLD[7]]
        assert reader.account("K-1") == WORLD[8]
        assert reader.accounts() == [WORLD[8]]
        assert reader.installations() == [WORLD[9]]
        assert reader.agreements() == [WORLD[10]]
        assert reader.agreement("G-1") == WORLD[10]
        assert reader.meters(revision=0) == []


def test_every_change_says_who_when_and_why(registry: Registry, clock: SimulatedClock) -> None:
    registry.record(WORLD, **BY)
    clock.advance(timedelta(hours=3))
    registry.record([a_meter("M-4")], actor="clerk 2", why="delivery of May")
    assert registry.revisions() == [
        Revision(1, START, "installer 7", "order 4711"),
        Revision(2, START + timedelta(hours=3), "clerk 2", "delivery of May"),
    ]
    with pytest.raises(RegistryError, match="actor is empty"):
        registry.record([a_meter("M-5")], actor=" ", why="because")
    with pytest.raises(RegistryError, match="why is empty"):
        registry.put_document("tariff", "tou", "x", valid_from=date(2024, 1, 1), actor="clerk 2", why="")
    assert registry.revision == 2


def test_recording_the_same_again_is_no_change(registry: Registry) -> None:
    assert registry.record(WORLD, **BY) == 1
    assert registry.record(WORLD, **BY) == 1
    assert registry.record([], **BY) == 1
    assert len(registry.revisions()) == 1


def test_a_corrected_current_transformer_leaves_the_old_bill_as_it_was(registry: Registry) -> None:
    registry.record(WORLD, **BY)
    wrong = Multiplier("M-1", 200, 5, 10_000, 100, START)
    billed_at = registry.record([wrong], **BY)
    right = replace(wrong, ct_numerator=300)
    corrected_at = registry.record([right], actor="auditor", why="plate reads 300/5")
    assert registry.multiplier("M-1", JUNE) == Fraction(6_000)
    assert registry.multiplier("M-1", JUNE, revision=billed_at) == Fraction(4_000)
    assert registry.multiplier("M-1", JUNE, revision=1) == Fraction(1)
    assert registry.multipliers("M-1") == [right]
    assert registry.multipliers(revision=billed_at) == [wrong]
    assert registry.history(Multiplier, "M-1") == [
        Recorded(wrong, billed_at, corrected_at),
        Recorded(right, corrected_at, None),
    ]


def test_multipliers_hold_from_and_up_to_their_instants(registry: Registry) -> None:
    changed = Multiplier("M-1", 100, 5, 1, 1, START, JUNE), Multiplier("M-1", 2, 3, 1, 1, JULY)
    registry.record([*WORLD, *changed], **BY)
    instants = [START - timedelta(microseconds=1), START, JUNE - timedelta(microseconds=1), JUNE, JULY]
    factors = [registry.multiplier("M-1", at) for at in instants]
    assert factors == [1, 20, 20, 1, Fraction(2, 3)]
    with pytest.raises(RegistryError, match="unknown meter M-9"):
        registry.multiplier("M-9", START)


def test_an_exchange_inside_an_interval_is_one_revision(registry: Registry) -> None:
    registry.record(WORLD, **BY)
    at = datetime(2024, 6, 11, 9, 37, 21, tzinfo=UTC)
    assert registry.exchange_meter("UP-1", a_meter("M-9"), at, **BY) == 2
    old, new = Installation("M-1", "UP-1", START, at), Installation("M-9", "UP-1", at)
    assert registry.installations(usage_point_id="UP-1") == [old, new]
    assert registry.installations(meter_id="M-1") == [old]
    assert registry.installations(meter_id="M-1", usage_point_id="UP-2") == []
    assert registry.installations(usage_point_id="UP-1", revision=1) == [WORLD[9]]
    quarter = at.replace(minute=30, second=0), at.replace(minute=45, second=0)
    assert registry.installations(start=quarter[0], end=quarter[1]) == [old, new]
    assert registry.installations(start=START, end=at) == [old]
    assert registry.installations(start=at, end=at + timedelta(seconds=1)) == [new]
    assert registry.exchange_meter("UP-1", "M-2", JULY, **BY) == 3
    assert [row.meter_id for row in registry.installations(usage_point_id="UP-1")] == ["M-1", "M-9", "M-2"]


IMPOSSIBLE = [
    ("UP-9", "M-2", JUNE, "unknown usage point UP-9"),
    ("UP-2", "M-2", JUNE, r"UP-2: no meter to take down at 2024-06-01T00:00:00Z: there is none"),
    ("UP-1", "M-2", START, r"there is installation of meter M-1 at UP-1 from 2024-01-01T00:00:00Z"),
    ("UP-1", "M-2", START - timedelta(1), "there is none"),
    ("UP-1", "M-9", JUNE, "unknown meter M-9"),
    ("UP-1", "M-3", JUNE, "meter M-3: .* at UP-A .* overlaps .* at UP-1"),
    ("UP-1", "M-2", datetime(2024, 6, 1), "naive instant"),
]


def test_an_impossible_exchange_is_refused_and_the_old_meter_stays(
    registry: Registry, subtests: pytest.Subtests
) -> None:
    registry.record([*WORLD, Installation("M-3", "UP-A", START)], **BY)
    for usage_point_id, meter, at, told in IMPOSSIBLE:
        with subtests.test(told), pytest.raises(RegistryError, match=told):
            registry.exchange_meter(usage_point_id, meter, at, **BY)
    assert registry.revision == 1
    assert registry.installations(usage_point_id="UP-1") == [WORLD[9]]


FAULTS: list[tuple[str, list[Entity], list[str]]] = [
    (
        "installation of a usage point",
        [Installation("M-2", "UP-1", JUNE)],
        [
            "usage point UP-1: installation of meter M-1 at UP-1 from 2024-01-01T00:00:00Z"
            " overlaps installation of meter M-2 at UP-1 from 2024-06-01T00:00:00Z"
        ],
    ),
    (
        "installations of a usage point",
        [Installation("M-2", "UP-1", JUNE, JULY), Installation("M-3", "UP-1", JULY)],
        [
            "usage point UP-1: installation of meter M-1 at UP-1 from 2024-01-01T00:00:00Z overlaps"
            " installation of meter M-2 at UP-1 from 2024-06-01T00:00:00Z to 2024-07-01T00:00:00Z",
            "usage point UP-1: installation of meter M-1 at UP-1 from 2024-01-01T00:00:00Z overlaps"
            " installation of meter M-3 at UP-1 from 2024-07-01T00:00:00Z",
        ],
    ),
    (
        "installations of a meter",
        [Installation("M-1", "UP-2", START - timedelta(1), START + timedelta(microseconds=1))],
        [
            "meter M-1: installation of meter M-1 at UP-2 from 2023-12-31T00:00:00Z to"
            " 2024-01-01T00:00:00.000001Z overlaps installation of meter M-1 at UP-1"
            " from 2024-01-01T00:00:00Z"
        ],
    ),
    (
        "agreements",
        [Agreement("G-2", "K-1", "UP-1", "flat", date(2023, 1, 1), date(2024, 1, 2))],
        [
            "usage point UP-1: agreement G-2 at UP-1 from 2023-01-01 to 2024-01-02"
            " overlaps agreement G-1 at UP-1 from 2024-01-01"
        ],
    ),
    (
        "multipliers",
        [Multiplier("M-1", 1, 1, 1, 1, START, JULY), Multiplier("M-1", 2, 1, 1, 1, JUNE)],
        [
            "meter M-1: multiplier of meter M-1 from 2024-01-01T00:00:00Z to 2024-07-01T00:00:00Z"
            " overlaps multiplier of meter M-1 from 2024-06-01T00:00:00Z"
        ],
    ),
    (
        "references",
        [Account("K-2", "C-9", "GBP"), Agreement("G-2", "K-9", "UP-9", "flat", date(2024, 1, 1))],
        [
            "account K-2: unknown customer C-9",
            "agreement G-2 at UP-9 from 2024-01-01: unknown account K-9",
            "agreement G-2 at UP-9 from 2024-01-01: unknown usage point UP-9",
        ],
    ),
    (
        "area meter made a customer",
        [replace(a_point("UP-A"), kind="customer")],
        ["transformer area A-1: usage point UP-A is of kind customer, not area"],
    ),
    (
        "customer made an area meter",
        [TransformerArea("A-2", "Hill", None, "UP-1")],
        ["transformer area A-2: usage point UP-1 is of kind customer, not area"],
    ),
    (
        "twice",
        [a_meter("M-4"), replace(a_meter("M-4"), digits=6)],
        ["meter M-4: twice in one call, and not the same"],
    ),
    (
        "meter values",
        [
            replace(a_meter("M-4"), interval_s=700, zone="Europe/Lodnon", port=70_000),
            replace(a_meter("M-5"), digits=0, exponent=40, channels=(IMPORT_INTERVAL, IMPORT_INTERVAL)),
            replace(a_meter(" M-6"), model="", logical_device=-1, host="a b"),
        ],
        [
            "meter M-4: port 70000 is not within 0 .. 65535",
            "meter M-4: unknown time zone 'Europe/Lodnon' (expected: an IANA name as Europe/Berlin)",
            "meter M-4: interval_s 700 neither divides an hour nor is a day",
            "meter M-5: digits 0 is not within 1 .. 18",
            "meter M-5: exponent 40 is not within -12 .. 12",
            "meter M-5: a channel twice in 1-0:1.29.0, 1-0:1.29.0",
            "meter  M-6: meter_id ' M-6' is not an identifier (printable, no blanks around it)",
            "meter  M-6: model is empty",
            "meter  M-6: logical_device -1 is not within 0 .. 65535",
        ],
    ),
    (
        "other values",
        [
            Multiplier("M-1", 0, -5, 2**63, 1, JULY, JUNE),
            replace(a_point("UP-3"), capacity_w=0, kind="shop", customer_class=""),  # type: ignore[arg-type]
            Customer("C-2", "nul \x00"),
            Account("K-2", "C-1", "euro"),
        ],
        [
            "multiplier of meter M-1 from 2024-07-01T00:00:00Z to 2024-06-01T00:00:00Z:"
            " valid_to 2024-06-01T00:00:00Z is not after valid_from",
            *(
                "multiplier of meter M-1 from 2024-07-01T00:00:00Z to 2024-06-01T00:00:00Z: "
                f"{name} is not within 1 .. 9223372036854775807"
                for name in ("ct_numerator 0", "ct_denominator -5", "vt_numerator 9223372036854775808")
            ),
            "usage point UP-3: kind 'shop' is neither customer nor area",
            "usage point UP-3: capacity_w 0 is not within 1 .. 9223372036854775807",
            "usage point UP-3: customer_class is empty",
            "customer C-2: name 'nul \\x00' has a character that is no text",
            "account K-2: currency 'euro' is not a code of ISO 4217 as EUR",
        ],
    ),
    (
        "moments",
        [
            replace(a_meter("M-4"), valid_from=datetime(2024, 1, 1)),
            Installation("M-4", "UP-2", datetime(2024, 1, 1)),
            Installation("M-4", "UP-2", START, START),
            Agreement("G-2", "K-1", "UP-2", "flat", START),
        ],
        [
            "meter M-4: valid_from datetime.datetime(2024, 1, 1, 0, 0) is not an instant with a time zone",
            "installation of meter M-4 at UP-2 from 2024-01-01T00:00:00:"
            " valid_from datetime.datetime(2024, 1, 1, 0, 0) is not an instant with a time zone",
            "installation of meter M-4 at UP-2 from 2024-01-01T00:00:00Z to 2024-01-01T00:00:00Z:"
            " valid_to 2024-01-01T00:00:00Z is not after valid_from",
            "agreement G-2 at UP-2 from 2024-01-01T00:00:00Z: valid_from datetime.datetime(2024, 1, 1, 0,"
            " 0, tzinfo=datetime.timezone.utc) is not a civil day",
        ],
    ),
]


def test_all_faults_of_a_call_are_told_and_nothing_of_it_is_stored(
    registry: Registry, subtests: pytest.Subtests
) -> None:
    registry.record(WORLD, **BY)
    for name, entities, faults in FAULTS:
        with subtests.test(name):
            with pytest.raises(RegistryError) as caught:
                registry.record([a_meter("M-8"), *entities], **BY)
            expected = (
                faults if len(faults) == 1 else [f"{len(faults)} faults, nothing was recorded:", *faults]
            )
            assert str(caught.value).split("\n- ") == expected
            assert registry.revision == 1
            assert registry.meters() == WORLD[:3]


def test_neighbours_do_not_overlap(registry: Registry) -> None:
    registry.record(WORLD, **BY)
    registry.record(
        [
            Installation("M-1", "UP-1", START, JUNE),
            Installation("M-2", "UP-1", JUNE, JULY),
            Installation("M-1", "UP-2", JUNE),
            Agreement("G-1", "K-1", "UP-1", "tou", date(2024, 1, 1), date(2024, 3, 31)),
            Agreement("G-2", "K-1", "UP-1", "flat", date(2024, 3, 31)),
        ],
        **BY,
    )
    assert [row.meter_id for row in registry.installations(usage_point_id="UP-1")] == ["M-1", "M-2"]
    march_30 = registry.agreements(
        usage_point_id="UP-1", first_day=date(2024, 3, 30), last_day=date(2024, 3, 31)
    )
    march_31 = registry.agreements(account_id="K-1", first_day=date(2024, 3, 31), last_day=date(2024, 4, 1))
    assert [row.agreement_id for row in march_30] == ["G-1"]
    assert [row.agreement_id for row in march_31] == ["G-2"]
    assert registry.agreements(usage_point_id="UP-1", account_id="K-9") == []


def test_a_description_that_changes_leaves_the_earlier_one_in_force_before(registry: Registry) -> None:
    registry.record([*WORLD, TransformerArea("A-2", "Hill")], **BY)
    switched = replace(a_point("UP-1", "A-2"), valid_from=JUNE)
    registry.record([switched], actor="dispatcher", why="feeder switched over")
    before = JUNE - timedelta(microseconds=1)
    assert registry.usage_point("UP-1", at=before).area_id == "A-1"
    assert registry.usage_point("UP-1", at=JUNE) == switched
    assert registry.usage_point("UP-1") == switched
    assert registry.usage_point("UP-1", revision=1).area_id == "A-1"
    assert [point.usage_point_id for point in registry.usage_points("A-1", at=before)] == [
        "UP-1",
        "UP-2",
        "UP-A",
    ]
    assert [point.usage_point_id for point in registry.usage_points("A-1")] == ["UP-2", "UP-A"]
    assert registry.usage_points("A-2", at=before) == []
    assert registry.usage_points("A-2") == [switched]
    assert [point.valid_from for point in registry.usage_points(at=JULY)] == [
        JUNE,
        WORLD[6].valid_from,
        WORLD[4].valid_from,
    ]


def test_a_thing_that_has_ended_is_not_in_force_afterwards(registry: Registry) -> None:
    scrapped = replace(a_meter("M-3"), valid_to=JUNE)
    registry.record([*WORLD[:2], scrapped], **BY)
    assert [meter.meter_id for meter in registry.meters(at=JUNE)] == ["M-1", "M-2"]
    assert registry.meter("M-3", at=JUNE - timedelta(microseconds=1)) == scrapped
    assert registry.meter("M-3") == scrapped
    with pytest.raises(RegistryError, match="meter M-3 is not in force at 2024-06-01T00:00:00Z"):
        registry.meter("M-3", at=JUNE)


def test_what_never_was_so_is_withdrawn_and_still_seen_as_it_was_known(registry: Registry) -> None:
    registry.record(WORLD, **BY)
    moved = replace(WORLD[9], valid_from=JUNE)
    registry.record([moved], withdraw=[WORLD[9]], actor="clerk", why="the date was June")
    assert registry.installations() == [moved]
    assert registry.installations(revision=1) == [WORLD[9]]
    with pytest.raises(RegistryError, match="cannot be withdrawn, it does not stand"):
        registry.record([], withdraw=[WORLD[9]], **BY)
    with pytest.raises(RegistryError, match="recorded and withdrawn in one call"):
        registry.record([moved], withdraw=[moved], **BY)


def test_nothing_that_others_refer_to_can_be_withdrawn(registry: Registry) -> None:
    registry.record([*WORLD, Multiplier("M-1", 2, 1, 1, 1, START)], **BY)
    with pytest.raises(RegistryError) as caught:
        registry.record([], withdraw=[WORLD[0], WORLD[7]], **BY)
    assert str(caught.value).split("\n- ")[1:] == [
        "multiplier of meter M-1 from 2024-01-01T00:00:00Z: unknown meter M-1",
        "installation of meter M-1 at UP-1 from 2024-01-01T00:00:00Z: unknown meter M-1",
        "account K-1: unknown customer C-1",
    ]
    registry.record([], withdraw=[WORLD[1]], **BY)
    assert [meter.meter_id for meter in registry.meters()] == ["M-1", "M-3"]


def test_instants_of_any_zone_are_the_same_instant(registry: Registry) -> None:
    shanghai = timezone(timedelta(hours=8))
    registry.record(WORLD, **BY)
    again = replace(WORLD[9], valid_from=START.astimezone(shanghai))
    assert registry.record([again], **BY) == 1
    registry.exchange_meter("UP-1", "M-2", JUNE.astimezone(shanghai), **BY)
    for row in registry.installations(usage_point_id="UP-1"):
        assert row.valid_from.utcoffset() == timedelta(0)


NOT_THERE: list[tuple[Callable[[Registry], object], str]] = [
    (lambda registry: registry.meter("M-9"), "registry revision 1: unknown meter M-9"),
    (lambda registry: registry.meter("M-1", revision=0), "registry revision 0: unknown meter M-1"),
    (lambda registry: registry.meter("M-1", revision=2), r"no registry revision 2 \(expected: 0 .. 1\)"),
    (lambda registry: registry.meters(revision=-1), "no registry revision -1"),
    (lambda registry: registry.usage_point("UP-9"), "unknown usage point UP-9"),
    (lambda registry: registry.area("A-9"), "unknown transformer area A-9"),
    (lambda registry: registry.customer("C-9"), "unknown customer C-9"),
    (lambda registry: registry.account("K-9"), "unknown account K-9"),
    (lambda registry: registry.agreement("G-9"), "unknown agreement G-9"),
]


def test_what_is_not_there_is_named(registry: Registry, subtests: pytest.Subtests) -> None:
    registry.record(WORLD, **BY)
    for read, told in NOT_THERE:
        with subtests.test(told), pytest.raises(RegistryError, match=told):
            read(registry)


def test_a_document_is_in_force_from_its_day_until_the_next_version(registry: Registry) -> None:
    for text, first_day in (("price = 1", date(2024, 1, 1)), ("price = 2", date(2024, 7, 1))):
        registry.put_document("tariff", "tou", text, valid_from=first_day, **BY)
    registry.put_document("rule_pack", "tou", "spike = 3", valid_from=date(2024, 1, 1), **BY)
    june = registry.document("tariff", "tou", on=date(2024, 6, 30))
    july = registry.document("tariff", "tou", on=date(2024, 7, 1))
    assert (june.version, june.text, june.revision) == (1, "price = 1", 1)
    assert (july.version, july.text, july.revision) == (2, "price = 2", 2)
    # sha256sum of the nine bytes "price = 1", by coreutils
    assert june.sha256 == "f0eb85a1f10fcb1abd7cf0c1988c82fb010807c5ff82fdd0fcf474f483114ca8"
    assert registry.documents("tariff") == [june, july]
    assert [pack.text for pack in registry.documents("rule_pack", "tou")] == ["spike = 3"]
    assert registry.documents("calendar") == []
    with pytest.raises(RegistryError, match="no tariff tou is in force on 2023-12-31"):
        registry.document("tariff", "tou", on=date(2023, 12, 31))
    with pytest.raises(RegistryError, match="no calendar tou is in force"):
        registry.document("calendar", "tou", on=date(2024, 7, 1))


def test_a_corrected_tariff_leaves_the_old_bill_as_it_was(registry: Registry) -> None:
    day = date(2024, 1, 1)
    assert registry.put_document("tariff", "tou", "price = 1", valid_from=day, **BY) == 1
    assert registry.put_document("tariff", "tou", "price = 1", valid_from=day, **BY) == 1
    assert registry.put_document("tariff", "tou", "price = 2", valid_from=day, **BY) == 2
    assert registry.document("tariff", "tou", on=day, revision=1).text == "price = 1"
    newest = registry.document("tariff", "tou", on=day)
    assert (newest.version, newest.text) == (2, "price = 2")
    assert registry.documents("tariff", revision=1) == [
        registry.document("tariff", "tou", on=day, revision=1)
    ]
    assert registry.withdraw_document("tariff", "tou", valid_from=day, **BY) == 3
    assert registry.documents("tariff") == []
    assert registry.document("tariff", "tou", on=day, revision=2) == newest
    with pytest.raises(RegistryError, match="there is no tariff tou from 2024-01-01"):
        registry.withdraw_document("tariff", "tou", valid_from=day, **BY)
    assert registry.revision == 3
    assert registry.put_document("tariff", "tou", "price = 1", valid_from=day, **BY) == 4
    assert registry.document("tariff", "tou", on=day).version == 3


def test_faults_of_a_document_are_told_together(registry: Registry) -> None:
    with pytest.raises(RegistryError) as caught:
        registry.put_document("poem", "", "\ud800", valid_from=START, **BY)  # type: ignore[arg-type]
    assert str(caught.value).split("\n- ")[1:] == [
        "documents of kind 'poem' are not kept, only tariff, rule_pack, calendar",
        "document_id '' is not an identifier (printable, no blanks around it)",
        "valid_from datetime.datetime(2024, 1, 1, 0, 0, tzinfo=datetime.timezone.utc) is not a civil day",
        "text '\\ud800' has a character that is no text",
    ]
    assert registry.revision == 0


def test_a_document_whose_text_was_tampered_with_is_not_given_out(
    registry: Registry, database_url: str
) -> None:
    registry.put_document("tariff", "tou", "price = 1", valid_from=date(2024, 1, 1), **BY)
    engine = open_database(database_url)
    drop = "DROP TRIGGER documents_no_update" + (
        " ON documents" if engine.dialect.name == "postgresql" else ""
    )
    with writing(engine) as connection:
        connection.exec_driver_sql(drop)
        connection.execute(sa.update(documents).values(text="price = 0"))
    with pytest.raises(RegistryError, match=r"tariff tou, version 1: .* SHA-256 differs"):
        registry.document("tariff", "tou", on=date(2024, 1, 1))
