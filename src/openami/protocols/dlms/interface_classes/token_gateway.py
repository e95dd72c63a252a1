"""Token gateway, class 115 version 0 (IEC 62056-6-2 clause 4.6.5): how credit comes into a meter.

    token_delivery_method  0 remote, 1 local, 2 manual
    token_status           { status_code enum, data bit-string }; of the codes used here
                           3 executed, 4 format failure, 5 authentication failure, 6 validation failure
                           (used before), 7 execution failure

Whoever knows the tokens (a vending key, an IEC 62055-41 decoder) is injected as `TokenVerifier`. Layout and
codes recalled. Rule of this file: a token is credited once, and only after its verifier said what it is
worth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from enum import IntEnum
from typing import ClassVar, Protocol

from openami.protocols.dlms.apdus.results import AccessError, AccessResult
from openami.protocols.dlms.encoding.axdr import BitString, Data, Tag, array, structure
from openami.protocols.dlms.interface_classes.local_time import stamp
from openami.protocols.dlms.interface_classes.stored_object import (
    NO_PRESET,
    State,
    StoredAttribute,
    StoredObject,
    items,
    number,
    octets,
    read_only,
)
from openami.protocols.dlms.interface_classes.value_types import (
    Bits,
    ListOf,
    Moment,
    Octets,
    enumeration,
    record,
)
from openami.quantities.errors import ProtectionError, RemoteProtocolError
from openami.quantities.obis import ObisCode

_TOKEN = Octets(1, 128)
_REMEMBERED = 64


class TokenStatus(IntEnum):
    """What became of the last token."""

    FORMAT_OK = 0
    AUTHENTICATION_OK = 1
    VALIDATION_OK = 2
    EXECUTED = 3
    FORMAT_FAILURE = 4
    AUTHENTICATION_FAILURE = 5
    VALIDATION_FAILURE = 6
    EXECUTION_FAILURE = 7
    NOT_YET_PROCESSED = 8


@dataclass(frozen=True, slots=True)
class Token:
    """What a token is.

    Parameters
    ----------
    identifier:
        Number that no other token of this meter has; later tokens have greater ones.
    amount:
        What it is worth, in the account's currency scale.
    description:
        What it says of itself.
    """

    identifier: int
    amount: int
    description: tuple[bytes, ...] = ()


class TokenVerifier(Protocol):
    """Who knows the tokens of a meter."""

    def verify(self, token: bytes) -> Token:
        """What a token is.

        Raises
        ------
        ProtectionError
            It was not made for this meter.
        RemoteProtocolError
            It is none.
        """
        ...


class TokenGateway(StoredObject):
    """Takes tokens.

    Parameters
    ----------
    verifier:
        Says what a token is.
    credit:
        Takes its amount into the account; raises `AccessError` where that cannot be.
    now, zone:
        The meter's clock.
    state, preset:
        As of `StoredObject`; below 1 it keeps the identifiers of the tokens credited.
    """

    __slots__ = ("_credit", "_now", "_verifier", "_zone")

    class_id: ClassVar[int] = 115
    version: ClassVar[int] = 0
    table: ClassVar[tuple[StoredAttribute, ...]] = (
        read_only(2, "token", Octets(0, 128)),
        read_only(3, "token_time", Moment()),
        read_only(4, "token_description", ListOf(Octets(), 8)),
        read_only(5, "token_delivery_method", enumeration(2)),
        read_only(6, "token_status", record(enumeration(8), Bits(0, 64))),
    )
    methods: ClassVar[tuple[int, ...]] = (1,)

    def __init__(
        self,
        logical_name: ObisCode,
        verifier: TokenVerifier,
        credit: Callable[[int], None],
        now: Callable[[], datetime],
        zone: tzinfo = UTC,
        state: State | None = None,
        preset: Mapping[int, Data] = NO_PRESET,
    ) -> None:
        super().__init__(logical_name, state, preset)
        self._verifier = verifier
        self._credit = credit
        self._now = now
        self._zone = zone

    def invoke(self, index: int, parameter: Data | None) -> Data | None:
        """``enter`` a token; raises `AccessError` where it is not credited, and the status says why."""
        if index != 1:
            return super().invoke(index, parameter)
        given = self.parameter(parameter, _TOKEN, "enter")
        self.keep(2, given)
        self.keep(3, stamp(self._now(), self._zone))
        self.keep(4, array(()))
        status = self._entered(octets(given))
        self.keep(6, structure(Data(Tag.ENUM, int(status)), Data(Tag.BIT_STRING, BitString(0, b""))))
        if status is not TokenStatus.EXECUTED:
            raise AccessError(AccessResult.OTHER_REASON, where=f"{self.logical_name}: {status.name}")
        return None

    def _entered(self, given: bytes) -> TokenStatus:
        try:
            token = self._verifier.verify(given)
        except ProtectionError:
            return TokenStatus.AUTHENTICATION_FAILURE
        except RemoteProtocolError:
            return TokenStatus.FORMAT_FAILURE
        self.keep(4, array(Data(Tag.OCTET_STRING, line) for line in token.description))
        known = [number(entry) for entry in items(self._state.get(0, array(())))]
        # Identifiers grow: one that is older than all that are remembered may have been used before.
        full = len(known) == _REMEMBERED
        if token.identifier in known or (full and token.identifier < min(known)):
            return TokenStatus.VALIDATION_FAILURE
        try:
            self._credit(token.amount)
        except AccessError:
            return TokenStatus.EXECUTION_FAILURE
        kept = sorted((*known, token.identifier))[-_REMEMBERED:]
        self._state[0] = array(Data(Tag.LONG64, identifier) for identifier in kept)
        return TokenStatus.EXECUTED
