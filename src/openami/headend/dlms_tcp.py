"""Reading a DLMS/COSEM meter over TCP: `MeterDriver` on the sans-IO client and a `TcpLink`.

Objects read (IEC 62056-6-2, OBIS IEC 62056-6-1): serial number 0-0:96.1.0, clock 0-0:1.0.0, load profile
1-0:99.1.0, daily freezes 1-0:99.2.0, event log 0-0:99.98.0, registers and extended registers by their codes.
What the columns of a profile are is read from the profile itself (capture_objects), and what a count is
worth from the scaler_unit of each object. The rule never to be broken: nothing is assumed of a meter that
it can be asked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from openami.headend.blocks import source_of
from openami.headend.dlms_conversation import Conversation, LinkSettings, recorded_frames
from openami.headend.tcp_link import TcpLink
from openami.protocols.dlms.apdus.authentication import MANAGEMENT_CLIENT, PUBLIC_CLIENT
from openami.protocols.dlms.apdus.descriptors import CLOCK, Attribute, CaptureObject, by_range
from openami.protocols.dlms.apdus.results import AccessError
from openami.protocols.dlms.client.association import Association, Operation
from openami.protocols.dlms.client.association_state import State
from openami.protocols.dlms.client.client_security import ClientSecurity
from openami.protocols.dlms.client.profile_table import capture_objects
from openami.protocols.dlms.encoding.axdr import Data, Plain, Tag
from openami.protocols.dlms.encoding.date_time import CosemDateTime, in_order
from openami.protocols.dlms.encoding.profile_buffer import (
    Column,
    ColumnKind,
    ProfileDecoder,
    capture_instants,
)
from openami.protocols.dlms.encoding.units import quantum_of
from openami.protocols.driver import ProfileRows, RecordedFrame, RegisterValue
from openami.quantities.civil_time import zone_of
from openami.quantities.errors import LinkError, ProtocolError, RemoteProtocolError
from openami.quantities.obis import ObisCode
from openami.quantities.units import Quantum
from openami.readings.read_order import ReadOrder

T = TypeVar("T")

SERIAL_NUMBER = ObisCode(0, 0, 96, 1, 0)
PROFILE_STATUS = ObisCode(0, 0, 96, 10, 1)
EVENT_CODE = ObisCode(0, 0, 96, 11, 0)
LOAD_PROFILE = ObisCode(1, 0, 99, 1, 0)
FREEZE_PROFILE = ObisCode(1, 0, 99, 2, 0)
EVENT_LOG = ObisCode(0, 0, 99, 98, 0)

_DATA, _REGISTER, _EXTENDED_REGISTER, _PROFILE, _CLOCK_CLASS = 1, 3, 4, 7, 8
_VALUE = 2
"""Attribute that holds the value, in each of these classes; a profile may also capture, say, its time."""
_MAXIMUM_DEMAND_D = 6
_DAY_S = 86_400
_LONGEST_PERIOD_S = 366 * _DAY_S
_EVENT_CODES = 1 << 31
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Profile:
    """Columns and capture period of a profile, as the meter describes it."""

    name: ObisCode
    columns: tuple[CaptureObject, ...]
    period_s: int

    @property
    def captured(self) -> set[ObisCode]:
        """Whose values it captures."""
        return {column.logical_name for column in self.columns if column.attribute == _VALUE}


class DlmsTcpDriver:
    """One association with one meter over TCP; a `openami.protocols.driver.MeterDriver`.

    With keys it is the management client under high level security, with a password in the order the same
    under low level security, without either the public client.

    Invariant: at most one request is under way. Once the meter broke the protocol or did not answer, every
    further call raises.

    Parameters
    ----------
    order:
        Address, zone and password of the meter.
    settings:
        Patience.
    decoders:
        Profile decoders to share between meters of one model, by profile.
    security:
        Keys and counters of the meter; None for low level security or none.
    settled:
        Finds out which keys the meter has, as it is opened, where that is not known; None where it is.
    """

    def __init__(
        self,
        order: ReadOrder,
        settings: LinkSettings | None = None,
        decoders: dict[ObisCode, ProfileDecoder] | None = None,
        security: ClientSecurity | None = None,
        settled: Callable[[], Awaitable[ClientSecurity | None]] | None = None,
    ) -> None:
        self._order = order
        self._settings = settings or LinkSettings()
        self._decoders = {} if decoders is None else decoders
        self._where = source_of(order)
        self._zone = zone_of(order.zone)
        self._link: TcpLink | None = None
        self._conversation: Conversation | None = None
        self._settled = settled
        self._association = _association(order, security)
        self._profiles: dict[ObisCode, _Profile] | None = None
        self._quanta: dict[ObisCode, Quantum] = {}

    async def open(self) -> None:
        """Connect and associate."""
        order, settings = self._order, self._settings
        if self._settled is not None:
            self._association = _association(order, await self._settled())
        self._link = await TcpLink.connect(
            order.host, order.port, timeout_s=settings.connect_timeout_s, where=self._where
        )
        self._conversation = Conversation(self._link, self._association.asked_again, settings, self._where)
        await self._conversation.run(self._association.associate(), secret=order.password)

    async def close(self) -> None:
        """Release and disconnect; never raises."""
        if self._link is None:
            return
        try:
            if self._association.state is State.READY:
                with suppress(LinkError, ProtocolError):
                    await self._run(self._association.release(), repeats=0)
        finally:
            self._link.close()

    async def identity(self) -> str:
        """Serial number 0-0:96.1.0."""
        value = await self._get(Attribute(_DATA, SERIAL_NUMBER, 2))
        if isinstance(value, bytes):
            with suppress(UnicodeDecodeError):
                return value.decode("ascii")
        if isinstance(value, str):
            return value
        raise self._strange(f"serial number {value!r}", "an octet-string of ASCII characters")

    async def clock(self) -> datetime:
        """The meter's clock 0-0:1.0.0 as a UTC instant."""
        value = await self._get(Attribute(_CLOCK_CLASS, CLOCK, 2))
        return self._instant(value)

    async def set_clock(self, instant: datetime) -> None:
        """Set the clock, in local time of the meter's zone with its deviation."""
        octets = CosemDateTime.from_instant(instant, self._zone).to_bytes()
        operation = self._association.set(Attribute(_CLOCK_CLASS, CLOCK, 2), Data(Tag.OCTET_STRING, octets))
        await self._run(operation, repeats=0)

    async def registers(self, codes: Sequence[ObisCode]) -> list[RegisterValue]:
        """Registers, and maxima (D = 6) with the instant they occurred, in one request with list."""
        if not codes:
            return []
        attributes: list[Attribute] = []
        for code in codes:
            kind = _EXTENDED_REGISTER if code.d == _MAXIMUM_DEMAND_D else _REGISTER
            attributes += [Attribute(kind, code, 2), Attribute(kind, code, 3)]
            if kind == _EXTENDED_REGISTER:
                attributes.append(Attribute(kind, code, 5))
        values = iter(await self._get_list(attributes))
        found = []
        for code in codes:
            count, quantum = self._there(next(values)), quantum_of(self._there(next(values)))
            reached_at = self._instant(self._there(next(values))) if code.d == _MAXIMUM_DEMAND_D else None
            if not isinstance(count, int) or isinstance(count, bool) or not -(2**63) <= count < 2**63:
                raise self._strange(f"register {code} counts {count!r}", "an integer of 64 bits")
            found.append(RegisterValue(code, quantum, count, reached_at))
        return found

    async def load_profile(self, start: datetime, end: datetime, channels: Sequence[ObisCode]) -> ProfileRows:
        """Rows captured in ``(start, end]``, less those in which the meter has no value for a channel."""
        profile = await self._profile(LOAD_PROFILE)
        if strange := [str(channel) for channel in channels if channel not in profile.captured]:
            raise self._strange(
                f"the load profile does not capture {', '.join(strange)}",
                ", ".join(str(column.logical_name) for column in profile.columns),
            )
        if not 0 < profile.period_s <= _DAY_S:
            raise self._strange(f"capture period of {profile.period_s} s", "1 .. 86400 s")
        rows = await self._rows(profile, start, end, tuple(channels))
        return _selected(rows, rows.at > _datetime64(start))

    async def freezes(self, start: datetime, end: datetime, registers: Sequence[ObisCode]) -> ProfileRows:
        """Daily freezes captured in ``[start, end]``, of those registers that the meter freezes."""
        profile = await self._profile(FREEZE_PROFILE)
        wanted = tuple(register for register in registers if register in profile.captured)
        return await self._rows(profile, start, end, wanted)

    async def events(self, start: datetime, end: datetime) -> list[tuple[datetime, int]]:
        """Entries of the standard event log with ``start <= at < end``."""
        profile = await self._profile(EVENT_LOG)
        columns = await self._columns(profile, start, end)
        at, codes = columns.get(CLOCK), columns.get(EVENT_CODE)
        if not columns:
            return []
        if at is None or codes is None or codes.kind is not ColumnKind.INTEGER:
            raise self._strange("the event log has no instants and codes", f"{CLOCK} and {EVENT_CODE}")
        instants = self._instants(at, 0)
        # Chosen before they become datetimes: a stamp may lie outside what a datetime can say.
        asked = (instants >= _datetime64(start)) & (instants < _datetime64(end))
        chosen = _carried(codes)[asked]
        if ((chosen < 0) | (chosen >= _EVENT_CODES)).any():
            raise self._strange(f"event codes {chosen.min()} .. {chosen.max()}", f"0 .. {_EVENT_CODES - 1}")
        return [
            (_EPOCH + timedelta(microseconds=micros), code)
            for micros, code in zip(instants[asked].astype(np.int64).tolist(), chosen.tolist(), strict=True)
        ]

    def take_frames(self) -> list[RecordedFrame]:
        """Frames since the last call, deciphered; a password is masked, echoes of it included."""
        record = [] if self._link is None else self._link.take_record()
        return recorded_frames(record, self._association.take_opened())

    # --- profiles -------------------------------------------------------------------------------------

    async def _profile(self, name: ObisCode) -> _Profile:
        """Description of a profile; all three are asked for at once, when the first is needed."""
        if self._profiles is None:
            self._profiles = await self._describe()
        profile = self._profiles.get(name)
        if profile is None:
            raise self._strange(f"the meter has no profile {name}", "a profile generic object")
        return profile

    async def _describe(self) -> dict[ObisCode, _Profile]:
        names = (LOAD_PROFILE, FREEZE_PROFILE, EVENT_LOG)
        values = await self._get_list(
            [Attribute(_PROFILE, name, index) for name in names for index in (3, 4)]
        )
        profiles = {}
        for place, name in enumerate(names):
            captured, period = values[2 * place], values[2 * place + 1]
            if isinstance(captured, AccessError) or isinstance(period, AccessError):
                continue
            if (
                isinstance(period, bool)
                or not isinstance(period, int)
                or not 0 <= period <= _LONGEST_PERIOD_S
            ):
                raise self._strange(f"capture period {period!r} of {name}", f"0 .. {_LONGEST_PERIOD_S} s")
            profiles[name] = _Profile(
                name, capture_objects(captured, f"{self._where}, capture objects of {name}"), period
            )
        metered = {
            column.logical_name: column.class_id
            for profile in profiles.values()
            for column in profile.columns
            if column.class_id in (_REGISTER, _EXTENDED_REGISTER)
        }
        if metered:
            scalers = await self._get_list([Attribute(kind, code, 3) for code, kind in metered.items()])
            for code, scaler in zip(metered, scalers, strict=True):
                if not isinstance(scaler, AccessError):
                    self._quanta[code] = quantum_of(scaler)
        return profiles

    async def _rows(
        self, profile: _Profile, start: datetime, end: datetime, wanted: tuple[ObisCode, ...]
    ) -> ProfileRows:
        """Rows captured in ``[start, end]`` in which every wanted column has a value."""
        quanta = {}
        for code in wanted:
            if code not in self._quanta:
                raise self._strange(f"the meter does not say what a count of {code} is worth", "scaler_unit")
            quanta[code] = self._quanta[code]
        columns = await self._columns(profile, start, end)
        if not columns:
            nothing = np.empty(0, np.int64)
            at = np.empty(0, "datetime64[us]")
            no_status = np.empty(0, np.int32)
            return ProfileRows(profile.period_s, at, no_status, dict.fromkeys(wanted, nothing), quanta)
        if CLOCK not in columns:
            raise self._strange(f"profile {profile.name} has no capture times", str(CLOCK))
        at = self._instants(columns[CLOCK], profile.period_s)
        there = np.ones(at.shape, np.bool_)
        values: dict[ObisCode, npt.NDArray[np.int64]] = {}
        for code in wanted:
            column = columns[code]
            if column.kind is not ColumnKind.INTEGER:
                raise self._strange(f"column {code} of {profile.name} holds {column.kind.name}", "integers")
            values[code] = column.values.astype(np.int64, copy=False)
            there &= column.present
        flags = columns.get(PROFILE_STATUS)
        if flags is None:
            status = np.zeros(at.shape, np.int32)
        elif flags.kind is ColumnKind.INTEGER:
            status = (_carried(flags) & 0x7FFF_FFFF).astype(np.int32)
        else:
            raise self._strange(f"status column of {profile.name} holds {flags.kind.name}", "integers")
        rows = ProfileRows(profile.period_s, at, status, values, quanta)
        return _selected(rows, there & (at >= _datetime64(start)) & (at <= _datetime64(end)))

    async def _columns(self, profile: _Profile, start: datetime, end: datetime) -> dict[ObisCode, Column]:
        """Columns of the rows captured in ``[start, end]``, by logical name; empty when there are none."""
        operation = self._association.get_encoded(
            Attribute(_PROFILE, profile.name, 2), by_range(start, end, zone=self._zone)
        )
        encoded = await self._run(operation, repeats=self._settings.repeats)
        decoder = self._decoders.setdefault(profile.name, ProfileDecoder())
        columns = decoder.decode(encoded)
        if not columns:
            return {}
        if len(columns) != len(profile.columns):
            raise self._strange(
                f"profile {profile.name} has rows of {len(columns)} columns", str(len(profile.columns))
            )
        return {
            captured.logical_name: column
            for captured, column in zip(profile.columns, columns, strict=True)
            if captured.attribute == _VALUE
        }

    def _instants(self, column: Column, period_s: int) -> npt.NDArray[np.datetime64]:
        """Capture instants; those without deviation are local time of the meter's zone."""
        try:
            return capture_instants(column, period_s)
        except RemoteProtocolError:
            if column.kind is not ColumnKind.OCTETS or not column.present.all():
                raise
        stamps = (CosemDateTime.from_bytes(octets.tobytes()) for octets in column.values)
        local = [instant.replace(tzinfo=None) for instant in in_order(stamps, self._zone)]
        return np.array(local, "datetime64[us]")

    # --- requests -------------------------------------------------------------------------------------

    async def _get(self, attribute: Attribute) -> Plain:
        return await self._run(self._association.get(attribute), repeats=self._settings.repeats)

    async def _get_list(self, attributes: Sequence[Attribute]) -> list[Plain | AccessError]:
        operation = self._association.get_with_list(attributes)
        return await self._run(operation, repeats=self._settings.repeats)

    async def _run(self, operation: Operation[T], *, repeats: int) -> T:
        if self._conversation is None:
            raise LinkError("not connected", where=self._where)
        return await self._conversation.run(operation, repeats=repeats)

    def _there(self, value: Plain | AccessError) -> Plain:
        if isinstance(value, AccessError):
            raise value
        return value

    def _instant(self, value: Plain) -> datetime:
        if not isinstance(value, bytes):
            raise self._strange(f"date-time {value!r}", "twelve octets")
        return CosemDateTime.from_bytes(value).instant(self._zone)

    def _strange(self, what: str, expected: str) -> RemoteProtocolError:
        return RemoteProtocolError(what, where=self._where, expected=expected)


