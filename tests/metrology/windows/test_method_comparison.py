"""What other ways to measure a window cost, beside ours: the table of the docs page, and its order.

``python tests/metrology/windows/test_method_comparison.py`` (with ``tests`` on the path) prints the table.
"""

import sys
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from openami.metrology.windows.window_analysis import Detail, Precision, WindowStream
from windows_world import (
    CURRENT,
    I_A_PER_COUNT,
    U_V_PER_COUNT,
    VOLTAGE,
    active_power,
    counts,
    tones,
    true_rms,
)

F64 = npt.NDArray[np.float64]
Errors = dict[str, float]

RATE_HZ, F_HZ = 6400.0, 49.3
LENGTH = 10 * RATE_HZ / F_HZ
START = 700.0
TRUTH = {
    "U": true_rms(VOLTAGE),
    "P": active_power(VOLTAGE, CURRENT),
    "Q1": 230.0 * 10.0 * np.sin(np.pi / 3),
    "I5": 4.0,
    "I13": 0.5,
}


def lagrange(taps: int, place: F64, x: F64) -> F64:
    whole = np.floor(place).astype(int)
    nodes = np.arange(-(taps // 2 - 1), taps // 2 + 1)
    part = place - whole
    result = np.zeros_like(place)
    for node in nodes:
        weight = np.ones_like(place)
        for other in nodes[nodes != node]:
            weight *= (part - other) / (node - other)
        result += weight * x[whole + node]
    return result


def from_points(u: F64, i: F64) -> Errors:
    """All quantities from the points of exactly ten cycles."""
    u_bins, i_bins = (np.fft.rfft(x) * np.sqrt(2) / x.size for x in (u, i))
    return {
        "U": np.sqrt(np.mean(u * u)),
        "P": np.mean(u * i),
        "Q1": (u_bins[10] * np.conj(i_bins[10])).imag,
        "I5": np.abs(i_bins[50]),
        "I13": np.abs(i_bins[130]),
    }


def resampled(interpolate: Callable[[F64, F64], F64]) -> Callable[[F64, F64], Errors]:
    place = START + LENGTH / 1024 * np.arange(1024)
    return lambda u, i: from_points(interpolate(place, u), interpolate(place, i))


def fixed_200_ms(u: F64, i: F64) -> Errors:
    part = slice(int(START), int(START + 0.2 * RATE_HZ))
    return from_points(u[part], i[part])


def rounded_to_samples(u: F64, i: F64) -> Errors:
    part = slice(int(START), int(START + round(LENGTH)))
    return from_points(u[part], i[part])


def trapezoid_with_linear_edge(u: F64, i: F64) -> Errors:
    def mean(x: F64) -> float:
        first, end = int(START), START + LENGTH
        whole, part = int(end), end - int(end)
        inner = x[first : whole + 1].sum() - 0.5 * (x[first] + x[whole])
        edge = part * (x[whole] + 0.5 * part * (x[whole + 1] - x[whole]))
        return float((inner + edge) / LENGTH)

    return {"U": float(np.sqrt(mean(u * u))), "P": mean(u * i)}


def ours(**options: object) -> Callable[[F64, F64], Errors]:
    def measure(u: F64, i: F64) -> Errors:
        stream = WindowStream(RATE_HZ, 50.0, 1, **options)  # type: ignore[arg-type]
        windows = stream.feed(u[None], i[None])
        spacing = windows.bins_per_harmonic
        i_bins = windows.i_bins[0, 0].astype(complex)
        return {
            "U": float(windows.u_v[0, 0]),
            "P": float(windows.p_w[0, 0]),
            "Q1": float((complex(windows.u_bins[0, 0, spacing]) * np.conj(i_bins[spacing])).imag),
            "I5": float(np.abs(i_bins[5 * spacing])),
            "I13": float(np.abs(i_bins[13 * spacing])),
        }

    return measure


METHODS: dict[str, Callable[[F64, F64], Errors]] = {
    "fixed 200 ms": fixed_200_ms,
    "ten cycles rounded to samples": rounded_to_samples,
    "real-valued edges, linear correction": trapezoid_with_linear_edge,
    "linear resampling, transform": resampled(lambda place, x: np.interp(place, np.arange(x.size), x)),
    "Lagrange, 4 points, transform": resampled(lambda place, x: lagrange(4, place, x)),
    "Lagrange, 8 points, transform": resampled(lambda place, x: lagrange(8, place, x)),
    "openami, harmonics by folding": ours(detail=Detail.HARMONICS),
    "openami, single precision": ours(),
    "openami, double precision": ours(precision=Precision.DOUBLE),
}


def compare(phases: int = 60) -> dict[str, Errors]:
    """Largest error in ppm of each method over phases of the signal; edges are given to all but ours."""
    worst: dict[str, Errors] = {name: {} for name in METHODS}
    for shift in np.linspace(0, 2 * np.pi, phases, endpoint=False):
        u = counts(tones(VOLTAGE, F_HZ, RATE_HZ, 3200, shift), U_V_PER_COUNT) * U_V_PER_COUNT
        i = counts(tones(CURRENT, F_HZ, RATE_HZ, 3200, shift), I_A_PER_COUNT) * I_A_PER_COUNT
        for name, method in METHODS.items():
            for key, value in method(u, i).items():
                error = 1e6 * abs(value / TRUTH[key] - 1)
                worst[name][key] = max(worst[name].get(key, 0.0), error)
    return worst


def test_ours_is_the_most_accurate_of_the_methods_compared() -> None:
    worst = compare(20)
    assert worst["fixed 200 ms"]["P"] > 1e4
    assert worst["ten cycles rounded to samples"]["P"] > 100
    assert worst["linear resampling, transform"]["I13"] > 1e4
    assert worst["Lagrange, 4 points, transform"]["I13"] > 1e3
    assert 10 < worst["Lagrange, 8 points, transform"]["I13"] < 20  # the reference measured 15.4
    for name in ("openami, single precision", "openami, double precision", "openami, harmonics by folding"):
        assert worst[name]["I13"] < 2.0
        assert worst[name]["P"] < worst["real-valued edges, linear correction"]["P"] / 10
        assert worst[name]["U"] < 0.02


if __name__ == "__main__":
    keys = list(TRUTH)
    rows = [(name, [errors.get(key) for key in keys]) for name, errors in compare().items()]
    lines = [f"| method | {' | '.join(keys)} |", "|---|" + "---|" * len(keys)]
    for name, values in rows:
        cells = [
            "" if value is None else f"{value:.2g}" if value < 10 else f"{value:,.0f}" for value in values
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    sys.stdout.write("\n".join(lines) + "\n")
