"""New keys for a meter: moved into it by its Security setup (class 64), so that nothing can lock anybody out.

    1  new keys, whole, are pending in the keyring, durably, before anything is sent
    2  one key_transfer carries all that change, wrapped under the present master key, the master key last
    3  whatever was answered, or not: the meter shows which keys it has by associating under them, the
       likeliest first, mixtures last (a meter that took some of them)
    4  what was seen is taken into use; pending keys that are not in the meter yet stay pending, and go again
       the next time, the same ones: a request that was late does no harm

Whoever wants to read a meter meanwhile settles that first: what the meter was seen to have is in use, what it
was seen not to have is withdrawn. The counters of what let us in have gone on then, so a request that is late
is an old one; should a meter take it nevertheless, a check finds what was withdrawn.

No association shows a master key. Where the answer to its transfer was lost, the authentication key in use is
transferred once more, wrapped under the one that is likelier, then under the other: what the meter takes is
under its own. (Not the encryption key: a meter may begin its counters anew with it.) A broadcast key is
believed to be there where all others of its transfer were seen. By ``key_agreement`` a master key alone is
made: the meter's half of it travels in an answer that may be lost, and without a master key a meter can still
be read, and asked again.

Source: IEC 62056-6-2 clause 4.4.7, recalled; the procedure is ours. Rule never to be broken: at every instant
the keyring has, durably, keys under which the meter lets us in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from itertools import permutations
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from openami.headend.dlms_meter import Meter
from openami.protocols.dlms.apdus.results import AccessError
from openami.protocols.dlms.encoding.axdr import Data, Tag, array, structure
from openami.protocols.dlms.protection.key_agreement import EphemeralOffer
from openami.quantities.errors import LinkError, ProtocolError, RemoteProtocolError, SecurityError
from openami.quantities.obis import ObisCode
from openami.security.key_wrap import wrap
from openami.security.keyring import Keyring
from openami.security.meter_keys import KeyKind, MeterKeys
from openami.security.secret import Secret
from openami.security.suites import suite

SECURITY_SETUP: Final = ObisCode(0, 0, 43, 0, 0)
_CLASS, _KEY_TRANSFER, _KEY_AGREEMENT = 64, 2, 3
_ORDER: Final = (KeyKind.GLOBAL_UNICAST, KeyKind.AUTHENTICATION, KeyKind.GLOBAL_BROADCAST, KeyKind.MASTER)
"""In which they are sent: the key that wraps the others last."""

Reach = Callable[[MeterKeys], Meter]
"""How to get to the meter with some keys: a `Meter` that is not open."""


class Outcome(Enum):
    """What was seen of a meter's keys."""

    ROTATED = "rotated"
    CONFIRMED = "confirmed"
    PARTLY = "partly rotated"
    WAITING = "not rotated, new keys wait"
    KEPT = "not rotated, has the keys of before"
    REFUSED = "refused"
    UNSETTLED = "not seen"

    @property
    def good(self) -> bool:
        """True where nothing is left to do."""
        return self in (Outcome.ROTATED, Outcome.CONFIRMED)


@dataclass(frozen=True, slots=True)
class Rotation:
    """What a rotation or a check found.

    Parameters
    ----------
    meter_id:
        Serial number.
    outcome:
        `Outcome.ROTATED` where the meter has new keys; `CONFIRMED` where it has those in use and none are on
        their way; `PARTLY` and `WAITING` where it has some, or none, of those on their way, which go again
        the next time; `KEPT` where it has none of them and they were withdrawn; `REFUSED` where it would not
        have them; `UNSETTLED` where it let us in by no key that is known, or was not reached.
    changed:
        Keys that are others than before.
    fingerprints:
        Of the keys that it was seen to have, by kind; empty where that was not seen.
    detail:
        Why it is not as asked, in words; never a secret.
    """

    meter_id: str
    outcome: Outcome
    changed: tuple[KeyKind, ...] = ()
    fingerprints: Mapping[KeyKind, str] = field(default_factory=dict)
    detail: str = ""

    @property
    def notice(self) -> str:
        """What somebody is told who read the meter, and settled it by that."""
        return f"{self.meter_id}: a rotation of its keys was interrupted: {self.outcome.value}"


@dataclass(frozen=True, slots=True)
class SignatureKeys:
    """What key agreement needs.

    Parameters
    ----------
    own, meter:
        Our private and the meter's public signature key.
    client_title, meter_title:
        System titles of both.
    """

    own: ec.EllipticCurvePrivateKey
    meter: ec.EllipticCurvePublicKey
    client_title: bytes
    meter_title: bytes


