"""Who bypasses the meter: a customer part of whose load flows past it from some day on.

The loss of an area in interval t is its technical loss and what is taken unmetered,

    L(t) = a + b S(t) + q S(t)^2 + g E(t) + sum over k of c_k x_k(t) [day(t) >= d_k] + noise,

with S supplied, E the customers' export and x_k what customer k's meter counted. If the share f of k's load
flows past the meter, c_k = f / (1 - f): half is 1. Customers' loads go up and down independently within a
day, so the one whose ups and downs are found in the loss is the one, and the day from which they are found
is the first. Evidence is the final readings and the registry alone. The rule never to be broken: nobody is
named because the loss is high; only because the loss follows that meter and no other, beyond doubt and by a
share that matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from openami.analytics.area_energy import AreaEnergy, Mask

Reals = npt.NDArray[np.float64]

_MAD_TO_SIGMA = 1.4826
_SCANS = 8
_COLLINEAR = 1e-9


@dataclass(frozen=True, slots=True)
class TheftPolicy:
    """When a customer is named.

    Parameters
    ----------
    least_coefficient:
        The lower confidence bound of the coefficient must exceed this (0.15: 13 % of the load unmetered).
        Guards against what a simple model of technical losses leaves over, which follows big loads a little.
    false_alarm:
        Probability of naming anybody in an area without theft, were noise the only cause; divided by the
        number of customers and days that are tried (Bonferroni).
    least_days:
        Days that must lie in the period, and from the first day of the bypass on, to judge it.
    most_suspects:
        At most so many are looked for per area.
    """

    least_coefficient: float = 0.15
    false_alarm: float = 1e-3
    least_days: int = 3
    most_suspects: int = 5


@dataclass(frozen=True, slots=True)
class TheftSuspect:
    """A customer in whose rhythm the area loses energy.

    Parameters
    ----------
    usage_point_id, area_id, first_day:
        Who, where, and the first civil day on which it is seen.
    coefficient:
        Unmetered energy per metered energy (1 when half of the load flows past the meter).
    standard_error:
        Of the coefficient, robust against dependence within a day.
    significance:
        Coefficient divided by its standard error.
    loss_wh_explained:
        Unmetered energy in the period, Wh, estimated.
    area_loss_wh:
        The whole loss of the area from the first day on, Wh.
    residual_wh_without, residual_wh_with:
        Root mean square of what the model leaves of the loss of plainly measured intervals, without and
        with this customer.
    runner_up, runner_up_ratio:
        The customer who explains second most in this one's place, and how much of the explained sum of
        squares.
    told_apart:
        True when this customer stays beyond doubt with the runner-up beside him in the model. Two street
        lamps on one switch cannot be told apart by their readings.
    """

    usage_point_id: str
    area_id: str
    first_day: date
    coefficient: float
    standard_error: float
    significance: float
    loss_wh_explained: int
    area_loss_wh: int
    residual_wh_without: float
    residual_wh_with: float
    runner_up: str | None
    runner_up_ratio: float
    told_apart: bool

    @property
    def bypassed_share(self) -> float:
        """Share of the customer's load that flows past the meter, f = c / (1 + c)."""
        return self.coefficient / (1 + self.coefficient)


@dataclass(frozen=True, slots=True)
class TheftReport:
    """What was found in one area.

    Parameters
    ----------
    area_id:
        The area.
    suspects:
        Customers in whose rhythm, and nobody else's, the area loses energy; the most certain first.
    undecided:
        The same, but not told apart from ``runner_up``: energy is taken, by whom is open.
    """

    area_id: str
    suspects: tuple[TheftSuspect, ...] = ()
    undecided: tuple[TheftSuspect, ...] = ()


@dataclass(frozen=True, slots=True)
class _Candidate:
    customer: int
    first_day: int


