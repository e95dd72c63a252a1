"""Data-notification and event-notification (IEC 62056-5-3): what a meter sends unasked.

Meters disagree on the date-time of a data-notification: most write its length (``00`` or ``0c``), Kaifa a
superfluous octet-string tag before it (``09 0c``). Both are read.
"""

from __future__ import annotations

from dataclasses import dataclass

from openami.protocols.dlms.apdus.descriptors import Attribute
from openami.protocols.dlms.encoding.axdr import Data, decode_at, encode
from openami.protocols.dlms.encoding.octets import Reader, encode_octets
from openami.quantities.errors import RemoteProtocolError

DATA_NOTIFICATION = 0x0F
EVENT_NOTIFICATION = 0xC2


@dataclass(frozen=True, slots=True)
class DataNotification:
    """A pushed value; ``date_time`` is empty or twelve octets."""

    long_invoke: int
    date_time: bytes
    body: Data

    def to_bytes(self) -> bytes:
        """The APDU."""
        return (
            bytes((DATA_NOTIFICATION,))
            + self.long_invoke.to_bytes(4, "big")
            + encode_octets(self.date_time)
            + encode(self.body)
        )


@dataclass(frozen=True, slots=True)
class EventNotification:
    """An attribute's value at an event; ``date_time`` None where the meter did not send it."""

    date_time: bytes | None
    attribute: Attribute
    value: Data

    def to_bytes(self) -> bytes:
        """The APDU."""
        stamp = b"\x00" if self.date_time is None else b"\x01" + encode_octets(self.date_time)
        return bytes((EVENT_NOTIFICATION,)) + stamp + self.attribute.to_bytes() + encode(self.value)


def read_data_notification(reader: Reader) -> DataNotification:
    """The data-notification behind its tag."""
    long_invoke = reader.u32()
    if reader.data[reader.position : reader.position + 2] == b"\x09\x0c":
        reader.take(1)
    date_time = reader.octets()
    if len(date_time) not in (0, 12):
        raise RemoteProtocolError(f"date-time of {len(date_time)} octets", expected="0 or 12")
    return DataNotification(long_invoke, date_time, _last(reader))


def read_event_notification(reader: Reader) -> EventNotification:
    """The event-notification behind its tag."""
    date_time = reader.octets() if reader.presence() else None
    return EventNotification(date_time, Attribute.read(reader), _last(reader))


def _last(reader: Reader) -> Data:
    value, reader.position = decode_at(reader.data, reader.position)
    reader.end()
    return value
