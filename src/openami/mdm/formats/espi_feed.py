"""The resources of a Green Button feed: how they are linked, what their values are, in which zone.

Entries of an Atom feed are tied together by links (self, up, related); exporters leave some of them out. The
rule never to be broken: a link that is missing is replaced only where there is no choice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from openami.mdm.formats import espi
from openami.mdm.formats.diagnostics import DiagnosticLog
from openami.mdm.formats.espi_xml import Element
from openami.quantities.errors import FormatError
from openami.quantities.obis import ObisCode
from openami.quantities.units import Quantum

_INTEGER = re.compile(r"[+-]?\d{1,18}")


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource of the feed: the element and the links of its entry."""

    element: Element
    identity: str
    self_link: str
    up: str
    related: tuple[str, ...]
    updated: datetime | None

    @property
    def kind(self) -> str:
        """Name of the resource, as ``MeterReading``."""
        return self.element.name


@dataclass(frozen=True, slots=True)
class ReadingType:
    """What the values of a meter reading are."""

    channel: ObisCode
    quantum: Quantum
    factor: int
    currency: str
    cumulative: bool


def resources_of(root: Element) -> Iterable[Resource]:
    """Resources of a feed or of a single entry, with the links of their entries."""
    entries = [root] if root.name == "entry" else root.all("entry")
    for entry in entries:
        links: dict[str, list[str]] = {"self": [], "up": [], "related": []}
        for link in entry.all("link"):
            links.setdefault(link.attributes.get("rel", ""), []).append(
                link.attributes.get("href", "").strip()
            )
        identity = espi.series_of_urn(entry.value("id"))
        updated = atom_instant(entry.value("updated"))
        content = entry.child("content")
        for element in content.children if content is not None else []:
            yield Resource(
                element,
                identity,
                links["self"][0].rstrip("/") if links["self"] else "",
                links["up"][0].rstrip("/") if links["up"] else "",
                tuple(link.rstrip("/") for link in links["related"]),
                updated,
            )


def belongs(block: Resource, meter: Resource) -> bool:
    """Whether an IntervalBlock is one of a MeterReading, by their links."""
    if {block.self_link, block.up} & set(meter.related) - {""}:
        return True
    return bool(meter.self_link) and block.self_link.startswith(meter.self_link + "/")


def zone_of_feed(found: list[Resource], wanted: str | None, year: int, log: DiagnosticLog) -> str | None:
    """Zone of a feed by its LocalTimeParameters, or the one handed in; None when there is neither."""
    if not found:
        if wanted is None:
            log.error(None, "zone", "no LocalTimeParameters", "a zone handed in, as America/New_York")
        return wanted
    element = found[0].element
    try:
        parameters = espi.TimeParameters(
            integer(element.value("tzOffset") or "0"),
            integer(element.value("dstOffset") or "0"),
            element.value("dstStartRule"),
            element.value("dstEndRule"),
        )
    except FormatError as fault:
        log.deviation(element.line, "zone", f"LocalTimeParameters: {fault.message}", "whole seconds")
        return wanted
    if wanted is not None:
        if espi.standard_offset(wanted, year) != parameters.tz_offset:
            log.warning(
                element.line, "zone", f"tzOffset {parameters.tz_offset}, not that of {wanted}",
                f"{espi.standard_offset(wanted, year)}",
            )  # fmt: skip
        return wanted
    if parameters.zone is None:
        log.error(
            element.line, "zone",
            f"no zone we know has tzOffset {parameters.tz_offset} and these rules",
            "a zone handed in, as America/New_York",
        )  # fmt: skip
    return parameters.zone


def reading_type(reading: Resource, types: list[Resource], log: DiagnosticLog) -> ReadingType | None:
    """What the values of a meter reading are, by the ReadingType it is linked to; None when faulty."""
    linked = [item for item in types if item.self_link and item.self_link in reading.related]
    if not linked and len(types) == 1:
        linked = types
    if not linked:
        log.error(reading.element.line, "reading_type", "no ReadingType is linked", "a related ReadingType")
        return None
    element = linked[0].element
    try:
        uom = integer(element.value("uom")) if element.value("uom") else None
        multiplier = integer(element.value("powerOfTenMultiplier") or "0")
        flow = integer(element.value("flowDirection") or "0")
        currency = integer(element.value("currency") or "0")
    except FormatError as fault:
        log.error(element.line, "reading_type", fault.message, fault.expected)
        return None
    wanted = "72 (Wh), 73 (varh), 71 (VAh) or 42 (m3)"
    if uom is None:
        log.error(element.line, "unit", "the ReadingType has no uom", wanted)
        return None
    if uom not in espi.UOM:
        name = espi.UOM_NAMES.get(uom, "unknown to us")
        log.error(element.line, "unit", f"uom {uom} ({name}) has no channel", wanted)
        return None
    if flow == 0:
        flow = espi.FORWARD
        log.warning(element.line, "flow_direction", "no flowDirection", "1 (forward; taken) or 19 (reverse)")
    channel = espi.CHANNELS.get((espi.UOM[uom], flow))
    if channel is None:
        log.error(element.line, "flow_direction", f"flowDirection {flow}", "1 (forward) or 19 (reverse)")
        return None
    behaviour = element.value("accumulationBehaviour")
    if behaviour not in espi.DELTA | espi.CUMULATIVE:
        log.error(element.line, "accumulation", f"accumulationBehaviour {behaviour}", "4 (delta data) or 3")
        return None
    if not -9 <= multiplier <= 9:
        log.error(element.line, "multiplier", f"powerOfTenMultiplier {multiplier}", "-9 .. 9")
        return None
    return ReadingType(
        channel,
        Quantum(espi.UOM[uom], min(0, multiplier)),
        10 ** max(0, multiplier),
        espi.CURRENCIES.get(currency, f"{currency:03d}" if currency else ""),
        behaviour in espi.CUMULATIVE,
    )


def series_of(reading: Resource, points: list[Resource], identities: list[str]) -> str:
    """Series of a meter reading: the id of its UsagePoint where it is unique, else its path."""
    owner = [
        point
        for point in points
        if {reading.up, reading.self_link} & set(point.related)
        or (point.self_link and reading.self_link.startswith(point.self_link + "/"))
    ] or points
    if not owner:
        return reading.identity or reading.self_link.replace("/", "-") or "usage-point"
    point = owner[0]
    if point.identity and identities.count(point.identity) == 1:
        return point.identity
    return re.sub(r"^[a-z]+://[^/]*/|^/", "", point.self_link).replace("/", "-") or "usage-point"


def integer(text: str) -> int:
    """Whole number of at most 18 digits.

    Raises
    ------
    FormatError
        Anything else.
    """
    if not _INTEGER.fullmatch(text.strip()) or not text.isascii():
        raise FormatError(f"{text[:40]!r} is not a whole number", expected="digits")
    return int(text)


def atom_instant(text: str) -> datetime | None:
    """Time of an Atom element; without an offset it is taken for UTC."""
    try:
        instant = datetime.fromisoformat(text.strip())
        return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
