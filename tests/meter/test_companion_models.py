"""Software meters served with companion models: their lists are the tables', their values the meter's."""

from __future__ import annotations

from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pytest

from openami.meter.companion.device import CompanionDevice
from openami.meter.companion.model import companion_model, companion_names
from openami.meter.companion.objects import companion_device
from openami.meter.companion.surroundings import signed_image, vendor_token
from openami.meter.cosem_objects import FleetDevices
from openami.meter.fleet import Fleet
from openami.meter.fleet_spec import FleetSpec, KeySpec, MeterSpec, fleet_document, fleet_from_document
from openami.meter.load_curve import CurveKind, CurveSpec
from openami.protocols.dlms.apdus.authentication import Mechanism
from openami.protocols.dlms.apdus.descriptors import Attribute, Method, by_entry
from openami.protocols.dlms.apdus.get import GetRequest
from openami.protocols.dlms.apdus.results import (
    AccessError,
    AccessResult,
    AssociationError,
    ServiceRefusedError,
)
from openami.protocols.dlms.client.association import Association
from openami.protocols.dlms.client.client_security import ClientSecurity
from openami.protocols.dlms.client.object_list import ObjectList, Right, object_list
from openami.protocols.dlms.encoding.axdr import Data, Tag, array, decode, decode_plain, encode, structure
from openami.protocols.dlms.encoding.date_time import CosemDateTime
from openami.protocols.dlms.framing.wrapper import Frame
from openami.protocols.dlms.interface_classes.clock_rules import RuledZone
from openami.protocols.dlms.interface_classes.interface_object import Access
from openami.protocols.dlms.interface_classes.stored_object import StoredObject
from openami.protocols.dlms.server.logical_device import CURRENT_ASSOCIATION
from openami.protocols.dlms.server.session import ServerSession
from openami.quantities.civil_time import zone_of
from openami.quantities.errors import FormatError, ProtectionError, QuantityError
from openami.quantities.obis import ObisCode
from openami.security.key_wrap import wrap
from openami.security.meter_keys import MeterKeys
from openami.security.secret import Secret

START = datetime(2025, 3, 28, tzinfo=UTC)
WPORT = 16
NOTHING = Data(Tag.INTEGER, 0)
BERLIN = zone_of("Europe/Berlin")
MODELS = companion_names()
MANAGEMENT = {"is15959": 48}
CLIENT_TITLE = b"OAMHES01"
RELAY, POWER, ENERGY = ObisCode(0, 0, 96, 3, 10), ObisCode(1, 0, 1, 7, 0), ObisCode(1, 0, 1, 8, 0)


class HandClock:
    def __init__(self) -> None:
        self.instant = START

    def now(self) -> datetime:
        return self.instant


class Household:
    """A meter with a companion model, three and a half days after its start over the change of the clocks."""

    def __init__(self, model: str, *, keyed: bool = False, days: float = 3.5) -> None:
        self.clock = HandClock()
        self.spec = MeterSpec(
            "M0001",
            WPORT,
            CurveSpec(CurveKind.HOUSEHOLD, "M0001"),
            keys=KeySpec.of_seed(7, "M0001") if keyed else None,
            companion=model,
        )
        self.fleet = Fleet(FleetSpec(7, START, (self.spec,)), self.clock)
        self.model = companion_model(model)
        self.clock.instant += timedelta(days=days)
        self.session = ServerSession(FleetDevices(self.fleet, 0))

    def run(self, operation: Generator[bytes, bytes, Any]) -> Any:
        outgoing = next(operation)
        while True:
            try:
                outgoing = operation.send(self.session.receive(outgoing))
            except StopIteration as done:
                return done.value

    def client(self, port: int, password: bytes | None = b"00000000") -> Association:
        made = Association(WPORT, port, password)
        self.run(made.associate())
        return made

    @property
    def management(self) -> int:
        return MANAGEMENT.get(self.model.name.split("-")[0], 1)

    def device(self) -> CompanionDevice:
        return companion_device(self.fleet, "M0001")

    def value(self, name: ObisCode, index: int = 2) -> Any:
        found = self.device().find(name)
        assert found is not None
        return decode_plain(found.read(index))


@cache
def listed(model: str) -> ObjectList:
    home = Household(model)
    client = home.client(home.management)
    return object_list(home.run(client.get(Attribute(15, CURRENT_ASSOCIATION, 2))))


def right_of(access: Access) -> Right:
    return Right(int(access))


# --- the list -------------------------------------------------------------------------------------------


