"""A metering core that measures: samples of a waveform through the energy path onto the dials.

The same interface as a core that counts load curves, so that management core, protocols and everything behind
them cannot tell the difference. Time is counted in samples: the instant ``start + k / rate`` is sample k, and
what a dial shows at an instant is what the windows closed by then have registered, at most a window and four
samples behind. Rules never to be broken: an instant gives the same dials whatever the steps in which it was
reached; the steps of the registers come from the path's integers, and no other part writes them.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from types import MappingProxyType
from typing import Protocol

import numpy as np
import numpy.typing as npt

from openami.metrology.energy.apparent_energy import ApparentMethod
from openami.metrology.energy.energy_path import EnergyPath
from openami.metrology.energy.registers import Register
from openami.metrology.energy.window_quantities import WindowColumns
from openami.quantities.errors import MeteringError, QuantityError
from openami.quantities.obis import EXPORT_ENERGY, IMPORT_ENERGY, ObisCode

from .energy_register import EnergyRegister

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]

_DIGEST = 32
_BLOCK = 1 << 16
"""Samples asked of the source at a time."""
_APPARENT = {
    ApparentMethod.ARITHMETIC: Register.APPARENT_IMPORT,
    ApparentMethod.VECTOR: Register.VECTOR_IMPORT,
    ApparentMethod.EFFECTIVE: Register.EFFECTIVE_IMPORT,
}


class SampleSource(Protocol):
    """Where a metering core finds its samples: a front end, a recording, a generator."""

    def samples(self, first: int, count: int) -> tuple[I32, I32]:
        """Codes of voltages and currents, int32 (phases, count) each, from sample ``first`` on."""
        ...


def _energy(c: int) -> ObisCode:
    return ObisCode(1, 0, c, 8, 0)


def _counted(register: Register, place: int) -> Callable[[EnergyPath], int]:
    return lambda path: path.count(register, place)


def _apparent(exported: int) -> Callable[[EnergyPath], int]:
    return lambda path: path.count(Register(_APPARENT[path.settings.apparent] + exported))


def _channels() -> Mapping[ObisCode, Callable[[EnergyPath], int]]:
    found: dict[ObisCode, Callable[[EnergyPath], int]] = {
        IMPORT_ENERGY: lambda path: path.count(Register.ACTIVE_IMPORT),
        EXPORT_ENERGY: lambda path: path.count(Register.ACTIVE_EXPORT),
        _energy(3): lambda path: path.reactive_counts()[0],
        _energy(4): lambda path: path.reactive_counts()[1],
        _energy(5): lambda path: path.count(Register.REACTIVE_I),
        _energy(6): lambda path: path.count(Register.REACTIVE_II),
        _energy(7): lambda path: path.count(Register.REACTIVE_III),
        _energy(8): lambda path: path.count(Register.REACTIVE_IV),
        _energy(9): _apparent(0),
        _energy(10): _apparent(1),
        _energy(129): lambda path: path.count(Register.FUNDAMENTAL_IMPORT),
        _energy(130): lambda path: path.count(Register.FUNDAMENTAL_EXPORT),
        _energy(131): lambda path: path.count(Register.HARMONIC_IMPORT),
        _energy(132): lambda path: path.count(Register.HARMONIC_EXPORT),
    }
    for phase in range(3):
        found[_energy(21 + 20 * phase)] = _counted(Register.ACTIVE_IMPORT, phase)
        found[_energy(22 + 20 * phase)] = _counted(Register.ACTIVE_EXPORT, phase)
    return MappingProxyType(found)


REGISTERS_OF_PATH = _channels()
"""What can be a channel, by OBIS code, and how its mWh, mvarh or mVAh are read from a path.

Fundamental and harmonic energies have codes of the manufacturer's range (value group C of 129 to 132)."""

FOUR_QUADRANTS = tuple(_energy(c) for c in range(1, 11))
"""Channels of a four-quadrant meter: active, +R and -R, the quadrants, apparent."""


