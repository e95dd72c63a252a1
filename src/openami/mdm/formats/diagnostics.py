"""What a reader says of a file: the good readings, every fault with its line, and what was left out.

The rule never to be broken: a reader lists *all* the faults of a file, and nothing among the intervals and
register reads of an `ImportResult` comes from a part of the file that a fault of severity ERROR touches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from openami.quantities.civil_time import CivilDay
from openami.quantities.obis import ObisCode
from openami.quantities.status import VALID
from openami.quantities.units import Quantum
from openami.readings.evidence import Evidence
from openami.readings.interval_block import IntervalBlock
from openami.readings.register_read import RegisterRead

LISTED_PER_CODE = 1000
"""Faults of one code that are listed one by one; the rest is summed up in one more diagnostic."""


class Severity(Enum):
    """How bad a fault is."""

    ERROR = "error"
    WARNING = "warning"


class Policy(Enum):
    """What is done about deviations from a format that leave the readings unambiguous.

    ``STRICT`` calls them errors, ``TOLERANT`` warnings. What makes a reading ambiguous or wrong is an
    error under both; what real files of good providers do is a warning under both.
    """

    STRICT = "strict"
    TOLERANT = "tolerant"


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One fault of a file.

    Parameters
    ----------
    line:
        Line (row for Parquet), counted from 1; None when the fault is of the file as a whole.
    severity, code, message:
        How bad, a stable name for programs, and a sentence for people.
    expected:
        What would be right.
    count:
        How many places it stands for; ``line`` is then the first of them.
    """

    line: int | None
    severity: Severity
    code: str
    message: str
    expected: str | None = None
    count: int = 1

    def __str__(self) -> str:
        where = "file" if self.line is None else f"line {self.line}"
        wanted = f" (expected: {self.expected})" if self.expected else ""
        return f"{where}: {self.severity.value}: {self.message}{wanted} [{self.code}]"


@dataclass(frozen=True, slots=True)
class Refused:
    """A part of the file that was not imported: lines ``first`` to ``last``, and what stood there."""

    first: int
    last: int
    what: str


@dataclass(frozen=True, slots=True, eq=False)
class CostBlock:
    """What the intervals of a block cost, where the file says so (Green Button).

    Parameters
    ----------
    series_id, channel, day, interval_s:
        The block it belongs to.
    currency:
        ISO 4217 alphabetic code.
    counts:
        int64 costs in 1e-5 of the currency, shape ``(n,)``; 0 where ``given`` is False.
    given:
        bool, same shape: the file gave a cost for the interval.
    """

    series_id: str
    channel: ObisCode
    day: CivilDay
    interval_s: int
    currency: str
    counts: npt.NDArray[np.int64]
    given: npt.NDArray[np.bool_]

    @property
    def total(self) -> int:
        """Sum in 1e-5 of the currency."""
        return int(self.counts.sum())


@dataclass(frozen=True, slots=True)
class PeriodTotal:
    """Quantity of a period that no interval block can hold: a month, a billing period.

    Parameters
    ----------
    series_id, channel:
        Whose, and of what.
    start, seconds:
        UTC instant and length.
    quantum, value:
        Integer count of the quantum.
    cost, currency:
        In 1e-5 of the currency, where the file says so.
    origin:
        ``"reading"``, or ``"summary"`` for what the file itself summed up (not to be added to readings).
    """

    series_id: str
    channel: ObisCode
    start: datetime
    seconds: int
    quantum: Quantum
    value: int
    status: int = VALID
    cost: int | None = None
    currency: str | None = None
    evidence_id: str | None = None
    origin: str = "reading"


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What a file holds and what is wrong with it.

    Parameters
    ----------
    format:
        ``"nem12"``, ``"nem13"``, ``"espi"``, ``"csv"``, ``"parquet"``, or ``"unknown"``.
    source, sha256:
        Name and hash of the file as it was handed in.
    intervals, register_reads, evidence:
        The good part, ready for a `Batch`.
    diagnostics:
        All faults, in order of their lines.
    readings:
        Number of interval values (missing ones included) and register reads in the good part.
    usage_points:
        Usage point (NMI, ESPI UsagePoint) of each series, where the file says so.
    costs, period_totals:
        Costs of intervals; quantities of periods longer than a day.
    refused:
        Parts that were left out.
    """

    format: str
    source: str
    sha256: str
    intervals: tuple[IntervalBlock, ...] = ()
    register_reads: tuple[RegisterRead, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    readings: int = 0
    usage_points: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    costs: tuple[CostBlock, ...] = ()
    period_totals: tuple[PeriodTotal, ...] = ()
    refused: tuple[Refused, ...] = ()

    @property
    def ok(self) -> bool:
        """True when no fault is an error."""
        return not self.errors

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        """Faults of severity ERROR."""
        return tuple(item for item in self.diagnostics if item.severity is Severity.ERROR)

    @property
    def warnings(self) -> tuple[Diagnostic, ...]:
        """Faults of severity WARNING."""
        return tuple(item for item in self.diagnostics if item.severity is Severity.WARNING)

    @property
    def bad_lines(self) -> tuple[int, ...]:
        """Lines with an error, in order, each once."""
        return tuple(sorted({item.line for item in self.errors if item.line is not None}))


class DiagnosticLog:
    """Collects the faults of one file.

    Invariant: every report is kept, one by one up to `LISTED_PER_CODE` of a code, summed up beyond.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._listed: list[Diagnostic] = []
        self._counts: dict[tuple[str, Severity], int] = {}

    def error(self, line: int | None, code: str, message: str, expected: str | None = None) -> None:
        """A fault that makes readings wrong or ambiguous, whatever the policy."""
        self._add(Diagnostic(line, Severity.ERROR, code, message, expected))

    def deviation(self, line: int | None, code: str, message: str, expected: str | None = None) -> bool:
        """A fault that leaves the readings unambiguous: an error only under STRICT.

        Returns
        -------
        bool
            True when it is an error.
        """
        strict = self._policy is Policy.STRICT
        severity = Severity.ERROR if strict else Severity.WARNING
        self._add(Diagnostic(line, severity, code, message, expected))
        return strict

    def warning(
        self, line: int | None, code: str, message: str, expected: str | None = None, count: int = 1
    ) -> None:
        """Odd, not wrong."""
        self._add(Diagnostic(line, Severity.WARNING, code, message, expected, count))

    def _add(self, item: Diagnostic) -> None:
        key = (item.code, item.severity)
        seen = self._counts.get(key, 0)
        self._counts[key] = seen + 1
        if seen < LISTED_PER_CODE:
            self._listed.append(item)

    @property
    def has_errors(self) -> bool:
        """True when an error was reported."""
        return any(severity is Severity.ERROR for _, severity in self._counts)

    def listed(self) -> tuple[Diagnostic, ...]:
        """All faults by line; faults of the file as a whole come last."""
        beyond = {key: count - LISTED_PER_CODE for key, count in self._counts.items()}
        more = [
            Diagnostic(None, severity, code, f"{count} more of the kind {code}", count=count)
            for (code, severity), count in beyond.items()
            if count > 0
        ]
        return tuple(sorted(self._listed + more, key=lambda item: (item.line is None, item.line or 0)))
