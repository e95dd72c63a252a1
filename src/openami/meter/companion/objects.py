"""A software meter as its companion model has it: one maker a class, and the device of all objects.

    companion_device(fleet, meter_id)

Rule of this file: a class of a model has a maker here, or the model is refused.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from openami.meter.cosem_objects import FleetRelay, logical_device_name
from openami.meter.fleet import Fleet
from openami.protocols.dlms.apdus.descriptors import CaptureObject
from openami.protocols.dlms.apdus.results import AccessError, AccessResult
from openami.protocols.dlms.encoding.axdr import Data, Tag
from openami.protocols.dlms.interface_classes.account import Account
from openami.protocols.dlms.interface_classes.activity_calendar import ActivityCalendar
from openami.protocols.dlms.interface_classes.arbitrator import Arbitrator
from openami.protocols.dlms.interface_classes.charge import Charge
from openami.protocols.dlms.interface_classes.compact_data import CompactData, CompactDataVersion0
from openami.protocols.dlms.interface_classes.credit import Credit
from openami.protocols.dlms.interface_classes.data_protection import DataProtection, protectors
from openami.protocols.dlms.interface_classes.dial_up import AutoAnswer, AutoConnect
from openami.protocols.dlms.interface_classes.disconnect_control import DisconnectControl
from openami.protocols.dlms.interface_classes.image_transfer import ImageMemory, ImageTransfer
from openami.protocols.dlms.interface_classes.interface_object import (
    InterfaceObject,
)
from openami.protocols.dlms.interface_classes.internet_setup import (
    GprsModemSetup,
    Ipv4Setup,
    Ipv6Setup,
    MacAddressSetup,
    PppSetup,
    SmtpSetup,
    TcpUdpSetup,
)
from openami.protocols.dlms.interface_classes.limiter import Limiter
from openami.protocols.dlms.interface_classes.local_ports import (
    HdlcSetup,
    IecLocalPort,
    MbusMasterPort,
    MbusSlavePort,
    ModemConfiguration,
    TwistedPairSetup,
)
from openami.protocols.dlms.interface_classes.mbus import (
    BusQuality,
    MbusClient,
    MbusClientVersion0,
    MbusDiagnostic,
)
from openami.protocols.dlms.interface_classes.network_diagnostic import (
    GsmDiagnostic,
    GsmDiagnosticVersion0,
    GsmDiagnosticVersion1,
)
from openami.protocols.dlms.interface_classes.parameter_monitor import (
    ParameterMonitor,
    ParameterMonitorVersion1,
)
from openami.protocols.dlms.interface_classes.push_setup import (
    PushSetup,
    PushSetupVersion1,
    PushSetupVersion2,
)
from openami.protocols.dlms.interface_classes.register_activation import RegisterActivation
from openami.protocols.dlms.interface_classes.register_monitor import RegisterMonitor, SensorManager
from openami.protocols.dlms.interface_classes.sap_assignment import SapAssignment
from openami.protocols.dlms.interface_classes.schedule import Schedule
from openami.protocols.dlms.interface_classes.script_table import ScriptTable
from openami.protocols.dlms.interface_classes.security_setup import SecuritySetup, SecuritySetupVersion0
from openami.protocols.dlms.interface_classes.single_action_schedule import SingleActionSchedule
from openami.protocols.dlms.interface_classes.special_days import SpecialDays
from openami.protocols.dlms.interface_classes.stored_object import StoredObject
from openami.protocols.dlms.interface_classes.token_gateway import TokenGateway
from openami.protocols.dlms.interface_classes.value_tables import RegisterTable, StatusMapping, UtilityTable
from openami.protocols.dlms.server.device_security import DeviceSecurity
from openami.quantities.errors import FormatError
from openami.quantities.obis import ObisCode
from openami.security.meter_keys import MeterKeys

from .device import CompanionDevice
from .maker import ACCOUNT_CONTACT, Make, ObjectMaker
from .measured import NOMINAL_V, fitted
from .model import ModelObject, companion_model
from .presets import compact_preset, push_preset
from .surroundings import GasMeterBus, MakerFirmware, VendorTokens, home_network

_ACCOUNT, _ACTIVATION = ObisCode(0, 0, 19, 0, 0), ObisCode(0, 0, 14, 0, 0)
_FIRMWARE = ObisCode(1, 0, 0, 2, 0)


def companion_device(fleet: Fleet, meter_id: str) -> CompanionDevice:
    """A meter of a fleet as its companion model has it.

    Raises
    ------
    FormatError
        The meter names no model, or one with a class that is not served.
    """
    spec = fleet.meter_spec(meter_id)
    if spec.companion is None:
        raise FormatError(f"meter {meter_id!r} has no companion model")
    model, state = companion_model(spec.companion), fleet.companion_state(meter_id)
    return ObjectMaker(fleet, spec, model, state).device(_MAKERS)


def _sap(maker: ObjectMaker, item: ModelObject) -> InterfaceObject:
    """Where this logical device is."""
    return SapAssignment(item.logical_name, lambda: [(maker.spec.wport, logical_device_name(maker.meter_id))])


def _image(maker: ObjectMaker, item: ModelObject) -> InterfaceObject:
    """Firmware of the maker."""
    if maker.state.image is None:
        maker.state.image = ImageMemory()
    firmware = MakerFirmware(maker.fleet.spec.seed, maker.state.of(_FIRMWARE))
    return ImageTransfer(
        item.logical_name, maker.state.image, firmware, state=maker.kept(item), preset=maker.preset(item)
    )


def _push(maker: ObjectMaker, item: ModelObject) -> InterfaceObject:
    """A push into the outbox of the meter."""

    def draw(below: int) -> int:
        """The same for the same push of the same scenario, another for every meter and every instant."""
        seed = f"{maker.fleet.spec.seed} {maker.meter_id} {item.logical_name} {maker.now().isoformat()}"
        return random.Random(seed).randrange(below)

    kind = (PushSetup, PushSetupVersion1, PushSetupVersion2)[item.version]
    return kind(
        item.logical_name,
        maker.find,
        maker.state.deliver,
        maker.now,
        maker.zone,
        draw,
        maker.kept(item),
        push_preset(item),
    )


def _security_setup(maker: ObjectMaker, item: ModelObject) -> InterfaceObject:
    """Keys and policy of the meter."""
    if maker.security is None:
        raise FormatError("a security setup without keys")
    kind = SecuritySetup if item.version else SecuritySetupVersion0
    client = maker.model.management
    return kind(item.logical_name, maker.security, client, b"", maker.kept(item), maker.preset(item))


def _protection(maker: ObjectMaker, item: ModelObject) -> InterfaceObject:
    """Data protection with the partners whose keys the meter has: at present none besides the client."""
    security = maker.security or DeviceSecurity(maker.spec.system_title, MeterKeys.random())
    return DataProtection(
        item.logical_name,
        maker.find,
        protectors(security, ()),
        security.title,
        maker.kept(item),
        maker.preset(item),
    )


def _account(maker: ObjectMaker, item: ModelObject) -> InterfaceObject:
    """The account, which opens the contact when the credit is used up."""
    opened = maker.state.of(ACCOUNT_CONTACT)

    def supply(credit: bool) -> None:
        if not credit:
            opened[0] = Data(Tag.BOOLEAN, True)
            maker.fleet.disconnect(maker.meter_id)
        elif opened.pop(0, None) is not None:
            maker.fleet.reconnect(maker.meter_id)

    return Account(
        item.logical_name, maker.find, supply, maker.now, maker.zone, maker.kept(item), maker.preset(item)
    )


def _account_of(maker: ObjectMaker) -> Account | None:
    found = maker.find(_ACCOUNT)
    return found if isinstance(found, Account) else None


def _credit(maker: ObjectMaker, item: ModelObject) -> InterfaceObject:
    """A credit of the account."""

    def changed() -> None:
        if (account := _account_of(maker)) is not None:
            account.refresh()

    return Credit(item.logical_name, changed, maker.kept(item), maker.preset(item), maker.zone)


def _charge(maker: ObjectMaker, item: ModelObject) -> InterfaceObject:
    """A charge of the account."""

    def take(amount: int) -> None:
        if (account := _account_of(maker)) is not None:
            account.take(amount, item.logical_name)

    def commodity(source: CaptureObject, at: datetime) -> tuple[int, int] | None:
        name = source.logical_name
        if name.groups[:2] != (1, 0) or name.c not in (1, 2) or (name.d, name.e) != (8, 0):
            return None
        return maker.history.energy_at(at, name.c - 1), 0

    def tariff() -> bytes:
        activation = maker.find(_ACTIVATION)
        mask = activation.current(4).value if isinstance(activation, RegisterActivation) else b""
        return mask if isinstance(mask, bytes) else b""

    return Charge(
        item.logical_name,
        commodity,
        take,
        maker.now,
        maker.zone,
        lambda: 0 if (account := _account_of(maker)) is None else account.currency_scale,
        lambda: False if (account := _account_of(maker)) is None else account.collects(item.logical_name),
        tariff,
        maker.kept(item),
        maker.preset(item),
    )


def _tokens(maker: ObjectMaker, item: ModelObject) -> InterfaceObject:
    """Tokens of the vendor."""

    def pay_in(amount: int) -> None:
        if (account := _account_of(maker)) is None:
            raise AccessError(AccessResult.OBJECT_UNAVAILABLE, where=str(item.logical_name))
        account.pay_in(amount)

    verifier = VendorTokens(maker.fleet.spec.seed, maker.meter_id)
    return TokenGateway(item.logical_name, verifier, pay_in, maker.now, maker.zone, maker.kept(item))


def _mbus(maker: ObjectMaker, item: ModelObject) -> InterfaceObject:
    """A gas meter on a channel."""
    value = maker.state.of(ObisCode(0, item.logical_name.b, 24, 2, 1))
    bus = GasMeterBus(maker.meter_id, item.logical_name.b, maker.now, maker.zone, value)
    kind = MbusClient if item.version else MbusClientVersion0
    return kind(item.logical_name, bus, maker.kept(item), maker.preset(item))


def _diagnostic(maker: ObjectMaker, item: ModelObject) -> InterfaceObject:
    """The network that the modem is in."""
    kind = (GsmDiagnosticVersion0, GsmDiagnosticVersion1, GsmDiagnostic)[item.version]
    return kind(item.logical_name, lambda: home_network(maker.now()), maker.zone)


def _nobody(destination: bytes) -> bool:
    """Nobody answers a call of a software meter."""
    return False


def _stored(kind: type[StoredObject]) -> Make:
    """Maker of a class that has only parameters."""
    return lambda maker, item: kind(item.logical_name, maker.kept(item), maker.preset(item))


def _found(kind: Callable[..., InterfaceObject]) -> Make:
    """Maker of a class that works with other objects."""
    return lambda maker, item: kind(
        item.logical_name, maker.find, state=maker.kept(item), preset=maker.preset(item)
    )


_MAKERS: Final[Mapping[tuple[int, int], Make]] = {
    (1, 0): ObjectMaker.data,
    (3, 0): ObjectMaker.register,
    (4, 0): ObjectMaker.extended_register,
    (5, 0): ObjectMaker.demand,
    (6, 0): lambda maker, item: RegisterActivation(
        item.logical_name, maker.rates.select, maker.kept(item), maker.preset(item)
    ),
    (7, 1): ObjectMaker.profile,
    (8, 0): ObjectMaker.clock,
    (9, 0): _found(ScriptTable),
    (10, 0): lambda maker, item: Schedule(
        item.logical_name, maker.zone, maker.run, maker.special_day, maker.kept(item), maker.preset(item)
    ),
    (11, 0): _stored(SpecialDays),
    (17, 0): _sap,
    (18, 0): _image,
    (19, 1): _stored(IecLocalPort),
    (20, 0): lambda maker, item: ActivityCalendar(
        item.logical_name,
        maker.zone,
        maker.now,
        maker.run,
        maker.special_day,
        maker.kept(item),
        maker.preset(item),
    ),
    (21, 0): lambda maker, item: RegisterMonitor(
        item.logical_name, maker.find, maker.run, maker.kept(item), maker.preset(item)
    ),
    (22, 0): lambda maker, item: SingleActionSchedule(
        item.logical_name, maker.zone, maker.run, maker.kept(item), maker.preset(item)
    ),
    (23, 1): _stored(HdlcSetup),
    (24, 1): _stored(TwistedPairSetup),
    (25, 0): _stored(MbusSlavePort),
    (26, 0): _stored(UtilityTable),
    (27, 1): _stored(ModemConfiguration),
    (28, 2): lambda maker, item: AutoAnswer(
        item.logical_name, maker.now, maker.zone, maker.kept(item), maker.preset(item)
    ),
    (29, 2): lambda maker, item: AutoConnect(
        item.logical_name, _nobody, maker.now, maker.zone, maker.kept(item), maker.preset(item)
    ),
    (30, 0): _protection,
    (40, 0): _push,
    (40, 1): _push,
    (40, 2): _push,
    (41, 0): _stored(TcpUdpSetup),
    (42, 0): _stored(Ipv4Setup),
    (43, 0): _stored(MacAddressSetup),
    (44, 0): _stored(PppSetup),
    (45, 0): _stored(GprsModemSetup),
    (46, 0): _stored(SmtpSetup),
    (47, 0): _diagnostic,
    (47, 1): _diagnostic,
    (47, 2): _diagnostic,
    (48, 0): _stored(Ipv6Setup),
    (61, 0): _found(RegisterTable),
    (62, 0): lambda maker, item: CompactDataVersion0(
        item.logical_name, maker.find, maker.kept(item), compact_preset(item)
    ),
    (62, 1): lambda maker, item: CompactData(
        item.logical_name, maker.find, maker.kept(item), compact_preset(item)
    ),
    (63, 0): lambda maker, item: StatusMapping(
        item.logical_name,
        lambda: fitted(Tag.LONG_UNSIGNED, int(maker.fleet.meter(maker.meter_id).pending_status)),
        maker.kept(item),
        maker.preset(item),
    ),
    (64, 0): _security_setup,
    (64, 1): _security_setup,
    (65, 0): lambda maker, item: ParameterMonitor(
        item.logical_name, maker.find, maker.now, maker.zone, maker.kept(item), maker.preset(item)
    ),
    (65, 1): lambda maker, item: ParameterMonitorVersion1(
        item.logical_name, maker.find, maker.now, maker.zone, maker.kept(item), maker.preset(item)
    ),
    (67, 0): lambda maker, item: SensorManager(
        item.logical_name,
        lambda: fitted(Tag.LONG_UNSIGNED, 10 * NOMINAL_V),
        maker.find,
        maker.run,
        maker.now,
        maker.zone,
        maker.kept(item),
        maker.preset(item),
    ),
    (68, 0): lambda maker, item: Arbitrator(
        item.logical_name, maker.run, maker.kept(item), maker.preset(item)
    ),
    (70, 0): lambda maker, item: DisconnectControl(
        item.logical_name, FleetRelay(maker.fleet, maker.meter_id), kept=maker.kept(item)
    ),
    (71, 0): lambda maker, item: Limiter(
        item.logical_name,
        maker.find,
        maker.run,
        maker.now,
        maker.zone,
        maker.kept(item),
        maker.preset(item),
    ),
    (72, 0): _mbus,
    (72, 1): _mbus,
    (74, 0): _stored(MbusMasterPort),
    (77, 0): lambda maker, item: MbusDiagnostic(
        item.logical_name, BusQuality, maker.now, maker.zone, maker.kept(item), maker.preset(item)
    ),
    (111, 0): _account,
    (112, 0): _credit,
    (113, 0): _charge,
    (115, 0): _tokens,
}