async def rotate(
    keyring: Keyring,
    meter_id: str,
    reach: Reach,
    kinds: Collection[KeyKind],
    setup: ObisCode = SECURITY_SETUP,
) -> Rotation:
    """Give a meter new keys; where a rotation was cut before, that one is brought to its end instead.

    Parameters
    ----------
    keyring:
        Where its keys are; whoever calls has `Keyring.rotation`.
    meter_id:
        Its serial number.
    reach:
        How to get to it.
    kinds:
        Which keys, at least one.
    setup:
        Logical name of its security setup.

    Raises
    ------
    SecurityError
        The keyring has no keys of the meter, or cannot be written.
    """
    if (wanted := keyring.pending(meter_id)) is not None:
        found = await check(keyring, meter_id, reach, setup)
        if found.outcome in (Outcome.ROTATED, Outcome.UNSETTLED):
            return found
    present = _present(keyring, meter_id)
    if wanted is None:
        wanted = keyring.offer(meter_id, _fresh(present, kinds))
    failed: Exception | None = None
    try:
        async with reach(present) as meter:
            await meter.action(setup, _KEY_TRANSFER, _transfer(present, wanted), class_id=_CLASS)
    except (LinkError, ProtocolError, SecurityError) as error:
        failed = error
    found = await _check(
        keyring, meter_id, reach, setup, (wanted, present), wanted if failed is None else None
    )
    if isinstance(failed, AccessError) and found.outcome is Outcome.WAITING:
        keyring.withdraw(meter_id)
        return replace(found, outcome=Outcome.REFUSED, detail=f"the meter refused the keys: {failed.message}")
    if failed is not None and not found.outcome.good and found.outcome is not Outcome.UNSETTLED:
        return replace(found, detail=str(failed))
    return found


async def check(keyring: Keyring, meter_id: str, reach: Reach, setup: ObisCode = SECURITY_SETUP) -> Rotation:
    """See which keys a meter has, and take them into use; parameters and errors are those of `rotate`.

    Keys that were withdrawn are tried where no others let us in.
    """
    return await _check(keyring, meter_id, reach, setup, _likeliest_first(keyring, meter_id), None)


async def settle(keyring: Keyring, meter_id: str, reach: Reach, setup: ObisCode = SECURITY_SETUP) -> Rotation:
    """Bring a rotation that was interrupted to rest, so that the meter can be read; parameters as `rotate`.

    Nothing is sent where no keys are on their way. What the meter was seen not to have is withdrawn; it stays
    pending where that could not be seen (a broadcast key alone, or a security setup that does not answer).

    Raises
    ------
    LinkError
        The meter was not reached.
    SecurityError
        It let us in by no key that is in use or on its way; or the keyring cannot be read or written.
    """
    present = _present(keyring, meter_id)
    if keyring.pending(meter_id) is None:
        return Rotation(meter_id, Outcome.CONFIRMED, (), present.fingerprints)
    found, failures = await _look(reach, setup, present, _likeliest_first(keyring, meter_id))
    if found is None:
        for failure in failures:
            if isinstance(failure, LinkError):
                raise failure
        raise SecurityError(
            f"the meter let us in by no key in use or on its way: {_in_words(failures)}",
            where=f"meter {meter_id}",
            expected="`ami dlms keys check`, which tries keys that were withdrawn, too",
        )
    done = _taken(keyring, meter_id, present, found)
    if found.whole and keyring.pending(meter_id) is not None:
        keyring.withdraw(meter_id)
        if done.outcome is Outcome.WAITING:
            return replace(done, outcome=Outcome.KEPT)
    return done