def dlms_tcp_drivers(
    settings: LinkSettings | None = None,
    security: Callable[[str], ClientSecurity | None] = lambda meter_id: None,
    settle: Callable[[ReadOrder], Awaitable[None]] | None = None,
) -> Callable[[ReadOrder], DlmsTcpDriver]:
    """A driver factory for `openami.headend.collection.Collector`; its drivers share profile decoders.

    Parameters
    ----------
    settings:
        Patience.
    security:
        Keys and counters by serial number; None for a meter without keys.
    settle:
        Called as a meter is opened, before its keys are asked for: sees to it that they are the meter's.
    """
    decoders: dict[ObisCode, ProfileDecoder] = {}

    def driver(order: ReadOrder) -> DlmsTcpDriver:
        if settle is None:
            return DlmsTcpDriver(order, settings, decoders, security(order.meter_id))

        async def settled() -> ClientSecurity | None:
            await settle(order)
            return security(order.meter_id)

        return DlmsTcpDriver(order, settings, decoders, settled=settled)

    return driver


def _association(order: ReadOrder, security: ClientSecurity | None) -> Association:
    """The association of an order: that of the management where there is a secret."""
    return Association(
        order.logical_device,
        MANAGEMENT_CLIENT if order.password or security is not None else PUBLIC_CLIENT,
        order.password or None,
        security=security,
    )


def _carried(column: Column) -> npt.NDArray[np.int64]:
    """Numbers of a column in which null-data means "as in the row before" (IEC 62056-6-2 class 7).

    Zero before the first number; shape (n,).
    """
    row = np.arange(column.present.size)
    source = np.maximum.accumulate(np.where(column.present, row, 0))
    carried: npt.NDArray[np.int64] = column.values[source].astype(np.int64)
    return carried


def _selected(rows: ProfileRows, which: npt.NDArray[np.bool_]) -> ProfileRows:
    return ProfileRows(
        rows.period_s,
        rows.at[which],
        rows.status[which],
        {code: column[which] for code, column in rows.columns.items()},
        rows.quanta,
    )


def _datetime64(instant: datetime) -> np.datetime64:
    return np.datetime64(instant.astimezone(UTC).replace(tzinfo=None), "us")
