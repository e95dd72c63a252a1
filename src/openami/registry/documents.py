"""Tariffs, rule packs and calendars as texts with versions: in force from a civil day until the next one is.

The rule never to be broken: the text that comes out is the text that went in; its SHA-256 is checked on the
way out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from typing import Any, Final, get_args

import sqlalchemy as sa

from openami.quantities.errors import RegistryError
from openami.registry.entities import Document, DocumentKind
from openami.registry.faults import text_faults
from openami.registry.records import documents

_KINDS: Final = get_args(DocumentKind)
_COLUMNS: Final = tuple(
    documents.c[name]
    for name in ("kind", "document_id", "version", "valid_from", "text", "sha256", "recorded_revision")
)


def document_faults(kind: str, document_id: str, text: str, valid_from: date) -> Iterator[str]:
    """What keeps a document from being recorded."""
    if kind not in _KINDS:
        yield f"documents of kind {kind!r} are not kept, only {', '.join(_KINDS)}"
    if not document_id or document_id != document_id.strip() or not document_id.isprintable():
        yield f"document_id {document_id!r} is not an identifier (printable, no blanks around it)"
    if isinstance(valid_from, datetime) or not isinstance(valid_from, date):
        yield f"valid_from {valid_from!r} is not a civil day"
    yield from text_faults("text", text)


def document_stands(
    connection: sa.Connection, kind: str, document_id: str, text: str, valid_from: date
) -> bool:
    """True when exactly this text is recorded for that first day already."""
    query = sa.select(documents.c.sha256).where(*_standing(kind, document_id, valid_from))
    return connection.execute(query).scalar() == _sha256(text)


def write_document(
    connection: sa.Connection, revision: int, kind: str, document_id: str, text: str, valid_from: date
) -> None:
    """Record a text, superseding the one recorded for the same first day."""
    supersede_document(connection, revision, kind, document_id, valid_from)
    versions = sa.select(sa.func.coalesce(sa.func.max(documents.c.version), 0)).where(
        documents.c.kind == kind, documents.c.document_id == document_id
    )
    connection.execute(
        documents.insert().values(
            kind=kind,
            document_id=document_id,
            valid_from=valid_from,
            version=connection.execute(versions).scalar_one() + 1,
            text=text,
            sha256=_sha256(text),
            recorded_revision=revision,
        )
    )


def supersede_document(
    connection: sa.Connection, revision: int, kind: str, document_id: str, valid_from: date
) -> int:
    """End the text recorded for a first day; gives the number of rows that stood, 0 or 1."""
    update = documents.update().where(*_standing(kind, document_id, valid_from))
    return int(connection.execute(update.values(superseded_revision=revision)).rowcount)


def read_documents(
    connection: sa.Connection, revision: int, kind: str, document_id: str | None = None
) -> list[Document]:
    """Documents of a kind known at a revision, by name and first day."""
    query = (
        sa.select(*_COLUMNS)
        .where(*_known(revision), documents.c.kind == kind)
        .order_by(documents.c.document_id, documents.c.valid_from)
    )
    if document_id is not None:
        query = query.where(documents.c.document_id == document_id)
    return [_document(row) for row in connection.execute(query)]


def read_document(
    connection: sa.Connection, revision: int, kind: str, document_id: str, on: date
) -> Document | None:
    """The document in force on a day, as known at a revision."""
    query = (
        sa.select(*_COLUMNS)
        .where(
            *_known(revision),
            documents.c.kind == kind,
            documents.c.document_id == document_id,
            documents.c.valid_from <= on,
        )
        .order_by(documents.c.valid_from.desc())
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else _document(row)


def _standing(kind: str, document_id: str, valid_from: date) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        documents.c.kind == kind,
        documents.c.document_id == document_id,
        documents.c.valid_from == valid_from,
        documents.c.superseded_revision.is_(None),
    )


def _known(revision: int) -> tuple[sa.ColumnElement[bool], ...]:
    superseded = documents.c.superseded_revision
    return documents.c.recorded_revision <= revision, superseded.is_(None) | (superseded > revision)


def _document(row: Sequence[Any]) -> Document:
    document = Document(*row)
    if _sha256(document.text) != document.sha256:
        raise RegistryError(
            "the text is not the one that was recorded: its SHA-256 differs",
            where=f"{document.kind} {document.document_id}, version {document.version}",
            expected=document.sha256,
        )
    return document


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
