"""Opening a recorded waveform: which format, which channels, which scale; then its samples in blocks.

    waveform = open_recording(Path("feeder.cfg"))
    for part in waveform.blocks():
        ...  # a Recording of at most 65,536 samples; part.first_sample jumps over gaps

The rule never to be broken: memory is that of a block wherever the format allows (NPZ, WAV, COMTRADE binary),
and no declared size is believed before it is held against the bytes that are there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from openami.metrology.recording.channels import Channel, ChannelFile, Pick, Selection, selected
from openami.metrology.recording.comtrade import Side, open_comtrade
from openami.metrology.recording.csv_table import open_csv
from openami.metrology.recording.npz import open_npz
from openami.metrology.recording.recording import F64, HIGHEST_RATE_HZ, Mask, Recording
from openami.metrology.recording.wav import open_wav
from openami.quantities.errors import FormatError

_MOST_MISSING = 5_000_000
"""Missing samples that are stood in for when a whole waveform is read at once: six minutes at 12.8 kHz."""

_LARGEST = 1e12
"""V or A that nothing recorded reaches; squares of what lies beyond would lose the rest of a sum."""

BLOCK_SAMPLES = 65_536
"""Samples of a block: 3 MB for six channels."""


@dataclass(frozen=True, slots=True)
class ReadingOptions:
    """What a file does not tell, or tells differently from what is wanted."""

    channels: str | None = None
    """Channel map, see `openami.metrology.recording.channels`."""
    scale_u: float | None = None
    """Factor on the voltages: V per stored unit (WAV: V per full scale); a transformer's ratio."""
    scale_i: float | None = None
    """Factor on the currents, likewise."""
    rate_hz: float | None = None
    """The true sampling rate; needed for CSV without times, elsewhere within 1 % of the file's own."""
    decimal: str = "."
    """Decimal sign of a CSV file, ``.`` or ``,``."""
    segment: int | None = None
    """Which of the sampling rates of a COMTRADE record, from 1."""
    side: Side = Side.AS_RECORDED
    """Side of the transformers the values of a COMTRADE record are wanted on."""


@dataclass(frozen=True, slots=True)
class RecordedWaveform:
    """An opened file with the channels of its phases chosen and scaled; made by `open_recording`."""

    file: ChannelFile
    selection: Selection
    scale_u: float
    scale_i: float
    rate_hz: float

    @property
    def samples(self) -> int:
        """Samples from the first to the last, gaps counted."""
        return self.file.samples

    @property
    def names(self) -> tuple[str, ...]:
        """The file's names of the voltages, currents and neutral; a minus where the sign is turned."""
        channels = self.file.channels
        return tuple(
            ("-" if pick.sign < 0 else "") + channels[pick.index].name for pick in self.selection.picks
        )

    @property
    def gains(self) -> tuple[float, ...]:
        """V or A per stored unit of each of `names`."""
        return tuple(
            pick.sign * (channel.gain or 1.0) * scale for pick, channel, scale in self._scaled_picks()
        )

    @property
    def skews_s(self) -> tuple[float, ...]:
        """Delay of each of `names` against the time of its samples, in seconds."""
        return tuple(self.file.channels[pick.index].skew_s for pick in self.selection.picks)

    def blocks(self, size: int = BLOCK_SAMPLES) -> Iterator[Recording]:
        """The samples from the first to the last, in recordings of at most ``size`` samples.

        Raises
        ------
        FormatError
            Something in the file does not follow its format.
        """
        phases = len(self.selection.u)
        picked = self._scaled_picks()
        gain = np.array([pick.sign * (channel.gain or 1.0) * scale for pick, channel, scale in picked])
        offset = np.array([pick.sign * channel.offset * scale for pick, channel, scale in picked])
        lowest = np.array([[channel.lowest] for _, channel, _ in picked])
        highest = np.array([[channel.highest] for _, channel, _ in picked])
        limited = bool(np.isfinite(lowest).any() or np.isfinite(highest).any())
        for block in self.file.blocks([pick.index for pick in self.selection.picks], size):
            stored = block.values
            saturated: Mask | None = None
            if limited:
                saturated = np.any((stored <= lowest) | (stored >= highest), axis=0)
            values: F64 = stored * gain[:, None]
            if offset.any():
                values += offset[:, None]
            self._check(values, block.first)
            yield Recording(
                u=values[:phases],
                i=values[phases : phases + len(self.selection.i)],
                rate_hz=self.rate_hz,
                neutral=None if self.selection.neutral is None else values[-1],
                start_us=self.file.start_us,
                names=self.names,
                first_sample=block.first,
                saturated=saturated,
                gap=block.gap,
            )

    def read(self) -> Recording:
        """The whole waveform at once; samples that are missing are NaN.

        Raises
        ------
        FormatError
            As of `blocks`; the file holds no sample, or more are missing than can be stood in for.
        """
        parts = list(self.blocks())
        if not parts:
            raise FormatError("no samples", where=str(self.file.paths[-1]), expected="at least one")
        first, end = parts[0].first_sample, parts[-1].first_sample + parts[-1].samples
        missing = end - first - sum(part.samples for part in parts)
        if missing > _MOST_MISSING:
            raise FormatError(
                f"{missing} samples are missing",
                where=str(self.file.paths[-1]),
                expected="a recording with less gaps",
            )
        rows = len(self.selection.picks)
        values = np.full((rows, end - first), np.nan)
        saturated = np.zeros(end - first, np.bool_)
        phases, currents = len(self.selection.u), len(self.selection.i)
        for part in parts:
            place = slice(part.first_sample - first, part.first_sample - first + part.samples)
            values[:phases, place] = part.u
            values[phases : phases + currents, place] = part.i
            if part.neutral is not None:
                values[-1, place] = part.neutral
            if part.saturated is not None:
                saturated[place] = part.saturated
        return replace(
            parts[0],
            u=values[:phases],
            i=values[phases : phases + currents],
            neutral=None if self.selection.neutral is None else values[-1],
            saturated=None if parts[0].saturated is None else saturated,
        )

    def digest(self) -> str:
        """SHA-256 of the files one after the other, in the order of ``file.paths``; hexadecimal."""
        digest = hashlib.sha256()
        for path in self.file.paths:
            with path.open("rb") as stream:
                while piece := stream.read(1 << 20):
                    digest.update(piece)
        return digest.hexdigest()

    def _check(self, values: F64, first: int) -> None:
        """No number that is finite and no voltage or current; what is not finite is a missing sample."""
        beyond = (np.abs(values) > _LARGEST) & np.isfinite(values)
        if not beyond.any():
            return
        sample, channel = np.argwhere(beyond.T)[0].tolist()
        raise FormatError(
            f"{self.names[channel]} is {values[channel, sample]:g}",
            where=f"{self.file.paths[-1]}, sample {first + sample}",
            expected=f"V and A below {_LARGEST:g}; --scale-u and --scale-i where counts were stored",
        )

    def _scaled_picks(self) -> list[tuple[Pick, Channel, float]]:
        scales = [self.scale_u] * len(self.selection.u)
        scales += [self.scale_i] * (len(self.selection.picks) - len(scales))
        return [
            (pick, self.file.channels[pick.index], scale)
            for pick, scale in zip(self.selection.picks, scales, strict=True)
        ]


