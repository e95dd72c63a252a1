"""A number on a bill is followed to the frames, and the frames say that number.

The explain tree is walked down to its evidence; the frames are then decoded with the protocol alone, as
somebody would who does not believe the head-end.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

import pytest

from demo_world import DAYS, DemoRun
from openami.billing.explain import Node
from openami.cli.demo.scenario import FIRST_DAY, ZONE
from openami.protocols.dlms.apdus.apdu import decode_apdu
from openami.protocols.dlms.apdus.descriptors import Attribute
from openami.protocols.dlms.apdus.get import (
    GetRequest,
    GetRequestList,
    GetResponse,
    GetResponseBlock,
    GetResponseList,
    read_results,
)
from openami.protocols.dlms.encoding.axdr import decode_plain
from openami.protocols.dlms.encoding.octets import Reader
from openami.protocols.dlms.encoding.profile_buffer import ProfileDecoder, capture_instants
from openami.protocols.dlms.framing.wrapper import Frame, WrapperDecoder
from openami.quantities.civil_time import CivilDay, zone_of
from openami.quantities.obis import IMPORT_ENERGY, IMPORT_INTERVAL, ObisCode
from openami.readings.evidence import frames_of
from openami.workspace.workspace import Workspace

pytestmark = pytest.mark.xdist_group("demo")

LOAD_PROFILE = ObisCode(1, 0, 99, 1, 0)
FREEZES = ObisCode(1, 0, 99, 2, 0)
CHANGE_OF_CLOCKS = date(2026, 10, 25)
QUARTER = timedelta(minutes=15)

Frames = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True)
class Link:
    """An interval on a bill, and the raw versions that lie below it."""

    start: datetime
    value_wh: int
    status: str
    method: str
    raws: tuple[Node, ...]


def links_of_day(utility: Workspace, usage_point: str, day: date) -> list[Link]:
    """The intervals of a day below the energy lines of the usage point's bill, each once, by time."""
    (bill,) = [one for one in utility.bills.bills() if one.usage_point_id == usage_point]
    found: dict[datetime, Link] = {}
    for line in utility.bills.explain(bill.bill_id).children():
        for determinant in line.children():
            for node in determinant.children():
                if (determinant.kind, node.kind, node.label) == ("determinant", "day", str(day)):
                    below = [_link(interval) for interval in node.children()]
                    assert node.value == sum(link.value_wh for link in below)
                    found |= {link.start: link for link in below}
    return [found[start] for start in sorted(found)]


def _link(interval: Node) -> Link:
    facts = dict(interval.facts)
    (final,) = interval.children()
    assert interval.value is not None
    assert final.value == interval.value
    return Link(
        datetime.fromisoformat(facts["start"]),
        int(interval.value),
        facts["status"],
        facts["method"],
        final.children(),
    )


def wire_value(raw: Node, link: Link) -> int | None:
    """What the frames below a raw version say of the interval; None where they say nothing."""
    (evidence,) = raw.children()
    frames = tuple(
        (node.label.split(" ", 1)[0], bytes.fromhex(dict(node.facts)["octets"]))
        for node in evidence.children()
    )
    return profile_in(frames, LOAD_PROFILE, IMPORT_INTERVAL).get(link.start + QUARTER)


@lru_cache(maxsize=256)
def profile_in(frames: Frames, profile: ObisCode, wanted: ObisCode) -> dict[datetime, int]:
    """One column of a profile by capture instant, from the answers to what the head-end asked."""
    answers = {
        attribute.index: octets for attribute, octets in answered(frames) if attribute.logical_name == profile
    }
    columns = [ObisCode.from_bytes(item[1]) for item in decode_plain(answers[3])]
    found: Counter[datetime] = Counter()
    buffer = ProfileDecoder().decode(answers[2])
    if buffer:
        at = capture_instants(buffer[0], 0)
        for instant, value in zip(at, buffer[columns.index(wanted)].values, strict=True):
            found[instant.astype(datetime).replace(tzinfo=UTC)] += int(value)
    return dict(found)


def answered(frames: Sequence[tuple[str, bytes]]) -> Iterator[tuple[Attribute, bytes]]:
    """Attributes that were got, and what was answered: alone, with list, and in blocks put together."""
    decoders = {"->": WrapperDecoder(), "<-": WrapperDecoder()}
    asked: tuple[Attribute, ...] = ()
    alone, blocks = True, b""
    for direction, octets in frames:
        for frame in decoders[direction].feed(octets):
            assert isinstance(frame, Frame), frame
            apdu = decode_apdu(frame.apdu)
            match apdu:
                case GetRequest():
                    asked, alone, blocks = (apdu.attribute,), True, b""
                case GetRequestList():
                    asked, alone, blocks = tuple(one for one, _ in apdu.attributes), False, b""
                case GetResponse(data=bytes() as data):
                    yield asked[0], data
                case GetResponseList():
                    yield from zip(asked, filter(_is_bytes, apdu.results), strict=True)
                case GetResponseBlock(data=bytes() as data):
                    blocks += data
                    if apdu.last and alone:
                        yield asked[0], blocks
                    elif apdu.last:
                        yield from zip(asked, filter(_is_bytes, read_results(Reader(blocks))), strict=True)


def _is_bytes(result: object) -> bool:
    return isinstance(result, bytes)


def usage_point_of(utility: Workspace, incident: dict[str, str]) -> str:
    return utility.registry.installations(meter_id=incident["meter"])[0].usage_point_id


