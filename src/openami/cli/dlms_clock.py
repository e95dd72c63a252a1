"""`ami dlms clock`: a meter's clock beside that of this machine.

Rule of this file: a difference is told with how well it is known, which is half the way there and back.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from openami.cli.dlms_access import MeterOptions, with_meter, zone
from openami.cli.dlms_talk import meter_document, talk, title_of_meter
from openami.cli.output import JsonOption, print_facts, print_json
from openami.protocols.dlms.apdus.descriptors import CLOCK, Attribute
from openami.protocols.dlms.client.attribute_value import CLOCK_CLASS, date_time_text, instant_of
from openami.protocols.dlms.client.vendor_quirks import quirks_named
from openami.protocols.dlms.encoding.date_time import CosemDateTime
from openami.quantities.errors import LocalProtocolError

if TYPE_CHECKING:
    from openami.headend.dlms_meter import Meter


@with_meter
def clock(
    options: MeterOptions,
    set_clock: Annotated[
        bool, typer.Option("--set", help="Set it to the time of this machine, and read it again.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Show the meter's clock and how far it is from the clock of this machine; with --set, set it.

    The difference is the meter's time less ours, as far as half the way there and back tells. A meter whose
    clock does not say its deviation needs --zone. Exit code 1 when the meter refused.

    Example: ami dlms clock 127.0.0.1:4059 --server 16 --password 00000000 --set
    """

    async def ask(meter: Meter) -> list[_ClockReading]:
        readings = [await _read_clock(meter, options)]
        if set_clock:
            await meter.set_clock(datetime.now(UTC))
            readings.append(await _read_clock(meter, options))
        return readings

    readings = talk(options, ask, json=json)
    now = readings[-1]
    if json:
        print_json(
            {
                "meter": meter_document(options),
                "clock": now.text,
                "instant": now.instant,
                "difference_s": now.difference_s,
                "uncertainty_s": now.uncertainty_s,
                "difference_before_s": readings[0].difference_s if set_clock else None,
            }
        )
        return
    facts: dict[str, object] = {
        "clock": now.text,
        "UTC": f"{now.instant:%Y-%m-%d %H:%M:%S}",
        "difference": f"{now.difference_s:+.2f} s, give or take {now.uncertainty_s:.2f} s",
    }
    if set_clock:
        facts["before it was set"] = f"{readings[0].difference_s:+.2f} s"
    print_facts(title_of_meter(options), facts)


class _ClockReading(NamedTuple):
    """A meter's clock, and how far it was from ours in the middle of asking."""

    text: str
    instant: datetime
    difference_s: float
    uncertainty_s: float


async def _read_clock(meter: Meter, options: MeterOptions) -> _ClockReading:
    before = datetime.now(UTC)
    stamp = await meter.get(Attribute(CLOCK_CLASS, CLOCK, 2))
    after = datetime.now(UTC)
    instant = instant_of(stamp, zone(options), quirks_named(options.quirk))
    if not isinstance(instant, datetime):
        raise LocalProtocolError(
            f"the clock shows {date_time_text(instant)}, which is no instant", expected="--zone of the meter"
        )
    way = (after - before) / 2
    assert isinstance(stamp, bytes)
    text = date_time_text(CosemDateTime.from_bytes(stamp))
    return _ClockReading(text, instant, (instant - before - way).total_seconds(), way.total_seconds())