class WaveformMeteringCore:
    """A metering core over an energy path and a source of samples.

    Invariant: each dial with its residue is its start value plus what the path has registered since, to the
    mWh; the path has been fed every sample before `position_ms`, those while the load contact was open with
    currents of zero.

    Parameters
    ----------
    path:
        The energy path, at the sample of ``position_ms``.
    source:
        Gives the samples.
    position_ms:
        Instant of the path's next sample, milliseconds of UTC since 1970.
    digits:
        Digits of the dials.
    start_wh:
        Where the dials stand at first, one a channel.
    channels:
        Which registers the meter has; import of active energy first.

    Raises
    ------
    QuantityError
        A channel that no path has, or not as many start values as channels.
    """

    __slots__ = (
        "_channels", "_closed", "_first", "_last_counts", "_path", "_position_ms", "_powers", "_registers",
        "_source", "_start_ms",
    )  # fmt: skip

    def __init__(
        self,
        path: EnergyPath,
        source: SampleSource,
        position_ms: int,
        digits: int,
        start_wh: Sequence[int] = (0, 0),
        channels: Sequence[ObisCode] = (IMPORT_ENERGY, EXPORT_ENERGY),
    ) -> None:
        unknown = [code for code in channels if code not in REGISTERS_OF_PATH]
        if unknown or not channels or channels[0] != IMPORT_ENERGY:
            raise QuantityError(
                f"channels {', '.join(map(str, channels))}",
                expected=f"{IMPORT_ENERGY} first, then of {', '.join(map(str, REGISTERS_OF_PATH))}",
            )
        if len(start_wh) != len(channels):
            raise QuantityError(f"{len(start_wh)} start values", expected=f"{len(channels)}, one a channel")
        self._path = path
        self._source = source
        self._start_ms = self._position_ms = position_ms
        self._first = path.position
        self._channels = tuple(channels)
        self._registers = tuple(EnergyRegister(digits, start) for start in start_wh)
        self._last_counts = self._counts()
        self._powers: tuple[int, ...] = (0,) * len(self._channels)
        self._closed = True

    @property
    def channels(self) -> tuple[ObisCode, ...]:
        """The cumulative registers."""
        return self._channels

    @property
    def modulus_wh(self) -> int:
        """Roll-over value of the dials."""
        return self._registers[0].modulus_wh

    @property
    def position_ms(self) -> int:
        """The instant reached."""
        return self._position_ms

    @property
    def dials_wh(self) -> tuple[int, ...]:
        """What the dials show."""
        return tuple(register.dial_wh for register in self._registers)

    @property
    def residues_mwh(self) -> tuple[int, ...]:
        """What stands behind the dials."""
        return tuple(register.residue_mwh for register in self._registers)

    @property
    def power_w(self) -> tuple[int, ...]:
        """Mean power of the last window by channel: W, var, VA."""
        return self._powers

    @property
    def path(self) -> EnergyPath:
        """The energy path, to be read: windows, phases, doubtful energy."""
        return self._path

    def connect(self) -> None:
        """Close the load contact from `position_ms` on."""
        self._closed = True

    def disconnect(self) -> None:
        """Open the load contact from `position_ms` on: currents are zero."""
        self._closed = False

    def run_to(self, instants_ms: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Measure on; see `MeteringCore.run_to`.

        Raises
        ------
        QuantityError
            An instant lies before the one reached.
        MeteringError
            The source gave something else than the samples it was asked for.
        """
        dials = np.empty((len(self._registers), instants_ms.size), np.int64)
        for column, instant_ms in enumerate(instants_ms.tolist()):
            if instant_ms < self._position_ms:
                raise QuantityError("a metering core was asked to run back in time")
            self._measure_to(self._sample_of(instant_ms))
            self._position_ms = instant_ms
            dials[:, column] = self.dials_wh
        return dials

    # Power failure ---------------------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """Dials, residues, contact, instant and path; what the core writes when its supply fails."""
        head = struct.pack(
            "<qqq?I", self._start_ms, self._position_ms, self._first, self._closed, len(self._registers)
        )
        dials = [struct.pack("<qq", register.dial_wh, register.residue_mwh) for register in self._registers]
        counts = struct.pack(f"<{len(self._registers)}q", *self._last_counts)
        powers = struct.pack(f"<{len(self._registers)}q", *self._powers)
        content = b"".join([head, self._channel_digest(), *dials, counts, powers, self._path.snapshot()])
        return content + hashlib.sha256(content).digest()

    def restore(self, snapshot: bytes) -> None:
        """Take the state of a snapshot of a core of the same make.

        Raises
        ------
        MeteringError
            The snapshot is damaged, or of another path or other channels; nothing has changed.
        """
        content, digest = snapshot[:-32], snapshot[-32:]
        if hashlib.sha256(content).digest() != digest:
            raise MeteringError("a damaged snapshot", expected="its checksum to match")
        start_ms, position_ms, first, closed, number = struct.unpack_from("<qqq?I", content)
        head = struct.calcsize("<qqq?I") + _DIGEST
        if content[head - _DIGEST : head] != self._channel_digest():
            raise MeteringError(
                f"a snapshot of {number} other registers",
                expected=f"{', '.join(map(str, self._channels))}",
            )
        body = struct.unpack_from(f"<{4 * number}q", content, head)
        path = EnergyPath.restore(self._path.settings, content[head + 32 * number :])
        digits = len(str(self.modulus_wh)) - 1
        self._registers = tuple(EnergyRegister(digits, body[2 * k], body[2 * k + 1]) for k in range(number))
        self._last_counts = body[2 * number : 3 * number]
        self._powers = body[3 * number :]
        self._start_ms, self._position_ms, self._first, self._closed = start_ms, position_ms, first, closed
        self._path = path

    # -----------------------------------------------------------------------------------------------------

    def _channel_digest(self) -> bytes:
        """A snapshot goes only with the registers it was made of, in their order."""
        return hashlib.sha256(" ".join(map(str, self._channels)).encode()).digest()

    def _sample_of(self, instant_ms: int) -> int:
        """Samples that have been taken by an instant."""
        rate = Fraction(self._path.settings.rate_hz)
        return self._first + int((instant_ms - self._start_ms) * rate / 1000)

    def _measure_to(self, sample: int) -> None:
        path = self._path
        closed = 0
        while path.position < sample:
            first = path.position
            count = min(_BLOCK, sample - first)
            u, i = self._source.samples(first, count)
            if u.shape[-1] != count:
                raise MeteringError(
                    f"{u.shape[-1]} samples of a source", where=f"sample {first}", expected=f"{count}"
                )
            windows = path.feed(u, i if self._closed else np.zeros_like(i))
            if windows:
                closed += windows
                self._powers = tuple(_powers_of(path.windows, path.settings.unit_w, self._channels))
        if closed:
            counts = self._counts()
            for register, now, before in zip(self._registers, counts, self._last_counts, strict=True):
                register.add(np.array([now - before], np.int64))
            self._last_counts = counts

    def _counts(self) -> tuple[int, ...]:
        return tuple(REGISTERS_OF_PATH[code](self._path) for code in self._channels)


def _powers_of(windows: WindowColumns, unit_w: float, channels: Sequence[ObisCode]) -> list[int]:
    """Mean powers of the last window for the channels, in W, var and VA, rounded down."""
    last = windows.row(len(windows) - 1)
    drawn, fed = (float(count) * unit_w / float(windows.span[-1]) for count in windows.active_counts[-1])
    plus, minus = (float(count) * unit_w / float(windows.span[-1]) for count in windows.reactive_counts[-1])
    exporting = fed > drawn
    apparent = sum(last.s_va)
    found = {1: drawn, 2: fed, 3: plus, 4: minus}
    found |= {5: 0.0 if exporting else plus, 6: plus if exporting else 0.0}
    found |= {7: minus if exporting else 0.0, 8: 0.0 if exporting else minus}
    found |= {9: 0.0 if exporting else apparent, 10: apparent if exporting else 0.0}
    first = sum(last.p1_w)
    harmonic = sum(last.p_w) - first
    found |= {129: max(first, 0.0), 130: max(-first, 0.0), 131: max(harmonic, 0.0), 132: max(-harmonic, 0.0)}
    for phase, power in enumerate(last.p_w):
        found |= {21 + 20 * phase: max(power, 0.0), 22 + 20 * phase: max(-power, 0.0)}
    return [int(found.get(code.c, 0.0)) for code in channels]
