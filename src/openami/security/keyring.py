"""The keyring of a utility: secrets and counters of its meters, in one SQLite file beside a key of its own.

Every secret lies wrapped under the store key (AES key wrap with padding, RFC 5649), together with a mark of
the meter and the purpose that it is for, so that whoever can write to the file but has not the store key can
move no key to where it would be sent in clear. The store key comes from the environment or from a file that
only its owner reads: a copy of the database alone is worth nothing. Secrets are versions: a changed key is a
new row, and the old one stays, because frames of its time are still evidence. Keys that are being moved into
a meter are *pending* beside those in use, until it was seen which of them the meter has. Rules never to be
broken: a counter handed out was durable before; no key is sent to a meter that is not on the disk.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap_with_padding,
    aes_key_wrap_with_padding,
)

from openami.quantities.errors import SecurityError
from openami.security.certificates import MAX_CERTIFICATE_OCTETS
from openami.security.counter_session import RESERVED, CounterSession
from openami.security.meter_keys import MeterKeys
from openami.security.secret import Secret

STORE_KEY_VARIABLE: Final = "OPENAMI_KEYRING_KEY"
STORE_KEY_OCTETS: Final = 32
MAX_SECRET_OCTETS: Final = 255
_MARK_OCTETS: Final = 8
_DAMAGE: Final = (sqlite3.Error, ValueError, OverflowError)
"""What the library raises at a file that is damaged: text that is none, and numbers that do not fit, too."""

_SCHEMA: Final = """
create table if not exists secret (
    number integer primary key, meter text not null, kind text not null, suite integer not null,
    wrapped blob not null, recorded_at text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);
create index if not exists secret_of_meter on secret (meter, kind, number);
create table if not exists counter (name text primary key, value integer not null) without rowid;
create trigger if not exists secrets_stay before update on secret
    begin select raise(abort, 'a secret is never changed'); end;
create trigger if not exists secrets_are_kept before delete on secret
    begin select raise(abort, 'a secret is never deleted'); end;
create trigger if not exists counters_go_forward before update on counter when new.value < old.value
    begin select raise(abort, 'a counter never goes back'); end;
