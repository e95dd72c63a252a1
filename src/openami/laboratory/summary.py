"""What a run comes to, test by test: number of points, the worst of them, and the verdict.

Rule never to be broken: the worst point of a test is the one nearest to, or furthest beyond, its own limit,
not the one with the largest figure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from openami.laboratory.accuracy_limits import Basis
from openami.laboratory.checks import Kind
from openami.laboratory.verdict import Result, Verdict, overall


@dataclass(frozen=True, slots=True)
class TestSummary:
    """One test of a run.

    Parameters
    ----------
    test, kind:
        Which.
    points:
        Number of figures.
    worst:
        The one that decides.
    verdict:
        Of all of them together.
    bases:
        How the limits came here.
    """

    __test__ = False

    test: str
    kind: Kind
    points: int
    worst: Result
    verdict: Verdict
    bases: tuple[Basis, ...]


def summaries(results: Sequence[Result], kind: Kind) -> tuple[TestSummary, ...]:
    """The tests of one kind, in the order of the plan."""
    by_test: dict[str, list[Result]] = {}
    for result in results:
        if result.check.kind is kind:
            by_test.setdefault(result.check.test, []).append(result)
    return tuple(
        TestSummary(
            test,
            kind,
            len(found),
            max(found, key=_severity),
            _verdict_of(found),
            tuple(dict.fromkeys(result.check.source.basis for result in found)),
        )
        for test, found in by_test.items()
    )


def _severity(result: Result) -> tuple[int, float]:
    order = (Verdict.NO_LIMIT, Verdict.PASS, Verdict.UNDECIDED, Verdict.FAIL)
    share = result.share_of_limit
    if math.isnan(share):
        share = math.inf
    return order.index(result.verdict), share if share > 0 else abs(result.value)


def _verdict_of(results: Sequence[Result]) -> Verdict:
    if all(result.verdict is Verdict.NO_LIMIT for result in results):
        return Verdict.NO_LIMIT
    return overall(result.verdict for result in results)
