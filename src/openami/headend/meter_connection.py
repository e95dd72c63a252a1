"""The connection with one meter: transport, framing, association, and the counter that it begins with.

What is agreed on is found out by asking: the largest APDU (smaller ones where the meter refuses the first
without another reason), the HDLC information field and window (the defaults where the meter refuses ours),
the invocation counter (shown to the public client where the meter does not tell it when it refuses ours).
Rules never to be broken: an invocation counter moves forward only, whoever asks for it; a secret never leaves
but into the association, and what is recorded of that is masked.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final, TypeVar

from openami.headend.dlms_conversation import (
    Conversation,
    Link,
    LinkSettings,
    Repetition,
    recorded_frames,
)
from openami.headend.tcp_link import TcpLink
from openami.headend.udp_link import UdpLink
from openami.protocols.dlms.apdus.authentication import MANAGEMENT_CLIENT, PUBLIC_CLIENT
from openami.protocols.dlms.apdus.descriptors import Attribute
from openami.protocols.dlms.apdus.initiate import PROPOSED, PROPOSED_FOR_WINDOWS, Conformance
from openami.protocols.dlms.apdus.results import (
    AccessError,
    AssociationError,
    Diagnostic,
    ServiceError,
    ServiceRefusedError,
)
from openami.protocols.dlms.client.association import Association, Operation
from openami.protocols.dlms.client.association_state import State
from openami.protocols.dlms.client.attribute_value import DATA
from openami.protocols.dlms.client.client_security import ClientSecurity, recover_counter, send_counter_name
from openami.protocols.dlms.client.object_list import ASSOCIATION_LN, MeterObject, object_list
from openami.protocols.dlms.encoding.limits import DEFAULT_WINDOW, MAX_PDU
from openami.protocols.dlms.framing.channel import Channel
from openami.protocols.dlms.framing.hdlc_channel import HdlcChannel
from openami.protocols.dlms.framing.hdlc_frame import HdlcAddress
from openami.protocols.dlms.framing.hdlc_parameters import MAX_INFORMATION, MAX_WINDOW, HdlcParameters
from openami.protocols.dlms.framing.udp_wrapper import DatagramChannel
from openami.protocols.dlms.framing.wrapper import WrapperChannel
from openami.protocols.dlms.server.logical_device import CURRENT_ASSOCIATION
from openami.protocols.driver import RecordedFrame
from openami.quantities.errors import LinkError, LocalProtocolError, ProtocolError, RemoteProtocolError
from openami.quantities.obis import ObisCode
from openami.security.counters import MAX_COUNTER, SendCounter
from openami.security.secret import Secret

T = TypeVar("T")

DEFAULT_PORT: Final = 4059
"""The port of DLMS/COSEM over TCP and UDP (IANA: dlms-cosem)."""

FRAME_COUNTER: Final = ObisCode(0, 0, 43, 1, 0)
"""The highest invocation counter that a meter believed of a client (recalled: companion specifications)."""

_SMALLER_PDUS: Final = (1024, 256)
_SIZE_MAY_BE_WHY: Final = (
    None, ServiceError.OPERATION_NOT_POSSIBLE, ServiceError.OTHER_REASON, ServiceError.PDU_TOO_LONG,
)  # fmt: skip


class Transport(Enum):
    """What carries the APDUs."""

    TCP = "tcp"
    UDP = "udp"
    HDLC = "hdlc"


class Opening(Enum):
    """How an association comes about."""

    REQUESTED = auto()
    """By AARQ and AARE; ended by RLRQ."""
    PRE_ESTABLISHED = auto()
    """It stands without a word, and is never released (IEC 62056-5-3, recalled): without a secret, and with
    the services that every meter has."""


PROPOSED_PARAMETERS: Final = HdlcParameters.of(MAX_INFORMATION, MAX_WINDOW)
"""What is proposed of an HDLC line: the most that there is."""

_REPETITION: Final = {
    Transport.TCP: Repetition.UNANSWERED,
    Transport.UDP: Repetition.MISSED,
    Transport.HDLC: Repetition.BY_THE_LINE,
}
_WINDOWS: Final = Conformance.GENERAL_BLOCK_TRANSFER
_TAKEN_FOR_GRANTED: Final = PROPOSED & ~(Conformance.MULTIPLE_REFERENCES | Conformance.ACCESS)


@dataclass(frozen=True, slots=True)
class MeterAccess:
    """How one client gets to one logical device.

    Parameters
    ----------
    host, port:
        Where it is.
    server:
        Logical device: wPort, or upper HDLC address.
    client:
        16 public, 1 management; None for the management client where there is a secret, else the public one.
    password:
        Low level security; None for none.
    security:
        High level security and ciphering; takes the place of ``password``.
    transport:
        TCP wrapper, UDP wrapper, or HDLC over TCP.
    physical:
        Lower HDLC address; None for an address of one octet.
    settings:
        Patience.
    max_pdu:
        Largest APDU taken; smaller ones are tried where the meter refuses it.
    hdlc:
        Information field and window to propose; the meter agrees to less, or to the defaults.
    window:
        Blocks of a long answer taken at once, where the meter has general-block-transfer, 1 .. 63; 0 for one
        block of the service at a time.
    counter_floor:
        Where our invocation counter begins at least (`openami.security.counters.earliest_counter`).
    user:
        Which user of the client it is, 0 .. 255; None where the meter need not know.
    on_frame:
        Told every frame of both directions, the password masked.
    opening:
        Whether the association is asked for.
    counter_object:
        Where the meter shows everybody the highest invocation counter that it believed of this client; None
        for `FRAME_COUNTER`, or the only one that its object list has where it has none there.

    Raises
    ------
    LocalProtocolError
        A pre-established association with a secret.
    """

    host: str
    port: int = DEFAULT_PORT
    server: int = 1
    client: int | None = None
    password: Secret | None = None
    security: ClientSecurity | None = None
    transport: Transport = Transport.TCP
    physical: int | None = None
    settings: LinkSettings = LinkSettings()  # noqa: RUF009 - a value
    max_pdu: int = MAX_PDU
    hdlc: HdlcParameters = PROPOSED_PARAMETERS
    window: int = 0
    counter_floor: int = 0
    user: int | None = None
    on_frame: Callable[[RecordedFrame], None] | None = None
    opening: Opening = Opening.REQUESTED
    counter_object: ObisCode | None = None

    def __post_init__(self) -> None:
        secret = self.password is not None or self.security is not None or self.user is not None
        if self.opening is Opening.PRE_ESTABLISHED and secret:
            raise LocalProtocolError(
                "a secret or a user in a pre-established association", expected="neither: nothing is proven"
            )

    @property
    def where(self) -> str:
        """How errors name the meter."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}, logical device {self.server}"

    @property
    def client_address(self) -> int:
        """wPort or HDLC address of the client."""
        if self.client is not None:
            return self.client
        secret = self.password is not None or self.security is not None
        return MANAGEMENT_CLIENT if secret else PUBLIC_CLIENT

    @property
    def public(self) -> MeterAccess:
        """The same logical device as everybody reaches it."""
        return replace(self, client=PUBLIC_CLIENT, password=None, security=None, user=None)


