"""Keys for pushes: those of a keyring's meters by system title, as they are now, across a rotation.

Rule never to be broken: keys that a meter does not have any more open nothing. A push under them is refused,
whoever sends it: they were changed because somebody may know them.
"""

from __future__ import annotations

from collections.abc import Sequence

from openami.headend.key_rotation import candidates
from openami.security.keyring import Keyring
from openami.security.meter_keys import MeterKeys


class PushKeys:
    """Keys of meters that push, for `openami.headend.push_listener.PushListener`.

    Invariant: which meters there are is known from the beginning, so that a stranger's title costs nothing;
    what keys they have is asked for with each push.

    Parameters
    ----------
    keyring:
        Where the secrets are; another process may rotate keys by it meanwhile.
    others:
        Keys of everybody whose title the keyring does not know; None for none.
    """

    def __init__(self, keyring: Keyring, others: MeterKeys | None = None) -> None:
        self._keyring = keyring
        self._others = others
        self._meters = {
            known.title: meter
            for meter, known in keyring.credentials_of(keyring.meters()).items()
            if known.keys is not None and known.title is not None
        }

    def in_use(self, title: bytes) -> MeterKeys | None:
        """Keys in use with a meter; None where it is not known."""
        meter = self._meters.get(title)
        return self._others if meter is None else self._keyring.credentials(meter).keys

    def on_their_way(self, title: bytes) -> Sequence[MeterKeys]:
        """Keys that a meter may have already in place of those in use, the likeliest first."""
        meter = self._meters.get(title)
        pending = None if meter is None else self._keyring.pending(meter)
        present = self.in_use(title)
        if pending is None or present is None:
            return ()
        mixtures = (keys for keys in candidates((present, pending)) if keys not in (present, pending))
        return (pending, *mixtures)