def find_theft(area: AreaEnergy, policy: TheftPolicy | None = None) -> TheftReport:
    """Customers of one area who bypass their meters.

    Weighted least squares with greedy selection. For every customer and every possible first day the gain
    in explained squares is computed at once from sums per day; the best is added, the first days of those
    already chosen are looked for again, and it ends when the best is not beyond doubt. Intervals with a
    missing value are left out. Intervals with estimated values weigh little: the variance of the customer
    who was estimated is added to that of the noise. Only their sum over the day keeps its full weight, where
    the registers that bound the day confirm the energy of everyone estimated in it.

    Parameters
    ----------
    area:
        Columns of the area (n intervals, K customers).
    policy:
        When a customer is named.

    Returns
    -------
    TheftReport
        Empty where nobody is beyond doubt, or where fewer than ``least_days`` days can be judged.
    """
    policy = policy or TheftPolicy()
    usable = ~(area.supplied_missing | area.supplied_estimated | area.missing.any(axis=1))
    if np.unique(area.day_index[usable]).size < policy.least_days or not area.customers:
        return TheftReport(area.area_id)
    chosen: list[_Candidate] = []
    problem = _problem(area, usable, chosen)
    for _ in range(policy.most_suspects):
        scan = _scan(problem, chosen, policy)
        if scan is None or not _beyond_doubt(problem, [*chosen, scan], policy):
            break
        chosen = _settle(problem, [*chosen, scan], policy)
        # The noise is known better without the theft in it, and with it the weights.
        problem = _problem(area, usable, chosen)
        chosen = _settle(problem, chosen, policy)
    suspects = [_suspect(area, problem, chosen, one, policy) for one in chosen]
    suspects.sort(key=lambda suspect: suspect.significance, reverse=True)
    return TheftReport(
        area.area_id,
        suspects=tuple(suspect for suspect in suspects if suspect.told_apart),
        undecided=tuple(suspect for suspect in suspects if not suspect.told_apart),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Problem:
    """The usable intervals, each divided by the standard deviation of its noise.

    ``technical`` (n, 4), ``load`` (n, K) and ``loss`` (n,) are weighted; ``clean`` (n,) marks the rows of
    plainly measured intervals, ``sigma`` is the standard deviation of their noise in counts.
    """

    day: npt.NDArray[np.int64]
    days: int
    technical: Reals
    load: Reals
    loss: Reals
    clean: Mask
    sigma: float


def _problem(area: AreaEnergy, usable: Mask, chosen: Sequence[_Candidate]) -> _Problem:
    supplied = area.supplied[usable].astype(np.float64)
    exported = area.exported[usable].sum(axis=1).astype(np.float64)
    load = area.imported[usable].astype(np.float64)
    loss = area.loss[usable].astype(np.float64)
    estimated = area.estimated[usable]
    scale = max(float(np.abs(supplied).max()), 1.0)
    columns = [np.ones_like(supplied), supplied / scale, (supplied / scale) ** 2]
    if exported.any():
        columns.append(exported / scale)
    technical = np.stack(columns, axis=1)
    # Rounding of every register to its count is a noise of 1/6 count^2 per meter and interval.
    floor = (load.shape[1] + 1) / 6
    net = load - area.exported[usable]
    spread = net.var(axis=0, where=~estimated) if not estimated.all(axis=0).any() else net.var(axis=0)
    doubt = estimated @ spread
    clean = doubt == 0
    sample = (
        clean if np.count_nonzero(clean) > 10 * (technical.shape[1] + len(chosen)) else np.ones_like(clean)
    )
    day = area.day_index[usable]
    plain = _Problem(day, len(area.days), technical, load, loss, clean, 1.0)
    rest = _residual(_design(plain, chosen)[sample], loss[sample])
    noise = max(_MAD_TO_SIGMA * float(np.median(np.abs(rest - np.median(rest)))), floor**0.5)
    rows = np.column_stack([technical, load, loss])
    weighted = rows / np.sqrt(noise**2 + doubt)[:, None]
    sums, sum_days = [], []
    for index in np.unique(day[~clean]):
        span = (day == index) & ~clean
        if area.closed[index, estimated[span].any(axis=0)].all():
            # The errors of the estimates cancel in the sum: split it off at full weight.
            sums.append(rows[span].sum(axis=0) / (np.count_nonzero(span) ** 0.5 * noise))
            sum_days.append(index)
            spread_of_span = noise**2 + doubt[span].mean()
            weighted[span] = (rows[span] - rows[span].mean(axis=0)) / spread_of_span**0.5
    if sums:
        weighted = np.vstack([weighted, np.stack(sums)])
    width = technical.shape[1]
    return _Problem(
        day=np.concatenate([day, np.array(sum_days, np.int64)]),
        days=len(area.days),
        technical=weighted[:, :width],
        load=weighted[:, width:-1],
        loss=weighted[:, -1],
        clean=np.concatenate([clean, np.zeros(len(sums), np.bool_)]),
        sigma=noise,
    )


def _design(problem: _Problem, chosen: Sequence[_Candidate]) -> Reals:
    """Technical columns and one column per chosen customer."""
    columns = [np.where(problem.day >= one.first_day, problem.load[:, one.customer], 0.0) for one in chosen]
    return np.column_stack([problem.technical, *columns])


def _residual(design: Reals, target: Reals) -> Reals:
    basis, _ = np.linalg.qr(design)
    rest: Reals = target - basis @ (basis.T @ target)
    return rest


def _gains(problem: _Problem, chosen: Sequence[_Candidate], policy: TheftPolicy) -> tuple[Reals, Reals]:
    """Gain in explained squares and coefficient for each first day and customer, both (days, K).

    With Q an orthonormal basis of the columns already in the model, r the residual and x a customer's load
    from the first day on: c = x'r / (x'x - |Q'x|^2), gain = c x'r. All sums over "from the day on" are
    reversed cumulative sums of sums per day. Where c is below the least that matters the gain is zero.
    """
    basis, _ = np.linalg.qr(_design(problem, chosen))
    rest = problem.loss - basis @ (basis.T @ problem.loss)
    load = problem.load
    shape = (problem.days, load.shape[1])
    squares, products = np.zeros(shape), np.zeros(shape)
    inner = np.zeros((problem.days, basis.shape[1], load.shape[1]))
    for day in np.unique(problem.day):
        span = problem.day == day
        squares[day] = (load[span] ** 2).sum(axis=0)
        products[day] = rest[span] @ load[span]
        inner[day] = basis[span].T @ load[span]
    squares, products, inner = (np.cumsum(part[::-1], axis=0)[::-1] for part in (squares, products, inner))
    free = squares - (inner**2).sum(axis=1)
    judged = free > 1e-6 * np.maximum(squares, 1e-12)
    coefficient = np.where(judged, products / np.where(judged, free, 1.0), 0.0)
    seen_days = np.array([np.unique(problem.day[problem.day >= day]).size for day in range(problem.days)])
    coefficient[seen_days < policy.least_days] = 0.0
    # A day without a usable interval explains nothing; the first day is one on which it is seen.
    coefficient[np.bincount(problem.day, minlength=problem.days) == 0] = 0.0
    for one in chosen:
        coefficient[:, one.customer] = 0.0
    gain = np.where(coefficient >= policy.least_coefficient, coefficient * products, 0.0)
    return gain, coefficient


def _scan(problem: _Problem, chosen: Sequence[_Candidate], policy: TheftPolicy) -> _Candidate | None:
    """The customer and first day that explain most of what is left; None where none explains anything."""
    gain, _ = _gains(problem, chosen, policy)
    first_day, customer = np.unravel_index(int(gain.argmax()), gain.shape)
    if gain[first_day, customer] <= 0:
        return None
    return _Candidate(int(customer), int(first_day))


def _settle(problem: _Problem, chosen: Sequence[_Candidate], policy: TheftPolicy) -> list[_Candidate]:
    """The first day of each looked for again, given the others, until nothing moves."""
    current = list(chosen)
    for _ in range(_SCANS):
        before = list(current)
        for index, one in enumerate(current):
            others = current[:index] + current[index + 1 :]
            gain, _ = _gains(problem, others, policy)
            column = gain[:, one.customer]
            if column.max() > 0:
                current[index] = _Candidate(one.customer, int(column.argmax()))
        if current == before:
            break
    return current


def _estimate(problem: _Problem, chosen: Sequence[_Candidate], one: _Candidate) -> tuple[float, float]:
    """Coefficient of one chosen customer and its standard error.

    The error is the larger of the classical one and the one clustered by day (Liang and Zeger 1986), which
    allows any dependence within a day.
    """
    others = [other for other in chosen if other != one]
    basis, _ = np.linalg.qr(_design(problem, others))
    load = np.where(problem.day >= one.first_day, problem.load[:, one.customer], 0.0)
    free = load - basis @ (basis.T @ load)
    power = float(free @ free)
    if power <= _COLLINEAR * float(load @ load):
        return 0.0, float("inf")
    coefficient = float(free @ problem.loss) / power
    rest = problem.loss - basis @ (basis.T @ problem.loss) - coefficient * free
    scores = np.bincount(problem.day, free * rest, problem.days)
    seen = np.unique(problem.day[problem.day >= one.first_day]).size
    clustered = float(scores @ scores) * seen / max(seen - 1, 1) / power**2
    classical = float(rest @ rest) / max(rest.size - basis.shape[1] - 1, 1) / power
    return coefficient, max(clustered, classical) ** 0.5


def _beyond_doubt(problem: _Problem, chosen: Sequence[_Candidate], policy: TheftPolicy) -> bool:
    """True when the lower bound of the newest one's coefficient exceeds the least that matters."""
    newest = chosen[-1]
    coefficient, error = _estimate(problem, chosen, newest)
    tried = problem.days * problem.load.shape[1]
    seen = np.unique(problem.day[problem.day >= newest.first_day]).size
    bound = student_quantile(policy.false_alarm / tried, max(seen - 1, 1))
    return coefficient - bound * error > policy.least_coefficient


def student_quantile(tail: float, freedom: int) -> float:
    """Value that a Student t variable exceeds with the probability ``tail``.

    Cornish-Fisher expansion of the normal quantile to the third order in 1/freedom (Abramowitz and Stegun
    26.7.5); too small for few degrees of freedom and far tails, where it is a bound all the same.
    """
    z = NormalDist().inv_cdf(1 - tail)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


def _suspect(
    area: AreaEnergy, problem: _Problem, chosen: Sequence[_Candidate], one: _Candidate, policy: TheftPolicy
) -> TheftSuspect:
    others = [other for other in chosen if other != one]
    coefficient, error = _estimate(problem, chosen, one)
    gain, _ = _gains(problem, others, policy)
    own = float(gain[:, one.customer].max())
    gain[:, one.customer] = 0.0
    day, second = (int(index) for index in np.unravel_index(int(gain.argmax()), gain.shape))
    explained = float(gain[day, second])
    rivals = [*others, _Candidate(second, day)] if explained > 0 else others
    since = area.day_index >= one.first_day
    to_wh = 10.0**area.quantum.exponent
    metered = int(area.imported[since, one.customer].sum())
    return TheftSuspect(
        usage_point_id=area.customers[one.customer],
        area_id=area.area_id,
        first_day=area.days[one.first_day].day,
        coefficient=coefficient,
        standard_error=error,
        significance=coefficient / error if error else float("inf"),
        loss_wh_explained=round(coefficient * metered * to_wh),
        area_loss_wh=round(int(area.loss[since].sum()) * to_wh),
        residual_wh_without=_left_over(problem, others) * to_wh,
        residual_wh_with=_left_over(problem, chosen) * to_wh,
        runner_up=area.customers[second] if explained > 0 else None,
        runner_up_ratio=explained / own if own > 0 else 0.0,
        told_apart=_beyond_doubt(problem, [*rivals, one], policy),
    )


def _left_over(problem: _Problem, chosen: Sequence[_Candidate]) -> float:
    """Root mean square of the residual of plainly measured intervals, in counts."""
    rest = _residual(_design(problem, chosen), problem.loss)[problem.clean]
    return problem.sigma * float(np.sqrt(np.mean(rest**2))) if rest.size else 0.0
