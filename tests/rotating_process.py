"""A process that moves keys into a meter and may be killed at any moment, for `test_key_rotation.py`.

It imports once and forks a process for each line on its standard input (JSON: folder, port, meter), which
prints its process id before it does anything, and how it ended when it ended by itself.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from openami.headend.dlms_conversation import LinkSettings
from openami.headend.dlms_meter import Meter
from openami.headend.key_rotation import Reach, rotate
from openami.protocols.dlms.client.client_security import ClientSecurity, send_counter_name
from openami.security.keyring import Keyring
from openami.security.meter_keys import KeyKind, MeterKeys
from openami.workspace.meter_access import HEAD_END_TITLE, open_keyring

PATIENCE = LinkSettings(2.0, 0.3, 0)


def reaching(keyring: Keyring, port: int, patience: LinkSettings = PATIENCE, server: int = 16) -> Reach:
    """The meter behind a port of this machine, under some keys."""

    def reach(keys: MeterKeys) -> Meter:
        keyring.reserve(send_counter_name(HEAD_END_TITLE, keys), 0, 1000)
        security = ClientSecurity(HEAD_END_TITLE, keys, counters=keyring)
        return Meter("127.0.0.1", port, server=server, security=security, settings=patience)

    return reach


async def rotate_all_kinds(folder: Path, port: int, meter: str) -> str:
    with open_keyring(folder) as keyring, keyring.rotation():
        return (await rotate(keyring, meter, reaching(keyring, port), tuple(KeyKind))).outcome.value


def main() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            print(os.getpid(), flush=True)
            sys.stdin.close()
            done = asyncio.run(rotate_all_kinds(Path(order["folder"]), order["port"], order["meter"]))
            print(done, flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        print("ended", flush=True)


if __name__ == "__main__":
    main()
