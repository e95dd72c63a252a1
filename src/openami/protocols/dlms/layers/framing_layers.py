"""The fields of framings, explained: HDLC (IEC 62056-46), M-Bus control information, IEC 62056-21 telegrams.

Rule of this file: what is explained lies before the cursor's end; what is wrong is a fault in the tree, or
`RemoteProtocolError` where nothing behind it can be found any more.
"""

from __future__ import annotations

from typing import Final

from openami.protocols.dlms.framing.hdlc_frame import (
    FrameKind,
    HdlcAddress,
    HdlcDecoder,
    HdlcFrame,
    crc16_x25,
)
from openami.protocols.dlms.layers.layer_tree import Cursor, in_hex
from openami.quantities.errors import RemoteProtocolError

_NOBODY: Final = HdlcAddress(0)


def has_hdlc(octets: bytes) -> bool:
    """True where there is a good frame somewhere."""
    return any(isinstance(event, HdlcFrame) for event in HdlcDecoder().feed(octets))


def explain_address(cursor: Cursor, name: str, last: int) -> bytes:
    """An address before the octet ``last``; its octets."""
    begin = cursor.position
    width = next((count for count in (1, 2, 4) if cursor.data[begin + count - 1] & 1), 0)
    if not width or begin + width + 3 > last or (width == 4 and cursor.data[begin + 2] & 1):
        raise RemoteProtocolError(
            f"the {name} address has no width that HDLC has", expected="1, 2 or 4 octets"
        )
    return cursor.field(name, width, address_text)


def address_text(octets: bytes) -> str:
    """The upper and the lower part of an address."""
    if len(octets) == 1:
        return str(octets[0] >> 1)
    if len(octets) == 2:
        return f"{octets[0] >> 1}/{octets[1] >> 1}"
    return f"{octets[0] >> 1 << 7 | octets[1] >> 1}/{octets[2] >> 1 << 7 | octets[3] >> 1}"


def kind_of(control: int) -> FrameKind:
    """What a control octet makes of a frame."""
    return HdlcFrame(_NOBODY, _NOBODY, control).kind


def control_text(control: int) -> str:
    """A control octet in words."""
    frame = HdlcFrame(_NOBODY, _NOBODY, control)
    words = [f"{control:#04x}: {frame.kind.value}"]
    if frame.kind is FrameKind.I:
        words.append(f"N(S) {frame.send_sequence}")
    if frame.kind in (FrameKind.I, FrameKind.RR, FrameKind.RNR):
        words.append(f"N(R) {frame.receive_sequence}")
    words += ["P/F"] * frame.poll_final
    return ", ".join(words)


def explain_check(cursor: Cursor, name: str, begin: int) -> None:
    """A check of two octets over everything from ``begin`` on."""
    right = crc16_x25(cursor.data[begin : cursor.position])
    found = cursor.number(
        name,
        2,
        lambda number: "right" if number.to_bytes(2, "big") == right.to_bytes(2, "little") else "wrong",
    )
    if found.to_bytes(2, "big") != right.to_bytes(2, "little"):
        cursor.fault(
            f"wrong {name} {found:04x}, should be {right.to_bytes(2, 'little').hex()}",
            begin=cursor.position - 2,
        )


def explain_parameters(cursor: Cursor) -> None:
    """What SNRM proposes, or UA agrees on."""
    names = {
        5: "largest information field sent", 6: "largest information field received", 7: "window sent",
        8: "window received",
    }  # fmt: skip
    cursor.field("format and group", 2)
    with cursor.within(cursor.length("length")):
        while cursor.remaining:
            begin = cursor.position
            name = names.get(cursor.skip(1)[0], "parameter")
            value = int.from_bytes(cursor.skip(cursor.skip(1)[0]), "big")
            cursor.note(name, str(value), begin=begin)


def explain_frame_reject(cursor: Cursor) -> None:
    """Information of FRMR."""
    cursor.number("rejected control", 1, control_text)
    cursor.field("state", 1)
    reasons = ((1, "control field undefined"), (2, "information not permitted"), (4, "information too long"),
               (8, "N(R) wrong"))  # fmt: skip
    cursor.number(
        "reason", 1, lambda number: ", ".join(word for bit, word in reasons if number & bit) or str(number)
    )
    if cursor.remaining:
        cursor.field("octets", cursor.remaining)


def ci_text(ci: int) -> str:
    """The control information of an M-Bus frame in words."""
    if ci > 0x1F:
        return f"{ci:#04x}"
    return f"{ci:#04x}: segment {ci & 0x0F} of a DLMS message{', the last' if ci & 0x10 else ''}"


def explain_telegram(cursor: Cursor) -> None:
    """Lines of a telegram: identification, data lines, end with its check."""
    while cursor.remaining:
        begin = cursor.position
        end = cursor.data.find(b"\n", begin)
        line = cursor.skip((len(cursor.data) if end < 0 else end + 1) - begin).strip(b"\r\n")
        if not line:
            continue
        name = "identification" if begin == 0 else "end" if line[:1] == b"!" else "line"
        cursor.note(name, line.decode("ascii", "replace"), begin=begin)
        if not line.isascii():
            cursor.fault("octets that are no ASCII: " + in_hex(line), begin=begin)