"""


@dataclass(frozen=True, slots=True)
class MeterCredentials:
    """How a head-end gets into one meter.

    Parameters
    ----------
    password:
        Low level security; None where the meter has keys, or lets everybody in.
    keys:
        High level security and ciphering.
    title:
        System title of the meter, where it is known.
    """

    password: Secret | None = None
    keys: MeterKeys | None = None
    title: bytes | None = None


_PUBLIC: Final = "public_"
_OURS: Final = ""
"""Whose our own keys are: no meter has an empty serial number."""

_KINDS: Final = ("global_unicast", "authentication", "master", "global_broadcast")
_PENDING: Final = "pending_"
_IN_USE: Final = ("password", "title", *_KINDS)
_ON_THEIR_WAY: Final = tuple(_PENDING + kind for kind in _KINDS)
_WRAPPED_NOTHING: Final = 2 * _MARK_OCTETS
"""Octets of a mark alone, wrapped: what stands for a secret that was taken away."""


class KeysInMotionError(SecurityError):
    """Another process moves keys: those on their way were not left behind."""


class Keyring:
    """Secrets and counters of a utility's meters; a `CounterStore`.

    Invariant: secrets only come, counters only grow; both are durable when a method returns.

    Parameters
    ----------
    file:
        The database; made with mode 0600 where it is not there.
    store_key:
        32 octets under which the secrets lie.

    Raises
    ------
    SecurityError
        The file is no keyring, cannot be opened, or was written under another store key.
    """

    def __init__(self, file: Path, store_key: Secret) -> None:
        if len(store_key) != STORE_KEY_OCTETS:
            raise SecurityError(
                f"a store key of {len(store_key)} octets", expected=f"{STORE_KEY_OCTETS} octets"
            )
        self._file = file
        self._store_key = store_key
        try:
            os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
            file.chmod(0o600)
            self._database = sqlite3.connect(file, isolation_level=None, timeout=30.0)
        except (OSError, sqlite3.Error) as error:
            raise SecurityError(f"no keyring: {error}", where=str(file)) from None
        try:
            self._database.execute("pragma journal_mode = delete")  # is read on a full disk, too
            self._database.execute("pragma synchronous = full")
            self._database.executescript(_SCHEMA)
            for row in self._rows("select meter, kind, wrapped from secret order by number limit 1"):
                self._unwrapped(*row)
        except _DAMAGE as error:
            self.close()
            raise SecurityError(f"no keyring: {error}", where=str(file)) from None
        except SecurityError:
            self.close()
            raise

    def __enter__(self) -> Keyring:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    # --- secrets --------------------------------------------------------------------------------------

    def put(self, credentials: Mapping[str, MeterCredentials]) -> None:
        """Record the secrets of meters, all or none; what is there already and the same is left alone."""
        with self._transaction():
            known = self.credentials_of(credentials)
            self._insert(
                (meter, kind, suite, value)
                for meter, new in credentials.items()
                if known[meter] != new
                for kind, suite, value in _parts(new)
            )

    def credentials(self, meter: str) -> MeterCredentials:
        """Newest secrets of a meter; empty ones where nothing is known of it."""
        return self.credentials_of((meter,))[meter]

    def credentials_of(self, meters: Iterable[str]) -> dict[str, MeterCredentials]:
        """Newest secrets of many meters, by meter; empty ones where nothing is known of one.

        Raises
        ------
        SecurityError
            The file is damaged, or somebody else than a keyring wrote to it.
        """
        newest: dict[str, dict[str, tuple[int, Secret]]] = {meter: {} for meter in meters}
        for meter, kind, suite, secret in self._newest(newest, _IN_USE):
            newest[meter][kind] = suite, secret
        return {meter: _credentials(secrets) for meter, secrets in newest.items()}

    def meters(self) -> tuple[str, ...]:
        """Meters that the keyring knows, sorted."""
        rows = self._rows("select distinct meter from secret where meter != ? order by meter", (_OURS,))
        return tuple(row[0] for row in rows)

    # --- keys on their way ----------------------------------------------------------------------------

    def pending(self, meter: str) -> MeterKeys | None:
        """Keys that a meter may have already in place of those in use; None where none are on their way."""
        return self.pending_of((meter,)).get(meter)

    def pending_of(self, meters: Iterable[str]) -> dict[str, MeterKeys]:
        """As `pending`, of those of many meters that have any on their way."""
        found: dict[str, dict[str, tuple[int, Secret]]] = {}
        for meter, kind, suite, secret in self._newest(meters, _ON_THEIR_WAY):
            found.setdefault(meter, {})[kind.removeprefix(_PENDING)] = suite, secret
        keys = {meter: _credentials(secrets).keys for meter, secrets in found.items()}
        return {meter: pending for meter, pending in keys.items() if pending is not None}

    def withdrawn(self, meter: str) -> MeterKeys | None:
        """The last keys that were pending and are no more: a meter may have them that said otherwise."""
        rows = self._rows(
            "select kind, suite, wrapped from secret where meter = ?1 and number between"
            " (select max(number) from secret where meter = ?1 and kind = ?2 and length(wrapped) > ?3)"
            " and (select max(number) + ?4 from secret where meter = ?1 and kind = ?2"
            " and length(wrapped) > ?3)",
            (meter, _ON_THEIR_WAY[0], _WRAPPED_NOTHING, len(_ON_THEIR_WAY) - 1),
        )
        found = {
            kind.removeprefix(_PENDING): (suite, self._unwrapped(meter, kind, wrapped))
            for kind, suite, wrapped in rows
        }
        return None if self.pending(meter) is not None else _credentials(found).keys

    def offer(self, meter: str, keys: MeterKeys) -> MeterKeys:
        """Make keys pending, durably, before they are sent; gives those that are pending already instead.

        Parameters
        ----------
        meter:
            Its serial number.
        keys:
            The whole set as it will be.
        """
        with self._transaction():
            known = self.pending(meter)
            if known is None:
                self._insert(_pending_rows(meter, keys))
            return known or keys

    def settle(self, meter: str, keys: MeterKeys) -> None:
        """Take into use the keys that a meter was seen to have; where they were pending, they are no more."""
        with self._transaction():
            known = self.credentials(meter)
            if known.keys != keys:
                rows = _parts(replace(known, keys=keys))
                self._insert((meter, kind, suite, value) for kind, suite, value in rows)
            if self.pending(meter) == keys:
                self._insert(_pending_rows(meter, None))

    def withdraw(self, meter: str) -> None:
        """Give up pending keys that the meter was seen to have refused; they stay as versions."""
        with self._transaction():
            if self.pending(meter) is not None:
                self._insert(_pending_rows(meter, None))

    @contextmanager
    def rotation(self) -> Iterator[None]:
        """The right to move keys into meters; it ends with the process, however that ends.

        Raises
        ------
        KeysInMotionError
            Another process has it: two would send one meter two sets of keys.
        SecurityError
            The folder cannot be written.
        """
        file = self._file.with_name(f"{self._file.name}.rotation")
        try:
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise SecurityError(f"cannot be written: {error.strerror}", where=str(file)) from None
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise KeysInMotionError(
                    "another process changes keys of this keyring", where=str(file), expected="one at a time"
                ) from None
            yield
        finally:
            os.close(descriptor)

    # --- public key cryptography ----------------------------------------------------------------------

    def put_public(self, parts: Mapping[str, Mapping[str, bytes]]) -> None:
        """Record what is public of meters, by name, all or none."""
        with self._transaction():
            self._insert(
                (meter, _PUBLIC + name, 0, Secret(octets))
                for meter, named in parts.items()
                for name, octets in named.items()
            )

    def public_of(self, meters: Iterable[str], names: Iterable[str]) -> dict[str, dict[str, bytes]]:
        """What was recorded last under some names, of those of many meters that have any."""
        found: dict[str, dict[str, bytes]] = {}
        for meter, kind, _, value in self._newest(meters, [_PUBLIC + name for name in names]):
            found.setdefault(meter, {})[kind.removeprefix(_PUBLIC)] = value.reveal()
        return found

    def put_own(self, purpose: str, suite: int, scalar: Secret) -> None:
        """Record a private key of ours; the one before stays as a version."""
        with self._transaction():
            self._insert([(_OURS, _own_kind(purpose, suite), suite, scalar)])

    def own(self, purpose: str, suite: int) -> Secret | None:
        """Our private key for a purpose in a suite; None where there is none."""
        rows = list(self._newest((_OURS,), (_own_kind(purpose, suite),)))
        return rows[0][3] if rows else None

    # --- counters -------------------------------------------------------------------------------------

    def load(self, name: str) -> int:
        """Last counter saved under a name; 0 where there is none."""
        rows = self._rows("select value from counter where name = ?", (name,))
        return self._counter(rows[0][0]) if rows else 0

    def reserve(self, name: str, count: int, at_least: int = 0) -> int:
        """Claim counters in a row, durable and before any other process: the first of them."""
        with self._transaction():
            return self._claim(name, count, at_least)

    def save(self, values: Mapping[str, int]) -> None:
        """Keep counters durably; what is kept already and is higher stays."""
        with self._transaction():
            self._database.executemany(
                "insert into counter values (?, ?)"
                " on conflict (name) do update set value = max(value, excluded.value)",
                list(values.items()),
            )

    @contextmanager
    def session(self, names: Iterable[str], at_least: int = 0) -> Iterator[CounterSession]:
        """Counters for many meters at once: one durable write before, one after.

        Parameters
        ----------
        names:
            Send counters that will be needed.
        at_least:
            None of them begins below.
        """
        with self._transaction():
            blocks = {name: self._claim(name, RESERVED, at_least) for name in names}
        session = CounterSession(self, blocks)
        try:
            yield session
        finally:
            session.flush()

    # --- pieces ---------------------------------------------------------------------------------------

    def _newest(self, meters: Iterable[str], kinds: Iterable[str]) -> Iterator[tuple[str, str, int, Secret]]:
        """Newest versions of some kinds of secrets of meters."""
        rows = self._rows(
            "select meter, kind, suite, wrapped from secret where number in"
            " (select max(number) from secret where meter in (select value from json_each(?))"
            " and kind in (select value from json_each(?)) group by meter, kind)",
            (json.dumps(list(meters)), json.dumps(list(kinds))),
        )
        for meter, kind, suite, wrapped in rows:
            if not isinstance(suite, int):
                raise SecurityError("a secret that is none", where=str(self._file))
            yield meter, kind, suite, self._unwrapped(meter, kind, wrapped)

    def _insert(self, secrets: Iterable[tuple[str, str, int, Secret]]) -> None:
        rows = [
            (meter, kind, suite, self._wrapped(meter, kind, value)) for meter, kind, suite, value in secrets
        ]
        self._database.executemany(
            "insert into secret (meter, kind, suite, wrapped) values (?, ?, ?, ?)", rows
        )

    def _claim(self, name: str, count: int, at_least: int) -> int:
        rows = self._database.execute(
            "insert into counter values (?, ? + ?)"
            " on conflict (name) do update set value = max(value, ?) + ? returning value",
            (name, at_least, count, at_least, count),
        ).fetchall()
        return self._counter(rows[0][0]) - count

    def _counter(self, value: object) -> int:
        if not isinstance(value, int) or value < 0:
            raise SecurityError("a counter that is no number", where=str(self._file))
        return value

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._database.execute("begin immediate")
            try:
                yield
            except BaseException:
                with suppress(*_DAMAGE):  # what led here is told, not that it could not be taken back
                    self._database.execute("rollback")
                raise
            self._database.execute("commit")
        except _DAMAGE as error:
            with suppress(*_DAMAGE):
                if self._database.in_transaction:
                    self._database.execute("rollback")
            raise SecurityError(f"cannot be written: {error}", where=str(self._file)) from None

    def _rows(self, statement: str, parameters: tuple[object, ...] = ()) -> list[Any]:
        try:
            return self._database.execute(statement, parameters).fetchall()
        except _DAMAGE as error:
            raise SecurityError(f"cannot be read: {error}", where=str(self._file)) from None

    def _wrapped(self, meter: str, kind: str, value: Secret) -> bytes:
        most = MAX_CERTIFICATE_OCTETS if kind.startswith(_PUBLIC) else MAX_SECRET_OCTETS
        if len(value) > most:
            raise SecurityError(
                f"a secret of {len(value)} octets",
                where=f"{kind} of meter {meter}",
                expected=f"at most {most} octets",
            )
        return aes_key_wrap_with_padding(self._store_key.reveal(), _mark(meter, kind) + value.reveal())

    def _unwrapped(self, meter: str, kind: str, wrapped: bytes) -> Secret:
        try:
            octets = aes_key_unwrap_with_padding(self._store_key.reveal(), wrapped)
        except (InvalidUnwrap, ValueError, TypeError):
            raise SecurityError(
                "secrets that lie under another store key, or are damaged",
                where=str(self._file),
                expected=f"the key it was made with, in {STORE_KEY_VARIABLE} or in its file",
            ) from None
        if octets[:_MARK_OCTETS] != _mark(meter, kind):
            raise SecurityError(
                f"the {kind} of meter {meter} is a secret of something else",
                where=str(self._file),
                expected="a keyring that nobody else wrote to",
            )
        return Secret(octets[_MARK_OCTETS:])


def store_key(file: Path) -> Secret:
    """The store key: of the environment, or of its file, which is made where it is not there.

    Raises
    ------
    SecurityError
        It is no number of 32 octets, or the file cannot be read or made, or others may read it.
    """
    text = os.environ.get(STORE_KEY_VARIABLE)
    if text is not None:
        return Secret.from_hex(text, length=STORE_KEY_OCTETS)
    try:
        if not file.exists():
            _make_store_key(file)
        with file.open(encoding="ascii") as stream:
            if os.fstat(stream.fileno()).st_mode & 0o077:
                raise SecurityError("others may read the store key", where=str(file), expected="mode 0600")
            return Secret.from_hex(stream.read(1000).strip(), length=STORE_KEY_OCTETS)
    except (OSError, UnicodeDecodeError) as error:
        raise SecurityError(f"no store key: {error}", where=str(file)) from None


def _make_store_key(file: Path) -> None:
    """A fresh store key, whole or not at all; of several processes one's key is taken by all."""
    fresh = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(secrets.token_hex(STORE_KEY_OCTETS) + "\n")
            stream.flush()
            os.fsync(descriptor)
        with suppress(FileExistsError):
            os.link(fresh, file)
        folder = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        fresh.unlink(missing_ok=True)


