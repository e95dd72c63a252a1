"""What a software meter with a companion model has around it: its maker, a vendor of tokens, a gas meter.

All of it is a function of the fleet's seed and of time, so that a scenario can be replayed; whoever knows the
seed can sign firmware and make tokens. Rule of this file: nothing here is for a meter that measures anything.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from datetime import datetime, tzinfo
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from openami.protocols.dlms.encoding.axdr import Data, Tag
from openami.protocols.dlms.interface_classes.image_transfer import VerifiedImage
from openami.protocols.dlms.interface_classes.local_time import stamp
from openami.protocols.dlms.interface_classes.mbus import SlaveIdentity
from openami.protocols.dlms.interface_classes.network_diagnostic import Cell, NetworkState
from openami.protocols.dlms.interface_classes.stored_object import State
from openami.protocols.dlms.interface_classes.token_gateway import Token
from openami.quantities.errors import LinkError, ProtectionError, RemoteProtocolError
from openami.security.secret import Secret
from openami.security.signature import private_key, sign, verify
from openami.security.suites import SUITE_1

_SIGNATURE: Final = SUITE_1.signature_octets
_MARK: Final = 12
_TOKEN: Final = 8 + _MARK
_ACTIVE: Final = 2


def maker_key(seed: int) -> ec.EllipticCurvePrivateKey:
    """Key with which the maker of a fleet's meters signs firmware."""
    drawn = hashlib.shake_256(f"{seed} maker of meters".encode()).digest(31)
    return private_key(SUITE_1, Secret(b"\x01" + drawn))


def signed_image(seed: int, body: bytes) -> bytes:
    """Firmware as its maker gives it out: the body and an ECDSA P-256 signature over it."""
    return body + sign(SUITE_1, maker_key(seed), body)


class MakerFirmware:
    """Verifies images against the maker's key; the active one is the firmware identifier of the meter.

    Parameters
    ----------
    seed:
        Of the fleet.
    identifier:
        State of the firmware identifier object.
    """

    __slots__ = ("_identifier", "_seed")

    def __init__(self, seed: int, identifier: State) -> None:
        self._seed = seed
        self._identifier = identifier

    def verify(self, identifier: bytes, image: bytes) -> VerifiedImage:
        """Signature and identifier of an image; raises `ProtectionError`."""
        if len(image) <= _SIGNATURE:
            raise ProtectionError("an image without a body", expected="a body and its signature")
        body, signature = image[:-_SIGNATURE], image[-_SIGNATURE:]
        verify(SUITE_1, maker_key(self._seed).public_key(), body, signature)
        return VerifiedImage(identifier, signature)

    def activate(self, identifier: bytes, image: bytes) -> None:
        """Show the identifier of the image as the active firmware."""
        self._identifier[_ACTIVE] = Data(Tag.OCTET_STRING, identifier)


def vendor_token(seed: int, meter_id: str, identifier: int, amount: int) -> bytes:
    """A token for a meter: identifier, amount, and a mark that only the vendor can make."""
    head = identifier.to_bytes(4, "big") + amount.to_bytes(4, "big", signed=True)
    return head + _mark(seed, meter_id, head)


def _mark(seed: int, meter_id: str, head: bytes) -> bytes:
    key = hashlib.shake_256(f"{seed} {meter_id} vending".encode()).digest(32)
    return hmac.new(key, head, hashlib.sha256).digest()[:_MARK]


class VendorTokens:
    """Tokens of the vendor for one meter."""

    __slots__ = ("_meter_id", "_seed")

    def __init__(self, seed: int, meter_id: str) -> None:
        self._seed = seed
        self._meter_id = meter_id

    def verify(self, token: bytes) -> Token:
        """What a token is; raises `ProtectionError` or `RemoteProtocolError`."""
        if len(token) != _TOKEN:
            raise RemoteProtocolError(f"a token of {len(token)} octets", expected=f"{_TOKEN} octets")
        head = token[:8]
        if not hmac.compare_digest(_mark(self._seed, self._meter_id, head), token[8:]):
            raise ProtectionError("a token for another meter, or of another vendor")
        return Token(int.from_bytes(head[:4], "big"), int.from_bytes(head[4:], "big", signed=True))


class GasMeterBus:
    """A gas meter on each M-Bus channel: 100 litres an hour since 2020, installed under any address.

    Parameters
    ----------
    meter_id, channel:
        Whose it is, and where.
    now, zone:
        The electricity meter's clock.
    value:
        State of the register that shows the gas meter's value.
    """

    __slots__ = ("_channel", "_meter_id", "_now", "_value", "_zone")

    def __init__(
        self, meter_id: str, channel: int, now: Callable[[], datetime], zone: tzinfo, value: State
    ) -> None:
        self._meter_id = meter_id
        self._channel = channel
        self._now = now
        self._zone = zone
        self._value = value

    def install(self, primary_address: int) -> SlaveIdentity:
        """Give it an address."""
        return self._identity()

    def deinstall(self, primary_address: int) -> None:
        """Take the address away, and with it the value."""
        self._value.clear()

    def capture(self, primary_address: int, blocks: tuple[tuple[bytes, bytes], ...]) -> SlaveIdentity:
        """Read its volume, litres, into the register."""
        now = self._now()
        litres = int(now.timestamp() - 1_577_836_800) // 36
        self._value[2] = Data(Tag.DOUBLE_LONG_UNSIGNED, litres & 0xFFFF_FFFF)
        self._value[5] = stamp(now, self._zone)
        return self._identity()

    def synchronize(self, primary_address: int) -> None:
        """Set its clock, which it takes from the electricity meter anyway."""

    def send(self, primary_address: int, blocks: tuple[tuple[bytes, bytes, Data], ...]) -> None:
        """A gas meter takes no data; raises `LinkError`."""
        raise LinkError("the gas meter took no data", where=f"channel {self._channel}")

    def set_key(self, primary_address: int, key: bytes) -> None:
        """Use a key on the bus."""

    def transfer_key(self, primary_address: int, key: bytes) -> None:
        """Hand it a key."""

    def _identity(self) -> SlaveIdentity:
        drawn = hashlib.sha256(f"{self._meter_id} {self._channel}".encode()).digest()
        return SlaveIdentity(int.from_bytes(drawn[:3], "big"), 0x3C2D, 1, 3)


def home_network(now: datetime) -> NetworkState:
    """The network of a modem that stands where it should."""
    return NetworkState("openami", 1, 0, 4, Cell(1, 20), 1, 0, 901, 70, 6300, (Cell(2, 11),), now)