def test_the_models_of_the_issue_are_there_for_one_and_three_phases() -> None:
    wanted = {"smr-5.0", "smr-5.5", "dsmr-4.2.2", "idis-like", "is15959-like", "saudi-like", "every-class"}
    assert wanted <= {name[: -len("-1p")] for name in MODELS}
    assert all(f"{name}-{phases}p" in MODELS for name in wanted for phases in (1, 3))
    with pytest.raises(FormatError):
        companion_model("smr-9.9-1p")
    # Objects of each list as the tables have them, channels of the M-Bus counted.
    counts = {name: len(companion_model(name).objects) for name in MODELS}
    assert (counts["dsmr-4.2.2-1p"], counts["dsmr-4.2.2-3p"]) == (89, 113)
    assert (counts["smr-5.0-1p"], counts["smr-5.0-3p"]) == (142, 166)
    assert (counts["smr-5.5-1p"], counts["smr-5.5-3p"]) == (182, 216)
    assert len({item.class_id for item in companion_model("every-class-3p")} | {15}) == 50


@pytest.mark.parametrize("model", MODELS)
def test_management_sees_exactly_the_objects_and_rights_of_the_model(model: str) -> None:
    seen = listed(model)
    # Without keys a meter has no security setup; the associations come after the model's objects.
    expected = [item for item in companion_model(model) if item.class_id != 64]
    entries = list(seen)[1:]
    own, associations = entries[: len(expected)], entries[len(expected) :]
    assert [(entry.class_id, entry.version, entry.logical_name) for entry in own] == [
        (item.class_id, item.version, item.logical_name) for item in expected
    ]
    assert [entry.class_id for entry in associations] == [15] * len(companion_model(model).clients)
    assert seen.objects[0].version == companion_model(model).association_version
    for entry, item in zip(own, expected, strict=True):
        if item.access is not None:
            stated = {index: right_of(access) for index, access in item.access}
            given = {
                right.index: right.right for right in entry.attributes if right.right and right.index > 1
            }
            assert given == stated, (item.logical_name, given, stated)


@pytest.mark.parametrize("model", MODELS)
def test_every_readable_attribute_reads_and_what_can_be_set_reads_back(model: str) -> None:
    home = Household(model)
    device = home.device()
    device.find(ENERGY)
    written = 0
    for item in device:
        for rule in item.attribute_rules():
            if rule.access & Access.READ:
                value = decode(item.read(rule.index))
                if (
                    isinstance(item, StoredObject)
                    and rule.index > 1
                    and (item.class_id, rule.index) != (7, 2)
                ):
                    assert item.row(rule.index).type.admits(value), (item.logical_name, rule.index, value)
                # What a clock shows moves on, and data protection sets other objects.
                if rule.access is Access.READ_WRITE and item.class_id not in (8, 30):
                    try:
                        item.write(rule.index, value)
                    except AccessError:
                        continue
                    written += 1
                    if (item.class_id, rule.index) not in ((5, 8), (5, 9)):
                        assert decode(item.read(rule.index)) == value, (item.logical_name, rule.index)
    assert written >= 10


@pytest.mark.parametrize("model", ["idis-like-3p", "is15959-like-1p", "smr-5.0-1p"])
def test_each_client_sees_its_view_and_no_more(model: str) -> None:
    home = Household(model)
    whole = {entry.logical_name for entry in listed(model)}
    for client in home.model.clients:
        if client.pre_established:
            continue
        secret = None if client.view == "identity" else b"00000000"
        association = home.client(client.port, secret)
        seen = object_list(home.run(association.get(Attribute(15, CURRENT_ASSOCIATION, 2))))
        names = {entry.logical_name for entry in seen}
        writes = [
            entry.logical_name
            for entry in list(seen)[1:]
            for right in entry.attributes
            if right.right & Right.WRITE
        ]
        acts = [entry.logical_name for entry in list(seen)[1:] for method in entry.methods if method.allowed]
        match client.view:
            case "everything":
                assert names == whole
                assert writes
                assert acts
            case "reading":
                assert names == whole
                assert not writes
                assert not acts
            case "firmware":
                assert ObisCode(0, 0, 44, 0, 0) in names
                assert set(acts) == {ObisCode(0, 0, 44, 0, 0)}
                assert ENERGY not in names
            case _:
                assert ENERGY not in names
                assert not writes
                assert not acts
                with pytest.raises(AccessError) as refused:
                    home.run(association.get(Attribute(3, ENERGY, 2)))
                assert refused.value.result is AccessResult.OBJECT_UNDEFINED


