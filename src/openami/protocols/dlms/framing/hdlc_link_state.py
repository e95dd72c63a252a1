"""The states of an HDLC link, of both roles, as one table (IEC 62056-46 clause 6.4; normal response mode).

The client is the *primary* station: it alone begins, and gives the meter, the *secondary*, its turn with the
P bit; the meter gives it back with the F bit.

    primary     DISCONNECTED --connect--> CONNECTING --UA--> CONNECTED --disconnect--> DISCONNECTING
                     ^                        |DM, give up       |DM, FRMR, give up          |UA, DM, give up
                     +------------------------+------------------+---------------------------+

    secondary   DISCONNECTED --SNRM--> CONNECTED --a frame that cannot be--> REJECTING --SNRM--> CONNECTED
                     ^                     |DISC                                 |DISC
                     +---------------------+-------------------------------------+

Two rules. What we want to do and have no row for is our own error (`LocalProtocolError`, nothing changes).
What comes and has no row is not for this state and changes nothing: a line doubles frames, and answers come
late. The meter answers where it was polled (P), but SNRM and DISC always: who sends them can only wait.
"""

from __future__ import annotations

from enum import Enum, auto

from openami.protocols.dlms.framing.hdlc_frame import FrameKind
from openami.quantities.errors import LocalProtocolError


class LinkState(Enum):
    """Where a link stands."""

    DISCONNECTED = auto()
    CONNECTING = auto()
    CONNECTED = auto()
    DISCONNECTING = auto()
    REJECTING = auto()


class LinkEvent(Enum):
    """What happens to it; the frames of the numbered kinds only where no link is up for them."""

    CONNECT = auto()
    DISCONNECT = auto()
    GIVE_UP = auto()
    SNRM = auto()
    DISC = auto()
    UA = auto()
    DM = auto()
    FRMR = auto()
    POLLED = auto()
    NONSENSE = auto()


class Role(Enum):
    """Which end of the link."""

    PRIMARY = auto()
    SECONDARY = auto()


_P, _S = Role.PRIMARY, Role.SECONDARY
_State, _Event, _Kind = LinkState, LinkEvent, FrameKind

TRANSITIONS: dict[tuple[Role, LinkState, LinkEvent], tuple[LinkState, FrameKind | None]] = {
    (_P, _State.DISCONNECTED, _Event.CONNECT): (_State.CONNECTING, _Kind.SNRM),
    (_P, _State.CONNECTING, _Event.UA): (_State.CONNECTED, None),
    (_P, _State.CONNECTING, _Event.DM): (_State.DISCONNECTED, None),
    (_P, _State.CONNECTING, _Event.GIVE_UP): (_State.DISCONNECTED, None),
    (_P, _State.CONNECTED, _Event.DM): (_State.DISCONNECTED, None),
    (_P, _State.CONNECTED, _Event.FRMR): (_State.DISCONNECTED, None),
    (_P, _State.CONNECTED, _Event.GIVE_UP): (_State.DISCONNECTED, None),
    (_P, _State.CONNECTED, _Event.DISCONNECT): (_State.DISCONNECTING, _Kind.DISC),
    (_P, _State.DISCONNECTING, _Event.UA): (_State.DISCONNECTED, None),
    (_P, _State.DISCONNECTING, _Event.DM): (_State.DISCONNECTED, None),
    (_P, _State.DISCONNECTING, _Event.GIVE_UP): (_State.DISCONNECTED, None),
    (_S, _State.DISCONNECTED, _Event.SNRM): (_State.CONNECTED, _Kind.UA),
    (_S, _State.DISCONNECTED, _Event.DISC): (_State.DISCONNECTED, _Kind.DM),
    (_S, _State.DISCONNECTED, _Event.POLLED): (_State.DISCONNECTED, _Kind.DM),
    (_S, _State.DISCONNECTED, _Event.NONSENSE): (_State.DISCONNECTED, _Kind.DM),
    (_S, _State.CONNECTED, _Event.SNRM): (_State.CONNECTED, _Kind.UA),
    (_S, _State.CONNECTED, _Event.DISC): (_State.DISCONNECTED, _Kind.UA),
    (_S, _State.CONNECTED, _Event.NONSENSE): (_State.REJECTING, _Kind.FRMR),
    (_S, _State.REJECTING, _Event.SNRM): (_State.CONNECTED, _Kind.UA),
    (_S, _State.REJECTING, _Event.DISC): (_State.DISCONNECTED, _Kind.UA),
    (_S, _State.REJECTING, _Event.POLLED): (_State.REJECTING, _Kind.FRMR),
    (_S, _State.REJECTING, _Event.NONSENSE): (_State.REJECTING, _Kind.FRMR),
}
"""State and frame to send, by role, state and event."""


def wanted(role: Role, state: LinkState, event: LinkEvent) -> tuple[LinkState, FrameKind | None]:
    """What an event of our own leads to.

    Raises
    ------
    LocalProtocolError
        It is not possible in this state.
    """
    try:
        return TRANSITIONS[role, state, event]
    except KeyError:
        raise LocalProtocolError(f"{event.name.lower()} while the link is {state.name.lower()}") from None


def heard(role: Role, state: LinkState, event: LinkEvent) -> tuple[LinkState, FrameKind | None] | None:
    """What a frame leads to; None where it is nothing for this state."""
    return TRANSITIONS.get((role, state, event))
