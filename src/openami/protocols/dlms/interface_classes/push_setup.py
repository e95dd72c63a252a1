"""Push setup, class 40 versions 0 to 2 (IEC 62056-6-2 clause 4.4.8): what the meter sends unasked.

    push_object_list               array { class_id, logical_name, attribute_index, data_index
                                           [, restriction [, columns]] }
    send_destination_and_method    { transport_service enum, destination octet-string, message enum }
    communication_window           array { start_time, end_time }
    randomisation_start_interval   seconds within which a push begins
    number_of_retries, repetition_delay

The body of a push is a structure with the value of each object of the list. The object gives a `Delivery`,
which says everything that whoever sends it must know, and sends nothing itself. Rule of this file: nothing
is pushed outside a communication window, and a list that cannot be read whole is not pushed in part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from itertools import accumulate
from typing import ClassVar

from openami.protocols.dlms.apdus.results import AccessError, AccessResult
from openami.protocols.dlms.encoding.axdr import Data, Tag, encode, structure
from openami.protocols.dlms.interface_classes.compact_data import NO_RESTRICTION
from openami.protocols.dlms.interface_classes.dial_up import window_open
from openami.protocols.dlms.interface_classes.object_reference import Find, read_value, reference
from openami.protocols.dlms.interface_classes.stored_object import (
    NO_PRESET,
    State,
    StoredAttribute,
    StoredObject,
    items,
    number,
    octets,
)
from openami.protocols.dlms.interface_classes.value_types import (
    CAPTURE_OBJECT,
    DOUBLE_LONG_UNSIGNED,
    INTEGER,
    LOGICAL_NAME,
    LONG_UNSIGNED,
    OPTIONAL_NAME,
    UNSIGNED,
    WINDOW,
    Anything,
    ListOf,
    Moment,
    Octets,
    Whole,
    enumeration,
    record,
)
from openami.quantities.obis import ObisCode

_NOTHING = Whole(Tag.INTEGER, 0, 0)
_MOST_OBJECTS = 64
MOST_PUSHED = 1 << 17
"""Octets of the values of one push; a longer list is read, not pushed."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A push on its way.

    Parameters
    ----------
    setup:
        The push setup that it comes from.
    transport, destination, message:
        Transport service, where to, and encoding of the message, as enumerated by the class.
    body:
        Structure of the values.
    attempts_s:
        Seconds after the push was asked for at which it is tried: once, and again while nobody took it.
    asked_at:
        When it was asked for, in the zone of the meter.
    client:
        Client that it is for (``push_client_SAP``); 0 where the setup names none.
    protection:
        ``push_protection_parameters``, layer by layer; empty where the setup has none.
    """

    setup: ObisCode
    transport: int
    destination: bytes
    message: int
    body: Data
    attempts_s: tuple[int, ...]
    asked_at: datetime
    client: int = 0
    protection: tuple[Data, ...] = ()


class PushSetup(StoredObject):
    """A list of values and where it goes, class version 0.

    Parameters
    ----------
    find:
        The objects whose values are pushed.
    send:
        Takes a delivery.
    now, zone:
        The meter's clock.
    draw:
        Draws a delay of 0 up to, not including, so many seconds.
    state, preset:
        As of `StoredObject`.
    """

    __slots__ = ("_draw", "_find", "_now", "_pushing", "_send", "_zone")

    class_id: ClassVar[int] = 40
    version: ClassVar[int] = 0
    table: ClassVar[tuple[StoredAttribute, ...]] = (
        StoredAttribute(2, "push_object_list", ListOf(CAPTURE_OBJECT, _MOST_OBJECTS)),
        StoredAttribute(
            3, "send_destination_and_method", record(enumeration(255), Octets(), enumeration(255))
        ),
        StoredAttribute(4, "communication_window", ListOf(WINDOW, 16)),
        StoredAttribute(5, "randomisation_start_interval", LONG_UNSIGNED),
        StoredAttribute(6, "number_of_retries", UNSIGNED),
        StoredAttribute(7, "repetition_delay", LONG_UNSIGNED),
    )
    methods: ClassVar[tuple[int, ...]] = (1,)

    def __init__(
        self,
        logical_name: ObisCode,
        find: Find,
        send: Callable[[Delivery], None],
        now: Callable[[], datetime],
        zone: tzinfo = UTC,
        draw: Callable[[int], int] = lambda below: 0,
        state: State | None = None,
        preset: Mapping[int, Data] = NO_PRESET,
    ) -> None:
        super().__init__(logical_name, state, preset)
        self._find = find
        self._send = send
        self._now = now
        self._zone = zone
        self._draw = draw
        self._pushing = False

    def invoke(self, index: int, parameter: Data | None) -> Data | None:
        """``push``; raises `AccessError` outside the windows, or where a value cannot be read."""
        if index != 1:
            return super().invoke(index, parameter)
        self.parameter(parameter, _NOTHING, "push")
        if not window_open(self.current(4), self._now(), self._zone):
            raise AccessError(AccessResult.TEMPORARY_FAILURE, where=f"{self.logical_name}: no window is open")
        self._send(self.delivery())
        return None

    def delivery(self) -> Delivery:
        """What a push at this moment would be; raises `AccessError`."""
        if self._pushing:  # the list names a value that is made of the list
            raise AccessError(AccessResult.TEMPORARY_FAILURE, where=f"{self.logical_name} is being read")
        self._pushing = True
        try:
            values = self._values()
        finally:
            self._pushing = False
        transport, destination, message = items(self.current(3))
        within = number(self.current(5))
        first = self._draw(within) if within else 0
        return Delivery(
            self.logical_name,
            number(transport),
            octets(destination),
            number(message),
            structure(*values),
            tuple(accumulate((first, *self._delays()))),
            self._now().astimezone(self._zone),
            *self._partner(),
        )

    def _values(self) -> list[Data]:
        """The values of the list; raises `AccessError` where one cannot be read, or they are too much."""
        values: list[Data] = []
        left = MOST_PUSHED
        for entry in items(self.current(2)):
            values.append(read_value(self._find, reference(entry)))
            left -= len(encode(values[-1]))
            if left < 0:
                where = f"{self.logical_name}: more than {MOST_PUSHED} octets"
                raise AccessError(AccessResult.SCOPE_OF_ACCESS_VIOLATED, where=where)
        return values

    def _partner(self) -> tuple[int, tuple[Data, ...]]:
        """Client and protection."""
        return 0, ()

    def _delays(self) -> list[int]:
        """Pauses before the second, third ... attempt."""
        return [number(self.current(7))] * number(self.current(6))


class PushSetupVersion1(PushSetup):
    """A list of values and where it goes, class version 1: with port, client and protection."""

    __slots__ = ()

    version: ClassVar[int] = 1
    table: ClassVar[tuple[StoredAttribute, ...]] = (
        *PushSetup.table,
        StoredAttribute(8, "port_reference", OPTIONAL_NAME),
        StoredAttribute(9, "push_client_SAP", INTEGER),
        StoredAttribute(10, "push_protection_parameters", ListOf(Anything(), 8)),
    )

    def _partner(self) -> tuple[int, tuple[Data, ...]]:
        return max(0, number(self.current(9))), items(self.current(10))


class PushSetupVersion2(PushSetupVersion1):
    """A list of values and where it goes, class version 2: growing delays, confirmed or not.

    ``repetition_delay`` is { min seconds, exponent in hundredths, max seconds }: the n-th pause is
    ``min * (exponent / 100) ** (n - 1)``, at most ``max``, in whole seconds cut off.
    """

    __slots__ = ()

    version: ClassVar[int] = 2
    table: ClassVar[tuple[StoredAttribute, ...]] = (
        StoredAttribute(
            2,
            "push_object_list",
            ListOf(
                record(
                    LONG_UNSIGNED, LOGICAL_NAME, INTEGER, LONG_UNSIGNED, NO_RESTRICTION, ListOf(Anything(), 0)
                ),
                _MOST_OBJECTS,
            ),
        ),
        *PushSetup.table[1:5],
        StoredAttribute(7, "repetition_delay", record(LONG_UNSIGNED, LONG_UNSIGNED, LONG_UNSIGNED)),
        *PushSetupVersion1.table[6:],
        StoredAttribute(11, "push_operation_method", enumeration(2)),
        StoredAttribute(12, "confirmation_parameters", record(Moment(), DOUBLE_LONG_UNSIGNED)),
        StoredAttribute(13, "last_confirmation_date_time", Moment(Tag.DATE_TIME)),
    )
    methods: ClassVar[tuple[int, ...]] = (1, 2)

    def invoke(self, index: int, parameter: Data | None) -> Data | None:
        """``push``, and ``reset``, which forgets the last confirmation; raises `AccessError`."""
        if index != 2:
            return super().invoke(index, parameter)
        self.parameter(parameter, _NOTHING, "reset")
        self.keep(13, Moment(Tag.DATE_TIME).blank())
        return None

    def _delays(self) -> list[int]:
        least, exponent, most = map(number, items(self.current(7)))
        delays: list[int] = []
        grown, scale = least, 1
        for _ in range(number(self.current(6))):
            delays.append(min(grown // scale, most))
            if grown // scale < most:
                grown, scale = grown * exponent, scale * 100
        return delays
