"""Channels of a file, and the map from them to the voltages and currents of the phases.

A map is written ``u=1,3,5 i=2,4,6 n=7`` (numbers count from 1) or with the file's own names ``u=UA,UB
i=IA,IB``; a minus before a channel turns its sign (a current transformer the wrong way round: ``i=-2``).
Shorter, by position: ``u1,i1,u2,i2,-,n``, where ``-`` leaves a channel out. The rule never to be broken: a
channel is never guessed. A default map is made only from what the file itself says of its channels.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from openami.metrology.recording.recording import MAX_PHASES
from openami.quantities.errors import FormatError

F64 = npt.NDArray[np.float64]


class ChannelKind(Enum):
    """What a channel holds, as far as the file tells."""

    VOLTAGE = "u"
    CURRENT = "i"
    NEUTRAL = "n"
    UNKNOWN = "?"


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel of a file; a stored number x means ``gain * x + offset`` volts or amperes."""

    name: str
    kind: ChannelKind = ChannelKind.UNKNOWN
    phase: int | None = None
    """0 for L1; None where the file does not tell."""
    gain: float | None = 1.0
    """None where the file does not know volts and amperes (WAV): a scale must be given."""
    offset: float = 0.0
    lowest: float = -np.inf
    """Stored number at which the converter stands at its limit."""
    highest: float = np.inf
    skew_s: float = 0.0
    """How much later than the time of its sample the channel was sampled."""


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive samples of picked channels: stored numbers float64 (picked, n), NaN where missing."""

    first: int
    values: F64
    gap: str | None = None
    """What was found just before this block where ``first`` is not the end of the last one."""


class ChannelFile(Protocol):
    """An opened file of channels; nothing of it is in memory but what is being read."""

    @property
    def format(self) -> str:
        """Name of the format, for provenance."""
        ...

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every file the samples and their meaning came from."""
        ...

    @property
    def channels(self) -> tuple[Channel, ...]:
        """All channels in the order of the file."""
        ...

    @property
    def rate_hz(self) -> float:
        """Samples a second."""
        ...

    @property
    def samples(self) -> int:
        """Samples from the first to the last, gaps counted."""
        ...

    @property
    def start_us(self) -> int | None:
        """UTC of sample 0 in microseconds since 1970."""
        ...

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a reader of the results should know of how the file was read."""
        ...

    def blocks(self, picked: Sequence[int], size: int) -> Iterator[Block]:
        """The samples of the picked channels, in blocks of at most ``size`` samples."""
        ...


@dataclass(frozen=True, slots=True)
class Pick:
    """A channel of the file by its index, and the sign it is taken with."""

    index: int
    sign: float = 1.0


@dataclass(frozen=True, slots=True)
class Selection:
    """Which channels are the voltages, the currents and the neutral current."""

    u: tuple[Pick, ...]
    i: tuple[Pick, ...]
    neutral: Pick | None = None

    @property
    def picks(self) -> tuple[Pick, ...]:
        """All of them: voltages, currents, neutral."""
        return (*self.u, *self.i, *(() if self.neutral is None else (self.neutral,)))


_POSITION = re.compile(r"([uin])([1-3]?)|-")


def selected(channels: Sequence[Channel], text: str | None, where: str) -> Selection:
    """The selection a channel map means in a file; without a map, what the file itself says.

    Raises
    ------
    FormatError
        The map is not one, names a channel that is not there or one twice; without a map, the file does not
        say which channels are the voltages and the currents of at most three phases.
    """
    selection = _by_kind(channels, where) if text is None else _by_map(channels, text)
    if not selection.u or len(selection.u) > MAX_PHASES:
        raise FormatError(
            f"{len(selection.u)} voltages are chosen",
            where=where,
            expected=f"1 to {MAX_PHASES}, {_wanted(channels)}",
        )
    if selection.i and len(selection.i) != len(selection.u):
        raise FormatError(
            f"{len(selection.u)} voltages and {len(selection.i)} currents",
            where=where,
            expected=f"as many currents as voltages, {_wanted(channels)}",
        )
    indices = [pick.index for pick in selection.picks]
    if len(set(indices)) < len(indices):
        raise FormatError("a channel is chosen twice", where="--channels", expected=_wanted(channels))
    return selection


def _by_kind(channels: Sequence[Channel], where: str) -> Selection:
    """The default: every voltage and current of the file, by phase where the file tells it."""
    found: dict[ChannelKind, list[int]] = {kind: [] for kind in ChannelKind}
    for index, channel in enumerate(channels):
        found[channel.kind].append(index)
    u, i, n = (found[kind] for kind in (ChannelKind.VOLTAGE, ChannelKind.CURRENT, ChannelKind.NEUTRAL))
    if not u or len(u) > MAX_PHASES or len(n) > 1 or (i and len(i) != len(u)):
        raise FormatError(
            f"the file does not say which channels to measure ({len(u)} voltages, {len(i)} currents)",
            where=where,
            expected=_wanted(channels),
        )
    for group in (u, i):
        phases = [channels[index].phase for index in group]
        if None not in phases and len(set(phases)) == len(phases):
            group.sort(key=lambda index: channels[index].phase or 0)
    return Selection(tuple(map(Pick, u)), tuple(map(Pick, i)), Pick(n[0]) if n else None)


def _by_map(channels: Sequence[Channel], text: str) -> Selection:
    groups: dict[str, list[Pick]] = {"u": [], "i": [], "n": []}
    if "=" in text:
        for part in text.split():
            name, _, listed = part.partition("=")
            if name not in groups or not listed or groups[name]:
                raise FormatError(
                    f"{part!r} is no part of a channel map", where="--channels", expected=_wanted(channels)
                )
            groups[name] = [_pick(channels, item) for item in listed.split(",")]
    else:
        _by_position(channels, text, groups)
    if len(groups["n"]) > 1:
        raise FormatError("more than one neutral", where="--channels", expected=_wanted(channels))
    neutral = groups["n"][0] if groups["n"] else None
    return Selection(tuple(groups["u"]), tuple(groups["i"]), neutral)


def _by_position(channels: Sequence[Channel], text: str, groups: dict[str, list[Pick]]) -> None:
    items = [item.strip() for item in text.split(",")]
    if len(items) > len(channels) or not all(_POSITION.fullmatch(item) for item in items):
        raise FormatError(f"{text!r} is no channel map", where="--channels", expected=_wanted(channels))
    placed = sorted((item[0], item[1:], index) for index, item in enumerate(items) if item != "-")
    for name, _, index in placed:
        groups[name].append(Pick(index))
    names = [item for item in items if item != "-"]
    phases = {name: {item[1:] for item in names if item[0] == name} for name in groups}
    if len(set(names)) < len(names) or (phases["i"] and phases["i"] != phases["u"]):
        raise FormatError(
            f"{text!r} has no current for every voltage", where="--channels", expected=_wanted(channels)
        )


def _pick(channels: Sequence[Channel], item: str) -> Pick:
    names = [channel.name for channel in channels]
    for sign, name in ((1.0, item), (-1.0, item.removeprefix("-"))):
        if sign < 0 and name == item:
            break
        if name.isascii() and name.isdigit() and len(name) < 9 and 1 <= int(name) <= len(channels):
            return Pick(int(name) - 1, sign)
        if names.count(name) == 1:
            return Pick(names.index(name), sign)
        if names.count(name) > 1:
            raise FormatError(
                f"several channels are called {name!r}", where="--channels", expected="their numbers"
            )
    raise FormatError(f"there is no channel {item!r}", where="--channels", expected=_wanted(channels))


_LISTED = 24


def _wanted(channels: Sequence[Channel]) -> str:
    listed = [f"{number} {channel.name}".strip() for number, channel in enumerate(channels[:_LISTED], 1)]
    more = f" and {len(channels) - _LISTED} more" if len(channels) > _LISTED else ""
    return f'a map such as --channels "u=1,2,3 i=4,5,6 n=7" of the channels {", ".join(listed)}{more}'
