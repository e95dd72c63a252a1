"""Admission to the meters of a run: which keys each has, its mechanism, and counters for what is sent to it.

Rule never to be broken: whatever finds out keys takes its counters where the readings take theirs, or what is
sent later would carry the lower ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path

from openami.headend.dlms_conversation import LinkSettings
from openami.headend.dlms_meter import Meter
from openami.headend.key_rotation import Reach, Rotation, settle
from openami.protocols.dlms.apdus.authentication import Mechanism
from openami.protocols.dlms.client.client_security import ClientSecurity, send_counter_name
from openami.quantities.errors import SecurityError
from openami.readings.read_order import ReadOrder
from openami.security.counters import CounterStore, earliest_counter
from openami.security.keyring import Keyring, KeysInMotionError, MeterCredentials
from openami.security.meter_keys import MeterKeys
from openami.security.public_keys import PublicKeys, keys_with, meter_keys_of
from openami.security.suites import suite
from openami.workspace.meter_access import HEAD_END_TITLE, open_keyring


class Admission:
    """Keys and counters of one run over many meters.

    A meter whose keys are on their way since a rotation that was interrupted is asked which it has when it is
    opened, and so is one that is opened again: somebody may have changed its keys meanwhile.

    Invariant: the right to move keys is held while that is found out, and no longer.

    Parameters
    ----------
    keyring:
        Where the secrets are.
    counters:
        Counters of this run.
    meter_ids:
        Serial numbers.
    now:
        The present.
    told:
        Told what was found of each meter whose keys were on their way.
    settings:
        Patience.
    """

    def __init__(
        self,
        keyring: Keyring,
        counters: CounterStore,
        meter_ids: Sequence[str],
        now: datetime,
        told: Callable[[Rotation], None],
        settings: LinkSettings,
    ) -> None:
        self._keyring = keyring
        self._counters = counters
        self._now = now
        self._told = told
        self._settings = settings
        self._known = keyring.credentials_of(meter_ids)
        self._public = meter_keys_of(keyring, meter_ids)
        self._doubtful = set(keyring.pending_of(meter_ids))
        self._settling = 0
        self._right = ExitStack()

    def __call__(self, meter_id: str) -> ClientSecurity | None:
        """How a meter is talked to; None where it has no keys; raises `SecurityError`."""
        known = self._known.get(meter_id)
        return None if known is None or known.keys is None else self._security(meter_id, known, known.keys)

    async def settle(self, order: ReadOrder) -> None:
        """See to it that what a meter is talked to with are its keys.

        Raises
        ------
        LinkError
            It was not reached.
        SecurityError
            It let us in by no key; or the keyring cannot be read or written.
        """
        meter_id = order.meter_id
        if meter_id in self._doubtful and self._keyring.pending(meter_id) is not None:
            with suppress(KeysInMotionError), self._right_to_move_keys():
                self._told(await settle(self._keyring, meter_id, self._reach(order)))
        if meter_id in self._doubtful:
            self._known[meter_id] = self._keyring.credentials(meter_id)
        self._doubtful.add(meter_id)

    def _reach(self, order: ReadOrder) -> Reach:
        known, floor = self._known[order.meter_id], earliest_counter(self._now)

        def reach(keys: MeterKeys) -> Meter:
            # A key that is new begins at the time, and never where a stranger says.
            self._counters.reserve(send_counter_name(HEAD_END_TITLE, keys), 0, floor)
            security = self._security(order.meter_id, known, keys)
            return Meter(
                order.host,
                order.port,
                server=order.logical_device,
                security=security,
                settings=self._settings,
            )

        return reach

    def _security(self, meter_id: str, known: MeterCredentials, keys: MeterKeys) -> ClientSecurity:
        signed = PublicKeys()
        public = self._public.get(meter_id)
        if public is not None and public.signs:
            chosen = suite(keys.suite_number)
            try:
                signed = keys_with(self._keyring, public, chosen, known.title, self._now)
            except SecurityError as error:
                raise SecurityError(
                    error.message, where=f"meter {meter_id}", expected=error.expected
                ) from None
        return ClientSecurity(
            HEAD_END_TITLE,
            keys,
            Mechanism.HIGH_GMAC if signed.signing is None else Mechanism.HIGH_ECDSA,
            meter_title=known.title,
            signing_key=signed.signing,
            meter_key=signed.peer_signing,
            counters=self._counters,
        )

    @contextmanager
    def _right_to_move_keys(self) -> Iterator[None]:
        """The right of this process, shared by the meters that are settled at once."""
        if not self._settling:
            self._right.enter_context(self._keyring.rotation())
        self._settling += 1
        try:
            yield
        finally:
            self._settling -= 1
            if not self._settling:
                self._right.close()


def _unheard(found: Rotation) -> None:
    return None


@contextmanager
def meter_access(
    folder: Path,
    orders: Sequence[ReadOrder],
    now: datetime,
    told: Callable[[Rotation], None] = _unheard,
    settings: LinkSettings | None = None,
) -> Iterator[Admission]:
    """Keys and counters for a run over many meters, by serial number.

    Counters are reserved for all meters in one durable write before the run; what was believed of the
    meters' counters is written in one after it. None begins below `earliest_counter`: a keyring that was
    lost and made new, or restored as it was months ago, goes on above what was sent before.

    Parameters
    ----------
    now:
        The present.
    told:
        Told what was found of meters whose rotation was interrupted.
    settings:
        Patience with those.
    """
    meter_ids = [order.meter_id for order in orders]
    with open_keyring(folder) as keyring:
        known = keyring.credentials_of(meter_ids)
        names = [
            send_counter_name(HEAD_END_TITLE, credentials.keys)
            for credentials in known.values()
            if credentials.keys is not None
        ]
        with keyring.session(names, earliest_counter(now)) as counters:
            yield Admission(keyring, counters, meter_ids, now, told, settings or LinkSettings())