async def agree_master(
    keyring: Keyring,
    meter_id: str,
    reach: Reach,
    signature_keys: SignatureKeys,
    setup: ObisCode = SECURITY_SETUP,
) -> Rotation:
    """Make a new master key with a meter by key agreement; other parameters and errors are those of `rotate`.

    Parameters
    ----------
    signature_keys:
        Keys by which both sides sign their halves; suites 1 and 2.
    """
    if keyring.pending(meter_id) is not None:
        found = await check(keyring, meter_id, reach, setup)
        if keyring.pending(meter_id) is not None:
            return found
    present = _present(keyring, meter_id)
    offer = EphemeralOffer(suite(present.suite_number), KeyKind.MASTER, signature_keys.own)
    offered = array([_named(KeyKind.MASTER, offer.key_data)])
    outcome, detail = Outcome.UNSETTLED, ""
    try:
        async with reach(present) as meter:
            outcome, detail = Outcome.REFUSED, "the meter refused to agree on a key"
            answer = await meter.action(setup, _KEY_AGREEMENT, offered, class_id=_CLASS)
            outcome = Outcome.UNSETTLED
            master = offer.agreed(
                _key_data(answer),
                signature_keys.meter,
                signature_keys.client_title,
                signature_keys.meter_title,
            )
            wanted = keyring.offer(meter_id, present.with_key(KeyKind.MASTER, master))
            outcome, detail = Outcome.WAITING, "the meter did not take a key under the master key agreed on"
            await _transfer_authentication(meter, setup, present, wanted.master)
    except (LinkError, ProtocolError) as error:
        if outcome is Outcome.REFUSED and not isinstance(error, AccessError):
            outcome, detail = Outcome.UNSETTLED, "the answer was lost: agree on a master key again"
        return Rotation(meter_id, outcome, detail=f"{detail}: {error}" if detail else str(error))
    keyring.settle(meter_id, wanted)
    return Rotation(meter_id, Outcome.ROTATED, (KeyKind.MASTER,), wanted.fingerprints)


async def for_all(
    meter_ids: Sequence[str],
    work: Callable[[str], Awaitable[Rotation]],
    at_once: int,
    told: Callable[[Rotation], None],
) -> list[Rotation]:
    """What was found of many meters, in their order.

    Parameters
    ----------
    meter_ids:
        Serial numbers; one that is there twice is done once.
    work:
        What is done with one: `rotate`, `check` or `agree_master`.
    at_once:
        Meters at the same time, at most.
    told:
        Told of each as it is done.
    """
    gate = asyncio.Semaphore(at_once)

    async def one(meter_id: str) -> Rotation:
        async with gate:
            done = await work(meter_id)
        told(done)
        return done

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(meter_id)) for meter_id in dict.fromkeys(meter_ids)]
    except* SecurityError as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]


# --- what is sent ---------------------------------------------------------------------------------------


def _fresh(present: MeterKeys, kinds: Collection[KeyKind]) -> MeterKeys:
    """New keys of some kinds beside the present ones."""
    if not kinds:
        raise SecurityError("no keys to rotate", expected=", ".join(kind.name.lower() for kind in KeyKind))
    octets = suite(present.suite_number).key_octets
    keys = present
    for kind in _ORDER:
        if kind in kinds:
            keys = keys.with_key(kind, Secret.random(octets))
    return keys


def _transfer(present: MeterKeys, wanted: MeterKeys) -> Data:
    """All keys that change, wrapped under the present master key."""
    named = []
    for kind in _differing(present, wanted):
        key = wanted.key(kind)
        if key is not None:
            named.append(_named(kind, wrap(present.master, key)))
    return array(named)


async def _transfer_authentication(meter: Meter, setup: ObisCode, keys: MeterKeys, master: Secret) -> None:
    """The authentication key that the meter has, once more: taken where the master key is its own."""
    wrapped = _named(KeyKind.AUTHENTICATION, wrap(master, keys.authentication))
    await meter.action(setup, _KEY_TRANSFER, array([wrapped]), class_id=_CLASS)


def _named(kind: KeyKind, octets: bytes) -> Data:
    return structure(Data(Tag.ENUM, kind.value), Data(Tag.OCTET_STRING, octets))


def _key_data(answer: object) -> bytes:
    """The meter's half of the one key that was agreed on."""
    match answer:
        case [(KeyKind.MASTER.value, bytes(data))]:
            return data
    raise RemoteProtocolError("an answer to key_agreement that is none", expected="the key asked for")


# --- what is seen ---------------------------------------------------------------------------------------


def _present(keyring: Keyring, meter_id: str) -> MeterKeys:
    keys = keyring.credentials(meter_id).keys
    if keys is None:
        raise SecurityError(
            f"the keyring has no keys of meter {meter_id!r}", expected="a meter of high level security"
        )
    return keys


def _likeliest_first(keyring: Keyring, meter_id: str) -> tuple[MeterKeys, ...]:
    """What a meter has where a rotation was interrupted, or none was: most often the keys in use."""
    pending = keyring.pending(meter_id)
    present = _present(keyring, meter_id)
    return (present,) if pending is None else (present, pending)


def candidates(sets: Sequence[MeterKeys]) -> list[MeterKeys]:
    """What a meter may have of the two keys that an association or a push shows.

    Parameters
    ----------
    sets:
        Whole sets, the likeliest first; mixtures of the first two come last.
    """
    mixed: list[MeterKeys] = []
    for one, other in permutations(sets[:2], 2):
        mixed.append(one.with_key(KeyKind.AUTHENTICATION, other.authentication))
    found: dict[tuple[Secret, Secret], MeterKeys] = {}
    for keys in (*sets, *mixed):
        found.setdefault((keys.global_unicast, keys.authentication), keys)
    return list(found.values())