def test_any_interval_on_a_bill_is_in_the_frames_it_leads_to(demo: DemoRun, utility: Workspace) -> None:
    troubled = {one["meter"] for kind in demo.document["injected"] if kind not in ("daylight_saving",)
                for one in demo.document["injected"][kind]}  # fmt: skip
    calm = [
        installation.usage_point_id
        for installation in utility.registry.installations()
        if installation.meter_id not in troubled
        and utility.registry.usage_point(installation.usage_point_id).kind == "customer"
        and len(utility.registry.meter(installation.meter_id).channels) == 1
    ]
    draw = random.Random("a sample of days")
    for usage_point in draw.sample(calm, 6):
        day = FIRST_DAY + timedelta(days=draw.randrange(DAYS))
        links = links_of_day(utility, usage_point, day)
        assert len(links) == CivilDay(day, ZONE).interval_count(900)
        for link in links:
            (raw,) = link.raws
            assert (link.status, raw.value, wire_value(raw, link)) == ("A", link.value_wh, link.value_wh)


def test_the_day_of_25_hours_has_two_hours_from_two_to_three(demo: DemoRun, utility: Workspace) -> None:
    draw = random.Random("the day of 25 hours")
    (outage, theft) = (demo.document["injected"][kind][0] for kind in ("power_outage", "theft"))
    usage_point = usage_point_of(utility, draw.choice([outage, theft]))
    links = links_of_day(utility, usage_point, CHANGE_OF_CLOCKS)
    assert len(links) == 100
    hours = Counter(link.start.astimezone(zone_of(ZONE)).hour for link in links)
    assert (hours[1], hours[2], hours[3]) == (4, 8, 4)
    for link in links:
        (raw,) = link.raws
        assert (raw.value, wire_value(raw, link)) == (link.value_wh, link.value_wh)


def test_on_the_day_of_an_exchange_both_meters_frames_add_up(demo: DemoRun, utility: Workspace) -> None:
    (incident,) = demo.document["injected"]["meter_exchange"]
    usage_point = usage_point_of(utility, incident)
    old, new = sorted(
        utility.registry.installations(usage_point_id=usage_point), key=lambda one: one.valid_from
    )
    at = new.valid_from
    links = links_of_day(utility, usage_point, date.fromisoformat(incident["day"]))
    assert len(links) == 96
    for link in links:
        said = {raw.label.split()[4].rstrip(","): wire_value(raw, link) for raw in link.raws}
        assert said.keys() == {old.meter_id, new.meter_id}
        if link.start + QUARTER <= at:
            assert said == {old.meter_id: link.value_wh, new.meter_id: None}
        elif link.start >= at:
            assert said == {old.meter_id: None, new.meter_id: link.value_wh}
        else:
            assert link.value_wh == (said[old.meter_id] or 0) + (said[new.meter_id] or 0)


def test_estimated_days_show_their_method_and_add_up_to_the_frozen_register(
    demo: DemoRun, utility: Workspace
) -> None:
    (incident,) = demo.document["injected"]["dead_meter"]
    usage_point, first = usage_point_of(utility, incident), date.fromisoformat(incident["day"])
    methods: Counter[str] = Counter()
    total = 0
    for number in range(3):
        for link in links_of_day(utility, usage_point, first + timedelta(days=number)):
            total += link.value_wh
            if link.status == "A":
                (raw,) = link.raws
                assert (raw.value, wire_value(raw, link)) == (link.value_wh, link.value_wh)
            else:
                assert link.status in ("S14", "S15"), "substituted from like days, scaled to the register"
                methods[link.method] += 1
    assert sum(methods.values()) == 193, "48 hours, and the quarter-hour in which the meter came back"
    assert methods.keys() <= {"retrospective like day", "retrospective average like day"}
    begin, end = CivilDay(first, ZONE).start, CivilDay(first + timedelta(days=2), ZONE).end
    dials = frozen(utility, incident["meter"], end) - frozen(utility, incident["meter"], begin)
    assert total == dials > 0


def test_a_spike_is_in_the_frames_and_not_on_the_bill(demo: DemoRun, utility: Workspace) -> None:
    for incident in demo.document["injected"]["spike"]:
        day = date.fromisoformat(incident["day"])
        links = links_of_day(utility, usage_point_of(utility, incident), day)
        (link,) = [link for link in links if link.status != "A"]
        (raw,) = link.raws
        assert raw.value is not None
        assert raw.value == wire_value(raw, link) >= 30_000, "what the meter said"
        assert link.value_wh < 6_000, "what 24 kW can draw in a quarter of an hour"
        dials = frozen(utility, incident["meter"], CivilDay(day, ZONE).end)
        dials -= frozen(utility, incident["meter"], CivilDay(day, ZONE).start)
        assert sum(link.value_wh for link in links) == dials


def frozen(utility: Workspace, meter_id: str, at: datetime) -> int:
    """The register at a midnight, from the frames of the reading that brought it."""
    (read,) = [
        one
        for one in utility.store.register_reads([meter_id], [IMPORT_ENERGY], at, at)
        if one.kind == "freeze"
    ]
    assert read.evidence_id is not None
    evidence = utility.store.evidence([read.evidence_id])[read.evidence_id]
    value = profile_in(tuple(frames_of(evidence.content)), FREEZES, IMPORT_ENERGY)[at]
    assert value == read.value
    return value
