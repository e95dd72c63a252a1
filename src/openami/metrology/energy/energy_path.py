"""The energy path: samples of a converter in, billing registers out (IR 46 / WELMEC 7.2: legally relevant).

The stream is cut into windows of about ten cycles of the measured frequency, rounded to samples. In a window
everything is summed in exact integers; when it is complete its energy gets a direction and goes to the
registers, which are integers too. Because sums of windows telescope, import minus export is Σu·i of the whole
stream, whatever the frequency does. Rules never to be broken: any cut of the stream gives bit-identical
registers; a snapshot at any sample and a path restored from it lose nothing; bad input moves no billing
register.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

from openami.metrology.energy import path_state as ps
from openami.metrology.energy.edge_terms import EDGE_COEFFICIENTS
from openami.metrology.energy.exact_sums import COLUMNS, UI
from openami.metrology.energy.path_kernel import begin_anew, cut_window, feed_block, reference_table
from openami.metrology.energy.path_state import AFTER, TAPS
from openami.metrology.energy.registers import PLACES, REGISTERS, TOTAL, Register
from openami.metrology.energy.registration import unit_of
from openami.metrology.energy.settings import HIGHEST_HZ, LOWEST_HZ, EnergySettings
from openami.metrology.energy.window_quantities import WindowColumns, WindowQuantities, columns_of_log
from openami.quantities.errors import MeteringError

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]

_MAGIC = b"openami energy path 1\n"
_LOG_ROWS = 64


class EnergyPath:
    """The registers of one meter, fed with the samples of its converter.

    Invariant: the state is a function of the samples fed and the gaps told, not of how they were cut into
    calls. For every phase, with no doubtful window and the plain sum as integrator,
    ``active import - active export + withheld + running_products == Σ u·i`` of all samples but the last
    four, which wait in the seam until the edge of a window could be corrected with them.

    Parameters
    ----------
    settings:
        Scales, modes, thresholds.

    Example
    -------
    >>> settings = EnergySettings(1, 6400.0, (5.5e-5,), (1.2e-5,))
    >>> path = EnergyPath(settings)
    >>> path.feed(np.zeros((1, 2560), np.int32), np.zeros((1, 2560), np.int32))
    1
    """

    __slots__ = (
        "_constants_f",
        "_constants_i",
        "_ints",
        "_log_i",
        "_log_r",
        "_newest",
        "_reals",
        "_rows",
        "_seam",
        "_table",
        "settings",
    )  # fmt: skip

    def __init__(self, settings: EnergySettings) -> None:
        self.settings = settings
        self._constants_i = settings.integers()
        self._constants_f = settings.reals()
        self._ints = np.zeros(ps.INTEGERS_AND_ROOM, np.int64)
        self._reals = np.zeros(ps.REALS_AND_ROOM)
        # A falling frequency is carried on a little below the lowest that is accepted.
        longest = int(1.05 * settings.window_cycles * settings.rate_hz / LOWEST_HZ) + 2
        self._seam = np.zeros((2, settings.phases, 2 * TAPS), np.int32)
        self._table = reference_table(longest)
        self._log_i = np.zeros((_LOG_ROWS, ps.LOG_INTEGERS), np.int64)
        self._log_r = np.zeros((_LOG_ROWS, ps.LOG_REALS))
        self._rows = 0
        self._newest = -1
        self._reals[ps.TUNED] = self._constants_f[ps.NOMINAL]
        begin_anew(self._ints, self._reals, self._constants_i)

    # Samples ---------------------------------------------------------------------------------------------

    def feed(self, u: I32, i: I32) -> int:
        """Take the next samples of the stream.

        Parameters
        ----------
        u, i:
            Codes of the converter, int32 (phases, n), C-contiguous or not.

        Returns
        -------
        Number of windows that were completed; `windows` has them.

        Raises
        ------
        MeteringError
            Not int32, or not as many channels as the meter has; nothing was taken.
        """
        voltages, currents = self._samples(u, "u"), self._samples(i, "i")
        if voltages.shape != currents.shape:
            raise MeteringError(
                f"u has the shape {voltages.shape} and i {currents.shape}",
                expected="the same samples of both",
            )
        self._rows = 0
        if voltages.shape[1] == 0:
            return 0
        self._make_room(voltages.shape[1])
        self._rows = feed_block(
            voltages, currents, self._seam, self._ints, self._reals, self._constants_i, self._constants_f,
            EDGE_COEFFICIENTS, self._table, self._log_i, self._log_r,
        )  # fmt: skip
        self._newest = self._rows - 1 if self._rows else self._newest
        return self._rows

    def gap(self, missing_samples: int) -> int:
        """Say that samples are missing after those fed so far.

        What the running window has is doubtful energy: it is kept apart, because the window never became
        one of whole cycles. The next sample begins a new window. The time of the missing samples is in
        `doubtful_samples`.

        Parameters
        ----------
        missing_samples:
            How many, 1 or more.

        Returns
        -------
        Number of windows that were ended: 1, or 0 when the gap follows a window's end.

        Raises
        ------
        MeteringError
            Not a positive number.
        """
        if missing_samples < 1:
            raise MeteringError(f"a gap of {missing_samples} samples", expected="1 or more")
        self._make_room(1)
        self._rows = cut_window(
            missing_samples, self._seam, self._ints, self._reals, self._constants_i, self._constants_f,
            self._table, self._log_i[0], self._log_r[0],
        )  # fmt: skip
        self._newest = 0 if self._rows else self._newest
        return self._rows

    @property
    def position(self) -> int:
        """Absolute index of the next sample, gaps included."""
        return int(self._ints[ps.WINDOW_START] + self._ints[ps.DONE]) + min(int(self._ints[ps.HELD]), AFTER)

    @property
    def open_samples(self) -> int:
        """Samples fed that are in no closed window yet: those of the running one."""
        return self.position - int(self._ints[ps.WINDOW_START])

    # Registers -------------------------------------------------------------------------------------------

    def count(self, register: Register, place: int = TOTAL) -> int:
        """What a register shows: mWh, mvarh, mVAh, or 0.001 V²h and A²h.

        Parameters
        ----------
        register:
            Which.
        place:
            0, 1, 2: a phase; `TOTAL`.
        """
        return int(self._ints[ps.REGISTER_COUNTS + place * REGISTERS + register])

    def residue(self, register: Register, place: int = TOTAL) -> int:
        """Count products behind what a register shows, less than `unit`."""
        return int(self._ints[ps.REGISTER_RESIDUES + place * REGISTERS + register])

    def unit(self, register: Register, place: int = TOTAL) -> int:
        """Count products of one step of a register."""
        return int(unit_of(place, int(register), self._constants_i))

    def count_products(self, register: Register, place: int = TOTAL) -> int:
        """All that ever went to a register, in count products: exact, of any size."""
        return self.count(register, place) * self.unit(register, place) + self.residue(register, place)

    @property
    def counts(self) -> I64:
        """Every register, int64 (places, registers); a copy."""
        return self._ints[ps.REGISTER_COUNTS : ps.REGISTER_RESIDUES].reshape(PLACES, REGISTERS).copy()

    @property
    def residues(self) -> I64:
        """Every residue, int64 (places, registers); a copy."""
        return self._ints[ps.REGISTER_RESIDUES : ps.INTEGERS].reshape(PLACES, REGISTERS).copy()

    def reactive_counts(self, place: int = TOTAL) -> tuple[int, int]:
        """+R (quadrants I and II) and -R (III and IV) in mvarh, floors of the exact sums."""
        unit = self.unit(Register.REACTIVE_I, place)
        plus = self.count_products(Register.REACTIVE_I, place)
        plus += self.count_products(Register.REACTIVE_II, place)
        minus = self.count_products(Register.REACTIVE_III, place)
        minus += self.count_products(Register.REACTIVE_IV, place)
        return plus // unit, minus // unit

    @property
    def running_products(self) -> tuple[int, ...]:
        """Σu·i of the running window by phase, without the four samples in the seam, in count products."""
        shift = self.settings.shift
        return tuple(
            int(self._ints[ps.SUMS + phase * COLUMNS + UI]) << shift for phase in range(self.settings.phases)
        )

    @property
    def doubtful_samples(self) -> int:
        """Samples of flagged windows, and samples that were missing."""
        return int(self._ints[ps.DOUBTFUL_SAMPLES])

    # Windows ---------------------------------------------------------------------------------------------

    @property
    def windows(self) -> WindowColumns:
        """The windows that the last call completed."""
        return columns_of_log(self._log_i[: self._rows], self._log_r[: self._rows], self.settings)

    @property
    def last_window(self) -> WindowQuantities | None:
        """The newest window that any call completed; None before the first. Not part of a snapshot."""
        if self._newest < 0:
            return None
        newest = slice(self._newest, self._newest + 1)
        return columns_of_log(self._log_i[newest], self._log_r[newest], self.settings).row(0)

    @property
    def locked(self) -> bool:
        """True when windows follow a measured frequency."""
        return bool(self._ints[ps.LOCK] == ps.LOCKED)

    @property
    def f_hz(self) -> float:
        """Frequency of the running window."""
        return float(self._reals[ps.TUNED]) * self.settings.rate_hz

    @property
    def window_begin(self) -> float:
        """Real-valued position at which the running window began: all before it is in the registers."""
        return float(self._ints[ps.WINDOW_START]) + float(self._reals[ps.EDGE])

    # Power failure ---------------------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """The whole state, with a checksum; what a meter writes when its supply fails."""
        body = self._ints[: ps.INTEGERS].tobytes() + self._reals[: ps.REALS].tobytes()
        content = _MAGIC + self.settings.digest + body
        return content + hashlib.sha256(content).digest()

    @classmethod
    def restore(cls, settings: EnergySettings, snapshot: bytes) -> EnergyPath:
        """The path that goes on where `snapshot` was taken.

        Raises
        ------
        MeteringError
            The snapshot is damaged, or was made with other settings.
        """
        path = cls(settings)
        integers, reals = ps.INTEGERS * 8, ps.REALS * 8
        head = len(_MAGIC) + 32
        content = snapshot[:-32]
        if len(snapshot) != head + integers + reals + 32 or content[: len(_MAGIC)] != _MAGIC:
            raise MeteringError(
                f"a snapshot of {len(snapshot)} octets", expected=f"{head + integers + reals + 32}"
            )
        if hashlib.sha256(content).digest() != snapshot[-32:]:
            raise MeteringError("a damaged snapshot", expected="its checksum to match")
        if content[len(_MAGIC) : head] != settings.digest:
            raise MeteringError("a snapshot of other settings", expected="the settings it was made with")
        path._ints[: ps.INTEGERS] = np.frombuffer(content, np.int64, ps.INTEGERS, head)
        path._reals[: ps.REALS] = np.frombuffer(content, np.float64, ps.REALS, head + integers)
        return path

    # -----------------------------------------------------------------------------------------------------

    def _samples(self, samples: Any, name: str) -> I32:
        if not isinstance(samples, np.ndarray) or samples.dtype != np.int32:
            kind = getattr(samples, "dtype", type(samples).__name__)
            raise MeteringError(f"{name} is {kind}", expected="int32 codes of the converter")
        if samples.ndim != 2 or samples.shape[0] != self.settings.phases:
            raise MeteringError(
                f"{name} has the shape {samples.shape}",
                expected=f"({self.settings.phases}, samples): one row a phase",
            )
        return np.ascontiguousarray(samples)

    def _make_room(self, samples: int) -> None:
        """Room in the log for the most windows that so many samples can complete."""
        rows = int(samples * HIGHEST_HZ / self.settings.rate_hz) + 3
        if rows > self._log_i.shape[0]:
            log_i = np.zeros((rows, ps.LOG_INTEGERS), np.int64)
            log_r = np.zeros((rows, ps.LOG_REALS))
            log_i[: self._log_i.shape[0]] = self._log_i
            log_r[: self._log_r.shape[0]] = self._log_r
            self._log_i, self._log_r = log_i, log_r