@dataclass(frozen=True, slots=True)
class _Found:
    """Keys that a meter was seen to have; ``whole`` where none of them is a guess."""

    keys: MeterKeys
    whole: bool


async def _check(
    keyring: Keyring,
    meter_id: str,
    reach: Reach,
    setup: ObisCode,
    sets: Sequence[MeterKeys],
    acknowledged: MeterKeys | None,
) -> Rotation:
    """As `check`, of whole sets in an order; ``acknowledged`` was transferred with success."""
    present = _present(keyring, meter_id)
    found, failures = await _look(reach, setup, present, sets, acknowledged)
    withdrawn = keyring.withdrawn(meter_id)
    if found is None and withdrawn is not None and withdrawn not in sets and not _silent(failures):
        found, more = await _look(reach, setup, present, (withdrawn,))
        failures += more
    if found is None:
        return Rotation(meter_id, Outcome.UNSETTLED, detail=_in_words(failures))
    return _taken(keyring, meter_id, present, found)


async def _look(
    reach: Reach,
    setup: ObisCode,
    present: MeterKeys,
    sets: Sequence[MeterKeys],
    acknowledged: MeterKeys | None = None,
) -> tuple[_Found | None, list[Exception]]:
    """The keys that let us in, and what went wrong with those before."""
    failures: list[Exception] = []
    for pair in candidates(sets):
        try:
            async with reach(pair) as meter:
                return await _seen(meter, setup, pair, present, sets, acknowledged), failures
        except (LinkError, ProtocolError, SecurityError) as error:
            failures.append(error)
            if _silent(failures):
                break
    return None, failures


def _silent(failures: Sequence[Exception]) -> bool:
    """True where nobody is there, whatever the keys are."""
    return sum(isinstance(failure, LinkError) for failure in failures) > 1


def _in_words(failures: Sequence[Exception]) -> str:
    return "; ".join(dict.fromkeys(map(str, failures)))


def _taken(keyring: Keyring, meter_id: str, present: MeterKeys, found: _Found) -> Rotation:
    """Take what a meter was seen to have into use."""
    pending = keyring.pending(meter_id)
    keyring.settle(meter_id, found.keys)
    changed = _differing(present, found.keys)
    if pending is None or found.keys == pending:
        outcome = Outcome.ROTATED if changed else Outcome.CONFIRMED
    else:
        outcome = Outcome.PARTLY if changed else Outcome.WAITING
    return Rotation(meter_id, outcome, changed, found.keys.fingerprints)


async def _seen(
    meter: Meter,
    setup: ObisCode,
    pair: MeterKeys,
    present: MeterKeys,
    sets: Sequence[MeterKeys],
    acknowledged: MeterKeys | None,
) -> _Found:
    """All keys of a meter that let us in by two of them."""
    if acknowledged is not None and pair == acknowledged:
        return _Found(acknowledged, True)
    seen = replace(present, global_unicast=pair.global_unicast, authentication=pair.authentication)
    masters = list(dict.fromkeys((pair.master, *(keys.master for keys in sets), present.master)))
    whole = len(masters) == 1
    if not whole:
        for master in masters:
            if await _has_master(meter, setup, seen, master):
                seen, whole = seen.with_key(KeyKind.MASTER, master), True
                break
    if seen == present:
        return _Found(seen, whole and not any(_broadcast_alone(present, keys) for keys in sets))
    for keys in sets:
        if replace(keys, global_broadcast=present.global_broadcast) == seen:
            return _Found(keys, whole)
    return _Found(seen, whole)


def _broadcast_alone(present: MeterKeys, keys: MeterKeys) -> bool:
    """True where nothing shows which of two sets a meter has."""
    return _differing(present, keys) == (KeyKind.GLOBAL_BROADCAST,)


async def _has_master(meter: Meter, setup: ObisCode, keys: MeterKeys, master: Secret) -> bool:
    """True where the meter takes a key under a master key; no answer shows nothing."""
    try:
        await _transfer_authentication(meter, setup, keys, master)
    except (LinkError, ProtocolError):
        return False
    return True


def _differing(before: MeterKeys, after: MeterKeys) -> tuple[KeyKind, ...]:
    return tuple(kind for kind in _ORDER if before.key(kind) != after.key(kind))
