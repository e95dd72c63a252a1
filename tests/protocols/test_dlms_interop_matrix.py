"""Two clients nobody here wrote read the meter in every cell of framing, authentication and protection.

Reference: the plan of eleven steps; here steps 1 to 7 (link, association, view, every attribute, profiles,
lists, methods). A cell that a client does not have is skipped by name. Every value is compared with the
meter's own objects.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, NamedTuple

import pytest

from dlms_interop_world import (
    DEVICE,
    HASHED,
    HIGH,
    LOW,
    PASSWORD,
    PLAIN,
    PYTHON,
    START,
    InteropMeter,
    all_right,
    as_json,
    failed,
    peer_steps,
    plan_of,
    served,
    software_meter,
)
from openami.protocols.dlms.apdus.authentication import Mechanism
from openami.protocols.dlms.apdus.descriptors import by_entry
from openami.protocols.dlms.encoding.axdr import decode_plain
from openami.protocols.dlms.framing.hdlc_frame import FrameKind, HdlcDecoder, HdlcFrame
from openami.protocols.dlms.framing.hdlc_parameters import HdlcParameters
from openami.protocols.dlms.framing.wrapper import Frame, WrapperDecoder
from openami.protocols.dlms.interface_classes.interface_object import Access
from openami.protocols.dlms.protection.ciphered_apdu import CIPHERED_TAGS, GENERAL_GLO, CipheredApdu
from openami.protocols.dlms.protection.security_control import AUTHENTICATED_ENCRYPTION, Protection

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(not PYTHON.exists(), reason="no environment of peers (.venv-peers)"),
]

LOAD_PROFILE = "1.0.99.1.0.255"
COUNTER = "0.0.43.1.0.255"
RANGES = {
    "day": ("2026-03-02T00:15:00+01:00", "2026-03-03T00:00:00+01:00"),
    "one": ("2026-03-02T10:00:00+01:00", "2026-03-02T10:00:00+01:00"),
    "between": ("2026-03-02T10:01:00+01:00", "2026-03-02T10:14:00+01:00"),
    "reversed": ("2026-03-03T00:00:00+01:00", "2026-03-02T00:00:00+01:00"),
    "outside": ("2020-03-02T00:00:00+01:00", "2020-03-03T00:00:00+01:00"),
}
ENTRIES = {
    "four": (3, 4, None),
    "to the last": (1, 0, None),
    "columns 2 to 3": (2, 5, [2, 3]),
    "behind the last": (5000, 4, None),
}
LIST = [
    (1, "0.0.96.1.0.255", 2), (3, "1.0.1.8.0.255", 2), (3, "1.0.1.8.0.255", 3), (4, "1.0.1.6.0.255", 2),
    (1, "0.0.42.0.0.255", 2), (70, "0.0.96.3.10.255", 4), (7, LOAD_PROFILE, 4), (7, LOAD_PROFILE, 8),
    (8, "0.0.1.0.0.255", 9), (1, "1.0.0.2.0.255", 2),
]  # fmt: skip
NOT_THERE = (3, "1.0.9.9.9.255", 2)


class Cell(NamedTuple):
    """Framing, how the client proves who it is, and how its services are protected."""

    framing: str
    access: str
    client: int
    mechanism: Mechanism
    protection: Protection
    general: bool = False


def cells() -> list[Cell]:
    """The whole matrix."""
    found = []
    for framing in ("wrapper", "hdlc"):
        found.append(Cell(framing, "none", PLAIN, Mechanism.NONE, Protection.NONE))
        found.append(Cell(framing, "low", LOW, Mechanism.LOW, Protection.NONE))
        for protection, client in HIGH.items():
            name = f"high-5-{int(protection):02x}"
            found.append(Cell(framing, name, client, Mechanism.HIGH_GMAC, protection))
        client = HIGH[AUTHENTICATED_ENCRYPTION]
        found.append(
            Cell(framing, "general-glo", client, Mechanism.HIGH_GMAC, AUTHENTICATED_ENCRYPTION, general=True)
        )
    return found


CELLS = cells()
COUNTERS = itertools.count(10_000, 10_000)
"""Invocation counters of the peers: each run begins above everything of the runs before."""


@pytest.fixture(scope="module")
def meter() -> InteropMeter:
    return software_meter()


@pytest.fixture
async def served_meter(meter: InteropMeter) -> AsyncIterator[tuple[InteropMeter, list[bytes]]]:
    seen: list[bytes] = []
    async with served(meter, seen=seen):
        yield meter, seen


def cell_plan(meter: InteropMeter, cell: Cell, steps: list[str], **more: Any) -> dict[str, Any]:
    if cell.general:
        more["proposed"] = ["GENERAL_PROTECTION"]
    return plan_of(
        meter, cell.framing, cell.client, steps, mechanism=cell.mechanism, protection=cell.protection,
        counter=next(COUNTERS), **more,
    )  # fmt: skip


def rows(meter: InteropMeter, first: int = 1, last: int = 0) -> Any:
    """Rows of the load profile as the object gives them."""
    return as_json(decode_plain(meter.item("1-0:99.1.0").read(2, by_entry(first, last))))


def apdus_of(framing: str, seen: list[bytes]) -> list[bytes]:
    """The APDUs that a client sent."""
    if framing == "wrapper":
        events: list[Any] = [event for data in seen for event in WrapperDecoder().feed(data)]
        return [event.apdu for event in events if isinstance(event, Frame)]
    decoder = HdlcDecoder()
    frames = [event for data in seen for event in decoder.feed(data)]
    return [
        frame.information[3:]
        for frame in frames
        if isinstance(frame, HdlcFrame) and frame.kind is FrameKind.I and frame.information[:1] == b"\xe6"
    ]


def assert_protected_as_agreed(cell: Cell, seen: list[bytes]) -> None:
    """What the client sent behind its AARQ was protected as the cell says, and nothing less."""
    services = [apdu for apdu in apdus_of(cell.framing, seen) if apdu[0] not in (0x60, 0x62)]
    assert len(services) > 3
    if not cell.protection:
        assert not [apdu for apdu in services if apdu[0] in CIPHERED_TAGS]
        return
    opened = [CipheredApdu.from_bytes(apdu) for apdu in services]
    assert {one.header.level for one in opened} == {cell.protection}


def ranges_expected(meter: InteropMeter) -> dict[str, Any]:
    return {
        "day": rows(meter, 1, 96),
        "one": rows(meter, 40, 40),
        "between": [],
        "reversed": [],
        "outside": [],
    }


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell.framing}-{cell.access}")
async def test_gurux_reads_everything_value_for_value(
    cell: Cell, served_meter: tuple[InteropMeter, list[bytes]]
) -> None:
    meter, seen = served_meter
    truth = meter.truth()
    steps = [
        "link", "associate", "view", "everything", "ranges", "entries", "list_get", "relay", "clock",
        "release",
    ]  # fmt: skip
    arguments = {"profile": LOAD_PROFILE, "ranges": RANGES, "entries": ENTRIES, "list": LIST}
    found = all_right(
        await peer_steps("gurux_steps.py", cell_plan(meter, cell, steps, arguments=arguments)), steps
    )
    assert_view(found["view"], meter, cell)
    # The library gives None where an array has no elements.
    for name, values in truth.items():
        if name != COUNTER:
            theirs = found["everything"][name]
            empty = {index for index, value in values.items() if value == []}
            assert all(theirs.pop(index, "left out") is None for index in empty), name
            assert theirs == {index: value for index, value in values.items() if index not in empty}, name
    assert {name: found["ranges"][name] or [] for name in RANGES} == ranges_expected(meter)
    assert found["entries"]["four"] == rows(meter, 3, 6)
    assert found["entries"]["to the last"] == rows(meter)
    # Asked for columns 2 to 3 the library sends "from 2 to 2": the answer is what was sent for.
    assert found["entries"]["columns 2 to 3"] == [row[1:2] for row in rows(meter, 2, 6)]
    assert not found["entries"]["behind the last"]
    assert found["list_get"] == [truth[name][str(index)] for _, name, index in LIST]
    assert found["relay"] == [[False, 0], [True, 1]]
    assert found["clock"][1][:12] + found["clock"][1][14:16] == found["clock"][0][:12] + "00"
    assert int(found["clock"][1][12:14], 16) % 15 == 0, "adjusted to a quarter of an hour"
    assert_protected_as_agreed(cell, seen)


def assert_view(view: dict[str, Any], meter: InteropMeter, cell: Cell) -> None:
    """Class, version, access of attributes and methods, as the objects have them.

    Where the client has to be authenticated the list says so: 4 to 6 for the 1 to 3 of attributes, 2 for
    the 1 of methods. A logical name is read by everybody.
    """
    authenticated = bool(cell.protection & Protection.AUTHENTICATED)
    assert set(view) == {*(item.logical_name.dotted for item in meter.device), "0.0.40.0.0.255"}
    for item in meter.device:
        class_id, version, attributes, methods = view[item.logical_name.dotted]
        assert (class_id, version) == (item.class_id, item.version)
        rules = {
            str(rule.index): int(rule.access)
            + 3 * (authenticated and rule.access is not Access.NONE and rule.index > 1)
            for rule in item.attribute_rules()
        }
        assert {index: attributes[index] for index in rules} == rules, item.logical_name
        # The library knows no method of class 4, and takes a method that is not listed for one it may call.
        callable_ = 1 + authenticated
        assert all(methods.get(str(index), callable_) == callable_ for index in item.method_rules()), (
            item.logical_name
        )


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell.framing}-{cell.access}")
async def test_dlms_cosem_reads_and_acts_octet_for_octet(
    cell: Cell, served_meter: tuple[InteropMeter, list[bytes]]
) -> None:
    skip_what_dlms_cosem_has_not(cell)
    meter, seen = served_meter
    jobs = [
        (item.class_id, item.logical_name.dotted, rule.index)
        for item in meter.device
        for rule in item.attribute_rules()
        if item.logical_name.dotted != COUNTER
    ]
    if cell.framing == "hdlc" and cell.protection:
        jobs = jobs[::4]  # see `lost_a_frame`: a run of all of them seldom gets through
    steps = ["link", "associate", "values", "ranges", "list_get", "relay", "release"]
    arguments = {
        "jobs": jobs, "profile": LOAD_PROFILE, "ranges": RANGES, "list": LIST, "relay": "0.0.96.3.10.255",
    }  # fmt: skip
    truth = [meter.item(name).read(index).hex() for _, name, index in jobs]
    profile = meter.item("1-0:99.1.0")
    for _ in range(8):
        seen.clear()
        found = await peer_steps("dlms_cosem_steps.py", cell_plan(meter, cell, steps, arguments=arguments))
        if not (cell.framing == "hdlc" and cell.protection and lost_a_frame(found)):
            break
    all_right(found, steps)
    assert found["values"] == truth
    assert found["ranges"]["day"] == profile.read(2, by_entry(1, 96)).hex()
    assert found["ranges"]["one"] == profile.read(2, by_entry(40, 40)).hex()
    assert {found["ranges"][name] for name in ("between", "reversed", "outside")} == {"0100"}
    plain = meter.truth()
    assert found["list_get"] == [plain[name][str(index)] for _, name, index in LIST]
    assert found["relay"] == ["0300", "0301"]
    if cell.protection:
        services = [apdu for apdu in apdus_of(cell.framing, seen) if apdu[0] not in (0x60, 0x62)]
        assert {apdu[0] for apdu in services} == {GENERAL_GLO}


def skip_what_dlms_cosem_has_not(cell: Cell) -> None:
    """Cells that the library has no code for."""
    if cell.access == "low":
        pytest.skip("dlms-cosem 21.3.2 knows no low level security")
    if cell.mechanism is Mechanism.HIGH_GMAC and not cell.general:
        pytest.skip("dlms-cosem 21.3.2 knows high level security with general-glo and control 30 alone")


def lost_a_frame(found: dict[str, Any]) -> bool:
    """True where the library waits for more although the frame is whole.

    It ends a frame at the first 7E, also where that stands in the checks (its issue 97). Plain answers are
    the same in each run; ciphered ones are not, so such a run is done again.
    """
    flat = [*found.values(), *(found.get("values") or [])]
    return any(failed(result) and "timed out" in str(result) for result in flat)


@pytest.mark.parametrize(("information", "window"), [(128, 1), (2030, 1)])
async def test_hdlc_parameters_are_the_lesser_of_both_and_long_answers_come_in_segments(
    information: int, window: int, served_meter: tuple[InteropMeter, list[bytes]]
) -> None:
    meter, _ = served_meter
    cell = Cell("hdlc", "low", LOW, Mechanism.LOW, Protection.NONE)
    steps = ["link", "associate", "view", "entries", "release"]
    arguments = {"profile": LOAD_PROFILE, "entries": ENTRIES}
    plan = cell_plan(meter, cell, steps, information=information, window=window, arguments=arguments)
    found = all_right(await peer_steps("gurux_steps.py", plan), steps)
    assert found["link"] == {"information": [information] * 2, "window": [window] * 2}
    assert_view(found["view"], meter, cell)
    assert found["entries"]["to the last"] == rows(meter)


@pytest.mark.parametrize(("information", "window"), [(128, 7), (2030, 7)])
async def test_a_window_of_seven_is_agreed_on_and_short_answers_come(
    information: int, window: int, served_meter: tuple[InteropMeter, list[bytes]]
) -> None:
    """Not more: gurux wants the F bit on every frame of a window, dlms-cosem proposes no window at all."""
    meter, _ = served_meter
    cell = Cell("hdlc", "low", LOW, Mechanism.LOW, Protection.NONE)
    steps = ["link", "associate", "ranges", "release"]
    arguments = {"profile": LOAD_PROFILE, "ranges": {"one": RANGES["one"]}}
    plan = cell_plan(meter, cell, steps, information=information, window=window, arguments=arguments)
    found = all_right(await peer_steps("gurux_steps.py", plan), steps)
    assert found["link"] == {"information": [information] * 2, "window": [window] * 2}
    assert found["ranges"]["one"] == rows(meter, 40, 40)


async def test_a_meter_of_short_frames_makes_the_client_use_them(meter: InteropMeter) -> None:
    async with served(meter, parameters=HdlcParameters.of(160, 3)):
        cell = Cell("hdlc", "low", LOW, Mechanism.LOW, Protection.NONE)
        steps = ["link", "associate", "entries", "release"]
        arguments = {"profile": LOAD_PROFILE, "entries": ENTRIES}
        plan = cell_plan(meter, cell, steps, information=2030, window=1, arguments=arguments)
        found = all_right(await peer_steps("gurux_steps.py", plan), steps)
    assert found["link"] == {"information": [160, 160], "window": [1, 1]}
    assert found["entries"]["to the last"] == rows(meter)


@pytest.mark.parametrize("framing", ["wrapper", "hdlc"])
@pytest.mark.parametrize("access", ["low", "high-5-30"])
async def test_a_profile_of_1440_rows_comes_in_blocks_of_128_octets(framing: str, access: str) -> None:
    meter = software_meter()
    meter.clock.advance(datetime(2026, 3, 16, 23, 37, tzinfo=START.tzinfo) - meter.clock.now())
    cell = next(one for one in CELLS if (one.framing, one.access) == (framing, access))
    steps = ["link", "associate", "entries", "ranges", "traffic", "release"]
    span = {"fifteen days": (RANGES["day"][0], "2026-03-17T00:00:00+01:00")}
    arguments = {"profile": LOAD_PROFILE, "entries": {"all": (1, 0, None)}, "ranges": span}
    async with served(meter):
        plan = cell_plan(meter, cell, steps, pdu=128, arguments=arguments)
        found = all_right(await peer_steps("gurux_steps.py", plan), steps)
    expected = rows(meter)
    assert len(expected) >= 1440
    assert found["entries"]["all"] == expected
    assert found["ranges"]["fifteen days"] == expected[:1440]
    assert found["traffic"] > 500, "requests for blocks"


@pytest.mark.parametrize("framing", ["wrapper", "hdlc"])
async def test_one_refused_attribute_of_a_list_leaves_the_others_to_be_answered(
    framing: str, served_meter: tuple[InteropMeter, list[bytes]]
) -> None:
    meter, _ = served_meter
    cell = Cell(framing, "none", PLAIN, Mechanism.NONE, Protection.NONE)
    steps = ["link", "associate", "list_get", "release"]
    arguments = {"list": [*LIST[:3], NOT_THERE, *LIST[3:]]}
    gurux = await peer_steps("gurux_steps.py", cell_plan(meter, cell, steps, arguments=arguments))
    # The library gives up at the first item that was refused, and says why: 4, object undefined.
    assert gurux["list_get"] == {"error": "ValueError('error 4')"}
    assert gurux["release"] == "released"
    cosem = await peer_steps("dlms_cosem_steps.py", cell_plan(meter, cell, steps, arguments=arguments))
    truth = meter.truth()
    expected = [truth[name][str(index)] for _, name, index in LIST]
    assert cosem["list_get"] == [*expected[:3], 4, *expected[3:]]


@pytest.mark.parametrize("framing", ["wrapper", "hdlc"])
@pytest.mark.parametrize("protection", [Protection.NONE, AUTHENTICATED_ENCRYPTION], ids=["plain", "30"])
@pytest.mark.parametrize("mechanism", [Mechanism.HIGH_MD5, Mechanism.HIGH_SHA1, Mechanism.HIGH_SHA256])
async def test_gurux_proves_itself_by_a_hash_of_the_secret(
    mechanism: Mechanism,
    protection: Protection,
    framing: str,
    served_meter: tuple[InteropMeter, list[bytes]],
) -> None:
    meter, _ = served_meter
    steps = ["link", "associate", "list_get", "release"]
    client = HASHED[mechanism, protection]
    for secret in (PASSWORD, b"another!"):
        plan = plan_of(
            meter, framing, client, steps, mechanism=mechanism, protection=protection,
            counter=next(COUNTERS), password=secret.hex(), arguments={"list": LIST},
        )  # fmt: skip
        found = await peer_steps("gurux_steps.py", plan)
        if secret == PASSWORD:
            truth = meter.truth()
            assert all_right(found, steps)["list_get"] == [truth[name][str(index)] for _, name, index in LIST]
        else:
            assert failed(found["associate"])
            assert "list_get" not in found


def test_every_cell_is_there() -> None:
    assert len(CELLS) == 14
    assert DEVICE > 16
