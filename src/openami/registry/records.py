"""How the entities lie in tables: one table a kind, each bitemporal in the same way.

`KINDS` is the one place that says what identifies a row, what it refers to and what excludes what; loading,
writing, indexing and checking are generic over it. Columns of a table stand in the order of the fields of
its dataclass.

The rule never to be broken: a row is written once. The only update is setting ``superseded_revision`` of a
row that has none, and nothing is deleted; triggers of migration 0001 make the database refuse the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final, Generic, cast

import sqlalchemy as sa

from openami.quantities.obis import ObisCode
from openami.registry.database import UtcInstant, metadata
from openami.registry.entities import (
    Account,
    Agreement,
    Customer,
    E,
    Entity,
    Installation,
    Meter,
    Multiplier,
    TransformerArea,
    UsagePoint,
)

_obis_code = lru_cache(maxsize=4096)(ObisCode.parse)


class ObisCodes(sa.types.TypeDecorator[tuple[ObisCode, ...]]):
    """A tuple of OBIS codes, kept as a JSON list of their reduced text."""

    impl = sa.JSON
    cache_ok = True

    def process_bind_param(self, value: tuple[ObisCode, ...] | None, dialect: sa.Dialect) -> list[str]:
        """To the database."""
        return [str(code) for code in value or ()]

    def process_result_value(self, value: list[str] | None, dialect: sa.Dialect) -> tuple[ObisCode, ...]:
        """From the database."""
        return tuple(_obis_code(text) for text in value or ())


revisions: Final = sa.Table(
    "revisions",
    metadata,
    sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at", UtcInstant, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


def _instants() -> tuple[sa.Column[Any], sa.Column[Any]]:
    return sa.Column("valid_from", UtcInstant, nullable=False), sa.Column("valid_to", UtcInstant)


def _bitemporal(name: str, key: tuple[str, ...], *columns: sa.Column[Any]) -> sa.Table:
    """A table whose rows are superseded, never changed; ``key`` is unique among the rows that stand."""
    valid = "valid_to" in {column.name for column in columns}
    table = sa.Table(
        name,
        metadata,
        *columns,
        sa.Column("recorded_revision", sa.BigInteger, sa.ForeignKey("revisions.revision"), nullable=False),
        sa.Column("superseded_revision", sa.BigInteger, sa.ForeignKey("revisions.revision")),
        sa.PrimaryKeyConstraint(*key, "recorded_revision"),
        sa.CheckConstraint("superseded_revision > recorded_revision", name="recorded"),
        *([sa.CheckConstraint("valid_to > valid_from", name="valid")] if valid else []),
    )
    standing = table.c.superseded_revision.is_(None)
    sa.Index(
        f"uq_{name}_current",
        *(table.c[column] for column in key),
        unique=True,
        sqlite_where=standing,
        postgresql_where=standing,
    )
    sa.Index(None, table.c.recorded_revision)
    sa.Index(None, table.c.superseded_revision)
    return table


documents: Final = _bitemporal(
    "documents",
    ("kind", "document_id", "valid_from"),
    _text("kind"),
    _text("document_id"),
    sa.Column("valid_from", sa.Date, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    _text("text"),
    _text("sha256"),
)


@dataclass(frozen=True, slots=True)
class RecordKind(Generic[E]):
    """What the registry knows of one kind of entity.

    Parameters
    ----------
    entity, table:
        The dataclass and its table.
    key:
        Attributes that identify a row: recording the same key again is a correction.
    references:
        Attribute -> the kind of thing whose id it holds.
    exclusive:
        Attributes for each of which validities of rows with the same value must not overlap.
    """

    entity: type[E]
    table: sa.Table
    key: tuple[str, ...]
    references: Mapping[str, type[Entity]] = field(default_factory=lambda: MappingProxyType({}))
    exclusive: tuple[str, ...] = ()

    @property
    def id_attribute(self) -> str:
        """The first attribute of the key: the id of a thing."""
        return self.key[0]

    @property
    def indexed(self) -> tuple[str, ...]:
        """Attributes by which rows are found."""
        return tuple(dict.fromkeys((self.id_attribute, *self.references)))

    @property
    def key_of(self) -> Callable[[E], Hashable]:
        """Function that gives a row's key."""
        return cast("Callable[[E], Hashable]", attrgetter(*self.key))

    @property
    def columns(self) -> tuple[sa.Column[Any], ...]:
        """Columns in the order of the dataclass's fields."""
        return tuple(self.table.c[item.name] for item in fields(self.entity))

    def parameters(self, entity: E) -> dict[str, Any]:
        """Column values of an entity, for INSERT."""
        return {item.name: getattr(entity, item.name) for item in fields(self.entity)}


