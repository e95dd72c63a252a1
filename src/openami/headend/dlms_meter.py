"""One meter, pleasant to talk to: `Meter` over the TCP wrapper, the UDP wrapper, or HDLC on a TCP socket.

    async with Meter("10.0.0.7", server=16, security=ClientSecurity(title, keys)) as meter:
        energy = await meter.read("1.0.1.8.0.255")
        print(energy.value, energy.unit)                     # Decimal('123.456') kWh ...
        table = await meter.profile("1.0.99.1.0.255", start, end)

One meter is one connection; many run in one event loop. Rules never to be broken: nothing is assumed of a
meter that it can be asked; an invocation counter moves forward only, whoever asks for it; a secret never
leaves but into the association.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from types import TracebackType
from typing import Final, Self, TypeVar

import pyarrow as pa

from openami.headend.dlms_conversation import LinkSettings
from openami.headend.meter_connection import (
    DEFAULT_PORT,
    PROPOSED_PARAMETERS,
    MeterAccess,
    MeterConnection,
    Opening,
    Transport,
)
from openami.headend.profile_reading import ProfileReader
from openami.protocols.dlms.apdus.descriptors import CLOCK, Attribute, Method, Selector
from openami.protocols.dlms.apdus.initiate import Conformance
from openami.protocols.dlms.apdus.notification import DataNotification, EventNotification
from openami.protocols.dlms.apdus.results import AccessError
from openami.protocols.dlms.client.association import Association, Operation
from openami.protocols.dlms.client.attribute_value import (
    CLOCK_CLASS,
    AttributeValue,
    attribute_value,
    companions,
)
from openami.protocols.dlms.client.client_security import ClientSecurity
from openami.protocols.dlms.client.object_list import ASSOCIATION_LN, ObjectList, object_list
from openami.protocols.dlms.client.vendor_quirks import STANDARD, VendorQuirks
from openami.protocols.dlms.encoding.axdr import Data, Plain, Tag, decode
from openami.protocols.dlms.encoding.date_time import (
    STATUS_DAYLIGHT_SAVING,
    CosemDateTime,
)
from openami.protocols.dlms.encoding.limits import MAX_PDU
from openami.protocols.dlms.encoding.scaler_unit import ScalerUnit, scaler_unit_of
from openami.protocols.dlms.encoding.typed_value import data_like
from openami.protocols.dlms.framing.hdlc_parameters import HdlcParameters
from openami.protocols.dlms.server.logical_device import CURRENT_ASSOCIATION
from openami.protocols.driver import RecordedFrame
from openami.quantities.errors import LinkError, LocalProtocolError, ProtocolError, RemoteProtocolError
from openami.quantities.obis import ObisCode
from openami.security.secret import Secret

T = TypeVar("T")

__all__ = ["DEFAULT_PORT", "Meter", "Opening", "Transport", "read_meters"]

_DAY_S: Final = 86_400
_HOUR_S: Final = 3_600
_LIST_OVERHEAD, _LISTED_OCTETS = 64, 11
_SORTED_NEWEST_FIRST: Final = 2


class Meter:
    """One association with one meter.

    Invariant: at most one request is under way. Once the meter broke the protocol or did not answer, every
    further call raises.

    Parameters
    ----------
    host, port, server, client, password, security, transport, physical, settings, max_pdu, hdlc, window,
    counter_floor, user, on_frame, opening, counter_object:
        How to get to it, see `meter_connection.MeterAccess`.
    zone:
        Where the meter stands; None where its times carry their deviation.
    quirks:
        What its manufacturer does otherwise.
    objects:
        Its object list, where it is known (of another meter of the model).
    """

    def __init__(
        self,
        host: str,
        port: int = DEFAULT_PORT,
        *,
        server: int = 1,
        client: int | None = None,
        password: Secret | None = None,
        security: ClientSecurity | None = None,
        transport: Transport = Transport.TCP,
        physical: int | None = None,
        zone: tzinfo | None = None,
        settings: LinkSettings | None = None,
        max_pdu: int = MAX_PDU,
        hdlc: HdlcParameters | None = None,
        window: int = 0,
        counter_floor: int = 0,
        user: int | None = None,
        quirks: VendorQuirks = STANDARD,
        objects: ObjectList | None = None,
        on_frame: Callable[[RecordedFrame], None] | None = None,
        opening: Opening = Opening.REQUESTED,
        counter_object: ObisCode | None = None,
    ) -> None:
        self._access = MeterAccess(
            host,
            port,
            server,
            client,
            password,
            security,
            transport,
            physical,
            settings or LinkSettings(),
            max_pdu,
            hdlc or PROPOSED_PARAMETERS,
            window,
            counter_floor,
            user,
            on_frame,
            opening,
            counter_object,
        )
        self._connection = MeterConnection(self._access)
        self._zone = zone
        self._quirks = quirks
        self._objects = objects
        self._scalers: dict[Attribute, ScalerUnit | None] = {}
        self._profiles = ProfileReader(self, zone, quirks, self._scalers)

    # --- opening and closing --------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Connect, associate, and agree on sizes, windows and the invocation counter.

        Raises
        ------
        LinkError
            The meter cannot be reached or does not answer.
        AssociationError, ServiceRefusedError
            It refused the association.
        SecurityError
            It asked for a counter that lies too far ahead, or behind.
        RemoteProtocolError
            It broke the protocol.
        """
        await self._connection.open()

    async def close(self) -> None:
        """Release and disconnect; never raises."""
        await self._connection.close()

    @property
    def conformance(self) -> Conformance:
        """Services agreed on."""
        return self._connection.association.conformance

    @property
    def max_pdu(self) -> int:
        """Largest APDU that the meter takes."""
        return self._connection.association.server_max_pdu

    def take_notifications(self) -> list[DataNotification | EventNotification]:
        """What the meter sent unasked since the last call."""
        return self._connection.association.take_notifications()

    # --- reading --------------------------------------------------------------------------------------

    async def objects(self) -> ObjectList:
        """The objects that this client sees, with its rights; asked for once."""
        if self._objects is None:
            value = await self.get(Attribute(ASSOCIATION_LN, CURRENT_ASSOCIATION, 2))
            self._objects = object_list(value)
        return self._objects

    async def read(
        self, name: str | ObisCode, attribute: int = 2, *, class_id: int | None = None
    ) -> AttributeValue:
        """One attribute: scaled and raw value, unit, quality, class, status and time.

        Parameters
        ----------
        name:
            Logical name.
        attribute:
            Its number; 2 is the value in most classes.
        class_id:
            Interface class; found in the object list where it is not given.

        Raises
        ------
        AccessError
            The meter refused; its ``result`` says why.
        LocalProtocolError
            The object list does not have the name.
        """
        (value,) = await self.read_many([name], attribute, class_id=class_id)
        if isinstance(value, AccessError):
            raise value
        return value

    async def read_many(
        self, names: Sequence[str | ObisCode], attribute: int = 2, *, class_id: int | None = None
    ) -> list[AttributeValue | AccessError]:
        """As `read`, of many objects in as few requests as they fit; an `AccessError` in place of each
        value that was refused.
        """
        wanted = [await self._attribute(name, attribute, class_id) for name in names]
        asked: list[Attribute] = []
        for item in wanted:
            asked.append(item)
            for index in companions(item):
                companion = Attribute(item.class_id, item.logical_name, index)
                if index and companion not in self._scalers and companion not in asked:
                    asked.append(companion)
        answers = dict(zip(asked, await self.get_many(asked), strict=True))
        return [self._typed(item, answers) for item in wanted]

    async def get(self, attribute: Attribute, selector: Selector | None = None) -> Plain:
        """The plain value of an attribute; raises as `read`."""
        return await self._connection.run(
            self._connection.association.get(attribute, selector), repeats=self._access.settings.repeats
        )

    async def get_encoded(self, attribute: Attribute, selector: Selector | None = None) -> bytes:
        """The encoded value of an attribute; raises as `read`."""
        return await self._connection.run(
            self._connection.association.get_encoded(attribute, selector),
            repeats=self._access.settings.repeats,
        )

    async def get_many(self, attributes: Sequence[Attribute]) -> list[Plain | AccessError]:
        """Plain values, in lists where the meter has that service; raises as `read`."""
        association = self._connection.association
        values: list[Plain | AccessError] = []
        if len(attributes) > 1 and association.conformance & Conformance.MULTIPLE_REFERENCES:
            size = max(1, (association.server_max_pdu - _LIST_OVERHEAD) // _LISTED_OCTETS)
            for begin in range(0, len(attributes), size):
                operation = association.get_with_list(attributes[begin : begin + size])
                values += await self._connection.run(operation, repeats=self._access.settings.repeats)
            return values
        for attribute in attributes:
            try:
                values.append(await self.get(attribute))
            except AccessError as refused:
                values.append(refused)
        return values

    async def profile(
        self,
        name: str | ObisCode,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        entries: tuple[int, int] | None = None,
    ) -> pa.Table:
        """Rows of a profile as columns, see `profile_table`.

        Parameters
        ----------
        name:
            Logical name of the profile.
        start, end:
            Rows captured in ``[start, end]``; timezone-aware; None is open.
        entries:
            Instead, the rows of these numbers, from 1; 0 as the last is the highest.

        Raises
        ------
        AccessError
            The meter refused.
        LocalProtocolError
            A time without zone, or a range of times of a profile that has none.
        RemoteProtocolError
            The buffer is not what its description says, or has no times.
        """
        return await self._profiles.rows(_code(name), start, end, entries)

    async def clock(self) -> datetime | CosemDateTime:
        """The meter's time; the date-time itself where it names no instant."""
        value = (await self.read(CLOCK, class_id=CLOCK_CLASS)).value
        if isinstance(value, datetime | CosemDateTime):
            return value
        raise RemoteProtocolError(f"clock {value!r}", where=self._access.where, expected="a date-time")

    async def set_clock(self, instant: datetime) -> None:
        """Set the meter's clock, in the local time of its zone, or with the deviation that it shows now.

        Raises
        ------
        AccessError
            The meter refused.
        LocalProtocolError
            Neither is known.
        """
        place = Attribute(CLOCK_CLASS, CLOCK, 2)
        zone, status = self._zone, 0
        if zone is None:
            shown = await self.get(place)
            if not isinstance(shown, bytes):
                raise RemoteProtocolError(
                    f"clock {shown!r}", where=self._access.where, expected="a date-time"
                )
            stamp = self._quirks.date_time(CosemDateTime.from_bytes(shown))
            if abs(stamp.deviation) >= _DAY_S // 60:
                raise LocalProtocolError(
                    "a clock that does not show its deviation", expected="the meter's zone"
                )
            zone = timezone(timedelta(minutes=-stamp.deviation))
            status = STATUS_DAYLIGHT_SAVING if stamp.daylight_saving else 0
        meant = self._quirks.date_time(CosemDateTime.from_instant(instant, zone, status))
        await self._connection.run(
            self._connection.association.set(place, Data(Tag.OCTET_STRING, meant.to_bytes()))
        )

    # --- changing -------------------------------------------------------------------------------------

    async def set(
        self,
        name: str | ObisCode,
        value: Data | int | float | str | bytes | datetime,
        attribute: int = 2,
        *,
        class_id: int | None = None,
    ) -> None:
        """Set an attribute; a value that is no `Data` takes the type of what is there.

        Raises
        ------
        AccessError
            The meter refused.
        LocalProtocolError
            The value does not fit the type.
        """
        target = await self._attribute(name, attribute, class_id)
        data = (
            value
            if isinstance(value, Data)
            else data_like(value, await self.typed(target), self._zone or UTC)
        )
        await self._connection.run(self._connection.association.set(target, data))

    async def typed(self, attribute: Attribute) -> Data:
        """An attribute with the types of its parts; raises as `read`."""
        return decode(await self.get_encoded(attribute))

    async def action(
        self,
        name: str | ObisCode,
        method: int,
        parameter: Data | None = None,
        *,
        class_id: int | None = None,
    ) -> Plain:
        """Run a method; gives what it returns. It is never repeated by itself.

        Raises
        ------
        AccessError
            The meter refused.
        """
        target = await self._attribute(name, method, class_id)
        called = Method(target.class_id, target.logical_name, method)
        return await self._connection.run(self._connection.association.action(called, parameter))

    async def attribute(
        self, name: str | ObisCode, index: int = 2, *, class_id: int | None = None
    ) -> Attribute:
        """The attribute of a logical name, its class found in the object list where it is not given."""
        return await self._attribute(name, index, class_id)

    async def run(self, operation: Callable[[Association], Operation[T]]) -> T:
        """Result of an operation of the association that has no method here; raises as that."""
        return await self._connection.run(operation(self._connection.association))

    # --- pieces ---------------------------------------------------------------------------------------

    async def _attribute(self, name: str | ObisCode, index: int, class_id: int | None) -> Attribute:
        code = _code(name)
        if class_id is None:
            if code == CURRENT_ASSOCIATION:
                class_id = ASSOCIATION_LN
            else:
                class_id = (await self.objects()).find(code).class_id
        return Attribute(class_id, code, index)

    def _typed(
        self, item: Attribute, answers: dict[Attribute, Plain | AccessError]
    ) -> AttributeValue | AccessError:
        raw = answers[item]
        if isinstance(raw, AccessError):
            return raw
        places = companions(item)

        def other(index: int) -> Plain:
            value = answers.get(Attribute(item.class_id, item.logical_name, index))
            return None if isinstance(value, AccessError) else value

        scaler = None
        if places.scaler:
            place = Attribute(item.class_id, item.logical_name, places.scaler)
            if place not in self._scalers:
                told = other(places.scaler)
                self._scalers[place] = None if told is None else scaler_unit_of(told)
            scaler = self._scalers[place]
        return attribute_value(
            item,
            raw,
            scaler=scaler,
            status=other(places.status) if places.status else None,
            captured_at=other(places.time) if places.time else None,
            zone=self._zone,
            quirks=self._quirks,
        )


def _code(name: str | ObisCode) -> ObisCode:
    return name if isinstance(name, ObisCode) else ObisCode.parse(name)


async def read_meters(
    meters: Sequence[Meter], name: str | ObisCode, *, at_once: int = 64, class_id: int | None = None
) -> list[AttributeValue | LinkError | ProtocolError]:
    """One attribute of many meters, some at a time in this event loop; the error in place of a value.

    Parameters
    ----------
    at_once:
        Connections open at the same time.
    """
    gate = asyncio.Semaphore(at_once)

    async def one(meter: Meter) -> AttributeValue | LinkError | ProtocolError:
        async with gate:
            try:
                async with meter:
                    return await meter.read(name, class_id=class_id)
            except (LinkError, ProtocolError) as error:
                return error

    return list(await asyncio.gather(*map(one, meters)))
