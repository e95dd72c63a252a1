"""A foreign client changes the meter: values, scripts, keys, firmware; foreign libraries read what it pushes.

Steps 6 to 10 of the plan: SET and read back, a script, an image of 100 kB with blocks left out at first, new
keys and an association under them, data-notifications over the wrapper and over HDLC.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import pytest

from dlms_interop_world import (
    DEVICE,
    HIGH,
    IMAGE,
    LOW,
    NOTE,
    PLAIN,
    PYTHON,
    RELAY,
    SCRIPTS,
    SECURITY_SETUP,
    InteropMeter,
    SignedFirmware,
    all_right,
    peer_steps,
    plan_of,
    served,
    software_meter,
)
from openami.protocols.dlms.apdus.authentication import Mechanism
from openami.protocols.dlms.apdus.notification import DataNotification
from openami.protocols.dlms.encoding.axdr import Data, Tag, array, decode, structure
from openami.protocols.dlms.framing.hdlc_frame import HdlcAddress
from openami.protocols.dlms.framing.hdlc_link import unnumbered_information
from openami.protocols.dlms.framing.llc import RESPONSE
from openami.protocols.dlms.framing.wrapper import Frame
from openami.protocols.dlms.interface_classes.disconnect_control import ControlState
from openami.protocols.dlms.interface_classes.image_transfer import ImageStatus
from openami.protocols.dlms.protection.security_control import AUTHENTICATED_ENCRYPTION

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(not PYTHON.exists(), reason="no environment of peers (.venv-peers)"),
]

SEALED = {"mechanism": Mechanism.HIGH_GMAC, "protection": AUTHENTICATED_ENCRYPTION}
SECURED = HIGH[AUTHENTICATED_ENCRYPTION]
ACCESS = {"low": (LOW, {"mechanism": Mechanism.LOW}), "high-5-30": (SECURED, SEALED)}


@pytest.fixture
def firmware() -> SignedFirmware:
    return SignedFirmware()


@pytest.fixture
async def meter(firmware: SignedFirmware) -> AsyncIterator[InteropMeter]:
    async with served(software_meter(firmware)) as one:
        yield one


@pytest.mark.parametrize("framing", ["wrapper", "hdlc"])
@pytest.mark.parametrize("access", list(ACCESS))
async def test_gurux_writes_a_value_and_executes_scripts(
    meter: InteropMeter, framing: str, access: str
) -> None:
    client, security = ACCESS[access]
    steps = ["link", "associate", "view", "write_note", "script", "release"]
    relay = meter.item(str(RELAY))
    for number, state in ((1, ControlState.DISCONNECTED), (2, ControlState.CONNECTED)):
        arguments = {"note": NOTE.dotted, "script": [SCRIPTS.dotted, number]}
        plan = plan_of(meter, framing, client, steps, **security, counter=1000 * number, arguments=arguments)
        found = all_right(await peer_steps("gurux_steps.py", plan), steps)
        assert found["write_note"] == b"from gurux".hex()
        assert decode(relay.read(3)).value == int(state)


@pytest.mark.parametrize("framing", ["wrapper", "hdlc"])
async def test_dlms_cosem_writes_a_value(meter: InteropMeter, framing: str) -> None:
    steps = ["link", "associate", "write_note", "release"]
    plan = plan_of(meter, framing, PLAIN, steps, arguments={"note": NOTE.dotted})
    found = all_right(await peer_steps("dlms_cosem_steps.py", plan), steps)
    assert bytes.fromhex(found["write_note"]) == b"\x09\x0afrom cosem"


@pytest.mark.parametrize("framing", ["wrapper", "hdlc"])
@pytest.mark.parametrize("access", list(ACCESS))
async def test_gurux_brings_an_image_of_100_kb_and_blocks_left_out_at_first(
    meter: InteropMeter, firmware: SignedFirmware, framing: str, access: str
) -> None:
    client, security = ACCESS[access]
    steps = ["link", "associate", "view", "image", "release"]
    image = firmware.image(random.Random(6).randbytes(100_000))
    arguments = {"image": IMAGE.dotted, "image_octets": image.hex()}
    # Short frames: the library writes a wrong length into some frames of more than 255 octets.
    plan = plan_of(meter, framing, client, steps, **security, information=128, arguments=arguments)
    found = all_right(await peer_steps("gurux_steps.py", plan), steps)["image"]
    count = -(-len(image) // 512)
    assert (found["block"], found["blocks"]) == (512, count)
    assert found["bitmap"] == "".join("0" if place % 10 == 7 else "1" for place in range(count))
    assert found["missing"] == 7
    assert found["complete"] == "1" * count
    assert found["status"] == ImageStatus.ACTIVATED
    assert firmware.active == image


@pytest.mark.parametrize("framing", ["wrapper", "hdlc"])
async def test_gurux_transfers_new_keys_and_associates_under_them(meter: InteropMeter, framing: str) -> None:
    keys, master = meter.keys, meter.keys.master
    new = {"encryption_key": bytes(range(16)).hex(), "authentication_key": bytes(range(16, 32)).hex()}
    arguments = {
        "security_setup": SECURITY_SETUP.dotted, "master_key": master.reveal().hex(),
        **{f"new_{name}": key for name, key in new.items()},
    }  # fmt: skip
    steps = ["link", "associate", "view", "keys", "release"]
    plan = plan_of(meter, framing, SECURED, steps, **SEALED, arguments=arguments)
    all_right(await peer_steps("gurux_steps.py", plan), steps)
    assert meter.keys.global_unicast.reveal().hex() == new["encryption_key"]
    assert meter.keys.authentication.reveal().hex() == new["authentication_key"]
    assert meter.keys.master.reveal() == master.reveal()
    steps = ["link", "associate", "view", "release"]
    plan = plan_of(meter, framing, SECURED, steps, **SEALED, counter=5000)
    all_right(await peer_steps("gurux_steps.py", plan), steps)
    old = {"encryption_key": keys.global_unicast.reveal().hex()}
    plan = plan_of(meter, framing, SECURED, steps, **SEALED, **old, counter=9000)
    assert "error" in (await peer_steps("gurux_steps.py", plan))["associate"]


@pytest.mark.parametrize("framing", ["wrapper", "hdlc"])
async def test_keys_wrapped_under_another_master_key_are_refused(meter: InteropMeter, framing: str) -> None:
    before = meter.keys
    arguments = {
        "security_setup": SECURITY_SETUP.dotted, "master_key": bytes(16).hex(),
        "new_encryption_key": bytes(range(16)).hex(), "new_authentication_key": bytes(range(16, 32)).hex(),
    }  # fmt: skip
    steps = ["link", "associate", "view", "keys", "release"]
    plan = plan_of(meter, framing, SECURED, steps, **SEALED, arguments=arguments)
    found = await peer_steps("gurux_steps.py", plan)
    assert "error" in found["keys"]
    assert meter.keys == before


# --- push -----------------------------------------------------------------------------------------------

BODY = structure(
    Data(Tag.OCTET_STRING, RELAY.to_bytes()),
    Data(Tag.DOUBLE_LONG_UNSIGNED, 4711),
    array(
        [structure(Data(Tag.LONG, -5), Data(Tag.ENUM, 30)), structure(Data(Tag.LONG, 7), Data(Tag.ENUM, 27))]
    ),
    Data(Tag.LONG_UNSIGNED, 65_535),
    Data(Tag.LONG64_UNSIGNED, 2**40),
    Data(Tag.UNSIGNED, 200),
    Data(Tag.BOOLEAN, True),
)
SAID = [RELAY.to_bytes().hex(), 4711, [[-5, 30], [7, 27]], 65_535, 2**40, 200, True]
STAMP = bytes.fromhex("07ea0302010c1e0000ffc400")


@pytest.mark.parametrize("stamp", [b"", STAMP], ids=["without time", "with time"])
async def test_both_libraries_read_what_the_meter_pushes(meter: InteropMeter, stamp: bytes) -> None:
    apdu = DataNotification(0x40000001, stamp, BODY).to_bytes()
    steps = ["translate"]
    wrapped = Frame(DEVICE, PLAIN, apdu).to_bytes()
    plan = plan_of(meter, "wrapper", PLAIN, steps, arguments={"pushed": [wrapped.hex()]})
    (found,) = (await peer_steps("gurux_steps.py", plan))["translate"]
    assert found["value"] == SAID
    whole = unnumbered_information(RESPONSE + apdu, HdlcAddress(PLAIN), HdlcAddress(DEVICE), 128)
    plan = plan_of(meter, "hdlc", PLAIN, steps)
    plan["arguments"] = {"pushed": ["".join(frame.to_bytes().hex() for frame in whole)]}
    (found,) = (await peer_steps("gurux_steps.py", plan))["translate"]
    assert found["value"] == SAID
    plan = plan_of(meter, "wrapper", PLAIN, ["push"], arguments={"pushed": [apdu.hex()]})
    found = await peer_steps("dlms_cosem_steps.py", plan)
    assert found["push"] == [{"stamp": bool(stamp), "value": SAID}]