_METERS: Final = RecordKind(
    Meter,
    _bitemporal(
        "meters",
        ("meter_id", "valid_from"),
        _text("meter_id"),
        _text("model"),
        _text("host"),
        sa.Column("port", sa.Integer, nullable=False),
        sa.Column("logical_device", sa.Integer, nullable=False),
        _text("zone"),
        sa.Column("interval_s", sa.Integer, nullable=False),
        sa.Column("digits", sa.Integer, nullable=False),
        sa.Column("exponent", sa.Integer, nullable=False),
        sa.Column("channels", ObisCodes, nullable=False),
        *_instants(),
    ),
    key=("meter_id", "valid_from"),
)
_MULTIPLIERS: Final = RecordKind(
    Multiplier,
    _bitemporal(
        "multipliers",
        ("meter_id", "valid_from"),
        _text("meter_id"),
        sa.Column("ct_numerator", sa.BigInteger, nullable=False),
        sa.Column("ct_denominator", sa.BigInteger, nullable=False),
        sa.Column("vt_numerator", sa.BigInteger, nullable=False),
        sa.Column("vt_denominator", sa.BigInteger, nullable=False),
        *_instants(),
    ),
    key=("meter_id", "valid_from"),
    references={"meter_id": Meter},
    exclusive=("meter_id",),
)
_USAGE_POINTS: Final = RecordKind(
    UsagePoint,
    _bitemporal(
        "usage_points",
        ("usage_point_id", "valid_from"),
        _text("usage_point_id"),
        _text("zone"),
        sa.Column("area_id", sa.Text),
        _text("kind"),
        sa.Column("capacity_w", sa.BigInteger),
        _text("customer_class"),
        *_instants(),
    ),
    key=("usage_point_id", "valid_from"),
    references={"area_id": TransformerArea},
)
_INSTALLATIONS: Final = RecordKind(
    Installation,
    _bitemporal(
        "installations",
        ("meter_id", "usage_point_id", "valid_from"),
        _text("meter_id"),
        _text("usage_point_id"),
        *_instants(),
    ),
    key=("meter_id", "usage_point_id", "valid_from"),
    references={"meter_id": Meter, "usage_point_id": UsagePoint},
    exclusive=("meter_id", "usage_point_id"),
)
_AREAS: Final = RecordKind(
    TransformerArea,
    _bitemporal(
        "transformer_areas",
        ("area_id", "valid_from"),
        _text("area_id"),
        _text("name"),
        sa.Column("capacity_va", sa.BigInteger),
        sa.Column("meter_usage_point_id", sa.Text),
        *_instants(),
    ),
    key=("area_id", "valid_from"),
    references={"meter_usage_point_id": UsagePoint},
)
_CUSTOMERS: Final = RecordKind(
    Customer,
    _bitemporal(
        "customers", ("customer_id", "valid_from"), _text("customer_id"), _text("name"), *_instants()
    ),
    key=("customer_id", "valid_from"),
)
_ACCOUNTS: Final = RecordKind(
    Account,
    _bitemporal(
        "accounts",
        ("account_id", "valid_from"),
        _text("account_id"),
        _text("customer_id"),
        _text("currency"),
        *_instants(),
    ),
    key=("account_id", "valid_from"),
    references={"customer_id": Customer},
)
_AGREEMENTS: Final = RecordKind(
    Agreement,
    _bitemporal(
        "agreements",
        ("agreement_id",),
        _text("agreement_id"),
        _text("account_id"),
        _text("usage_point_id"),
        _text("tariff_id"),
        sa.Column("valid_from", sa.Date, nullable=False),
        sa.Column("valid_to", sa.Date),
    ),
    key=("agreement_id",),
    references={"account_id": Account, "usage_point_id": UsagePoint},
    exclusive=("usage_point_id",),
)

KINDS: Final[tuple[RecordKind[Any], ...]] = (
    _METERS,
    _MULTIPLIERS,
    _USAGE_POINTS,
    _INSTALLATIONS,
    _AREAS,
    _CUSTOMERS,
    _ACCOUNTS,
    _AGREEMENTS,
)
"""All kinds of entities, in the order in which faults are listed."""

_BY_ENTITY: Final = {kind.entity: kind for kind in KINDS}


def kind_of(entity: type[E]) -> RecordKind[E]:
    """The record kind of an entity class."""
    return cast("RecordKind[E]", _BY_ENTITY[entity])
