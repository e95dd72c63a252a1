"""The client's framing over HDLC: `Channel` between an association and a serial line, an optical head or TCP.

    channel = HdlcChannel(16, HdlcAddress.of(1, 17))
    run(channel.connect())                       # SNRM, UA
    association = Association(1, 16, channel=channel)
    run(association.associate()); run(association.get(...)); run(association.release())
    run(channel.disconnect())                    # DISC, UA

Where an octet does not follow another within the inter-octet time-out, call `silence` and hand the operation
``b""``; where no answer comes in time, do the same, and if that gives nothing to send, send what `timed_out`
gives. Rule of this file: what cannot be read on the line is counted and left to the time-out; only what the
meter says in whole frames can break an association.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import ClassVar, TypeAlias

from openami.protocols.dlms.framing.channel import Delivery, Incoming
from openami.protocols.dlms.framing.hdlc_frame import HdlcAddress, HdlcDecoder, HdlcFrame
from openami.protocols.dlms.framing.hdlc_link import PrimaryLink
from openami.protocols.dlms.framing.hdlc_link_state import LinkState
from openami.protocols.dlms.framing.hdlc_parameters import HdlcParameters
from openami.protocols.dlms.framing.llc import COMMAND, RESPONSE, without_llc
from openami.quantities.errors import RemoteProtocolError

Exchange: TypeAlias = Generator[bytes, bytes, None]
"""As `client.Operation`: yields bytes to send, is sent bytes received."""


class HdlcChannel:
    """One client's link with one logical device.

    Invariant: bytes go out only where the link is up and the turn is ours (`PrimaryLink`).

    Parameters
    ----------
    client:
        HDLC address of the client, as its wPort: 16 public, 1 management.
    server:
        Address of the logical device; a number stands for an address of one octet.
    parameters:
        Information field and window to propose; the defaults of the standard where None.
    repetitions:
        How often `timed_out` repeats one thing before it gives up.
    """

    delivery: ClassVar = Delivery.IN_ORDER
    __slots__ = ("_decoder", "_uncovered", "bad_frames", "link")

    def __init__(
        self,
        client: int,
        server: HdlcAddress | int,
        parameters: HdlcParameters | None = None,
        *,
        repetitions: int = 3,
    ) -> None:
        peer = server if isinstance(server, HdlcAddress) else HdlcAddress(server)
        self.link = PrimaryLink(HdlcAddress(client), peer, parameters, repetitions)
        self._decoder = HdlcDecoder()
        self._uncovered: list[HdlcFrame | RemoteProtocolError] = []
        self.bad_frames = 0

    @property
    def agreed(self) -> HdlcParameters:
        """Information fields and windows in use."""
        return self.link.agreed

    def outgoing(self, apdu: bytes) -> bytes:
        """The first frames of an APDU, none while the meter has the turn; raises `LocalProtocolError`."""
        return self.link.send(COMMAND + apdu)

    def poll(self) -> bytes:
        """RR, where the turn is ours: the meter may send the next of its messages."""
        return self.link.poll()

    def incoming(self, data: bytes) -> Incoming:
        """APDUs that received bytes complete, and the frames that ask for more.

        Raises
        ------
        RemoteProtocolError
            The meter ended the link, refused a frame, or sent what is no answer.
        """
        uncovered, self._uncovered = self._uncovered, []
        return self._heard(uncovered + self._decoder.feed(data))

    def silence(self) -> None:
        """The inter-octet time-out passed: a frame that is not whole is given up.

        A good frame that stood behind it is brought by the next `incoming`, also by one without octets.
        """
        self._uncovered += self._decoder.silence()

    def timed_out(self) -> bytes:
        """No answer came in time: bytes to send again, empty where none is awaited.

        Raises
        ------
        LinkError
            After the last repetition; the link is down.
        """
        self.silence()
        return self.link.timed_out()

    def connect(self) -> Exchange:
        """Set up the link: SNRM, answered by UA.

        Raises
        ------
        LocalProtocolError
            It is up already.
        RemoteProtocolError
            The meter refused (DM).
        """
        yield from self._until(self.link.connect(), lambda state: state is LinkState.CONNECTED)

    def disconnect(self) -> Exchange:
        """Take down the link: DISC, answered by UA, or by DM where it was down at the other end.

        Raises
        ------
        LocalProtocolError
            It is not up.
        """
        yield from self._until(self.link.disconnect(), lambda state: state is LinkState.DISCONNECTED)

    def _until(self, request: bytes, reached: Callable[[LinkState], bool]) -> Exchange:
        data = yield request
        while True:
            self.incoming(data)
            if reached(self.link.state):
                return
            data = yield b""

    def _heard(self, events: list[HdlcFrame | RemoteProtocolError]) -> Incoming:
        apdus: list[bytes] = []
        outgoing: list[bytes] = []
        for event in events:
            if isinstance(event, RemoteProtocolError):
                self.bad_frames += 1
                self.link.frame_lost()
                continue
            heard = self.link.receive(event)
            apdus += [without_llc(message, RESPONSE) for message in heard.messages]
            outgoing.append(heard.outgoing)
        return Incoming(apdus, b"".join(outgoing))
