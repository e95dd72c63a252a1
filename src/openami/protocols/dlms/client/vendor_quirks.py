"""What manufacturers do otherwise than the standard says, as data: ``quirks/*.toml``, one file a quirk.

The core is strict and never guesses; whoever knows what meter it is applies a quirk by its name, or by the
three letters of the manufacturer that open a system title or a device name. Rule of this file: a quirk turns
what the meter sent into what the standard would have, and nothing else changes.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cache
from importlib import resources
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from openami.protocols.dlms.encoding.axdr import decode_at
from openami.protocols.dlms.encoding.data import Tag
from openami.protocols.dlms.encoding.date_time import UNSPECIFIED_DEVIATION, CosemDateTime
from openami.protocols.dlms.encoding.octets import Reader, encode_length
from openami.protocols.dlms.encoding.scaler_unit import ScalerUnit
from openami.quantities.errors import LocalProtocolError, RemoteProtocolError
from openami.quantities.obis import ObisCode

_NOTIFICATION_HEAD: Final = 5
_DATE_TIME: Final = 12


class Deviation(Enum):
    """How the deviation of a date-time is meant."""

    STANDARD = "standard"
    REVERSED = "reversed"
    IGNORED = "ignored"


class NullData(Enum):
    """What null-data in a column of a profile means."""

    REPEATED = "repeated"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class VendorQuirks:
    """One quirk.

    Parameters
    ----------
    name:
        What it is called; the name of its file.
    manufacturers:
        Letters (FLAG) of the manufacturers whose meters do so, as far as is known.
    source:
        Where it was seen.
    deviation:
        How deviations are meant: as the standard says, with the sign reversed, or not at all.
    null_data:
        Null-data in a profile: the value of the row before (the standard), or no value.
    scalers:
        Scaler and unit code of registers that do not tell theirs.
    date_time_tag:
        Octets that stand before the date-time of a data-notification and do not belong there.
    body:
        Shape of a data-notification's body whose fields lack their tags; empty where it is encoded rightly.
    """

    name: str
    manufacturers: tuple[str, ...] = ()
    source: str = ""
    deviation: Deviation = Deviation.STANDARD
    null_data: NullData = NullData.REPEATED
    scalers: Mapping[ObisCode, tuple[int, int]] = field(default_factory=dict)
    date_time_tag: bytes = b""
    body: Any = ()

    def scaler_unit(self, name: ObisCode) -> ScalerUnit | None:
        """Scaler and unit of a register that does not tell them; None where they are not known either."""
        known = self.scalers.get(name)
        return None if known is None else ScalerUnit(*known)

    def date_time(self, stamp: CosemDateTime) -> CosemDateTime:
        """The date-time that the meter meant."""
        if self.deviation is Deviation.STANDARD or stamp.deviation == UNSPECIFIED_DEVIATION:
            return stamp
        meant = -stamp.deviation if self.deviation is Deviation.REVERSED else UNSPECIFIED_DEVIATION
        return replace(stamp, deviation=meant)

    def date_times(self, octets: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """As `date_time`, twelve octets each, shape (n, 12)."""
        if self.deviation is Deviation.STANDARD or octets.ndim != 2 or octets.shape[1] != _DATE_TIME:
            return octets
        changed = octets.copy()
        deviation = np.ascontiguousarray(changed[:, 9:11]).view(">i2")[:, 0].astype(np.int32)
        known = deviation != UNSPECIFIED_DEVIATION
        meant = -deviation if self.deviation is Deviation.REVERSED else np.full_like(deviation, -0x8000)
        deviation[known] = meant[known]
        changed[:, 9:11] = deviation.astype(">i2").view(np.uint8).reshape(-1, 2)
        return changed

    def notification(self, apdu: bytes) -> bytes:
        """A data-notification as the standard would have it; other APDUs as they are.

        Raises
        ------
        RemoteProtocolError
            The body has not the shape that the quirk describes.
        """
        if apdu[:1] != b"\x0f":
            return apdu
        head, rest = apdu[:_NOTIFICATION_HEAD], apdu[_NOTIFICATION_HEAD:]
        if self.date_time_tag and rest.startswith(self.date_time_tag):
            rest = rest[len(self.date_time_tag) :]
        if not self.body:
            return head + rest
        reader = Reader(rest)
        stamp = reader.octets()
        body = _retagged(self.body, reader)
        reader.end()
        return head + encode_length(len(stamp)) + stamp + body


STANDARD: Final = VendorQuirks("standard")
"""A meter that does what the standard says."""


def _retagged(shape: Any, reader: Reader) -> bytes:
    """Octets of a value of a shape, with every tag in its place.

    ``["array", shape]`` and ``["structure", shape, ...]`` are tagged; ``"attribute-descriptor"`` is nine
    octets without tags (class, logical name, attribute); ``"data"`` is any value, tagged as it should be.
    """
    if shape == "data":
        start = reader.position
        _, reader.position = decode_at(reader.data, start)
        return reader.data[start : reader.position]
    if shape == "attribute-descriptor":
        class_id, name, index = reader.take(2), reader.take(6), reader.take(1)
        return b"\x02\x03\x12" + class_id + b"\x09\x06" + name + b"\x0f" + index
    kind = Tag.ARRAY if shape[0] == "array" else Tag.STRUCTURE
    found = reader.u8()
    if found != kind:
        raise RemoteProtocolError(
            f"tag {found}", where=f"byte {reader.position - 1}", expected=f"{kind.name.lower()}"
        )
    count = reader.count()
    inner = shape[1:] if kind is Tag.STRUCTURE else [shape[1]] * count
    if len(inner) != count:
        raise RemoteProtocolError(f"{count} elements", expected=str(len(inner)))
    return bytes((kind,)) + encode_length(count) + b"".join(_retagged(item, reader) for item in inner)


@cache
def vendor_quirks() -> Mapping[str, VendorQuirks]:
    """All quirks that openami knows, by name."""
    folder = resources.files(__package__).joinpath("quirks")
    files = sorted(
        (file for file in folder.iterdir() if file.name.endswith(".toml")), key=lambda file: file.name
    )
    return {file.name[:-5]: _read(file.name[:-5], tomllib.loads(file.read_text("utf-8"))) for file in files}


def _read(name: str, table: Mapping[str, Any]) -> VendorQuirks:
    return VendorQuirks(
        name,
        tuple(table.get("manufacturers", ())),
        table["source"],
        Deviation(table.get("deviation", "standard")),
        NullData(table.get("null_data", "repeated")),
        {ObisCode.parse(row["obis"]): (row["scaler"], row["unit"]) for row in table.get("scaler", ())},
        bytes.fromhex(table.get("date_time_tag", "")),
        table.get("body", ()),
    )


def quirks_named(name: str) -> VendorQuirks:
    """The quirk of a name; raises `LocalProtocolError` where there is none."""
    if name == STANDARD.name:
        return STANDARD
    found = vendor_quirks().get(name)
    if found is None:
        raise LocalProtocolError(
            f"no quirk is called {name!r}", expected=", ".join(("standard", *vendor_quirks()))
        )
    return found


def quirks_of(title: bytes) -> tuple[VendorQuirks, ...]:
    """Quirks of the manufacturer whose letters open a system title or a logical device name."""
    letters = title[:3].decode("latin-1").upper()
    return tuple(quirk for quirk in vendor_quirks().values() if letters in quirk.manufacturers)
