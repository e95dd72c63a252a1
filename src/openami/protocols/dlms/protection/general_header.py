"""What general-ciphering and general-signing say of a message before its content (IEC 62056-5-3, dd and df).

    transaction-id, originator's title, recipient's title, date-time, other information: octet strings

The answer to a message carries its transaction-id. Rule of this file: every field is bounded.
"""

from __future__ import annotations

from dataclasses import dataclass

from openami.protocols.dlms.encoding.octets import Reader, encode_octets
from openami.quantities.errors import RemoteProtocolError

MAX_FIELD = 64
"""Octets of one field; titles have 8, a date-time 12, a transaction-id 8 as a rule."""


@dataclass(frozen=True, slots=True)
class GeneralHeader:
    """Who says something to whom, in which transaction.

    Parameters
    ----------
    transaction:
        Transaction-id; the answer repeats it.
    originator, recipient:
        System titles; an empty recipient is whoever gets it.
    date_time:
        Empty or twelve octets.
    other:
        Other information.
    """

    transaction: bytes
    originator: bytes
    recipient: bytes
    date_time: bytes = b""
    other: bytes = b""

    def to_bytes(self) -> bytes:
        """The five octet strings with their lengths."""
        fields = (self.transaction, self.originator, self.recipient, self.date_time, self.other)
        return b"".join(map(encode_octets, fields))

    @classmethod
    def read(cls, reader: Reader) -> GeneralHeader:
        """The header at the reader's position; raises `RemoteProtocolError`."""
        fields = [reader.octets() for _ in range(5)]
        if max(map(len, fields)) > MAX_FIELD:
            raise RemoteProtocolError(
                f"a general header with a field of {max(map(len, fields))} octets",
                expected=f"at most {MAX_FIELD}",
            )
        return cls(*fields)
