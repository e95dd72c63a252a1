"""Ciphered APDUs as they are on the wire (IEC 62056-5-3 clauses 5.3.3, 7.3.7 to 7.3.9).

    21 28 2e, c8 .. cf   glo-...: global key, one tag for each service
    41 48 4e, d0 .. d7   ded-...: dedicated key of the association
    db dc                general-glo, general-ded: any service, with the sender's system title

Rule of this file: only the shape is read here; nothing is believed before `ciphering` has verified it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from openami.protocols.dlms.encoding.octets import Reader, encode_octets
from openami.protocols.dlms.protection.security_control import SecurityHeader
from openami.quantities.errors import LocalProtocolError, RemoteProtocolError

GENERAL_GLO: Final = 0xDB
GENERAL_DED: Final = 0xDC

_GLO_OF: Final = {
    0x01: 0x21, 0x08: 0x28, 0x0E: 0x2E,
    0xC0: 0xC8, 0xC1: 0xC9, 0xC2: 0xCA, 0xC3: 0xCB, 0xC4: 0xCC, 0xC5: 0xCD, 0xC7: 0xCF,
}  # fmt: skip
_DED_OF: Final = {
    0x01: 0x41, 0x08: 0x48, 0x0E: 0x4E,
    0xC0: 0xD0, 0xC1: 0xD1, 0xC2: 0xD2, 0xC3: 0xD3, 0xC4: 0xD4, 0xC5: 0xD5, 0xC7: 0xD7,
}  # fmt: skip


class Form(Enum):
    """How ciphered services are tagged."""

    GLOBAL = "glo"
    DEDICATED = "ded"
    GENERAL_GLOBAL = "general-glo"
    GENERAL_DEDICATED = "general-ded"

    @property
    def dedicated(self) -> bool:
        """True where the key is that of the association."""
        return self in (Form.DEDICATED, Form.GENERAL_DEDICATED)


_FORM_OF_TAG: Final = (
    {tag: (Form.GLOBAL, plain) for plain, tag in _GLO_OF.items()}
    | {tag: (Form.DEDICATED, plain) for plain, tag in _DED_OF.items()}
    | {GENERAL_GLO: (Form.GENERAL_GLOBAL, None), GENERAL_DED: (Form.GENERAL_DEDICATED, None)}
)
CIPHERED_TAGS: Final = frozenset(_FORM_OF_TAG)


@dataclass(frozen=True, slots=True)
class CipheredApdu:
    """One ciphered APDU, not yet deciphered.

    Parameters
    ----------
    form:
        How it is tagged.
    service:
        Tag of the service inside, where the form tells it.
    title:
        The sender's system title, where the form carries it; it may be empty.
    header:
        Suite, protection and counter.
    text:
        Cipher text, with the tag where it is authenticated.
    """

    form: Form
    service: int | None
    title: bytes | None
    header: SecurityHeader
    text: bytes

    def to_bytes(self) -> bytes:
        """The APDU; raises `LocalProtocolError` where the form has no tag for the service."""
        body = encode_octets(self.header.to_bytes() + self.text)
        if self.form is Form.GENERAL_GLOBAL or self.form is Form.GENERAL_DEDICATED:
            tag = GENERAL_GLO if self.form is Form.GENERAL_GLOBAL else GENERAL_DED
            return bytes((tag,)) + encode_octets(self.title or b"") + body
        tags = _GLO_OF if self.form is Form.GLOBAL else _DED_OF
        if self.service not in tags:
            raise LocalProtocolError(
                f"no {self.form.value} APDU carries the service {self.service}", expected="a general form"
            )
        return bytes((tags[self.service],)) + body

    @classmethod
    def from_bytes(cls, data: bytes) -> CipheredApdu:
        """The APDU of its octets; raises `RemoteProtocolError`."""
        reader = Reader(data)
        tag = reader.u8()
        if tag not in _FORM_OF_TAG:
            raise RemoteProtocolError(f"tag {tag:#04x}", where="byte 0", expected="a ciphered APDU")
        form, service = _FORM_OF_TAG[tag]
        title = reader.octets() if service is None else None
        size = reader.length()
        if size != reader.remaining:  # too little or too much: the reader says which
            reader.take(size)
            reader.end()
        header = SecurityHeader.read(reader)
        return cls(form, service, title, header, reader.rest())