def _mark(meter: str, kind: str) -> bytes:
    """What a secret is for, wrapped before it; an empty secret (one that was taken away) has it too."""
    return hashlib.sha256(f"{kind}/{meter}".encode()).digest()[:_MARK_OCTETS]


def _credentials(secrets: Mapping[str, tuple[int, Secret]]) -> MeterCredentials:
    """Credentials of the newest secrets of a meter by kind, with their suites; an empty one is none."""
    there = {kind: secret for kind, (_, secret) in secrets.items() if len(secret)}
    keys = None
    if "global_unicast" in there:
        if not {"authentication", "master"} <= there.keys():
            raise SecurityError("a meter with a part of its keys", expected="all of them, or none")
        suite, unicast = secrets["global_unicast"]
        keys = MeterKeys(
            unicast, there["authentication"], there["master"], there.get("global_broadcast"), suite
        )
    title = there.get("title")
    return MeterCredentials(there.get("password"), keys, None if title is None else title.reveal())


def _parts(credentials: MeterCredentials) -> list[tuple[str, int, Secret]]:
    """Rows of a meter; an empty secret says that there is none any more."""
    keys = credentials.keys
    suite = 0 if keys is None else keys.suite_number
    parts = [
        ("password", suite, credentials.password or Secret(b"")),
        ("title", suite, Secret(credentials.title or b"")),
    ]
    for kind in _KINDS:
        key = None if keys is None else getattr(keys, kind)
        parts.append((kind, suite, key or Secret(b"")))
    return parts


def _pending_rows(meter: str, keys: MeterKeys | None) -> list[tuple[str, str, int, Secret]]:
    """Rows of keys on their way; None: there are none any more."""
    suite = 0 if keys is None else keys.suite_number
    return [
        (meter, _PENDING + kind, suite, (None if keys is None else getattr(keys, kind)) or Secret(b""))
        for kind in _KINDS
    ]


def _own_kind(purpose: str, suite: int) -> str:
    return f"own_{purpose}_{suite}"
