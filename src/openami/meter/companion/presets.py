"""How objects of a companion model stand when a meter leaves the factory.

Tariff: scripts 1 and 2 of 0-0:10.0.100 select the registers of rates 1 and 2; the calendar has rate 1 from
23:00 to 07:00 and on weekends. Supply: scripts 1 and 2 of 0-0:10.0.106 open and close the contact. End of
billing: script 1 of 0-0:10.0.1 captures the billing profile, on the first of every month. Rule of this file:
every preset is admitted by the table of its class.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from openami.protocols.dlms.encoding.axdr import BitString, Data, Tag, array, structure
from openami.protocols.dlms.encoding.date_time import CosemDateTime
from openami.protocols.dlms.interface_classes.register_activation import mask
from openami.quantities.obis import ObisCode

from .model import CompanionModel, ModelObject

Preset = Mapping[int, Data]

CLOCK = ObisCode(0, 0, 1, 0, 0)
TARIFF_SCRIPTS = ObisCode(0, 0, 10, 0, 100)
BILLING_SCRIPTS = ObisCode(0, 0, 10, 0, 1)
CONTROL_SCRIPTS = ObisCode(0, 0, 10, 0, 106)
IMAGE_SCRIPTS = ObisCode(0, 0, 10, 0, 107)
PUSH_SCRIPTS = ObisCode(0, 0, 10, 0, 108)
ACTIVATION = ObisCode(0, 0, 14, 0, 0)
RELAY = ObisCode(0, 0, 96, 3, 10)
IMAGE = ObisCode(0, 0, 44, 0, 0)
ENERGY = ObisCode(1, 0, 1, 8, 0)
POWER = ObisCode(1, 0, 1, 7, 0)
ALARMS = ObisCode(0, 0, 97, 98, 0)
BILLING_PROFILES: Final = (ObisCode(0, 0, 98, 1, 0), ObisCode(1, 0, 98, 1, 0))
DEVICE_NAME = ObisCode(0, 0, 42, 0, 0)
TOKEN_CREDIT, EMERGENCY_CREDIT = ObisCode(0, 0, 19, 10, 0), ObisCode(0, 0, 19, 10, 1)
ENERGY_CHARGE, DAILY_CHARGE, DEBT_CHARGE = (ObisCode(0, 0, 19, 20, place) for place in range(3))
NIGHT, DAY = 1, 2
"""Tariff scripts: rate 1 (low) and rate 2 (normal)."""
_NOTHING = Data(Tag.INTEGER, 0)
_OPEN_DATE = bytes((0xFF,) * 5)


def octets(value: bytes) -> Data:
    """An octet-string."""
    return Data(Tag.OCTET_STRING, value)


def name(value: ObisCode) -> Data:
    """A logical name."""
    return octets(value.to_bytes())


def _long(value: int) -> Data:
    return Data(Tag.LONG_UNSIGNED, value)


def _double(value: int) -> Data:
    return Data(Tag.DOUBLE_LONG_UNSIGNED, value)


def _amount(value: int) -> Data:
    return Data(Tag.DOUBLE_LONG, value)


def _enum(value: int) -> Data:
    return Data(Tag.ENUM, value)


def _unsigned(value: int) -> Data:
    return Data(Tag.UNSIGNED, value)


def _bits(text: str) -> Data:
    return Data(Tag.BIT_STRING, BitString(len(text), bytes((int(text.ljust(8, "0"), 2),))))


def _time(hour: int) -> Data:
    return octets(bytes((hour, 0, 0, 0)))


def _script(table: ObisCode, selector: int) -> Data:
    return structure(name(table), _long(selector))


def _value(class_id: int, of: ObisCode, attribute: int = 2) -> Data:
    return structure(_long(class_id), name(of), Data(Tag.INTEGER, attribute))


def _capture(class_id: int, of: ObisCode, attribute: int = 2) -> Data:
    return structure(_long(class_id), name(of), Data(Tag.INTEGER, attribute), _long(0))


def _scripts(scripts: Iterable[tuple[int, int, int, ObisCode, int, Data]]) -> Data:
    """Scripts of one action each: number, service, class, logical name, index, parameter."""
    return array(
        structure(
            _long(selector),
            array(
                [structure(_enum(service), _long(class_id), name(of), Data(Tag.INTEGER, index), parameter)]
            ),
        )
        for selector, service, class_id, of, index, parameter in scripts
    )


def rate_registers(model: CompanionModel) -> tuple[ObisCode, ...]:
    """Registers of a model that count in one rate only: import and export, rate by rate."""
    return tuple(
        item.logical_name
        for item in model.of_class(3)
        if item.logical_name.groups[:2] == (1, 0)
        and item.logical_name.c in (1, 2)
        and item.logical_name.d == 8
        and item.logical_name.e > 0
    )


@lru_cache(maxsize=4096)
def preset(model: CompanionModel, item: ModelObject) -> Preset:
    """Attributes of an object at the factory; what is not named is blank."""
    made = {
        6: _register_activation,
        9: _script_table,
        18: _image_transfer,
        20: _activity_calendar,
        22: _single_action,
    }.get(item.class_id)
    if made is not None:
        return made(model, item)
    fixed = _FIXED.get(item.class_id)
    if fixed is not None:
        return fixed
    return {
        5: _demand,
        7: _profile,
        21: _monitor,
        71: _limiter,
        111: _account,
        112: _credit,
        113: _charge,
    }.get(item.class_id, _blank)(model, item)


def _blank(model: CompanionModel, item: ModelObject) -> Preset:
    return {}


def _register_activation(model: CompanionModel, item: ModelObject) -> Preset:
    registers = rate_registers(model)
    rates = sorted({register.e for register in registers})
    return {
        2: array(structure(_long(3), name(register)) for register in registers),
        3: array(
            mask(str(rate).encode(), *(at for at, register in enumerate(registers, 1) if register.e == rate))
            for rate in rates
        ),
        4: octets(str(rates[0]).encode() if rates else b""),
    }


def _script_table(model: CompanionModel, item: ModelObject) -> Preset:
    match item.logical_name:
        case ObisCode(e=100):
            rates = sorted({register.e for register in rate_registers(model)})
            return {2: _scripts((rate, 1, 6, ACTIVATION, 4, octets(str(rate).encode())) for rate in rates)}
        case ObisCode(e=106):
            return {2: _scripts((method, 2, 70, RELAY, method, _NOTHING) for method in (1, 2))}
        case ObisCode(e=107):
            return {2: _scripts([(1, 2, 18, IMAGE, 4, _NOTHING)])}
        case ObisCode(e=108):
            pushes = (push.logical_name for push in model.of_class(40))
            return {2: _scripts((at, 2, 40, push, 1, _NOTHING) for at, push in enumerate(pushes, 1))}
    billing = [profile for profile in model.of_class(7) if profile.logical_name in BILLING_PROFILES]
    return {2: _scripts((1, 2, 7, profile.logical_name, 2, _NOTHING) for profile in billing[:1])}


def _single_action(model: CompanionModel, item: ModelObject) -> Preset:
    script = {1: CONTROL_SCRIPTS, 2: IMAGE_SCRIPTS, 4: PUSH_SCRIPTS}.get(item.logical_name.e, BILLING_SCRIPTS)
    made = {2: _script(script, 1), 3: _enum(1)}
    if item.logical_name == ObisCode(0, 0, 15, 0, 0):
        first = octets(b"\xff\xff\xff\x01\xff")
        made[4] = array([structure(_time(0), first)])
    return made


def _activity_calendar(model: CompanionModel, item: ModelObject) -> Preset:
    def day(number: int, *turns: tuple[int, int]) -> Data:
        listed = (structure(_time(hour), name(TARIFF_SCRIPTS), _long(rate)) for hour, rate in turns)
        return structure(_unsigned(number), array(listed))

    start = octets(_OPEN_DATE + b"\xff\xff\xff\xff\x80\x00\xff")
    return {
        2: octets(b"factory"),
        3: array([structure(octets(b"year"), start, octets(b"week"))]),
        4: array([structure(octets(b"week"), *(_unsigned(profile) for profile in (1, 1, 1, 1, 1, 2, 2)))]),
        5: array([day(1, (0, NIGHT), (7, DAY), (23, NIGHT)), day(2, (0, NIGHT))]),
    }


def _image_transfer(model: CompanionModel, item: ModelObject) -> Preset:
    return {5: Data(Tag.BOOLEAN, False)}


def _demand(model: CompanionModel, item: ModelObject) -> Preset:
    return {8: _double(item.period_s or 900), 9: _long(1)}


def _profile(model: CompanionModel, item: ModelObject) -> Preset:
    columns = (_capture(column.class_id, column.logical_name, column.attribute) for column in item.capture)
    return {
        3: array(columns),
        4: _double(item.period_s),
        5: _enum(1),
        8: _double(item.entries),
    }


def _monitor(model: CompanionModel, item: ModelObject) -> Preset:
    return {3: _value(1, ALARMS)}


def _limiter(model: CompanionModel, item: ModelObject) -> Preset:
    power = next((known for known in model.of_class(3) if known.logical_name == POWER), None)
    tag = Tag.DOUBLE_LONG_UNSIGNED if power is None else power.tag
    most = Data(tag, 0xFFFF if tag is Tag.LONG_UNSIGNED else 0xFFFF_FFFF)
    return {
        2: _value(3, POWER),
        4: most,
        5: most,
        6: _double(60),
        7: _double(60),
        11: structure(_script(CONTROL_SCRIPTS, 1), _script(CONTROL_SCRIPTS, 2)),
    }


def _account(model: CompanionModel, item: ModelObject) -> Preset:
    return {
        2: structure(_enum(2), _enum(1)),
        9: array(name(known.logical_name) for known in model.of_class(112)),
        10: array(name(known.logical_name) for known in model.of_class(113)),
        15: structure(Data(Tag.UTF8_STRING, "SAR"), Data(Tag.INTEGER, -2), _enum(2)),
        18: _long(0),
    }


def _credit(model: CompanionModel, item: ModelObject) -> Preset:
    emergency = item.logical_name == EMERGENCY_CREDIT
    return {
        3: _enum(2 if emergency else 0),
        4: _unsigned(2 if emergency else 1),
        5: _amount(0 if emergency else 1000),
        7: _bits("01100" if emergency else "00001"),
        9: _amount(2000 if emergency else 0),
        10: _amount(500 if emergency else 0),
    }


def _charge(model: CompanionModel, item: ModelObject) -> Preset:
    """18 halalas a kWh, nothing a day until a client says so, no debt."""
    kind = {DAILY_CHARGE: 1, DEBT_CHARGE: 2}.get(item.logical_name, 0)
    prices = array([structure(octets(b""), Data(Tag.LONG, 18 if kind == 0 else 0))])
    scales = structure(Data(Tag.INTEGER, 3 if kind == 0 else 0), Data(Tag.INTEGER, -2))
    charge = structure(scales, _value(3, ENERGY), prices)
    return {
        3: _enum(kind),
        4: _unsigned(kind + 1),
        5: charge,
        6: charge,
        8: _double({0: 900, 1: 86_400, 2: 0}[kind]),
        9: _bits("10" if kind == 2 else "00"),
        13: _long(0),
    }


_QUALITY = structure(*[_unsigned(3)] * 5)
_NIGHT_WINDOW = array(
    [
        structure(
            octets(_OPEN_DATE + bytes((1, 0, 0, 0)) + b"\x80\x00\xff"),
            octets(_OPEN_DATE + bytes((5, 0, 0, 0)) + b"\x80\x00\xff"),
        )
    ]
)
_NEVER = octets(CosemDateTime().to_bytes())
_FIXED: Final[dict[int, Preset]] = {
    19: {2: _enum(1), 3: _enum(0), 4: _enum(5), 5: _enum(1)},
    23: {
        2: _enum(5),
        3: _unsigned(1),
        4: _unsigned(1),
        5: _long(128),
        6: _long(128),
        7: _long(25),
        8: _long(120),
        9: _long(0x10),
    },
    25: {2: _enum(3), 3: _enum(3)},
    27: {2: _enum(9)},
    28: {3: _NIGHT_WINDOW, 6: structure(_unsigned(2), _unsigned(0))},
    29: {3: _unsigned(3), 4: _long(60)},
    41: {2: _long(4059), 3: name(ObisCode(0, 0, 25, 1, 0)), 4: _long(576), 5: _unsigned(4), 6: _long(180)},
    42: {2: name(ObisCode(0, 0, 25, 3, 0)), 3: _double(0x7F00_0001), 6: _double(0xFF00_0000)},
    43: {2: octets(bytes.fromhex("02004f414d01"))},
    45: {2: octets(b"openami.meter"), 4: structure(_QUALITY, _QUALITY)},
    46: {2: _long(25)},
    61: {
        3: structure(
            _long(3), name(ENERGY), array(_unsigned(rate) for rate in range(5)), Data(Tag.INTEGER, 2)
        )
    },
    65: {4: array([_value(71, ObisCode(0, 0, 17, 0, 0), 4), _value(20, ObisCode(0, 0, 13, 0, 0), 6)])},
    67: {13: _value(3, ObisCode(1, 0, 32, 7, 0))},
    72: {2: name(ObisCode(0, 0, 24, 6, 0)), 3: array([structure(octets(b"\x04"), octets(b"\x13"))])},
    74: {2: _enum(3)},
}


def push_preset(item: ModelObject) -> Preset:
    """A push of the device name and the clock with the energy, to nobody."""
    columns = (_capture(1, DEVICE_NAME), _capture(8, CLOCK), _capture(3, ENERGY))
    listed: Iterable[Data] = columns
    if item.version == 2:
        rest = (structure(_enum(0), Data(Tag.NULL_DATA, None)), array(()))
        listed = (Data(Tag.STRUCTURE, (*_parts(column), *rest)) for column in columns)
    return {2: array(listed), 6: _unsigned(3), **({} if item.version == 2 else {7: _long(60)})}


def compact_preset(item: ModelObject) -> Preset:
    """The template, the clock and the energy, captured at reading, as template 1."""
    columns: Iterable[Data] = (
        _capture(item.class_id, item.logical_name, 4),
        _capture(8, CLOCK),
        _capture(3, ENERGY),
    )
    if item.version == 1:
        rest = structure(_enum(0), Data(Tag.NULL_DATA, None))
        columns = (Data(Tag.STRUCTURE, (*_parts(column), rest)) for column in columns)
    return {3: array(columns), 4: _unsigned(1), 6: _enum(1)}


def _parts(value: Data) -> tuple[Data, ...]:
    return value.value if isinstance(value.value, tuple) else ()