def test_a_pre_established_client_is_served_without_having_associated() -> None:
    home = Household("idis-like-1p")
    push = ObisCode(0, 0, 25, 9, 0)

    def asked(port: int, attribute: Attribute) -> bytes:
        frame = Frame(port, WPORT, GetRequest(0xC1, attribute).to_bytes())
        return home.session.receive(frame.to_bytes())[8:]

    assert asked(102, Attribute(40, push, 1))[:4] == bytes.fromhex("c401c100")
    assert asked(102, Attribute(3, ENERGY, 2)) == bytes.fromhex("c401c10104")
    assert asked(1, Attribute(40, push, 1))[0] == 0xD8
    keyed = Household("idis-like-1p", keyed=True)
    home.session = keyed.session
    assert asked(102, Attribute(40, push, 1)) == bytes.fromhex("c401c10104")


def test_a_fleet_file_names_the_model_and_refuses_one_that_is_none() -> None:
    spec = Household("smr-5.5-3p").fleet.spec
    again = fleet_from_document(fleet_document(spec))
    assert again.meters[0].companion == "smr-5.5-3p"
    with pytest.raises(QuantityError):
        MeterSpec("M", 20, CurveSpec(CurveKind.HOUSEHOLD, "M"), companion="smr-5.5")


# --- the values -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["dsmr-4.2.2-1p", "idis-like-3p", "is15959-like-1p", "saudi-like-3p"])
def test_energies_and_load_profiles_are_the_meters_own(model: str) -> None:
    home = Household(model)
    meter = home.fleet.meter("M0001")
    assert home.value(ENERGY) == meter.core.dials_wh[0]
    rows = home.value(ObisCode(1, 0, 99, 1, 0))
    recorded = meter.profile.rows()
    assert len(rows) == len(recorded) == 14 * 24
    instants = [CosemDateTime.from_bytes(row[0]).instant() for row in rows]
    assert [int(at.timestamp()) for at in instants] == recorded.stamp_s.tolist()
    if model.startswith("is15959"):
        energies = recorded.values[0].tolist()
        # Voltage, energy and apparent energy of the block, nothing exported; 4 blocks an hour at 230.00 V.
        assert [row[1:] for row in rows] == [
            (23_000, energy, energy, 0, 0, 1000 * (4 * energy) // 230 // 10) for energy in energies
        ]
    else:
        dials = recorded.values[0].cumsum()
        assert [row[2] for row in rows] == dials.tolist()
        assert meter.core.dials_wh[0] == rows[-1][2] + meter.interval_wh[0]
    client = home.client(home.management)
    last = home.run(client.get(Attribute(7, ObisCode(1, 0, 99, 1, 0), 2), by_entry(330)))
    assert last == rows[329:]


@pytest.mark.parametrize("steps", [1, 50])
def test_rates_add_up_to_the_total_and_switch_by_the_calendar_over_the_change_of_the_clocks(
    steps: int,
) -> None:
    home = Household("idis-like-1p", days=0)
    for _ in range(steps):
        home.clock.instant += timedelta(days=3.5) / steps
        night, day, total = (home.value(ObisCode(1, 0, 1, 8, rate)) for rate in (1, 2, 0))
        assert night + day == total
    # Friday 28 March and Monday 31 are workdays: rate 2 from 07:00 to 23:00 local, 06:00 UTC and 05:00 UTC.
    meter = home.fleet.meter("M0001")
    rows = meter.profile.rows()
    expected = 0
    for stamp, energy in zip(rows.stamp_s.tolist(), rows.values[0].tolist(), strict=True):
        begun = datetime.fromtimestamp(stamp - 900, UTC).astimezone(BERLIN)
        if begun.weekday() < 5 and 7 <= begun.hour < 23:
            expected += energy
    assert day == expected + meter.interval_wh[0] * (7 <= home.clock.instant.astimezone(BERLIN).hour < 23)
    assert night > 0


def test_daily_rows_of_rates_are_recorded_at_local_midnights_with_the_values_of_then() -> None:
    home = Household("dsmr-4.2.2-1p")
    rows = home.value(ObisCode(1, 0, 99, 2, 0))
    instants = [CosemDateTime.from_bytes(row[0]).instant() for row in rows]
    assert instants == [
        datetime(2025, 3, day, hour, tzinfo=UTC) for day, hour in ((28, 23), (29, 23), (30, 22))
    ]
    freezes = home.fleet.meter("M0001").freezes.rows()
    totals = dict(zip(freezes.stamp_s.tolist(), freezes.values[0].tolist(), strict=True))
    assert [row[2] + row[3] for row in rows] == [totals[int(at.timestamp())] for at in instants]


def test_a_register_never_goes_back_while_time_goes_on_between_two_looks_at_the_clock() -> None:
    home = Household("idis-like-1p")
    home.clock.instant += timedelta(minutes=7)

    class Running:
        looks = 0

        def now(self) -> datetime:
            self.looks += 1
            home.clock.instant += timedelta(milliseconds=7 * (self.looks % 3 == 0))
            return home.clock.instant

    home.fleet._clock = Running()
    device = home.device()
    register = device.find(ENERGY)
    assert register is not None
    shown = [value for _ in range(2000) if isinstance(value := decode_plain(register.read(2)), int)]
    assert len(shown) == 2000
    assert shown == sorted(shown)


def test_demand_is_that_of_the_last_whole_interval() -> None:
    home = Household("idis-like-1p")
    demand = ObisCode(1, 0, 1, 4, 0)
    home.clock.instant += timedelta(minutes=5)
    running = home.fleet.meter("M0001").interval_wh[0]
    assert home.value(demand, 2) == running * 4  # the average of a block climbs from zero
    for _ in range(3):
        home.clock.instant += timedelta(minutes=15)
        row = int(home.fleet.meter("M0001").profile.rows().values[0, -1])
        assert home.value(demand, 3) == row * 4


def test_billing_is_captured_on_the_first_of_the_month_by_its_script() -> None:
    home = Household("idis-like-1p", days=5)
    rows = home.value(ObisCode(0, 0, 98, 1, 0))
    assert [CosemDateTime.from_bytes(row[0]).instant() for row in rows] == [
        datetime(2025, 3, 31, 22, tzinfo=UTC)
    ]
    (row,) = rows
    assert row[1] == row[2] + row[3]


def test_scaler_profiles_and_snapshots_show_the_present() -> None:
    home = Household("is15959-like-3p")
    (scalers,) = home.value(ObisCode(1, 0, 94, 91, 5))
    assert scalers == ((0, 30), (0, 31), (0, 30), (0, 31))
    (present,) = home.value(ObisCode(1, 0, 94, 91, 0))
    assert CosemDateTime.from_bytes(present[0]).instant() == home.clock.instant
    assert present[15] == home.value(ENERGY)
    assert present[4:7] == (2300, 2300, 2300)
    assert present[27] == 3 * 1440 + 720  # minutes with supply


# --- what they do ---------------------------------------------------------------------------------------


def test_the_limiter_cuts_the_supply_off_and_its_scripts_bring_it_back() -> None:
    home = Household("idis-like-1p")
    client = home.client(1)
    limiter = ObisCode(0, 0, 17, 0, 0)
    for index, value in ((4, 0), (6, 30), (7, 30)):
        home.run(client.set(Attribute(71, limiter, index), Data(Tag.DOUBLE_LONG_UNSIGNED, value)))
    assert home.run(client.get(Attribute(3, POWER, 2))) > 0
    home.clock.instant += timedelta(seconds=29)
    assert home.run(client.get(Attribute(70, RELAY, 2))) is True
    home.clock.instant += timedelta(seconds=1)
    assert home.run(client.get(Attribute(70, RELAY, 2))) is False
    assert home.fleet.meter("M0001").disconnected
    assert home.run(client.get(Attribute(3, POWER, 2))) == 0
    home.clock.instant += timedelta(seconds=31)
    assert home.run(client.get(Attribute(70, RELAY, 2))) is True
    assert not home.fleet.meter("M0001").disconnected


def test_a_parameter_that_is_set_is_noted_by_the_monitor() -> None:
    home = Household("every-class-1p")
    client = home.client(1)
    monitor, limiter = ObisCode(0, 0, 16, 2, 0), ObisCode(0, 0, 17, 0, 0)
    home.run(client.set(Attribute(71, limiter, 4), Data(Tag.DOUBLE_LONG_UNSIGNED, 4321)))
    changed = home.run(client.get(Attribute(65, monitor, 2)))
    assert changed == (71, limiter.to_bytes(), 4, 4321)


def test_what_was_set_outlives_the_association_and_an_untouched_meter_keeps_nothing() -> None:
    home = Household("smr-5.0-1p")
    assert home.fleet.companion_state("M0001").attributes == {}
    client = home.client(1)
    alarm = Attribute(1, ObisCode(0, 0, 97, 98, 10), 2)
    home.run(client.set(alarm, Data(Tag.DOUBLE_LONG_UNSIGNED, 0xFFFF)))
    home.run(client.release())
    other = home.client(1)
    assert home.run(other.get(alarm)) == 0xFFFF
    with pytest.raises(AccessError) as refused:
        home.run(other.set(alarm, Data(Tag.LONG_UNSIGNED, 1)))
    assert refused.value.result is AccessResult.TYPE_UNMATCHED


def test_firmware_with_lost_blocks_over_two_connections_is_verified_and_activated() -> None:
    home = Household("smr-5.0-1p")
    image = signed_image(7, bytes(range(256)) * 40)
    name = ObisCode(0, 0, 44, 0, 0)
    client = home.client(1)
    home.run(client.set(Attribute(18, name, 5), Data(Tag.BOOLEAN, True)))
    begin = structure(Data(Tag.OCTET_STRING, b"2.0.0"), Data(Tag.DOUBLE_LONG_UNSIGNED, len(image)))
    home.run(client.action(Method(18, name, 1), begin))

    def send(which: Association, number: int) -> None:
        content = image[number * 512 : (number + 1) * 512]
        block = structure(Data(Tag.DOUBLE_LONG_UNSIGNED, number), Data(Tag.OCTET_STRING, content))
        home.run(which.action(Method(18, name, 2), block))

    count = -(-len(image) // 512)
    for number in range(0, count, 2):
        send(client, number)
    home.session = ServerSession(FleetDevices(home.fleet, 0))
    client = home.client(1)
    while (missing := home.run(client.get(Attribute(18, name, 4)))) < count:
        send(client, missing)
    home.run(client.action(Method(18, name, 3), NOTHING))
    home.run(client.action(Method(18, name, 4), NOTHING))
    assert home.value(ObisCode(1, 0, 0, 2, 0)) == b"2.0.0"


def test_keys_are_transferred_and_the_next_association_needs_the_new_ones() -> None:
    home = Household("idis-like-1p", keyed=True)
    assert home.spec.keys is not None
    keys = home.spec.keys.meter_keys()

    def associated(with_keys: MeterKeys) -> Association:
        security = ClientSecurity(CLIENT_TITLE, with_keys, Mechanism.HIGH_GMAC)
        client = Association(WPORT, 1, security=security)
        home.run(client.associate())
        return client

    client = associated(keys)
    unicast, authentication = Secret.random(16), Secret.random(16)
    transfer = array(
        structure(Data(Tag.ENUM, kind), Data(Tag.OCTET_STRING, wrap(keys.master, key)))
        for kind, key in ((0, unicast), (2, authentication))
    )
    home.run(client.action(Method(64, ObisCode(0, 0, 43, 0, 0), 2), transfer))
    home.session = ServerSession(FleetDevices(home.fleet, 0))
    with pytest.raises((AssociationError, ServiceRefusedError, ProtectionError)):
        associated(keys)
    changed = MeterKeys(unicast, authentication, keys.master)
    renewed = associated(changed)
    seen = object_list(home.run(renewed.get(Attribute(15, CURRENT_ASSOCIATION, 2))))
    assert seen.find(ObisCode(0, 0, 43, 0, 0), 64).version == 1
    assert seen.find(ENERGY).right(2) & Right.AUTHENTICATED_REQUEST


def test_a_push_waits_for_whoever_sends_it() -> None:
    home = Household("saudi-like-1p")
    client = home.client(1)
    home.run(client.action(Method(40, ObisCode(0, 0, 25, 9, 0), 1), NOTHING))
    (delivery,) = home.fleet.companion_state("M0001").deliveries
    name, time, energy = decode_plain(encode(delivery.body))  # type: ignore[misc]
    assert name == b"OAMM0001"
    assert CosemDateTime.from_bytes(time).instant() == home.clock.instant  # type: ignore[arg-type]
    assert energy == home.value(ENERGY)
    assert delivery.attempts_s == (0, 60, 120, 180)


def test_prepaid_energy_is_charged_to_the_count_and_the_contact_follows_the_credit() -> None:
    home = Household("saudi-like-1p")
    client = home.client(1)
    account, gateway = ObisCode(0, 0, 19, 0, 0), ObisCode(0, 0, 19, 40, 0)
    credit, charge = ObisCode(0, 0, 19, 10, 0), ObisCode(0, 0, 19, 20, 0)
    home.run(client.action(Method(111, account, 1), NOTHING))
    assert home.fleet.meter("M0001").disconnected  # no credit yet
    token = vendor_token(7, "M0001", 1, 400)
    home.run(client.action(Method(115, gateway, 1), Data(Tag.OCTET_STRING, token)))
    assert not home.fleet.meter("M0001").disconnected
    for wrong in (token, vendor_token(7, "M0002", 2, 400), vendor_token(8, "M0001", 2, 400)):
        with pytest.raises(AccessError):
            home.run(client.action(Method(115, gateway, 1), Data(Tag.OCTET_STRING, wrong)))
    begun = home.clock.instant
    for _ in range(12):
        home.clock.instant += timedelta(hours=1)
        left = home.run(client.get(Attribute(112, credit, 2)))
        paid = home.run(client.get(Attribute(113, charge, 2)))
        assert left == 400 - paid
    stamps, energies = (lambda rows: (rows.stamp_s, rows.values[0]))(home.fleet.meter("M0001").profile.rows())
    used = int(energies[(stamps > begun.timestamp())].sum())
    assert paid == used * 18 // 1000  # 18 halalas a kWh
    home.run(client.action(Method(112, credit, 2), Data(Tag.DOUBLE_LONG, 1)))
    home.clock.instant += timedelta(days=2)
    assert home.run(client.get(Attribute(112, credit, 2))) <= 0
    assert home.fleet.meter("M0001").disconnected


def test_gas_is_captured_over_the_bus_into_its_register() -> None:
    home = Household("smr-5.0-1p")
    client = home.client(1)
    bus, register = ObisCode(0, 2, 24, 1, 0), ObisCode(0, 2, 24, 2, 1)
    home.run(client.action(Method(72, bus, 1), Data(Tag.UNSIGNED, 2)))
    home.run(client.set(Attribute(72, bus, 4), Data(Tag.DOUBLE_LONG_UNSIGNED, 3600)))
    before = home.run(client.get(Attribute(4, register, 2)))
    home.clock.instant += timedelta(hours=5)
    after = home.run(client.get(Attribute(4, register, 2)))
    assert before == 0
    home.clock.instant += timedelta(hours=5)
    assert home.run(client.get(Attribute(4, register, 2))) - after == 500


def test_a_clock_with_rules_of_its_own_shows_what_they_say() -> None:
    home = Household("smr-5.0-1p")
    client = home.client(1)
    clock = ObisCode(0, 0, 1, 0, 0)

    def offset() -> int:
        return -CosemDateTime.from_bytes(home.run(client.get(Attribute(8, clock, 2)))).deviation

    assert (home.run(client.get(Attribute(8, clock, 3))), offset()) == (-60, 120)
    home.run(client.set(Attribute(8, clock, 8), Data(Tag.BOOLEAN, False)))
    assert offset() == 60
    home.run(client.set(Attribute(8, clock, 3), Data(Tag.LONG, -180)))
    assert offset() == 180
    with pytest.raises(AccessError):
        home.run(client.set(Attribute(8, clock, 3), Data(Tag.LONG, -1000)))


def test_a_zone_of_rules_is_the_civil_zone_where_they_are_the_same() -> None:
    begin = bytes.fromhex("ffff03fe07020000008000ff")  # last Sunday of March, 02:00
    end = bytes.fromhex("ffff0afe07030000008000ff")  # last Sunday of October, 03:00
    ruled = RuledZone(60, begin, end, 60)
    instant = datetime(2024, 1, 1, tzinfo=UTC)
    while instant < datetime(2026, 1, 1, tzinfo=UTC):
        ours, theirs = instant.astimezone(ruled), instant.astimezone(BERLIN)
        assert (ours.replace(tzinfo=None), ours.utcoffset()) == (
            theirs.replace(tzinfo=None),
            theirs.utcoffset(),
        )
        assert ours.astimezone(UTC) == instant
        instant += timedelta(minutes=30)
    south = RuledZone(600, end, begin, 60)
    assert datetime(2025, 1, 1, tzinfo=UTC).astimezone(south).utcoffset() == timedelta(hours=11)


def test_idle_meters_keep_no_companion_state() -> None:
    clock = HandClock()
    meters = tuple(
        MeterSpec(f"M{n:04d}", 16 + n, CurveSpec(CurveKind.HOUSEHOLD, f"M{n:04d}"), companion="smr-5.5-3p")
        for n in range(500)
    )
    fleet = Fleet(FleetSpec(7, START, meters), clock)
    devices = FleetDevices(fleet, 0)
    assert len(devices) == 501
    assert fleet._companions == {}
