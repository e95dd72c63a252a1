"""Sentences that other stations made, in the reader's language.

Stations write reasons and details in English and store them. Where the catalogue has the sentence they were
made from, a page shows it translated with the same numbers and names in it; else it shows what is stored.
The rule never to be broken: what is stored is never changed, only how it is shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

from openami.console.i18n import chinese

SENTENCES = (
    "{count} frames of {source}",
    # exceptions: openami.mdm.vee, openami.mdm.ingest, openami.workspace.analysis
    "none of {expected} intervals came",
    "{count} of {expected} intervals missing: {ranges}",
    "no power from {start} to {end}, {seconds} s",
    "{count} negative intervals: {ranges}",
    "{count} intervals the meter itself calls invalid: {ranges}",
    "above what the connection carries: {intervals}",
    "contradicted by the register: {intervals}",
    "{count} intervals above the connection's capacity, confirmed by the register: {ranges}",
    "intervals differ from the register's advance of {advance} by {excess} over {days} days",
    "intervals differ from the register's advance of {advance} by {excess}",
    "{count} intervals ({ranges}): {why}",
    "the register leaves {need} for the gap",
    "the register leaves {need} for intervals without power",
    "the register leaves {need} for the gap, a factor of {factor} on the estimate",
    "no consumption for {hours} h or more",
    "register {register} from {value} ({at}) to {then} ({later}): passed zero, advance {advance}",
    "register {register} from {value} ({at}) to {then} ({later}): went back and bounds nothing",
    "{old} replaced by {new} at {at}",
    "a day of {hours} hours, {count} intervals",
    "finals of a billed day changed at sequence {seq}",
    "the same day delivered again at sequence {seq}",
    "batch {batch} delivered again, stored at sequence {seq}",
    "{what}; counts: {kept}",
    "{channel} {day}: {count} of {expected} intervals differ, first at {at}: {one} != {other} ({unit})",
    "{mean} a day over {window} days, {ratio} of the {length} days before ({usual})",
    "losses of {area} follow this load since {day}: {percent} % of it unmetered, about {energy} Wh, "
    "significance {significance}",
    "not found any more at sequence {seq}",
    # events: openami.headend, details are key=value pairs
    "{at} attempts={attempts};reason={why}",
    "{at} attempt={attempt};reason={why}",
    "{at} requests={requests};reason={why}",
    "{at} seconds={seconds}",
    "{at} expected={expected};found={found}",
    "attempts={attempts};reason={why}",
    "attempt={attempt};reason={why}",
    "requests={requests};reason={why}",
    "seconds={seconds}",
    "expected={expected};found={found}",
    "{link}: no answer within {seconds} s",
    # finals
    "{count} intervals estimated",
    "nearest equivalent day of {days}",
    "like day average of {days}",
    "previous days of {days}",
    "following days of {days}",
    # traces of bills: openami.billing.explain
    "version {version} of meter {meter}",
    "version {version} of {point}",
    "block {block} is not in the store",
    "{direction} {count} octets",
    "tariff from {day}",
    "{tariff} version {version}",
    "{rate} of calendar {calendar}",
    "attempt {number}",
    "line {number}",
    "lines {number}",
    "interval {number}: {value}",
    # lines of bills: openami.billing
    "days x price",
    "months x price",
    "years x price",
    "bills x price",
    "{percent} % of {charges}",
    "{amount} per {per}, at most {charges}",
    "{amount} per {per} less {charges}, if more",
    "maximum demand x price x {part} months",
    "the larger of the maximum demand and {percent} % of the largest of the last {months} months "
    "({known} known), x price",
    "the larger of the maximum demand and {percent} % of the largest of the last {months} months "
    "({known} known), x price x {part} months",
    "{formula}, with the transformer's losses",
    "{formula}, at least {minimum}",
    "export left after netting by {rate} x price",
    "contracted capacity x price x {part} months",
    "percent of table {table} on {charges}",
    "power factor {value}",
    "reactive energy above {percent} %",
    "(reactive energy - {percent} % of the active) x price",
    "sum of energy x price of its interval (each: rounding {rounding})",
    "rounding of the total, {rounding}",
    "{series}: a price for each {seconds} s",
    "tier {number} to {limit}",
    "tier {number} above",
    "tier {number}",
    "{quantity} day",
    "{quantity} month",
    "{quantity} year",
    "{quantity} bill",
    "{quantity} base",
    # refusals: openami.console.parameters
    "{text} is not a day as 2026-10-25",
    "{text} is not a page number",
    "{text} is not the number of a line",
    "{text} is not a place of a trace",
    "{text} is not an OBIS code",
    "the period ends on {last}, before it begins on {first}",
    "the period is longer than {days} days",
    # refusals of other stations
    "unknown meter {name}",
    "unknown transformer area {name}",
    "there is no bill {name}",
    "bill {name} has no line {number}",
    # the shortest ones last: they are found in many a text
    "{definition} of {channel}, {rate}",
    "{definition} of {channel}",
    "{amount} per {per}",
    "{link}: {why}",
)
"""What stored English is made from; each is a phrase of the catalogue."""

NESTED = frozenset(
    {"why", "what", "definition", "rate", "charges", "per", "formula", "source", "link", "intervals"}
)
"""Fields whose content is a sentence or a phrase itself."""

_NUMBERS = frozenset({"count", "number", "quantity", "percent", "part", "version"})
_PHRASES = frozenset({"definition", "per"})
_NUMBER = re.compile(r"[-+0-9./,]+")
_CODE_WORD = re.compile(r"\b[a-z]+(?:_[a-z]+)+\b")
_FIELD = re.compile(r"\{(\w+)\}")
_MOST_TEXT = 600
_MOST_DEPTH = 4

Speak = Callable[[str], str]


def speaker(language: str) -> Speak:
    """The function that says a stored English sentence in the language."""
    return _say if language == "zh" else _in_words


def _in_words(text: str) -> str:
    """English with its code words written as words: ``net_import``, but no names that look like them."""
    return _CODE_WORD.sub(lambda word: word[0].replace("_", " ") if word[0] in chinese() else word[0], text)


def _say(text: str, depth: int = 0) -> str:
    catalogue = chinese()
    if text in catalogue:
        return catalogue[text]
    if len(text) > _MOST_TEXT or depth > _MOST_DEPTH:
        return text
    for sentence in SENTENCES:
        fields = match(sentence, text)
        if fields is not None and sentence in catalogue:
            said = {name: _say(part, depth + 1) if name in NESTED else part for name, part in fields.items()}
            return catalogue[sentence].format(**said)
    for separator, joint in (("; ", "；"), (", ", "、")):
        parts = text.split(separator)
        said_parts = [_say(part, depth + 1) for part in parts]
        if said_parts != parts and len(parts) > 1:
            return joint.join(said_parts)
    return text


def match(sentence: str, text: str) -> dict[str, str] | None:
    """What stands in the fields of ``sentence`` where ``text`` was made from it; None where it was not.

    Looks for the words between the fields from left to right, once: its time is linear in the text.
    """
    words, names = _parts(sentence)
    if not text.startswith(words[0]):
        return None
    place, fields = len(words[0]), {}
    for number, name in enumerate(names, 1):
        word = words[number]
        if number == len(names):
            end = len(text) - len(word)
            found = end if text.endswith(word) and end > place else -1
        else:
            found = text.find(word, place + 1)
        if found < 0:
            return None
        fields[name] = text[place:found]
        place = found + len(word)
    return fields if all(_fits(name, part) for name, part in fields.items()) else None


def _fits(name: str, part: str) -> bool:
    """Some fields are numbers, some phrases of the catalogue; only a sentence has a semicolon in it."""
    if name in _NUMBERS:
        return _NUMBER.fullmatch(part) is not None
    if name in _PHRASES:
        return part in chinese()
    return name in NESTED or ";" not in part


@cache
def _parts(sentence: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The words around the fields, one more than fields, and the fields' names."""
    parts = _FIELD.split(sentence)
    return tuple(parts[::2]), tuple(parts[1::2])
