"""How the head-end gets into the meters of a workspace: their secrets and counters, from the keyring.

    keyring.sqlite   secrets, wrapped, and invocation counters     keyring.key   the key they lie under

The store key may come from the environment instead of its file (``OPENAMI_KEYRING_KEY``).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from openami.quantities.errors import SecurityError
from openami.security.keyring import STORE_KEY_VARIABLE, Keyring, MeterCredentials, store_key
from openami.security.public_keys import MeterPublicKeys, put_meter_keys

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


def put_credentials(
    folder: Path,
    credentials: Mapping[str, MeterCredentials],
    public_keys: Mapping[str, MeterPublicKeys] = MappingProxyType({}),
) -> None:
    """Record the secrets of meters, all or none, and then what is public of them."""
    with open_keyring(folder) as keyring:
        keyring.put(credentials)
        put_meter_keys(keyring, public_keys)


def passwords_of(folder: Path, meter_ids: Sequence[str]) -> dict[str, bytes]:
    """Passwords of the meters that have one and no keys."""
    with open_keyring(folder) as keyring:
        known = keyring.credentials_of(meter_ids)
    return {
        meter_id: credentials.password.reveal()
        for meter_id, credentials in known.items()
        if credentials.password is not None and credentials.keys is None
    }
