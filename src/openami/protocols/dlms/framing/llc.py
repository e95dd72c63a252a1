"""The LLC header in front of an APDU in HDLC (IEC 62056-46): E6 E6 00 to the meter, E6 E7 00 from it.

Rule of this file: the header says who speaks; a message of the wrong direction is not taken.
"""

from __future__ import annotations

from typing import Final

from openami.quantities.errors import RemoteProtocolError

COMMAND: Final = b"\xe6\xe6\x00"
"""From the client."""

RESPONSE: Final = b"\xe6\xe7\x00"
"""From the meter, answers and pushes."""

LLC_OCTETS: Final = 3


def without_llc(information: bytes, header: bytes) -> bytes:
    """The APDU behind an LLC header.

    Raises
    ------
    RemoteProtocolError
        Another header, or none.
    """
    if information[:LLC_OCTETS] != header:
        raise RemoteProtocolError(f"LLC header {information[:LLC_OCTETS].hex(' ')}", expected=header.hex(" "))
    return information[LLC_OCTETS:]
