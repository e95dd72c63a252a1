"""Windows counted one piece after the other, and what they come to together.

The rule never to be broken: a saturated window counts only where there is no other, so that harmonic sums are
kept twice, of good windows and of all; which of them holds is known at the end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from openami.metrology.powers.fitted_windows import HIGHEST_ORDER
from openami.metrology.powers.mean_quantities import mean_of_windows, stacked
from openami.metrology.powers.measured_values import (
    Energies,
    HarmonicTable,
    MeasuredWindows,
    Measurement,
    WindowMark,
    Wiring,
)
from openami.metrology.windows.spectrum import harmonics, subgroups, total_distortion
from openami.metrology.windows.window_analysis import WindowColumns
from openami.metrology.windows.window_edges import NOMINAL_CYCLES

F64 = npt.NDArray[np.float64]
C128 = npt.NDArray[np.complex128]


@dataclass(frozen=True, slots=True)
class Counted:
    """Windows of one piece: their quantities, and their spectra with angles against U1 of L1."""

    windows: MeasuredWindows
    columns: WindowColumns


@dataclass(slots=True)
class _HarmonicSums:
    """Weighted sums over windows, (channels, 51): squares, phasors, squares of subgroups."""

    weight: float
    squares: F64
    phasors: C128
    subgroups: F64

    def add(self, other: _HarmonicSums) -> None:
        self.weight += other.weight
        self.squares += other.squares
        self.phasors += other.phasors
        self.subgroups += other.subgroups

    def table(self, cycles: int) -> HarmonicTable:
        groups = np.sqrt(self.subgroups / self.weight)
        distortion = (
            total_distortion(groups)
            if cycles in NOMINAL_CYCLES.values()
            else np.full(groups.shape[0], np.nan)
        )
        return HarmonicTable(
            np.sqrt(self.squares / self.weight), np.degrees(np.angle(self.phasors)), distortion
        )


class Tally:
    """Windows counted so far.

    Invariant: ``_sums`` holds, for voltages and currents, the harmonic sums of unmarked windows and of all.
    """

    def __init__(self) -> None:
        self.count = 0
        self._windows: list[MeasuredWindows] = []
        self._cycles = 0
        self._sums: dict[tuple[str, bool], _HarmonicSums] = {}

    def add(self, counted: Counted) -> None:
        """Count windows."""
        windows, columns = counted.windows, counted.columns
        self.count += windows.f_hz.size
        self._windows.append(windows)
        self._cycles = columns.cycles
        good = (windows.marks & int(WindowMark.SATURATED)) == 0
        for only_good in (False, True):
            weights = windows.duration_s * (good if only_good else 1.0)
            if not weights.any():
                continue
            for name, bins in (("u", columns.u_bins), ("i", columns.i_bins)):
                sums = _harmonic_sums(bins, columns, weights)
                if (name, only_good) in self._sums:
                    self._sums[name, only_good].add(sums)
                else:
                    self._sums[name, only_good] = sums

    def measurement(
        self,
        *,
        wiring: Wiring,
        nominal_hz: float,
        rate_hz: float,
        energy_ws: F64,
        present: int,
        samples: int,
        saturated: int,
        gaps: tuple[str, ...],
    ) -> Measurement:
        """The whole of the windows counted, beside what the caller kept of the samples."""
        windows = _joined(self._windows)
        marked = (windows.marks & int(WindowMark.SATURATED)) != 0
        only_good = not marked.all()
        weights = np.where(marked, 0.0, windows.duration_s) if only_good else windows.duration_s
        three = None if windows.three is None else mean_of_windows(windows.three, weights)
        phases = mean_of_windows(windows.phases, weights) if three is None else three.phases
        return Measurement(
            wiring=wiring,
            nominal_hz=nominal_hz,
            cycles=self._cycles,
            phases=phases,
            three=three,
            f_hz=float((windows.f_hz * weights).sum() / weights.sum()),
            u_harmonics=self._sums["u", only_good].table(self._cycles),
            i_harmonics=self._sums["i", only_good].table(self._cycles),
            energies=_energies(windows, energy_ws, present / rate_hz),
            windows=windows,
            left_out=int(marked.sum()) if only_good else 0,
            samples=samples,
            missing=samples - present,
            saturated=saturated,
            gaps=gaps,
        )


def _joined(parts: list[MeasuredWindows]) -> MeasuredWindows:
    threes = [part.three for part in parts if part.three is not None]
    three = stacked(threes) if threes else None
    return MeasuredWindows(
        start_s=np.concatenate([part.start_s for part in parts]),
        duration_s=np.concatenate([part.duration_s for part in parts]),
        f_hz=np.concatenate([part.f_hz for part in parts]),
        marks=np.concatenate([part.marks for part in parts]),
        phases=stacked([part.phases for part in parts]) if three is None else three.phases,
        three=three,
    )


def _energies(windows: MeasuredWindows, energy_ws: F64, present_s: float) -> Energies:
    each_ws = windows.phases.p_w.sum(axis=-1) * windows.duration_s
    # What lies outside the windows goes the way its own sum tells.
    outside_ws = float(energy_ws.sum() - each_ws.sum())
    parts = np.append(each_ws, outside_ws)
    return Energies(
        active_ws=energy_ws,
        imported_ws=float(parts[parts >= 0].sum()),
        exported_ws=float(-parts[parts < 0].sum()),
        q1_vars=(windows.phases.q1_var * windows.duration_s[:, None]).sum(axis=0),
        measured_s=float(windows.duration_s.sum()),
        present_s=present_s,
    )


def _harmonic_sums(
    bins: npt.NDArray[np.complexfloating], columns: WindowColumns, weights: F64
) -> _HarmonicSums:
    phasors = harmonics(bins, columns.cycles, columns.valid_bins, highest=HIGHEST_ORDER)
    groups = subgroups(bins, columns.cycles, columns.valid_bins, highest=HIGHEST_ORDER)
    kept = weights > 0
    return _HarmonicSums(
        float(weights.sum()),
        np.tensordot(weights[kept], np.abs(phasors[kept]) ** 2, axes=1),
        np.tensordot(weights[kept], phasors[kept], axes=1),
        np.tensordot(weights[kept], groups[kept] ** 2, axes=1),
    )
