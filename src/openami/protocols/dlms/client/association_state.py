"""The client's side of an association as one table.

Two rules. An operation may begin only where the table has a row for it: otherwise *we* are wrong
(`LocalProtocolError`, and nothing changes). Whatever arrives that the running operation does not expect
makes *them* wrong (`RemoteProtocolError`), and the association is broken: what a later answer belongs to
could no longer be told, so the connection must be closed and opened again.

    IDLE --associate--> ASSOCIATING --accepted--> READY --request--> WAITING --answered--> READY
      ^                      |rejected              |release
      +----------------------+                      +--> RELEASING --released--> IDLE
    any of them --broken--> BROKEN, for ever
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Protocol

from openami.quantities.errors import LocalProtocolError


class State(Enum):
    """Where the association stands."""

    IDLE = auto()
    ASSOCIATING = auto()
    READY = auto()
    WAITING = auto()
    RELEASING = auto()
    BROKEN = auto()


class Event(Enum):
    """What happens to it."""

    ASSOCIATE = auto()
    ACCEPTED = auto()
    REJECTED = auto()
    REQUEST = auto()
    ANSWERED = auto()
    RELEASE = auto()
    RELEASED = auto()
    BREAK = auto()


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.IDLE, Event.ASSOCIATE): State.ASSOCIATING,
    (State.ASSOCIATING, Event.ACCEPTED): State.READY,
    (State.ASSOCIATING, Event.REJECTED): State.IDLE,
    (State.READY, Event.REQUEST): State.WAITING,
    (State.WAITING, Event.ANSWERED): State.READY,
    (State.READY, Event.RELEASE): State.RELEASING,
    (State.RELEASING, Event.RELEASED): State.IDLE,
} | {(state, Event.BREAK): State.BROKEN for state in State}


def following(state: State, event: Event) -> State:
    """The state after an event.

    Raises
    ------
    LocalProtocolError
        The event is not allowed in this state.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        allowed = sorted(event.name.lower() for known, event in TRANSITIONS if known is state)
        raise LocalProtocolError(
            f"{event.name.lower()} while the association is {state.name.lower()}",
            expected=" or ".join(allowed),
        ) from None


class Breakable(Protocol):
    """An association that can be broken off."""

    @property
    def state(self) -> State:
        """Where it stands."""

    def break_off(self) -> None:
        """It cannot be used any more."""


class Breaking:
    """Breaks an association when an operation ends while it still waits for an answer.

    Invariant: behind it the association waits for nothing that nobody reads.
    """

    __slots__ = ("_association",)

    def __init__(self, association: Breakable) -> None:
        self._association = association

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        waiting = self._association.state in (State.ASSOCIATING, State.WAITING, State.RELEASING)
        if kind is not None and waiting:
            self._association.break_off()