def open_recording(path: Path, options: ReadingOptions | None = None) -> RecordedWaveform:
    """Open a recorded waveform: NPZ, WAV, CSV or COMTRADE (CFG with DAT, or CFF), told by its content.

    Raises
    ------
    FormatError
        The file is of no known format or breaks its format, the channels are not clear, a scale is missing,
        or the rate given is not that of the file.
    OSError
        The file is not there or cannot be read.
    """
    options = options or ReadingOptions()
    for name, scale in (("--scale-u", options.scale_u), ("--scale-i", options.scale_i)):
        if scale is not None and not (np.isfinite(scale) and scale != 0.0):
            raise FormatError(f"{scale} is no scale", where=name, expected="a number other than zero")
    if options.rate_hz is not None and not (np.isfinite(options.rate_hz) and options.rate_hz > 0):
        raise FormatError(
            f"{options.rate_hz} is no sampling rate", where="--rate", expected="a positive number"
        )
    file = _opened(path, options)
    selection = selected(file.channels, options.channels, str(path))
    unscaled = {
        file.channels[pick.index].name for pick in selection.u if file.channels[pick.index].gain is None
    }
    if unscaled and options.scale_u is None:
        raise FormatError("the file knows no volts", where=str(path), expected="--scale-u, V per full scale")
    currents = selection.picks[len(selection.u) :]
    if any(file.channels[pick.index].gain is None for pick in currents) and options.scale_i is None:
        raise FormatError(
            "the file knows no amperes", where=str(path), expected="--scale-i, A per full scale"
        )
    return RecordedWaveform(
        file=file,
        selection=selection,
        scale_u=1.0 if options.scale_u is None else options.scale_u,
        scale_i=1.0 if options.scale_i is None else options.scale_i,
        rate_hz=_checked_rate(_true_rate(file, options.rate_hz, str(path)), str(path)),
    )


_RATE_TOLERANCE = 0.01


def _true_rate(file: ChannelFile, given: float | None, where: str) -> float:
    """The given rate where the file does not contradict it."""
    if given is None:
        return file.rate_hz
    if abs(given - file.rate_hz) > _RATE_TOLERANCE * file.rate_hz:
        raise FormatError(
            f"--rate is {given:g} Hz, the file says {file.rate_hz:g} Hz",
            where=where,
            expected="the two within 1 %",
        )
    return given


def _checked_rate(rate_hz: float, where: str) -> float:
    if not 0.0 < rate_hz <= HIGHEST_RATE_HZ:
        raise FormatError(
            f"a sampling rate of {rate_hz:g} Hz", where=where, expected=f"up to {HIGHEST_RATE_HZ:g} Hz"
        )
    return rate_hz


def _opened(path: Path, options: ReadingOptions) -> ChannelFile:
    file = _of_its_format(path, options)
    if options.segment is not None and not file.format.startswith("COMTRADE"):
        raise FormatError(
            f"there are no segments in {file.format}", where="--segment", expected="a COMTRADE record"
        )
    return file


def _of_its_format(path: Path, options: ReadingOptions) -> ChannelFile:
    with path.open("rb") as stream:
        head = stream.read(64)
    suffix = path.suffix.lower()
    if head[:4] in (b"RIFF", b"RF64", b"RIFX"):
        return open_wav(path)
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return open_npz(path, rate_hz=options.rate_hz)
    if suffix in (".cfg", ".dat", ".cff") or head.lstrip()[:14].lower() == b"--- file type:":
        return open_comtrade(path, segment=options.segment, side=options.side)
    if suffix in (".csv", ".txt", ".tsv"):
        return open_csv(path, rate_hz=options.rate_hz, decimal=options.decimal)
    if not head:
        raise FormatError("the file is empty", where=str(path), expected="a recorded waveform")
    raise FormatError(
        "not a recorded waveform that is known",
        where=str(path),
        expected="NPZ with u, i and rate_hz; WAV; CSV (.csv, .txt, .tsv); COMTRADE (.cfg with .dat, or .cff)",
    )
