"""`ami laboratory waveform`: a described waveform as a file, with what a perfect meter registers of it.

The file is what `ami measure` and other instruments read; the figures are integrals in closed form and share
no code with what measures. Rule never to be broken: the figures are those of the samples' own interval, from
the first sample to one period after the last.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from openami.cli.output import print_facts, print_json, print_table
from openami.cli.whole_file import whole_file
from openami.metrology.waveform.closed_form import Reference, reference
from openami.metrology.waveform.scenario import read_scenario
from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]

_MOST_VALUES = 200_000_000
"""Values of all channels that are put together in memory: 1.6 GB."""
_WS_PER_WH = 3600.0


def write_waveform(scenario_file: Path, output: Path, rate_hz: float, *, as_json: bool) -> None:
    """Sample a scenario into an NPZ file and print its reference.

    Parameters
    ----------
    scenario_file:
        TOML, see ``docs/stations/waveform-generator.md``.
    output:
        The NPZ file: ``u`` and ``i`` of shape (samples, phases) in V and A, and ``rate_hz``.
    rate_hz:
        Samples a second.
    as_json:
        One JSON document instead of tables.

    Raises
    ------
    FormatError, MeteringError
        The scenario is not understood, or too long for memory at this rate.
    """
    scenario = read_scenario(scenario_file)
    waveform = scenario.signals()
    count = round(scenario.duration_s * rate_hz)
    values = 2 * waveform.phases * count
    if not 1 <= values <= _MOST_VALUES:
        raise MeteringError(
            f"{count} samples of {scenario.duration_s:g} s at {rate_hz:g} Hz",
            where=str(scenario_file),
            expected=f"1 to {_MOST_VALUES // (2 * waveform.phases)}; another --rate, or a shorter duration_s",
        )
    u, i = waveform.sample(rate_hz, 0, count)
    with whole_file(output) as fresh, fresh.open("wb") as stream:
        np.savez(stream, u=u.T, i=i.T, rate_hz=rate_hz)
    true = reference(waveform, 0.0, count / rate_hz, scenario.frequency_hz)
    facts: dict[str, object] = {
        "name": scenario.name,
        "file": str(output),
        "rate_hz": rate_hz,
        "samples": count,
        "duration_s": scenario.duration_s,
        "phases": waveform.phases,
    }
    quantities = _quantities(true)
    if as_json:
        print_json(
            {
                **facts,
                "reference": {
                    **{name: column.tolist() for name, column in quantities.items()},
                    "energy_total_wh": true.total_active_ws / _WS_PER_WH,
                    "relative_uncertainty": _known(true.relative_uncertainty),
                },
            }
        )
        return
    print_facts(str(output), facts)
    print_table(
        "in closed form",
        ("quantity", *(f"L{phase + 1}" for phase in range(waveform.phases))),
        [(name, *(f"{value:.9g}" for value in column)) for name, column in quantities.items()],
    )


def _quantities(true: Reference) -> dict[str, F64]:
    """By phase, named as `ami measure` names them."""
    seconds = true.duration_s
    return {
        "u_v": true.u_rms_v,
        "i_a": true.i_rms_a,
        "p_w": true.active_ws / seconds,
        "p1_w": true.fundamental_active_ws / seconds,
        "q1_var": true.fundamental_reactive_ws / seconds,
        "s_va": true.apparent_vas / seconds,
        "energy_wh": true.active_ws / _WS_PER_WH,
    }


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None