class MeterConnection:
    """One association over one connection.

    Invariant: at most one operation runs at a time; what is open is closed whatever `open` ends with.
    """

    def __init__(self, access: MeterAccess) -> None:
        self.access = access
        self._link: Link | None = None
        self._line: HdlcChannel | None = None
        self._association: Association | None = None
        self._conversation: Conversation | None = None

    async def open(self) -> None:
        """Connect, associate, and agree on sizes and windows.

        An invocation counter that is not known yet, or that the meter refused without saying which it wants,
        is asked for by the public client.

        Raises
        ------
        LinkError
            The meter cannot be reached or does not answer.
        AssociationError, ServiceRefusedError
            It refused the association.
        SecurityError
            It asked for a counter that lies too far ahead, or behind.
        RemoteProtocolError
            It broke the protocol.
        """
        first_contact = self._counter() == 0
        if first_contact:
            await self._recover_counter()
        self._raise_counter()
        try:
            await self._negotiate()
        except (AssociationError, ServiceRefusedError, LinkError):
            self._disconnect()
            if self._counter() is None or first_contact or not await self._recover_counter():
                raise
            await self._negotiate()

    async def close(self) -> None:
        """Release and disconnect; never raises."""
        try:
            if self._association is not None and self._association.state is State.READY:
                with suppress(LinkError, ProtocolError):
                    # An RLRE that cannot be read is an answer all the same: the link is taken down.
                    if self.access.opening is Opening.REQUESTED:
                        with suppress(ProtocolError):
                            await self.run(self._association.release())
                    if self._line is not None:
                        await self.run(self._line.disconnect())
        finally:
            self._disconnect()

    @property
    def association(self) -> Association:
        """The association; raises `LinkError` where there is none."""
        if self._association is None or self._conversation is None:
            raise LinkError("not connected", where=self.access.where)
        return self._association

    async def run(self, operation: Operation[T], *, repeats: int = 0, secret: bytes = b"") -> T:
        """Result of an operation, as `dlms_conversation.Conversation.run`."""
        if self._conversation is None:
            raise LinkError("not connected", where=self.access.where)
        try:
            return await self._conversation.run(operation, repeats=repeats, secret=secret)
        finally:
            self._report()

    # --- opening --------------------------------------------------------------------------------------

    async def _negotiate(self) -> None:
        """Associate with the largest size that the meter accepts."""
        if self.access.opening is Opening.PRE_ESTABLISHED:
            try:
                await self._connect(self.access.max_pdu, _TAKEN_FOR_GRANTED)
            except BaseException:
                self._disconnect()
                raise
            return
        sizes = [self.access.max_pdu, *(size for size in _SMALLER_PDUS if size < self.access.max_pdu)]
        for size in sizes:
            try:
                await self._connect(size, PROPOSED_FOR_WINDOWS if self.access.window else PROPOSED)
                if self.access.window and not self.association.conformance & _WINDOWS:
                    # A meter without windows: long answers come in the blocks of their service.
                    await self.close()
                    await self._connect(size, PROPOSED)
                return
            except (AssociationError, ServiceRefusedError) as refused:
                self._disconnect()
                if size == sizes[-1] or not _size_may_be_why(refused):
                    raise
            except BaseException:
                self._disconnect()
                raise

    async def _connect(self, max_pdu: int, conformance: Conformance) -> None:
        access, security = self.access, self.access.security
        secret = access.password if security is None else security.secret
        password = None if access.password is None else access.password.reveal()
        kind = UdpLink if access.transport is Transport.UDP else TcpLink
        self._link = await kind.connect(
            access.host, access.port, timeout_s=access.settings.connect_timeout_s, where=access.where
        )
        channel = await self._framed(self._link)
        self._association = Association(
            access.server,
            access.client_address,
            password if security is None else None,
            max_pdu=max_pdu,
            conformance=conformance,
            channel=channel,
            security=security,
            window=access.window or DEFAULT_WINDOW,
            user=access.user,
        )
        line = self._line
        self._conversation = Conversation(
            self._link,
            self._association.asked_again if line is None else line.timed_out,
            access.settings,
            access.where,
            _REPETITION[access.transport],
        )
        if access.opening is Opening.PRE_ESTABLISHED:
            self._association.take_for_granted()
            return
        await self.run(self._association.associate(), secret=b"" if secret is None else secret.reveal())

    async def _framed(self, link: Link) -> Channel:
        """The framing; of HDLC the link is set up."""
        access = self.access
        if access.transport is Transport.TCP:
            return WrapperChannel(access.client_address, access.server)
        if access.transport is Transport.UDP:
            return DatagramChannel(access.client_address, access.server)
        try:
            return await self._lined(link, access.hdlc)
        except RemoteProtocolError:
            if access.hdlc == HdlcParameters():
                raise
            return await self._lined(link, HdlcParameters())

    async def _lined(self, link: Link, parameters: HdlcParameters) -> HdlcChannel:
        """The HDLC link, set up with what the meter agrees to of these parameters."""
        access = self.access
        line = HdlcChannel(
            access.client_address,
            HdlcAddress.of(access.server, access.physical),
            parameters,
            repetitions=max(1, access.settings.repeats),
        )
        self._conversation = Conversation(
            link, line.timed_out, access.settings, access.where, Repetition.BY_THE_LINE
        )
        await self.run(line.connect())
        self._line = line
        return line

    def _disconnect(self) -> None:
        if self._link is not None:
            self._report()
            self._link.close()
        self._link = self._line = self._association = self._conversation = None

    def _report(self) -> None:
        # Both are taken whether anybody listens or not: what is kept for the record must not grow.
        record = [] if self._link is None else self._link.take_record()
        opened = {} if self._association is None else self._association.take_opened()
        if self.access.on_frame is not None:
            for frame in recorded_frames(record, opened):
                self.access.on_frame(frame)

    # --- counters -------------------------------------------------------------------------------------

    def _counter(self) -> int | None:
        """The counter that our next message would carry; None without keys."""
        security = self.access.security
        if security is None or security.keys is None:
            return None
        return security.counters.load(send_counter_name(security.title, security.keys))

    def _raise_counter(self) -> None:
        """Begin not below the floor."""
        security, floor = self.access.security, self.access.counter_floor
        if security is not None and security.keys is not None and floor:
            security.counters.reserve(send_counter_name(security.title, security.keys), 0, floor)

    async def _recover_counter(self) -> bool:
        """Go on from the counter that the meter shows everybody; False where that brings nothing."""
        security = self.access.security
        if security is None or security.keys is None:
            return False
        everybody = MeterConnection(self.access.public)
        try:
            await everybody.open()
            shown = await _shown_counter(everybody)
        except (LinkError, ProtocolError):
            return False
        finally:
            await everybody.close()
        if shown is None:
            return False
        name = send_counter_name(security.title, security.keys)
        send = SendCounter(security.counters, name)
        if shown < send.value:
            return False
        recover_counter(send, shown + 1)
        return True


