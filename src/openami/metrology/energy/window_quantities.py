"""What was measured in the windows of a path: columns for many, a record for one.

Powers and rms values are those of the real-valued window of whole cycles; energies are the integers that
went to the registers of the total. Rule never to be broken: flags travel with the values.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntFlag

import numpy as np
import numpy.typing as npt

from openami.metrology.energy import path_state as ps
from openami.metrology.energy.settings import EnergySettings

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]


class WindowFlag(IntFlag):
    """What is to be known of a window."""

    NONE = 0
    SATURATED = ps.FLAG_SATURATED
    """A channel stood at full scale: the window's energy is doubtful and kept apart."""
    GAP = ps.FLAG_GAP
    """Samples are missing: the part before them is doubtful and kept apart."""
    OUT_OF_RANGE = ps.FLAG_OUT_OF_RANGE
    """A sample that the converter cannot give: nothing of the window is counted."""
    ACQUIRING = ps.FLAG_ACQUIRING
    """The frequency is still being found; active energy is exact, phasors are less so."""
    NO_VOLTAGE = ps.FLAG_NO_VOLTAGE
    """No phase has a voltage to follow: a window of nominal frequency."""
    PHASE_JUMP = ps.FLAG_PHASE_JUMP
    """The phase did not go on with any frequency."""

    @property
    def doubtful(self) -> bool:
        """True when the window moved no billing register."""
        return bool(self & WindowFlag(ps.DOUBTFUL))


@dataclass(frozen=True, slots=True)
class WindowQuantities:
    """One window; tuples have one value a phase."""

    start_sample: int
    samples: int
    flags: WindowFlag
    f_hz: float
    u_v: tuple[float, ...]
    i_a: tuple[float, ...]
    p_w: tuple[float, ...]
    p1_w: tuple[float, ...]
    q1_var: tuple[float, ...]
    s_va: tuple[float, ...]
    vector_va: float
    effective_va: float


@dataclass(frozen=True, slots=True, eq=False)
class WindowColumns:
    """Windows, one a row; quantities of a phase have shape (windows, phases)."""

    start_sample: I64
    """First sample, absolute."""
    samples: I64
    begin: F64
    """Real-valued begin of the window, from its first sample (-1 .. 0)."""
    span: F64
    """Real-valued length in samples."""
    flags: I64
    """`WindowFlag`."""
    saturated: I64
    """Bit by channel, voltages first."""
    f_hz: F64
    u_v: F64
    i_a: F64
    p_w: F64
    p1_w: F64
    q1_var: F64
    s_va: F64
    vector_va: F64
    effective_va: F64
    active_counts: I64
    """Count products registered as import and export of the total, shape (windows, 2)."""
    reactive_counts: I64
    """Count products registered as +R and -R of the total, shape (windows, 2)."""

    def __len__(self) -> int:
        return int(self.samples.size)

    def row(self, index: int) -> WindowQuantities:
        """One window."""
        phased = (getattr(self, name)[index] for name in ("u_v", "i_a", "p_w", "p1_w", "q1_var", "s_va"))
        u_v, i_a, p_w, p1_w, q1_var, s_va = (tuple(float(value) for value in values) for values in phased)
        return WindowQuantities(
            int(self.start_sample[index]), int(self.samples[index]), WindowFlag(int(self.flags[index])),
            float(self.f_hz[index]), u_v, i_a, p_w, p1_w, q1_var, s_va,
            float(self.vector_va[index]), float(self.effective_va[index]),
        )  # fmt: skip


def columns_of_log(log_i: I64, log_r: F64, settings: EnergySettings) -> WindowColumns:
    """Columns of a path's log, int64 (windows, `LOG_INTEGERS`) and float64 (windows, `LOG_REALS`); copies."""
    phases = settings.phases
    by_phase = log_r[:, ps.LOG_PHASE : ps.LOG_PHASE + phases * ps.LOG_COLUMNS]
    by_phase = by_phase.reshape(-1, phases, ps.LOG_COLUMNS)
    unit = settings.unit_w
    u_scale, i_scale = np.array(settings.u_v_per_count), np.array(settings.i_a_per_count)
    return WindowColumns(
        start_sample=log_i[:, ps.LOG_START].copy(),
        samples=log_i[:, ps.LOG_SAMPLES].copy(),
        begin=log_r[:, ps.LOG_EDGE].copy(),
        span=log_r[:, ps.LOG_SPAN].copy(),
        flags=log_i[:, ps.LOG_FLAGS].copy(),
        saturated=log_i[:, ps.LOG_SATURATED].copy(),
        f_hz=log_r[:, ps.LOG_FREQUENCY] * settings.rate_hz,
        u_v=np.sqrt(np.maximum(by_phase[:, :, 0], 0.0)) * u_scale,
        i_a=np.sqrt(np.maximum(by_phase[:, :, 1], 0.0)) * i_scale,
        p_w=by_phase[:, :, 2] * unit,
        p1_w=by_phase[:, :, 3] * unit,
        q1_var=by_phase[:, :, 4] * unit,
        s_va=by_phase[:, :, 5] * unit,
        vector_va=log_r[:, ps.LOG_VECTOR] * unit,
        effective_va=log_r[:, ps.LOG_EFFECTIVE] * unit,
        active_counts=log_i[:, ps.LOG_ACTIVE : ps.LOG_ACTIVE + 2].copy(),
        reactive_counts=log_i[:, ps.LOG_REACTIVE : ps.LOG_REACTIVE + 2].copy(),
    )


def joined(parts: list[WindowColumns]) -> WindowColumns:
    """Columns of several calls, one after the other; there is at least one part."""
    return WindowColumns(
        *(np.concatenate([getattr(part, item.name) for part in parts]) for item in fields(WindowColumns))
    )
