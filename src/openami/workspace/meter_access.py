"""How the head-end gets into the meters of a workspace: their secrets and counters, from the keyring.

    keyring.sqlite   secrets, wrapped, and invocation counters     keyring.key   the key they lie under

The store key may come from the environment instead of its file (``OPENAMI_KEYRING_KEY``).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from openami.protocols.dlms.client.client_security import ClientSecurity, send_counter_name
from openami.quantities.errors import SecurityError
from openami.readings.read_order import ReadOrder
from openami.security.counters import earliest_counter
from openami.security.keyring import STORE_KEY_VARIABLE, Keyring, MeterCredentials, store_key

HEAD_END_TITLE = b"OAMHES01"
"""System title of the head-end."""


def open_keyring(folder: Path) -> Keyring:
    """The keyring of a workspace, made where there is none.

    Raises
    ------
    SecurityError
        It cannot be opened; or its store key is gone, and a new one would open none of its secrets.
    """
    file, key = folder / "keyring.sqlite", folder / "keyring.key"
    if file.exists() and file.stat().st_size and not key.exists() and STORE_KEY_VARIABLE not in os.environ:
        raise SecurityError(
            "a keyring without its store key", where=str(file), expected=f"{key}, or {STORE_KEY_VARIABLE}"
        )
    return Keyring(file, store_key(key))


def put_credentials(folder: Path, credentials: Mapping[str, MeterCredentials]) -> None:
    """Record the secrets of meters, all or none."""
    with open_keyring(folder) as keyring:
        keyring.put(credentials)


@contextmanager
def meter_access(
    folder: Path, orders: Sequence[ReadOrder], now: datetime
) -> Iterator[Callable[[str], ClientSecurity | None]]:
    """Keys and counters for a run over many meters, by serial number.

    Counters are reserved for all meters in one durable write before the run; what was believed of the
    meters' counters is written in one after it. None begins below `earliest_counter`: a keyring that was
    lost and made new, or restored as it was months ago, goes on above what was sent before.

    Parameters
    ----------
    now:
        The present.
    """
    with open_keyring(folder) as keyring:
        known = keyring.credentials_of(order.meter_id for order in orders)
        names = [
            send_counter_name(HEAD_END_TITLE, credentials.keys)
            for credentials in known.values()
            if credentials.keys is not None
        ]
        with keyring.session(names, earliest_counter(now)) as counters:
            secured = {
                meter_id: ClientSecurity(
                    HEAD_END_TITLE,
                    credentials.keys,
                    meter_title=credentials.title,
                    counters=counters,
                )
                for meter_id, credentials in known.items()
                if credentials.keys is not None
            }
            yield secured.get


def passwords_of(folder: Path, meter_ids: Sequence[str]) -> dict[str, bytes]:
    """Passwords of the meters that have one and no keys."""
    with open_keyring(folder) as keyring:
        known = keyring.credentials_of(meter_ids)
    return {
        meter_id: credentials.password.reveal()
        for meter_id, credentials in known.items()
        if credentials.password is not None and credentials.keys is None
    }