async def _shown_counter(everybody: MeterConnection) -> int | None:
    """The counter that a meter shows everybody; None where it shows none, or several and nobody said which.

    Raises as the associations' `get`.
    """
    named = everybody.access.counter_object
    try:
        shown = await everybody.run(everybody.association.get(Attribute(DATA, named or FRAME_COUNTER, 2)))
    except AccessError:
        if named is not None:
            raise
        listed = await everybody.run(
            everybody.association.get(Attribute(ASSOCIATION_LN, CURRENT_ASSOCIATION, 2))
        )
        counters = [item.logical_name for item in object_list(listed) if _is_counter(item)]
        if len(counters) != 1:
            return None
        shown = await everybody.run(everybody.association.get(Attribute(DATA, counters[0], 2)))
    believable = isinstance(shown, int) and not isinstance(shown, bool) and 0 <= shown < MAX_COUNTER
    return shown if believable and isinstance(shown, int) else None


def _is_counter(item: MeterObject) -> bool:
    """True for an invocation counter, 0-b:43.1.e, of any security setup."""
    name = item.logical_name
    return item.class_id == DATA and (name.a, name.c, name.d) == (0, 43, 1)


def _size_may_be_why(refused: AssociationError | ServiceRefusedError) -> bool:
    """True where a meter may have refused because of the size proposed: it gave no other reason."""
    if isinstance(refused, AssociationError):
        return refused.diagnostic in (Diagnostic.NULL, Diagnostic.NO_REASON_GIVEN)
    return refused.service in _SIZE_MAY_BE_WHY
