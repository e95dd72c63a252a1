"""Explains any octets of DLMS/COSEM layer by layer, from the frame to the meaning of the last value.

    framing      HDLC, TCP and UDP wrapper, M-Bus, IEC 62056-21 telegrams, LLC; or none
    transport    segments and general-block-transfer put together
    protection   glo, ded, general-glo, general-ded, general-ciphering: deciphered with the keys given
    application  ACSE, Initiate, every xDLMS service
    data         types, values, logical names, date-times, scalers and units

What is put together or deciphered is a node with octets of its own. Rule of this file: it is total. Whatever
the octets, they give a tree in time linear in their number; what is wrong is a fault in it, with its place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from openami.protocols.dlms.apdus.acse import AARE, AARQ, RLRE, RLRQ
from openami.protocols.dlms.apdus.notification import DATA_NOTIFICATION
from openami.protocols.dlms.client.vendor_quirks import STANDARD, VendorQuirks
from openami.protocols.dlms.encoding.axdr import Tag
from openami.protocols.dlms.encoding.limits import MAX_REASSEMBLED
from openami.protocols.dlms.framing.hdlc_frame import (
    FLAG,
    FrameKind,
)
from openami.protocols.dlms.framing.llc import COMMAND, RESPONSE
from openami.protocols.dlms.layers.acse_layers import explain_acse, explain_initiate
from openami.protocols.dlms.layers.apdu_layers import SERVICE_TAGS, LongAnswers, explain_service
from openami.protocols.dlms.layers.data_layers import explain_data, octets_text
from openami.protocols.dlms.layers.framing_layers import (
    address_text,
    ci_text,
    control_text,
    explain_address,
    explain_check,
    explain_frame_reject,
    explain_parameters,
    explain_telegram,
    has_hdlc,
    kind_of,
)
from openami.protocols.dlms.layers.layer_tree import Cursor, Node, in_text, walked
from openami.protocols.dlms.layers.protection_layers import PROTECTED_TAGS, LayerKeys, explain_protected
from openami.quantities.errors import RemoteProtocolError
from openami.security.secret import Secret

MAX_DUMP: Final = 1 << 19
"""Octets that are explained at most; what is behind them is one fault."""

_MAX_NESTED: Final = 6
"""APDUs inside APDUs (deciphered, put together, user information of ACSE): how deep."""
_TOO_DEEP: Final = f"APDUs inside each other, more than {_MAX_NESTED} deep"

_ACSE: Final = (AARQ, AARE, RLRQ, RLRE)
_INITIATE: Final = (0x01, 0x08, 0x0E)
_BLOCK_TRANSFER: Final = 0xE0
_APDU_TAGS: Final = frozenset((*_ACSE, *_INITIATE, _BLOCK_TRANSFER)) | SERVICE_TAGS | PROTECTED_TAGS
_LLC: Final = {COMMAND: "LLC, command", RESPONSE: "LLC, response"}
_KEY_OCTETS: Final = (16, 32)


def decode_layers(octets: bytes, keys: LayerKeys | None = None, quirks: VendorQuirks = STANDARD) -> Node:
    """The tree that explains a dump; never raises.

    Parameters
    ----------
    octets:
        One frame or many, or a part of one.
    keys:
        Keys and system titles to decipher with.
    quirks:
        What the manufacturer does otherwise in its notifications.

    Examples
    --------
    >>> tree = decode_layers(bytes.fromhex("c001c1000300000100ff0200"))
    >>> [fault.value for fault in tree.faults()]
    ['6 octets declared, 5 there; 5 octets are left']
    """
    return _Dump(keys or LayerKeys(), quirks).explain(octets)


class _Dump:
    """One dump: what its frames tell each other.

    Invariant: what is kept (segments, blocks) is never longer than `MAX_REASSEMBLED` octets.
    """

    def __init__(self, keys: LayerKeys, quirks: VendorQuirks) -> None:
        self._keys = keys
        self._quirks = quirks
        self._answers = LongAnswers()
        self._blocks = bytearray()
        self._block = 0

    def explain(self, octets: bytes) -> Node:
        cursor = Cursor(octets[:MAX_DUMP])
        name = self._framed(cursor)
        if len(octets) > MAX_DUMP:
            rest = f"{len(octets) - MAX_DUMP} octets more than are explained at once"
            cursor.nodes.append(Node("fault", MAX_DUMP, len(octets), rest, fault=True))
        return Node(name, 0, len(octets), f"{len(octets)} octets", tuple(cursor.nodes))

    def _framed(self, cursor: Cursor) -> str:
        """Pass everything; gives the name of the framing."""
        octets = cursor.data
        if not octets:
            cursor.fault("no octets")
            return "nothing"
        if octets[0] == FLAG or (octets[0] not in _APDU_TAGS and has_hdlc(octets)):
            self._hdlc(cursor)
            return "HDLC"
        if octets[0] == 0x68 and octets[3:4] == b"\x68":
            self._mbus(cursor)
            return "M-Bus"
        if octets[:2] == b"\x00\x01" and len(octets) >= 8:
            self._wrapper(cursor)
            return "wrapper"
        if octets[:1] == b"/":
            explain_telegram(cursor)
            return "IEC 62056-21 telegram"
        return self._bare(cursor)

    # --- framing --------------------------------------------------------------------------------------

    def _hdlc(self, cursor: Cursor) -> None:
        octets = cursor.data
        messages: dict[bytes, bytearray] = {}
        while cursor.remaining:
            begin = cursor.position
            if octets[begin] != FLAG:
                end = octets.find(FLAG, begin)
                cursor.skip((len(octets) if end < 0 else end) - begin)
                cursor.fault(f"{cursor.position - begin} octets outside a frame", begin=begin)
                continue
            if octets[begin + 1 : begin + 2] in (b"\x7e", b""):
                cursor.skip(1)
                cursor.note("flag", "fill", begin=begin)
                continue
            inside = Cursor(octets, begin)
            if walked(inside, lambda inner: self._hdlc_frame(inner, messages)):
                cursor.position = inside.position
                cursor.nodes += inside.nodes
                continue
            cursor.nodes += inside.nodes
            following = octets.find(FLAG, begin + 1)
            cursor.position = len(octets) if following < 0 else following
            if cursor.position == len(octets) - 1:
                cursor.position += 1

    def _hdlc_frame(self, cursor: Cursor, messages: dict[bytes, bytearray]) -> None:
        octets, begin = cursor.data, cursor.position
        form = int.from_bytes(octets[begin + 1 : begin + 3], "big")
        length = form & 0x7FF
        last = begin + 1 + length
        if form >> 12 != 0xA or length < 5:
            raise RemoteProtocolError(
                f"{octets[begin + 1 : begin + 3].hex(' ')} is no frame format of type 3"
            )
        if last >= len(octets):
            raise RemoteProtocolError(f"{length + 2} octets declared, {len(octets) - begin} there")
        if octets[last] != FLAG:
            raise RemoteProtocolError("no flag where the frame should end")
        with cursor.group("HDLC frame") as label:
            cursor.skip(1)
            segmented = bool(form & 0x0800)
            cursor.number(
                "format",
                2,
                lambda _: f"type 3, {length} octets{', more segments follow' if segmented else ''}",
            )
            destination = explain_address(cursor, "destination", last)
            source = explain_address(cursor, "source", last)
            control = cursor.number("control", 1, control_text)
            kind = kind_of(control)
            label.value = f"{kind.value}, {address_text(source)} to {address_text(destination)}"
            information = last - cursor.position - 2
            if information > 2:
                explain_check(cursor, "HCS", begin + 1)
                end = last - 2
                self._information(cursor, kind, end, messages, destination + source, segmented)
                cursor.position = end
            elif information:
                raise RemoteProtocolError("no room for two checks")
            explain_check(cursor, "FCS", begin + 1)
        # The closing flag is the opening one of the next frame where another frame follows at once.
        follows = octets[last + 1 : last + 2]
        cursor.position = last if follows and follows[0] >> 4 == 0xA else last + 1

    def _information(
        self,
        cursor: Cursor,
        kind: FrameKind,
        end: int,
        messages: dict[bytes, bytearray],
        link: bytes,
        segmented: bool,
    ) -> None:
        with cursor.group("information"), cursor.within(end - cursor.position):
            if kind in (FrameKind.SNRM, FrameKind.UA, FrameKind.DISC):
                explain_parameters(cursor)
            elif kind is FrameKind.FRMR:
                explain_frame_reject(cursor)
            elif kind not in (FrameKind.I, FrameKind.UI):
                cursor.field("octets", cursor.remaining)
            elif segmented or link in messages:
                self._segment(cursor, messages, link, segmented)
            else:
                self._message(cursor, 0)

    def _segment(self, cursor: Cursor, messages: dict[bytes, bytearray], link: bytes, more: bool) -> None:
        """A segment of a message; the message itself behind the last one."""
        message = messages.setdefault(link, bytearray())
        message += cursor.field("segment", cursor.remaining)
        if len(message) > MAX_REASSEMBLED:
            del messages[link]
            raise RemoteProtocolError(f"a message of more than {MAX_REASSEMBLED} octets")
        if not more:
            whole = bytes(messages.pop(link))
            self._inside(cursor, "message of all segments", whole, "", 0, self._message)

    def _mbus(self, cursor: Cursor) -> None:
        message = bytearray()
        while cursor.remaining:
            inside = Cursor(cursor.data, cursor.position)
            good = walked(inside, lambda inner: self._mbus_frame(inner, message))
            cursor.nodes += inside.nodes
            if not good:
                following = cursor.data.find(b"\x68", cursor.position + 1)
                cursor.position = len(cursor.data) if following < 0 else following
                message.clear()
            else:
                cursor.position = inside.position

    def _mbus_frame(self, cursor: Cursor, message: bytearray) -> None:
        octets, begin = cursor.data, cursor.position
        head = octets[begin : begin + 4]
        if len(head) < 4 or head[0] != 0x68 or head[3] != 0x68:
            raise RemoteProtocolError(f"{head.hex(' ')} begins no long frame", expected="68 L L 68")
        if head[1] != head[2] or head[1] < 3:
            raise RemoteProtocolError(f"lengths {head[1]} and {head[2]}", expected="one length, 3 or more")
        end = begin + 4 + head[1]
        if end + 2 > len(octets):
            raise RemoteProtocolError(f"{head[1] + 6} octets declared, {len(octets) - begin} there")
        if octets[end + 1] != 0x16:
            raise RemoteProtocolError("no stop where the frame should end", expected="16")
        with cursor.group("M-Bus frame"):
            cursor.field("start", 4, lambda _: f"{head[1]} octets")
            cursor.number("control", 1, lambda number: f"{number:#04x}")
            cursor.number("address", 1, lambda number: "to everybody" if number == 0xFF else str(number))
            ci = cursor.number("control information", 1, ci_text)
            if ci <= 0x1F and end - cursor.position >= 2:
                cursor.number("source transport address", 1)
                cursor.number("destination transport address", 1)
                if not ci & 0x0F:
                    message.clear()
                last = bool(ci & 0x10)
                if last and not message:
                    with cursor.within(end - cursor.position):
                        self._message(cursor, 0)
                else:
                    message += cursor.field("segment", end - cursor.position)
                    if last:
                        whole = bytes(message)
                        message.clear()
                        self._inside(cursor, "message of all segments", whole, "", 0, self._message)
            else:
                cursor.field("data", end - cursor.position)
            cursor.position = end
            check = sum(octets[begin + 4 : end]) & 0xFF
            found = cursor.number("checksum", 1, lambda number: f"{number:#04x}")
            if found != check:
                cursor.fault(f"the checksum should be {check:#04x}", begin=end)
            cursor.skip(1)

    def _wrapper(self, cursor: Cursor) -> None:
        def frame(inner: Cursor) -> None:
            with inner.group("wrapper frame") as label:
                version = inner.number("version", 2)
                source = inner.number("source wPort", 2)
                destination = inner.number("destination wPort", 2)
                label.value = f"{source} to {destination}"
                length = inner.number("length", 2)
                if version != 1:
                    raise RemoteProtocolError(f"wrapper version {version}", expected="1")
                with inner.within(length):
                    self._message(inner, 0)

        walked(cursor, lambda inner: _repeated(inner, frame))

    def _bare(self, cursor: Cursor) -> str:
        """Octets without framing: an APDU, a value, a date-time, or nothing that is known."""
        octets = cursor.data
        if octets[:3] in _LLC or octets[0] in _APDU_TAGS:
            kept = self._keys, self._block, bytes(self._blocks)
            good = walked(cursor, lambda inner: self._message(inner, 0)) and not any(
                True for node in cursor.nodes for _ in node.faults()
            )
            if good or octets[0] not in (Tag.ARRAY, Tag.INTEGER, 0x08, 0x0E):
                return "APDU"
            value = Cursor(octets)
            if not walked(value, _one_value):
                return "APDU"
            self._keys, self._block = kept[:2]
            cursor.nodes, cursor.position = value.nodes, value.position
            return "value"
        if octets[0] in Tag.__members__.values():
            value = Cursor(octets)
            if walked(value, _one_value) or octets[0] in (Tag.ARRAY, Tag.STRUCTURE):
                cursor.nodes, cursor.position = value.nodes, value.position
                return "value"
        words = octets_text(octets) if len(octets) in (6, 12) else in_text(octets)
        begin = cursor.position
        cursor.skip(cursor.remaining)
        cursor.note("octets", words, begin=begin)
        if len(octets) not in (6, 8, 12, *_KEY_OCTETS):
            cursor.fault("neither a frame, an APDU nor a value", begin=begin)
        return "octets"

    # --- APDUs ----------------------------------------------------------------------------------------

    def _message(self, cursor: Cursor, depth: int) -> None:
        """LLC headers and APDUs, one behind the other, to the cursor's end."""
        if not cursor.remaining:
            raise RemoteProtocolError("an APDU of no octets")
        while cursor.remaining:
            if cursor.peek(3) in _LLC:
                cursor.field("LLC", 3, lambda octets: _LLC[octets])
                if not cursor.remaining:
                    raise RemoteProtocolError("nothing behind the LLC header")
            self._apdu(cursor, depth)

    def _apdu(self, cursor: Cursor, depth: int) -> None:
        tag = cursor.peek()[0]
        if tag in _ACSE:
            if depth >= _MAX_NESTED:
                raise RemoteProtocolError(_TOO_DEEP)
            explain_acse(cursor, lambda inner: self._apdu(inner, depth + 1), self._title)
        elif tag in _INITIATE:
            explain_initiate(cursor, self._dedicated)
        elif tag == _BLOCK_TRANSFER:
            self._block_transfer(cursor, depth)
        elif tag in PROTECTED_TAGS:
            unveiled = explain_protected(cursor, self._keys)
            if unveiled is not None:
                self._inside(cursor, "APDU inside", unveiled.octets, unveiled.words, depth, self._message)
        elif tag == DATA_NOTIFICATION and self._quirks is not STANDARD:
            meant = self._quirks.notification(cursor.peek(cursor.remaining))
            cursor.field("data-notification", cursor.remaining)
            inside = Cursor(meant)
            walked(inside, lambda inner: _whole_service(inner, self._answers))
            name = f"as the quirk {self._quirks.name} reads it"
            place = cursor.position
            cursor.nodes.append(Node(name, place, place, children=tuple(inside.nodes), octets=meant))
        elif not explain_service(cursor, self._answers):
            raise RemoteProtocolError(f"no APDU has the tag {tag:#04x}")

    def _block_transfer(self, cursor: Cursor, depth: int) -> None:
        with cursor.group("general-block-transfer") as label:
            cursor.skip(1)
            control = cursor.number("block-control", 1, _block_control)
            number = cursor.number("block-number", 2)
            cursor.number("block-number-acknowledged", 2)
            label.value = f"block {number}"
            begin = cursor.position
            data = cursor.octets("block-data")
            if number == 1:
                self._blocks, self._block = bytearray(), 0
            if number != self._block + 1:
                cursor.fault(f"block {self._block + 1} is missing before block {number}", begin=begin)
                self._block = 1 << 16
                return
            self._blocks += data
            self._block = number
            if len(self._blocks) > MAX_REASSEMBLED:
                raise RemoteProtocolError(f"an APDU of more than {MAX_REASSEMBLED} octets in blocks")
        if control & 0x80:
            whole, self._blocks, self._block = bytes(self._blocks), bytearray(), 0
            self._inside(cursor, "APDU of all blocks", whole, "", depth, self._message)

    def _inside(
        self,
        cursor: Cursor,
        name: str,
        octets: bytes,
        words: str,
        depth: int,
        explain: Callable[[Cursor, int], None],
    ) -> None:
        """Octets of their own: put together, or deciphered."""
        if depth >= _MAX_NESTED:
            raise RemoteProtocolError(_TOO_DEEP)
        inside = Cursor(octets)
        walked(inside, lambda inner: explain(inner, depth + 1))
        value = f"{len(octets)} octets" + (f", {words}" if words else "")
        place = cursor.position
        shown = _without_key(octets)
        cursor.nodes.append(Node(name, place, place, value, tuple(inside.nodes), octets=shown))

    def _title(self, tag: int, title: bytes) -> None:
        self._keys = self._keys.with_title(title, client=tag == AARQ)

    def _dedicated(self, key: bytes) -> None:
        if len(key) in _KEY_OCTETS:
            known = self._keys
            self._keys = LayerKeys(
                known.encryption, known.authentication, Secret(key), known.client_title, known.server_title
            )


def _without_key(octets: bytes) -> bytes:
    """Octets of an InitiateRequest with its dedicated key made unreadable; other octets as they are."""
    if octets[:2] == b"\x01\x01" and len(octets) > 2 and octets[2] < 0x80:
        length = octets[2]
        return octets[:3] + b"*" * len(octets[3 : 3 + length]) + octets[3 + length :]
    return octets


def _repeated(cursor: Cursor, walk: Callable[[Cursor], None]) -> None:
    while cursor.remaining:
        walk(cursor)


def _whole_service(cursor: Cursor, answers: LongAnswers) -> None:
    with cursor.within(cursor.remaining):
        explain_service(cursor, answers)


def _one_value(cursor: Cursor) -> None:
    explain_data(cursor)
    if cursor.remaining:
        raise RemoteProtocolError(f"{cursor.remaining} octets behind the value")


def _block_control(control: int) -> str:
    """The control octet of a general-block-transfer in words."""
    words = [f"{control:#04x}: window {control & 0x3F}"]
    words += ["last block"] * bool(control & 0x80) + ["streaming"] * bool(control & 0x40)
    return ", ".join(words)
