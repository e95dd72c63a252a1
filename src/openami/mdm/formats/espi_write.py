"""Blocks to Green Button (NAESB REQ.21 ESPI, Atom XML).

One UsagePoint a series, one MeterReading and ReadingType a channel (counted in its finest quantum), one
IntervalBlock a civil day; a missing interval has no IntervalReading. Identifiers are derived from what they
name, so the same blocks give the same bytes.

The rule never to be broken: values are integers of the quantum, with its exponent as power of ten.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import UTC, date, datetime
from xml.sax.saxutils import escape, quoteattr

from openami.mdm.formats import espi
from openami.mdm.formats.diagnostics import CostBlock
from openami.quantities.errors import FormatError
from openami.quantities.obis import ObisCode
from openami.readings.interval_block import IntervalBlock

_UOM = {unit: code for code, unit in espi.UOM.items()}
_FLOW = {code: (unit, flow) for (unit, flow), code in espi.CHANNELS.items()}
_CURRENCY = {name: code for code, name in espi.CURRENCIES.items()}
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "openami:espi")

_Key = tuple[str, ObisCode]


def espi_write(
    blocks: Iterable[IntervalBlock],
    *,
    updated: datetime,
    title: str,
    costs: Iterable[CostBlock] = (),
) -> bytes:
    """Green Button feed of interval blocks.

    Parameters
    ----------
    blocks:
        All in days of one zone; channels of `openami.mdm.formats.espi.CHANNELS`.
    updated:
        When the feed was made.
    title:
        Title of the feed.
    costs:
        Costs of the blocks.

    Raises
    ------
    FormatError
        A channel or a zone that ESPI cannot express, a value of more than 48 bits, a currency we do not
        know, or costs without their block.
    """
    groups: dict[_Key, list[IntervalBlock]] = {}
    zones: set[str] = set()
    for block in blocks:
        if block.channel not in _FLOW or block.quantum.unit is not _FLOW[block.channel][0]:
            expected = ", ".join(str(code) for code in _FLOW)
            raise FormatError(f"channel {block.channel} in {block.quantum} in ESPI", expected=expected)
        zones.add(block.day.zone)
        groups.setdefault((block.series_id, block.channel), []).append(block)
    if len(zones) > 1:
        raise FormatError(f"days of several zones: {sorted(zones)}", expected="one zone a feed")
    prices = {(cost.series_id, cost.channel, cost.day.day): cost for cost in costs}
    stamp = updated.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    out = [
        '<?xml version="1.0" encoding="UTF-8"?>\n<feed xmlns="http://www.w3.org/2005/Atom">\n'
        f"<id>urn:uuid:{_identity('feed', title, stamp)}</id><title>{escape(title)}</title>"
        f"<updated>{stamp}</updated>\n"
    ]
    if groups:
        first = min(block.day.day for group in groups.values() for block in group)
        out.append(_time_parameters(zones.pop(), first, stamp))
    for series_id in dict.fromkeys(key[0] for key in groups):
        own = [(key, group) for key, group in groups.items() if key[0] == series_id]
        out.append(_usage_point(series_id, len(own), own[0][0][1], stamp))
        for number, (key, group) in enumerate(own, 1):
            out.extend(_meter_reading(key, number, group, prices, stamp))
    if prices:
        cost = next(iter(prices.values()))
        raise FormatError(
            f"costs of {cost.series_id} on {cost.day.day} without a block",
            expected="a block for each CostBlock",
        )
    out.append("</feed>\n")
    return "".join(out).encode("utf-8")


def _usage_point(series_id: str, readings: int, channel: ObisCode, stamp: str) -> str:
    path = f"/espi/1_1/resource/UsagePoint/{_slug(series_id)}"
    related = [f"{path}/MeterReading/{number}" for number in range(1, readings + 1)]
    kind = 0 if channel.a == 1 else 1
    content = (
        f'<UsagePoint xmlns="{_ESPI}"><ServiceCategory><kind>{kind}</kind></ServiceCategory></UsagePoint>'
    )
    return _entry(espi.urn_of_series(series_id), path, [*related, _TIME], series_id, content, stamp)


def _meter_reading(
    key: _Key,
    number: int,
    group: list[IntervalBlock],
    prices: dict[tuple[str, ObisCode, date], CostBlock],
    stamp: str,
) -> Iterable[str]:
    series_id, channel = key
    exponent = min(block.quantum.exponent for block in group)
    nominal = 86_400 if len(group[0].values) == 1 else group[0].interval_s
    unit, flow = _FLOW[channel]
    path = f"/espi/1_1/resource/UsagePoint/{_slug(series_id)}/MeterReading/{number}"
    kind = f"/espi/1_1/resource/ReadingType/{_slug(series_id)}-{number}"
    owned = [prices.pop((block.series_id, block.channel, block.day.day), None) for block in group]
    currencies = {cost.currency for cost in owned if cost is not None}
    if len(currencies) > 1 or not currencies <= _CURRENCY.keys():
        known = ", ".join(sorted(_CURRENCY))
        raise FormatError(f"currencies {sorted(currencies)} of {series_id}", expected=f"one of {known}")
    identity = str(_identity("meter reading", *map(str, key)))
    yield _entry(
        identity,
        path,
        [f"{path}/IntervalBlock", kind],
        str(channel),
        f'<MeterReading xmlns="{_ESPI}"/>',
        stamp,
    )
    currency = f"<currency>{_CURRENCY[currencies.pop()]}</currency>" if currencies else ""
    commodity = 1 if channel.a == 1 else 7
    yield _entry(
        _urn("reading type", *map(str, key)), kind, [], str(channel),
        f'<ReadingType xmlns="{_ESPI}"><accumulationBehaviour>4</accumulationBehaviour>'
        f"<commodity>{commodity}</commodity>{currency}<flowDirection>{flow}</flowDirection>"
        f"<intervalLength>{nominal}</intervalLength><kind>12</kind>"
        f"<powerOfTenMultiplier>{exponent}</powerOfTenMultiplier><uom>{_UOM[unit]}</uom></ReadingType>",
        stamp,
    )  # fmt: skip
    for block, cost in zip(group, owned, strict=True):
        captured = block.captured_at.astimezone(UTC).isoformat().replace("+00:00", "Z")
        yield _entry(
            _urn("interval block", block.block_id), f"{path}/IntervalBlock/{block.day.day}", [],
            str(block.day.day), _interval_block(block, cost, exponent), captured,
        )  # fmt: skip


def _interval_block(block: IntervalBlock, cost: CostBlock | None, exponent: int) -> str:
    if cost is not None and (cost.interval_s != block.interval_s or cost.counts.shape != block.values.shape):
        raise FormatError(f"costs of {block.series_id} on {block.day.day}", expected="one for each interval")
    start, step = int(block.day.start.timestamp()), block.interval_s
    parts = [
        f'<IntervalBlock xmlns="{_ESPI}"><interval><duration>{block.day.seconds}</duration>'
        f"<start>{start}</start></interval>"
    ]
    missing, factor = block.missing, 10 ** (block.quantum.exponent - exponent)
    values = [value * factor for value in block.values.tolist()]
    if any(abs(value) >= 1 << 47 for value in values):
        raise FormatError(f"a value of {block.series_id} is too large for ESPI", expected="48 bits")
    for index, (value, status_id) in enumerate(zip(values, block.status_ids.tolist(), strict=True)):
        if missing[index]:
            continue
        price = f"<cost>{cost.counts[index]}</cost>" if cost is not None and cost.given[index] else ""
        code = espi.quality_of_status(status_id)
        quality = "" if code is None else f"<ReadingQuality><quality>{code}</quality></ReadingQuality>"
        parts.append(
            f"\n<IntervalReading>{price}{quality}<timePeriod><duration>{step}</duration>"
            f"<start>{start + index * step}</start></timePeriod><value>{value}</value></IntervalReading>"
        )
    parts.append("\n</IntervalBlock>")
    return "".join(parts)


def _time_parameters(zone: str, day: date, stamp: str) -> str:
    parameters = espi.time_parameters(zone, day.year)
    if parameters is None:
        known = ", ".join(sorted(espi.ZONES.values()))
        raise FormatError(
            f"the rules of {zone} are not known to ESPI", expected=f"one of {known}, or no summer time"
        )
    content = (
        f'<LocalTimeParameters xmlns="{_ESPI}"><dstEndRule>{parameters.dst_end}</dstEndRule>'
        f"<dstOffset>{parameters.dst_offset}</dstOffset><dstStartRule>{parameters.dst_start}</dstStartRule>"
        f"<tzOffset>{parameters.tz_offset}</tzOffset></LocalTimeParameters>"
    )
    return _entry(_urn("zone", zone), _TIME, [], zone, content, stamp)


def _entry(identity: str, path: str, related: list[str], title: str, content: str, stamp: str) -> str:
    links = "".join(f'<link rel="related" href={quoteattr(link)}/>' for link in related)
    up = path.rpartition("/")[0]
    return (
        f'<entry><id>{escape(identity)}</id><link rel="self" href={quoteattr(path)}/>'
        f'<link rel="up" href={quoteattr(up)}/>{links}<title>{escape(title)}</title>'
        f"<content>{content}</content><published>{stamp}</published><updated>{stamp}</updated></entry>\n"
    )


_ESPI = "http://naesb.org/espi"
_TIME = "/espi/1_1/resource/LocalTimeParameters/1"


def _identity(*parts: str) -> uuid.UUID:
    return uuid.uuid5(_NAMESPACE, "|".join(parts))


def _urn(*parts: str) -> str:
    return f"urn:uuid:{_identity(*parts)}"


def _slug(series_id: str) -> str:
    return str(_identity("path", series_id))
