"""Who and where: the things of the registry and what binds them, as immutable values.

Things (meter, usage point, transformer area, customer, account) carry a description with validity:
versions of one thing succeed one another, and the one in force at an instant is the latest that has begun.
Bindings (installation, multiplier, agreement) hold from an instant or day up to, not including, another,
and never overlap where they exclude one another (`openami.registry.faults`).

The rule never to be broken: validity says when something was so in the world, never when we learnt of it;
the latter is the revision, which only `openami.registry.registry.Registry` gives.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from fractions import Fraction
from typing import Final, Generic, Literal, TypeAlias, TypeVar

from openami.quantities.obis import ObisCode

BEGINNING: Final = datetime(1900, 1, 1, tzinfo=UTC)
"""``valid_from`` of what has been so ever since anybody cared."""

UsagePointKind: TypeAlias = Literal["customer", "area"]
DocumentKind: TypeAlias = Literal["tariff", "rule_pack", "calendar"]


@dataclass(frozen=True, slots=True)
class Meter:
    """A meter: how it is reached and how its registers count.

    Parameters
    ----------
    meter_id:
        Serial number, as the meter itself answers it.
    model:
        Name of the type of meter.
    host, port, logical_device:
        Where it answers: TCP address and, behind it, the DLMS wrapper port (wPort) of this meter. Empty
        host where readings come from files.
    zone:
        IANA time zone of its clock.
    interval_s:
        Capture period of its load profile in seconds; divides an hour, or is 86,400: a value a civil day,
        whether that has 23, 24 or 25 hours.
    digits:
        Digits of its cumulative registers: they roll over at 10**digits.
    exponent:
        A register counts 10**exponent Wh.
    channels:
        OBIS codes of its interval channels.
    valid_from, valid_to:
        Instants between which this description holds; None is open.
    """

    meter_id: str
    model: str
    host: str
    port: int
    logical_device: int
    zone: str
    interval_s: int
    digits: int
    exponent: int
    channels: tuple[ObisCode, ...]
    valid_from: datetime = BEGINNING
    valid_to: datetime | None = None


@dataclass(frozen=True, slots=True)
class Multiplier:
    """Transformer ratios in front of a meter: primary = secondary x `factor`.

    Parameters
    ----------
    meter_id:
        The meter.
    ct_numerator, ct_denominator:
        Current transformer, as on its plate: 200 and 5.
    vt_numerator, vt_denominator:
        Voltage transformer: 10,000 and 100; 1 and 1 where there is none.
    valid_from, valid_to:
        Instants between which the ratios hold; None is open.
    """

    meter_id: str
    ct_numerator: int
    ct_denominator: int
    vt_numerator: int
    vt_denominator: int
    valid_from: datetime
    valid_to: datetime | None = None

    @property
    def factor(self) -> Fraction:
        """CT ratio times VT ratio, exact."""
        return Fraction(self.ct_numerator * self.vt_numerator, self.ct_denominator * self.vt_denominator)


@dataclass(frozen=True, slots=True)
class UsagePoint:
    """A place where energy is delivered and metered, whatever meter hangs there.

    Parameters
    ----------
    usage_point_id:
        Its name.
    zone:
        IANA time zone of its civil days.
    area_id:
        Transformer area it is fed from, where known.
    kind:
        ``"customer"``, or ``"area"`` for the meter that measures what a whole area takes.
    capacity_w:
        Contracted or connected power in W, where known.
    customer_class:
        ``"residential"``, ``"commercial"`` ...: what tariffs and rule packs distinguish.
    valid_from, valid_to:
        Instants between which this description holds; None is open.
    """

    usage_point_id: str
    zone: str
    area_id: str | None
    kind: UsagePointKind
    capacity_w: int | None
    customer_class: str
    valid_from: datetime = BEGINNING
    valid_to: datetime | None = None


@dataclass(frozen=True, slots=True)
class Installation:
    """A meter at a usage point, from an instant (also inside an interval) up to another."""

    meter_id: str
    usage_point_id: str
    valid_from: datetime
    valid_to: datetime | None = None


@dataclass(frozen=True, slots=True)
class TransformerArea:
    """What one distribution transformer feeds.

    Parameters
    ----------
    area_id, name:
        Its name, for machines and for people.
    capacity_va:
        Rated power of the transformer in VA, where known.
    meter_usage_point_id:
        Usage point (kind ``"area"``) that measures what the area takes.
    valid_from, valid_to:
        Instants between which this description holds; None is open.
    """

    area_id: str
    name: str
    capacity_va: int | None = None
    meter_usage_point_id: str | None = None
    valid_from: datetime = BEGINNING
    valid_to: datetime | None = None


@dataclass(frozen=True, slots=True)
class Customer:
    """A person or firm."""

    customer_id: str
    name: str
    valid_from: datetime = BEGINNING
    valid_to: datetime | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """What a customer's bills are addressed to; ``currency`` is an ISO 4217 code."""

    account_id: str
    customer_id: str
    currency: str
    valid_from: datetime = BEGINNING
    valid_to: datetime | None = None


@dataclass(frozen=True, slots=True)
class Agreement:
    """An account takes energy at a usage point on a tariff.

    ``valid_from`` up to, not including, ``valid_to`` are civil days of the usage point; None is open.
    """

    agreement_id: str
    account_id: str
    usage_point_id: str
    tariff_id: str
    valid_from: date
    valid_to: date | None = None


Thing: TypeAlias = Meter | UsagePoint | TransformerArea | Customer | Account
Binding: TypeAlias = Installation | Multiplier | Agreement
Entity: TypeAlias = Thing | Binding
E = TypeVar("E", bound=Entity)


@dataclass(frozen=True, slots=True)
class Recorded(Generic[E]):
    """A row with its record time: what the registry said from one revision up to another.

    ``superseded_revision`` is None while the row stands.
    """

    entity: E
    recorded_revision: int
    superseded_revision: int | None


@dataclass(frozen=True, slots=True)
class Document:
    """One version of a tariff, rule pack or calendar, in force from a civil day until the next one is.

    Parameters
    ----------
    kind, document_id:
        What it is, and its name.
    version:
        1, 2, ... in the order of recording.
    valid_from:
        First day it is in force.
    text, sha256:
        Its content and the hexadecimal SHA-256 of the content in UTF-8.
    revision:
        The registry revision that recorded it.
    """

    kind: DocumentKind
    document_id: str
    version: int
    valid_from: date
    text: str
    sha256: str
    revision: int


@dataclass(frozen=True, slots=True)
class Revision:
    """One change of the registry: the audit entry."""

    revision: int
    at: datetime
    actor: str
    why: str
