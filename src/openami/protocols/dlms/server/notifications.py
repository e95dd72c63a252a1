"""What a meter sends unasked: data-notification (push) and event-notification (IEC 62056-5-3).

    DataNotification 0f   general-glo, general-ciphering; signed; in blocks that nobody acknowledges
    EventNotification c2  the same, and glo

A `Notifier` makes the APDUs for a destination that has no association (push setup, class 40); inside an
association `ServerAssociation.notify` makes them. Rule of this file: what leaves is protected as configured,
or does not leave.
"""

from __future__ import annotations

from dataclasses import replace

from openami.protocols.dlms.apdus.access import LONG_INVOKE_MASK, LongInvoke
from openami.protocols.dlms.apdus.block_transfer import unconfirmed_blocks
from openami.protocols.dlms.apdus.descriptors import Attribute
from openami.protocols.dlms.apdus.notification import DataNotification, EventNotification
from openami.protocols.dlms.encoding.axdr import Data
from openami.protocols.dlms.encoding.limits import MAX_PDU
from openami.protocols.dlms.protection.ciphered_apdu import Form
from openami.protocols.dlms.protection.message_protection import Manner, MessageProtection
from openami.protocols.dlms.protection.security_control import Protection
from openami.protocols.dlms.server.device_security import DeviceSecurity
from openami.quantities.errors import LocalProtocolError

PLAIN = Manner(Protection.NONE, None)
"""No protection at all: a customer's interface without keys."""


def general_glo(level: Protection) -> Manner:
    """Protected under the global unicast key, with the meter's system title: what most meters push."""
    return Manner(level, Form.GENERAL_GLOBAL)


class Notifier:
    """Notifications of one meter to one destination.

    Invariant: long invoke ids count up; counters are those of the meter.

    Parameters
    ----------
    security:
        Keys and counters of the meter; None where nothing is protected.
    manner:
        How the APDUs are protected: `PLAIN`, `general_glo`, or any other `Manner` of a general form.
    client, client_title:
        wPort and system title of the destination; for signatures, agreed keys and general-ciphering.
    max_pdu:
        Largest APDU sent; longer ones go in blocks that nobody acknowledges (general-block-transfer).

    Raises
    ------
    LocalProtocolError
        Protection without keys.
    """

    __slots__ = ("_invoke", "_layers", "_manner", "_max_pdu")

    def __init__(
        self,
        security: DeviceSecurity | None = None,
        manner: Manner = PLAIN,
        *,
        client: int = 0,
        client_title: bytes = b"",
        max_pdu: int = MAX_PDU,
    ) -> None:
        if security is None and not manner.plain:
            raise LocalProtocolError("a push that is protected without keys")
        self._layers = None if security is None else security.layers(client, security.cipher(client_title))
        self._manner = manner
        self._max_pdu = max_pdu
        self._invoke = 0

    def data(
        self, body: Data, date_time: bytes = b"", options: LongInvoke = LongInvoke.HIGH_PRIORITY
    ) -> list[bytes]:
        """The APDUs of a data-notification.

        Parameters
        ----------
        body:
            What is pushed.
        date_time:
            Empty, or twelve octets.
        options:
            Bits of the long invoke id; confirmed ones ask the destination for an answer.

        Raises
        ------
        LocalProtocolError
            It needs more blocks than there are numbers, or keys that the meter has not.
        SecurityError
            The counters of the meter are used up.
        """
        self._invoke = (self._invoke + 1) & LONG_INVOKE_MASK
        return self._sent(DataNotification(self._invoke | options, date_time, body))

    def event(self, attribute: Attribute, value: Data, date_time: bytes | None = None) -> list[bytes]:
        """The APDUs of an event-notification; raises as `data`."""
        return self._sent(EventNotification(date_time, attribute, value))

    def _sent(self, notification: DataNotification | EventNotification) -> list[bytes]:
        apdu = notification.to_bytes()
        if self._layers is not None:
            apdu = protected(apdu, self._layers, self._manner)
        return unconfirmed_blocks(apdu, self._max_pdu)


def protected(apdu: bytes, layers: MessageProtection, manner: Manner) -> bytes:
    """A notification in its layers, in a transaction of its own; raises as `MessageProtection.seal`."""
    if manner.plain:
        return apdu
    if manner.signed or manner.source is not None:
        manner = replace(manner, transaction=layers.new_transaction())
    return layers.seal(apdu, manner)
