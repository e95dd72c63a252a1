"""Client and server sessions talking in memory: associations, access rights, blocks, selective access."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openami.protocols.dlms.apdus.authentication import Mechanism
from openami.protocols.dlms.apdus.descriptors import (
    CLOCK,
    CLOCK_COLUMN,
    Attribute,
    CaptureObject,
    Method,
    Selector,
    by_entry,
    by_range,
)
from openami.protocols.dlms.apdus.initiate import PROPOSED, Conformance
from openami.protocols.dlms.apdus.results import (
    AccessError,
    AccessResult,
    AssociationError,
    ServiceRefusedError,
)
from openami.protocols.dlms.client.association import Association, management_association
from openami.protocols.dlms.client.association_state import State
from openami.protocols.dlms.encoding.axdr import Data, Tag, array, decode_plain, structure
from openami.protocols.dlms.encoding.date_time import CosemDateTime
from openami.protocols.dlms.encoding.profile_buffer import ProfileDecoder, capture_instants
from openami.protocols.dlms.encoding.units import quantum_of
from openami.protocols.dlms.interface_classes.disconnect_control import ControlState
from openami.protocols.dlms.server.association_policy import AssociationPolicy
from openami.protocols.dlms.server.logical_device import CURRENT_ASSOCIATION, LogicalDevice
from openami.protocols.dlms.server.session import ServerSession
from openami.quantities.errors import LocalProtocolError
from openami.quantities.obis import ObisCode
from openami.quantities.units import WH, Quantum, Unit

Run = Callable[[Any], Any]

PASSWORD = b"12345678"
ENERGY = Attribute(3, ObisCode(1, 0, 1, 8, 0), 2)
LOAD = Attribute(7, ObisCode(1, 0, 99, 1, 0), 2)
EVENTS = Attribute(7, ObisCode(0, 0, 99, 98, 0), 2)
NOTE = Attribute(1, ObisCode(0, 0, 96, 13, 0), 2)
SERIAL = Attribute(1, ObisCode(0, 0, 96, 1, 0), 2)
TIME = Attribute(8, CLOCK, 2)
RELAY = ObisCode(0, 0, 96, 3, 10)
FIRST = datetime(2025, 1, 1, 23, 15, tzinfo=UTC)  # capture instant of the first row of the test meter


@pytest.fixture
def manager(run: Run) -> Association:
    association = management_association(7, PASSWORD)
    run(association.associate())
    return association


def refused(run: Run, operation: Any) -> AccessResult:
    with pytest.raises(AccessError) as caught:
        run(operation)
    return caught.value.result


# --- associations -------------------------------------------------------------------------------------


def test_management_reads_energy_with_its_quantum(run: Run, manager: Association) -> None:
    assert run(manager.get(ENERGY)) == 123_456
    assert quantum_of(run(manager.get(Attribute(3, ENERGY.logical_name, 3)))) == WH
    voltage = ObisCode(1, 0, 32, 7, 0)
    assert quantum_of(run(manager.get(Attribute(3, voltage, 3)))) == Quantum(Unit.VOLT, -1)


@pytest.mark.parametrize(
    ("client", "password", "diagnostic"),
    [(1, b"wrong", 13), (1, b"", 13), (1, None, 14), (16, PASSWORD, 11), (99, None, 1)],
)
def test_wrong_credentials_are_rejected_for_good(
    run: Run, client: int, password: bytes | None, diagnostic: int
) -> None:
    association = Association(7, client, password)
    with pytest.raises(AssociationError) as caught:
        run(association.associate())
    assert (int(caught.value.result), caught.value.diagnostic) == (1, diagnostic)
    assert association.state is State.IDLE


def test_a_device_that_is_not_there_rejects_the_association(run: Run) -> None:
    with pytest.raises(AssociationError):
        run(Association(8).associate())


def test_requests_without_association_get_an_exception_response(session: ServerSession) -> None:
    get_clock = bytes.fromhex("c001c100080000010000ff0200")
    answer = session.receive(bytes.fromhex("000100100007000d") + get_clock)
    assert answer[8:].hex() == "d80101"


def test_public_client_sees_and_reads_only_what_is_public(run: Run) -> None:
    public = Association(7)
    run(public.associate())
    assert run(public.get(SERIAL)) == b"M-7"
    assert refused(run, public.get(ENERGY)) is AccessResult.OBJECT_UNDEFINED
    now = Data(Tag.OCTET_STRING, CosemDateTime.from_instant(FIRST).to_bytes())
    assert refused(run, public.set(TIME, now)) is AccessResult.READ_WRITE_DENIED
    assert refused(run, public.action(Method(8, CLOCK, 3))) is AccessResult.READ_WRITE_DENIED
    names = {entry[2] for entry in run(public.get(Attribute(15, CURRENT_ASSOCIATION, 2)))}
    assert names == {
        ObisCode.parse(name).to_bytes()
        for name in ("0-0:40.0.0", "0-0:1.0.0", "0-0:42.0.0", "0-0:96.1.0", "0-0:41.0.0")
    }


def test_the_secret_is_not_readable(run: Run, manager: Association) -> None:
    assert refused(run, manager.get(Attribute(15, CURRENT_ASSOCIATION, 7))) is AccessResult.READ_WRITE_DENIED
    assert "12345678" not in repr(AssociationPolicy(1, Mechanism.LOW, PASSWORD))


def test_associations_of_one_connection_do_not_share_rights(run: Run) -> None:
    public, manager = Association(7), management_association(7, PASSWORD)
    run(public.associate())
    run(manager.associate())
    assert run(manager.get(ENERGY)) == 123_456
    assert refused(run, public.get(ENERGY)) is AccessResult.OBJECT_UNDEFINED
    run(manager.release())
    assert run(public.get(SERIAL)) == b"M-7"
    assert manager.state is State.IDLE


def test_release_ends_the_rights(run: Run, manager: Association) -> None:
    run(manager.release())
    with pytest.raises(LocalProtocolError, match="request while the association is idle"):
        run(manager.get(ENERGY))
    run(manager.associate())
    assert run(manager.get(ENERGY)) == 123_456


def test_a_thousand_devices_answer_behind_one_connection(new_meter: Callable[[], Any]) -> None:
    device = new_meter().device()
    session = ServerSession(dict.fromkeys(range(1, 1001), device))
    for port in (1, 500, 1000):
        association = management_association(port, PASSWORD)
        drive(association.associate(), session, 1 << 20)
        assert drive(association.get(SERIAL), session, 1 << 20) == b"M-7"


# --- access errors ------------------------------------------------------------------------------------


def test_each_wrong_request_has_its_result(run: Run, manager: Association) -> None:
    energy = ENERGY.logical_name
    for wrong, result in (
        (Attribute(3, ObisCode(1, 0, 9, 9, 9), 2), AccessResult.OBJECT_UNDEFINED),
        (Attribute(1, energy, 2), AccessResult.OBJECT_CLASS_INCONSISTENT),
        (Attribute(3, energy, 9), AccessResult.OBJECT_UNDEFINED),
        (Attribute(3, energy, 0), AccessResult.OBJECT_UNDEFINED),
        (Attribute(3, energy, -5), AccessResult.OBJECT_UNDEFINED),
    ):
        assert refused(run, manager.get(wrong)) is result, wrong
    assert refused(run, manager.get(ENERGY, by_entry(1))) is AccessResult.SCOPE_OF_ACCESS_VIOLATED
    assert refused(run, manager.set(ENERGY, Data(Tag.UNSIGNED, 1))) is AccessResult.READ_WRITE_DENIED
    assert refused(run, manager.set(NOTE, Data(Tag.UNSIGNED, 1))) is AccessResult.TYPE_UNMATCHED
    assert refused(run, manager.action(Method(3, energy, 1))) is AccessResult.OBJECT_UNDEFINED
    assert run(manager.get(ENERGY)) == 123_456, "a refusal leaves the association usable"


def test_get_with_list_gives_values_and_refusals_in_order(run: Run, manager: Association) -> None:
    found = run(
        manager.get_with_list([ENERGY, Attribute(3, ENERGY.logical_name, 9), (LOAD, by_entry(1, 1)), SERIAL])
    )
    assert found[0] == 123_456
    assert found[1].result is AccessResult.OBJECT_UNDEFINED
    assert found[2] == [(bytes.fromhex("07e901020400" + "0f0000ffc400"), 0, 0)]
    assert found[3] == b"M-7"
    with pytest.raises(LocalProtocolError):
        run(manager.get_with_list([]))


def test_services_that_were_not_agreed_on_are_refused(run: Run) -> None:
    association = Association(7, 1, PASSWORD, max_pdu=128, conformance=Conformance.GET)
    run(association.associate())
    assert association.conformance == Conformance.GET
    assert run(association.get(ENERGY)) == 123_456
    assert refused(run, association.get(LOAD)) is AccessResult.OTHER_REASON
    assert refused(run, association.get(LOAD, by_entry(1, 1))) is AccessResult.SCOPE_OF_ACCESS_VIOLATED


# --- blocks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_pdu", [0, 64, 65, 127, 128, 1024, 5000, 65535])
def test_a_long_answer_is_the_same_in_blocks_of_any_size(run: Run, meter: Any, max_pdu: int) -> None:
    association = management_association(7, PASSWORD, max_pdu=max_pdu)
    run(association.associate())
    whole = next(item for item in meter.device() if item.logical_name == LOAD.logical_name).read(2)
    assert run(association.get_encoded(LOAD)) == whole
    results = run(association.get_with_list([LOAD, ENERGY]))
    assert results[1] == 123_456
    assert len(results[0]) == 288


def test_a_client_smaller_than_any_block_is_rejected(run: Run) -> None:
    with pytest.raises(AssociationError):
        run(Association(7, max_pdu=31).associate())


@pytest.mark.parametrize("server_pdu", [64, 100, 1024])
def test_a_long_value_is_set_in_blocks(run: Run, meter: Any, server_pdu: int) -> None:
    association = management_association(7, PASSWORD)
    run(association.associate())
    association._server_max_pdu = server_pdu  # as if the server had said so
    text = bytes(range(256)) * 8
    run(association.set(NOTE, Data(Tag.OCTET_STRING, text)))
    assert meter.note == text
    assert (
        refused(run, association.set(ENERGY, Data(Tag.OCTET_STRING, text))) is AccessResult.READ_WRITE_DENIED
    )


def test_a_long_value_without_blocks_is_our_own_error(run: Run) -> None:
    association = Association(7, 1, PASSWORD, conformance=PROPOSED & ~Conformance.BLOCK_TRANSFER_SET)
    run(association.associate())
    with pytest.raises(LocalProtocolError):
        run(association.set(NOTE, Data(Tag.OCTET_STRING, b"x" * 70_000)))
    assert run(association.get(ENERGY)) == 123_456, "nothing was sent, nothing is broken"


def test_reassembly_is_limited(run: Run) -> None:
    association = Association(7, 1, PASSWORD, max_pdu=128, max_reassembled=1000)
    run(association.associate())
    with pytest.raises(Exception, match="grows too long"):
        run(association.get(LOAD))
    assert association.state is State.BROKEN


# --- any chunking -------------------------------------------------------------------------------------


def drive(operation: Any, session: ServerSession, chunk: int) -> Any:
    """Run an operation, both directions cut into chunks."""
    outgoing = next(operation)
    while True:
        answer = b"".join(session.receive(outgoing[i : i + chunk]) for i in range(0, len(outgoing), chunk))
        pieces = [answer[i : i + chunk] for i in range(0, len(answer), chunk)] or [b""]
        try:
            for piece in pieces[:-1]:
                assert operation.send(piece) == b"", "asked before the answer was whole"
            outgoing = operation.send(pieces[-1])
        except StopIteration as done:
            return done.value


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    chunk=st.integers(1, 3000),
    max_pdu=st.integers(64, 65535),
    first=st.integers(1, 288),
    rows=st.integers(0, 50),
)
def test_any_chunking_gives_the_same_values(
    new_meter: Callable[[], Any], chunk: int, max_pdu: int, first: int, rows: int
) -> None:
    session = ServerSession({7: new_meter().device()})
    association = management_association(7, PASSWORD, max_pdu=max_pdu)
    drive(association.associate(), session, chunk)
    assert drive(association.get(ENERGY), session, chunk) == 123_456
    found = drive(association.get(LOAD, by_entry(first, first + rows)), session, chunk)
    assert [row[2] for row in found] == [k * 7 % 1000 for k in range(288)][first - 1 : first + rows]
    drive(association.release(), session, chunk)


# --- selective access ---------------------------------------------------------------------------------


def instants(run: Run, manager: Association, selector: Selector) -> list[datetime]:
    columns = ProfileDecoder().decode(run(manager.get_encoded(LOAD, selector)))
    if not columns:
        return []
    return [at.replace(tzinfo=UTC) for at in capture_instants(columns[0], 900).astype(object)]


def test_range_takes_both_ends(run: Run, manager: Association) -> None:
    quarter = timedelta(minutes=15)
    found = instants(run, manager, by_range(FIRST, FIRST + 3 * quarter))
    assert found == [FIRST + k * quarter for k in range(4)]
    assert instants(run, manager, by_range(FIRST + quarter, FIRST + quarter)) == [FIRST + quarter]


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (FIRST + timedelta(seconds=1), FIRST + timedelta(seconds=800)),  # between two rows
        (datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC)),  # before the buffer
        (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)),  # behind it
        (FIRST + timedelta(hours=5), FIRST),  # descending
    ],
)
def test_a_range_that_matches_nothing_is_empty(
    run: Run, manager: Association, start: datetime, end: datetime
) -> None:
    assert instants(run, manager, by_range(start, end)) == []


def test_a_range_wider_than_the_buffer_gives_all(run: Run, manager: Association) -> None:
    everything = by_range(datetime(2020, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC))
    assert len(instants(run, manager, everything)) == 288


def test_a_range_without_deviation_is_local_time_of_the_meter(run: Run, manager: Association) -> None:
    local = CosemDateTime(2025, 1, 2, 0xFF, 0, 15, 0xFF, 0xFF)  # 00:15 in Berlin
    last = CosemDateTime(2025, 1, 2, 0xFF, 1, 0xFF)  # up to 01:59:59
    stamps = [Data(Tag.OCTET_STRING, stamp.to_bytes()) for stamp in (local, last)]
    selector = Selector(1, structure(CLOCK_COLUMN.to_data(), *stamps, array([])))
    assert instants(run, manager, selector) == [FIRST + k * timedelta(minutes=15) for k in range(7)]


def test_a_local_range_takes_the_hour_that_occurs_twice_twice(new_meter: Callable[[], Any]) -> None:
    """02:00 to 02:59 of 27 October 2024 in Berlin are the rows of 00:00 to 01:45 UTC."""
    meter = new_meter()
    at = np.datetime64("2024-10-26T22:00", "us") + np.arange(1, 25) * np.timedelta64(900, "s")
    meter.load = type(meter.load)(at, [np.zeros(24, np.int64), np.arange(24)])
    load = meter.device().find(ObisCode(1, 0, 99, 1, 0))
    stamps = (CosemDateTime(2024, 10, 27, 0xFF, 2, minute) for minute in (0, 0xFF))
    ends = (Data(Tag.OCTET_STRING, stamp.to_bytes()) for stamp in stamps)
    rows = decode_plain(load.read(2, Selector(1, structure(CLOCK_COLUMN.to_data(), *ends, array([])))))
    assert [row[2] for row in rows] == list(range(7, 15))


def test_columns_come_in_the_order_asked(run: Run, manager: Association) -> None:
    energy = CaptureObject(3, ObisCode(1, 0, 1, 29, 0), 2)
    end = FIRST + timedelta(minutes=15)
    rows = run(manager.get(LOAD, by_range(FIRST, end, columns=[energy, CLOCK_COLUMN])))
    assert [row[0] for row in rows] == [0, 7]
    assert CosemDateTime.from_bytes(rows[0][1]).instant() == FIRST
    unknown = CaptureObject(3, ObisCode(1, 0, 2, 29, 0), 2)
    assert refused(run, manager.get(LOAD, by_range(FIRST, end, columns=[unknown]))) is (
        AccessResult.OBJECT_UNDEFINED
    )


def test_a_range_over_another_column_than_the_clock(run: Run, manager: Association) -> None:
    energy = CaptureObject(3, ObisCode(1, 0, 1, 29, 0), 2)
    bounds = (Data(Tag.DOUBLE_LONG_UNSIGNED, 7), Data(Tag.DOUBLE_LONG_UNSIGNED, 21))
    rows = run(manager.get(LOAD, Selector(1, structure(energy.to_data(), *bounds, array([])))))
    assert [row[2] for row in rows] == [v for v in (k * 7 % 1000 for k in range(288)) if 7 <= v <= 21]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (by_entry(1, 3), [0, 7, 14]),
        (by_entry(2, 2), [7]),
        (by_entry(287, 0), [(286 * 7) % 1000, (287 * 7) % 1000]),  # to = 0: the last
        (by_entry(288, 9999), [(287 * 7) % 1000]),  # to beyond the last
        (by_entry(289, 0), []),
        (by_entry(5, 4), []),
    ],
)
def test_entries_count_from_one(run: Run, manager: Association, entry: Selector, expected: list[int]) -> None:
    assert [row[2] for row in run(manager.get(LOAD, entry))] == expected


def test_entry_columns(run: Run, manager: Association) -> None:
    assert run(manager.get(LOAD, by_entry(2, 3, first_column=2, last_column=3))) == [(0, 7), (0, 14)]
    assert run(manager.get(LOAD, by_entry(2, 2, first_column=3))) == [(7,)]
    for wrong in (
        by_entry(0, 3),
        by_entry(1, 1, first_column=0),
        by_entry(1, 1, first_column=4),
        by_entry(1, 1, first_column=3, last_column=2),
        by_entry(1, 1, last_column=4),
    ):
        assert refused(run, manager.get(LOAD, wrong)) is AccessResult.SCOPE_OF_ACCESS_VIOLATED


def test_selectors_of_the_wrong_shape_are_refused(run: Run, manager: Association) -> None:
    for parameters in (
        Data(Tag.UNSIGNED, 1),
        structure(Data(Tag.UNSIGNED, 1)),
        structure(*[Data(Tag.OCTET_STRING, b"")] * 4),
        structure(CLOCK_COLUMN.to_data(), *[Data(Tag.OCTET_STRING, b"\xff" * 12)] * 2, array([])),
        structure(CLOCK_COLUMN.to_data(), *[Data(Tag.UNSIGNED, 1)] * 2, array([])),
        structure(CLOCK_COLUMN.to_data(), *[Data(Tag.UNSIGNED, 1)] * 2, Data(Tag.UNSIGNED, 1)),
    ):
        assert refused(run, manager.get(LOAD, Selector(1, parameters))) is AccessResult.TYPE_UNMATCHED
    assert refused(run, manager.get(LOAD, Selector(3, by_entry(1).parameters))) is (
        AccessResult.SCOPE_OF_ACCESS_VIOLATED
    )


def test_a_last_in_first_out_profile_gives_the_newest_first(run: Run, manager: Association) -> None:
    assert [row[1] for row in run(manager.get(EVENTS))] == [4, 3, 2, 1, 0]
    assert [row[1] for row in run(manager.get(EVENTS, by_entry(1, 2)))] == [4, 3]
    late = by_range(datetime(2025, 1, 2, 0, 30, tzinfo=UTC), datetime(2025, 1, 2, 0, 45, tzinfo=UTC))
    assert [row[1] for row in run(manager.get(EVENTS, late))] == [2, 1]


# --- what changes the meter ---------------------------------------------------------------------------


def test_setting_the_clock(run: Run, manager: Association, meter: Any) -> None:
    instant = datetime(2025, 7, 1, 12, tzinfo=UTC)
    run(manager.set(TIME, Data(Tag.OCTET_STRING, CosemDateTime.from_instant(instant).to_bytes())))
    assert meter.clock.instant == instant
    shown = CosemDateTime.from_bytes(run(manager.get(TIME)))
    assert (shown.hour, shown.deviation, shown.daylight_saving) == (14, -120, True)
    bad = Data(Tag.OCTET_STRING, b"\xff" * 12)
    assert refused(run, manager.set(TIME, bad)) is AccessResult.TYPE_UNMATCHED


def test_adjusting_the_clock(run: Run, manager: Association, meter: Any) -> None:
    meter.clock.instant = datetime(2025, 1, 1, 12, 8, 31, tzinfo=UTC)
    run(manager.action(Method(8, CLOCK, 3), Data(Tag.INTEGER, 0)))
    assert meter.clock.instant == datetime(2025, 1, 1, 12, 9, tzinfo=UTC)
    run(manager.action(Method(8, CLOCK, 6), Data(Tag.LONG, -40)))
    assert meter.clock.instant == datetime(2025, 1, 1, 12, 8, 20, tzinfo=UTC)
    run(manager.action(Method(8, CLOCK, 1), Data(Tag.INTEGER, 0)))
    assert meter.clock.instant == datetime(2025, 1, 1, 12, 15, tzinfo=UTC)
    assert refused(run, manager.action(Method(8, CLOCK, 4))) is AccessResult.TEMPORARY_FAILURE
    stamps = [datetime(2025, 1, 1, 12, 20, tzinfo=UTC), FIRST, datetime(2025, 1, 2, tzinfo=UTC)]
    stamps[1] = datetime(2025, 1, 1, tzinfo=UTC)
    preset = [Data(Tag.OCTET_STRING, CosemDateTime.from_instant(stamp).to_bytes()) for stamp in stamps]
    run(manager.action(Method(8, CLOCK, 5), structure(*preset)))
    run(manager.action(Method(8, CLOCK, 4), Data(Tag.INTEGER, 0)))
    assert meter.clock.instant == stamps[0]
    assert refused(run, manager.action(Method(8, CLOCK, 6), Data(Tag.LONG, 901))) is (
        AccessResult.SCOPE_OF_ACCESS_VIOLATED
    )
    assert refused(run, manager.action(Method(8, CLOCK, 7))) is AccessResult.OBJECT_UNDEFINED


def test_clock_attributes_describe_berlin(run: Run, manager: Association) -> None:
    zone, begin, end, saving, enabled = (run(manager.get(Attribute(8, CLOCK, k))) for k in (3, 5, 6, 7, 8))
    assert (zone, saving, enabled) == (-60, 60, True)
    assert CosemDateTime.from_bytes(begin).instant() == datetime(2025, 3, 30, 1, tzinfo=UTC)
    assert CosemDateTime.from_bytes(end).instant() == datetime(2025, 10, 26, 1, tzinfo=UTC)


def test_disconnect_and_reconnect(run: Run, manager: Association, meter: Any) -> None:
    run(manager.action(Method(70, RELAY, 1), Data(Tag.INTEGER, 0)))
    assert meter.relay.state() is ControlState.DISCONNECTED
    assert run(manager.get(Attribute(70, RELAY, 2))) is False
    run(manager.action(Method(70, RELAY, 2), Data(Tag.INTEGER, 0)))
    assert run(manager.get(Attribute(70, RELAY, 3))) == ControlState.CONNECTED


def test_reset_methods(run: Run, manager: Association, meter: Any) -> None:
    run(manager.action(Method(7, EVENTS.logical_name, 1), Data(Tag.INTEGER, 0)))
    run(manager.action(Method(3, ObisCode(1, 0, 1, 29, 0), 1), Data(Tag.INTEGER, 0)))
    assert meter.resets == 2
    assert refused(run, manager.action(Method(7, LOAD.logical_name, 1))) is AccessResult.OBJECT_UNDEFINED


def test_extended_register_says_when(run: Run, manager: Association) -> None:
    demand = ObisCode(1, 0, 1, 6, 0)
    assert run(manager.get(Attribute(4, demand, 2))) == 3600
    at = CosemDateTime.from_bytes(run(manager.get(Attribute(4, demand, 5))))
    assert at.instant() == datetime(2025, 1, 2, 17, tzinfo=UTC)


def test_one_name_is_one_object(meter: Any) -> None:
    objects = list(meter.device())
    with pytest.raises(LocalProtocolError):
        LogicalDevice([*objects, objects[0]], [])
    with pytest.raises(LocalProtocolError):
        LogicalDevice(objects, [AssociationPolicy(1), AssociationPolicy(1)])


def test_exception_response_is_a_refused_service(run: Run, session: ServerSession) -> None:
    association = management_association(7, PASSWORD)
    run(association.associate())
    session._associations.clear()  # as if the meter had restarted
    with pytest.raises(ServiceRefusedError, match="service not allowed"):
        run(association.get(ENERGY))
    assert association.state is State.READY
