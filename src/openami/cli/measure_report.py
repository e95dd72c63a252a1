"""What `ami measure` says: one document whose keys end in their unit, and tables for people."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any, Final, SupportsFloat

import numpy as np
import numpy.typing as npt

from openami.cli.output import print_facts, print_table
from openami.metrology.powers.measured_values import HarmonicTable, Measurement, WindowMark
from openami.metrology.powers.single_phase import SinglePhasePowers, quadrant
from openami.metrology.powers.symmetrical import SymmetricalComponents, phase_sequence
from openami.metrology.powers.three_phase import ThreePhasePowers
from openami.metrology.recording.opening import RecordedWaveform

F64 = npt.NDArray[np.float64]

_PHASES: Final = ("L1", "L2", "L3")
_WH: Final = 3600.0


def measurement_document(
    waveform: RecordedWaveform, measured: Measurement, *, with_windows: bool
) -> dict[str, Any]:
    """The document of ``--json``.

    For one phase every quantity is a plain number on the top level; for several, powers on the top level are
    totals (apparent power: the arithmetic sum) and voltages and currents lists. ``phases`` has every quantity
    of every phase, ``three_phase`` those of the system. What is not defined (a power factor without current)
    or was not measured (a harmonic above 0.45 of the sampling rate) is null.
    """
    phases, three, energies = measured.phases, measured.three, measured.energies
    single = phases.u_v.size == 1
    document: dict[str, Any] = {
        "file": str(waveform.file.paths[0]),
        "duration_s": measured.samples / waveform.rate_hz,
        "phase_count": phases.u_v.size,
        "wiring": measured.wiring.value,
        "nominal_hz": measured.nominal_hz,
        "f_hz": measured.f_hz,
        **_top_level(phases, three, single=single),
    }
    for unit, letter, table in (("v", "u", measured.u_harmonics), ("a", "i", measured.i_harmonics)):
        rms, degrees = _harmonic_lists(table, phases.u_v.size)
        document[f"{letter}_harmonics_{unit}"] = rms[0] if single else rms
        document[f"{letter}_harmonics_deg"] = degrees[0] if single else degrees
    document |= {
        "energy_wh": _plain(energies.active_ws.sum() / _WH),
        "energy_import_wh": energies.imported_ws / _WH,
        "energy_export_wh": energies.exported_ws / _WH,
        "energy_q1_varh": _plain(energies.q1_vars.sum() / _WH),
        "energy_s": energies.present_s,
        "energy_q1_s": energies.measured_s,
        "phases": [_phase(measured, index) for index in range(phases.u_v.size)],
        "three_phase": None if three is None else _three_phase(three),
        "neutral": _neutral(measured),
        "windows_count": measured.windows.f_hz.size,
        "windows_cycles": measured.cycles,
        "windows_left_out": measured.left_out,
        "flags": _flags(measured),
        "gaps": list(measured.gaps),
        "provenance": _provenance(waveform, measured),
    }
    if with_windows:
        document["windows"] = _windows(measured)
    return document


def print_measurement(waveform: RecordedWaveform, measured: Measurement, *, with_windows: bool) -> None:
    """The same for people."""
    phases, three, energies = measured.phases, measured.three, measured.energies
    names = list(_PHASES[: phases.u_v.size])
    windows = measured.windows
    print_facts(
        str(waveform.file.paths[0]),
        {
            "format": waveform.file.format,
            "channels": ", ".join(waveform.names),
            "sampling rate": f"{waveform.rate_hz:.9g} Hz",
            "duration": f"{measured.samples / waveform.rate_hz:.3f} s",
            "wiring": measured.wiring.value,
            "windows": f"{windows.f_hz.size} of {measured.cycles} cycles"
            + (f", {measured.left_out} of them left out" if measured.left_out else ""),
            **({"flags": _told(_flags(measured))} if any(_flags(measured).values()) else {}),
            "frequency": f"{measured.f_hz:.5f} Hz",
        },
    )
    columns: list[tuple[str, F64, str]] = [
        ("U", phases.u_v, "V"),
        ("I", phases.i_a, "A"),
        ("P", phases.p_w, "W"),
        ("P1", phases.p1_w, "W"),
        ("PH", phases.ph_w, "W"),
        ("Q1", phases.q1_var, "var"),
        ("S", phases.s_va, "VA"),
        ("S1", phases.s1_va, "VA"),
        ("SN", phases.sn_va, "VA"),
        ("DI", phases.di_var, "var"),
        ("DV", phases.dv_var, "var"),
        ("SH", phases.sh_va, "VA"),
        ("DH", phases.dh_var, "var"),
        ("N", phases.n_var, "var"),
        ("QB (Budeanu)", phases.q_budeanu_var, "var"),
        ("DB (Budeanu)", phases.d_budeanu_var, "var"),
        ("QF (Fryze)", phases.q_fryze_var, "var"),
        ("PF = P/S", phases.pf, ""),
        ("PF1 = P1/S1", phases.pf1, ""),
        ("PF/PF1", phases.distortion_pf, ""),
        ("phi1", phases.phi1_deg, "deg"),
        ("THD U", 100 * phases.thd_u, "%"),
        ("THD I", 100 * phases.thd_i, "%"),
    ]
    totals = {name: total for name, total in _totals_of_rows(phases).items() if len(names) > 1}
    print_table(
        "phases",
        ("quantity", *names, *(("total",) if totals else ()), "unit"),
        [
            (name, *map(_figure, values), *((totals.get(name, ""),) if totals else ()), unit)
            for name, values, unit in columns
        ],
    )
    if three is not None:
        _print_three_phase(three)
    _print_harmonics(measured, names)
    print_facts(
        "energy",
        {
            "active": f"{_figure(energies.active_ws.sum() / _WH)} Wh in {energies.present_s:.3f} s",
            "import": f"{_figure(energies.imported_ws / _WH)} Wh",
            "export": f"{_figure(energies.exported_ws / _WH)} Wh",
            "reactive (Q1)": f"{_figure(energies.q1_vars.sum() / _WH)} varh in {energies.measured_s:.3f} s",
        },
    )
    if measured.gaps:
        print_facts("gaps", {str(number): gap for number, gap in enumerate(measured.gaps, 1)})
    if waveform.file.remarks:
        print_facts("notes", {str(number): note for number, note in enumerate(waveform.file.remarks, 1)})
    if with_windows:
        rows = _windows(measured)
        keys = [key for key in rows[0] if not isinstance(rows[0][key], list)]
        print_table(
            "windows",
            keys,
            [
                [_figure(row[key]) if isinstance(row[key], float) else row[key] for key in keys]
                for row in rows
            ],
        )


def _top_level(phases: SinglePhasePowers, three: ThreePhasePowers | None, *, single: bool) -> dict[str, Any]:
    if single:
        return {field.name: _plain(getattr(phases, field.name)[0]) for field in fields(phases)}
    found: dict[str, Any] = {}
    for field in fields(phases):
        values = getattr(phases, field.name)
        if field.name in ("p_w", "p1_w", "ph_w", "q1_var", "s_va", "q_budeanu_var"):
            found[field.name] = _plain(values.sum())
        elif field.name.endswith(("_v", "_a")) or field.name in ("thd_u", "thd_i"):
            found[field.name] = [_plain(value) for value in values]
    s_va = float(phases.s_va.sum())
    found["pf"] = _plain(phases.p_w.sum() / s_va) if s_va else None
    s1_va = float(np.hypot(phases.p1_w.sum(), phases.q1_var.sum()))
    found["pf1"] = _plain(phases.p1_w.sum() / s1_va) if s1_va else None
    if three is not None:
        found |= {
            "s_arithmetic_va": _plain(three.s_arithmetic_va),
            "s_vector_va": _plain(three.s_vector_va),
            "s_effective_va": _plain(three.se_va),
            "u2_percent": _plain(three.u1_sequences.negative_percent),
            "u0_percent": _plain(three.u1_sequences.zero_percent),
        }
    return found


def _phase(measured: Measurement, index: int) -> dict[str, Any]:
    phases = measured.phases
    found: dict[str, Any] = {"name": _PHASES[index]}
    found |= {field.name: _plain(getattr(phases, field.name)[index]) for field in fields(phases)}
    found["quadrant"] = int(quadrant(phases.p1_w, phases.q1_var)[index])
    for unit, letter, table in (("v", "u", measured.u_harmonics), ("a", "i", measured.i_harmonics)):
        found[f"thds_{letter}"] = _plain(table.subgroup_distortion[index])
        found[f"{letter}_dc_{unit}"] = _plain(
            table.rms[index, 0] * np.copysign(1.0, np.cos(np.radians(table.degrees[index, 0])))
        )
        rms, degrees = _harmonic_lists(table, index + 1)
        found[f"{letter}_harmonics_{unit}"], found[f"{letter}_harmonics_deg"] = rms[index], degrees[index]
        found[f"{letter}1_deg"] = degrees[index][0]
    found["energy_wh"] = _plain(measured.energies.active_ws[index] / _WH)
    found["energy_q1_varh"] = _plain(measured.energies.q1_vars[index] / _WH)
    return found


def _three_phase(three: ThreePhasePowers) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in fields(three):
        value = getattr(three, field.name)
        if isinstance(value, SymmetricalComponents):
            letter, unit = field.name[0], {"u": "v", "i": "a"}[field.name[0]]
            for name in ("zero", "positive", "negative"):
                phasor = complex(getattr(value, name))
                found[f"{letter}1_{name}_{unit}"] = _plain(abs(phasor))
                found[f"{letter}1_{name}_deg"] = _plain(np.degrees(np.angle(phasor)))
            found[f"{letter}2_percent"] = _plain(value.negative_percent)
            found[f"{letter}0_percent"] = _plain(value.zero_percent)
        elif not isinstance(value, SinglePhasePowers):
            found[field.name] = _plain(value)
    u1 = three.u1_sequences
    turn = np.exp(2j * np.pi / 3)
    first = u1.zero + u1.positive + u1.negative
    second = u1.zero + u1.positive * turn**2 + u1.negative * turn
    third = u1.zero + u1.positive * turn + u1.negative * turn**2
    found["phase_sequence"] = phase_sequence(np.array([first, second, third])).value
    return found


def _neutral(measured: Measurement) -> dict[str, Any] | None:
    """The measured neutral current, where there is one."""
    index = measured.phases.u_v.size
    table = measured.i_harmonics
    if table.rms.shape[0] <= index:
        return None
    rms, degrees = _harmonic_lists(table, index + 1)
    return {"i_harmonics_a": rms[index], "i_harmonics_deg": degrees[index]}


def _harmonic_lists(
    table: HarmonicTable, rows: int
) -> tuple[list[list[float | None]], list[list[float | None]]]:
    """Orders 1 to 50 of the first rows: rms and degrees."""
    rms = [[_plain(value) for value in row[1:]] for row in table.rms[:rows]]
    degrees = [
        [_plain(value) if level is not None else None for value, level in zip(row[1:], levels, strict=True)]
        for row, levels in zip(table.degrees[:rows], rms, strict=True)
    ]
    return rms, degrees


def _flags(measured: Measurement) -> dict[str, int]:
    """How many windows carry each mark, and samples that are missing or stand at a limit."""
    counts = {
        f"windows_{mark.name.lower()}": int(((measured.windows.marks & int(mark)) != 0).sum())
        for mark in WindowMark
        if mark.name
    }
    return {**counts, "samples_saturated": measured.saturated, "samples_missing": measured.missing}


def _told(flags: dict[str, int]) -> str:
    """Marks for people: ``windows after gap: 1, samples missing: 20``."""
    return ", ".join(f"{name.replace('_', ' ')}: {count}" for name, count in flags.items() if count)


def _provenance(waveform: RecordedWaveform, measured: Measurement) -> dict[str, Any]:
    start = waveform.file.start_us
    moment = None
    if start is not None:
        moment = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=start)).isoformat()
    return {
        "files": [str(path) for path in waveform.file.paths],
        "sha256": waveform.digest(),
        "format": waveform.file.format,
        "rate_hz": waveform.rate_hz,
        "samples": measured.samples,
        "start_utc": moment,
        "channels": [
            {"name": name, "per_stored_unit": gain}
            for name, gain in zip(waveform.names, waveform.gains, strict=True)
        ],
        "scale_u": waveform.scale_u,
        "scale_i": waveform.scale_i,
        "remarks": list(waveform.file.remarks),
        "sources": {
            "powers": "IEEE Std 1459-2010 (recalled, confirm against the standard)",
            "q1_var": "fundamental reactive power, IEC 62053-24; inductive import is positive",
            "windows": "IEC 61000-4-30 class A lengths, IEC 61000-4-7 bins",
        },
    }


def _windows(measured: Measurement) -> list[dict[str, Any]]:
    windows = measured.windows
    single = measured.phases.u_v.size == 1
    rows = []
    for index in range(windows.f_hz.size):
        marks = WindowMark(int(windows.marks[index]))
        row: dict[str, Any] = {
            "start_s": float(windows.start_s[index]),
            "duration_s": float(windows.duration_s[index]),
            "f_hz": float(windows.f_hz[index]),
        }
        for name in ("u_v", "i_a", "p_w", "p1_w", "q1_var", "s_va", "pf", "thd_u", "thd_i"):
            values = getattr(windows.phases, name)[index]
            if single:
                row[name] = _plain(values[0])
            elif name in ("p_w", "p1_w", "q1_var", "s_va"):
                row[name] = _plain(values.sum())
            else:
                row[name] = [_plain(value) for value in values]
        if windows.three is not None:
            row["s_effective_va"] = _plain(windows.three.se_va[index])
            row["u2_percent"] = _plain(windows.three.u1_sequences.negative_percent[index])
        row["flags"] = [mark.name.lower() for mark in WindowMark if mark & marks and mark.name]
        rows.append(row)
    return rows


def _totals_of_rows(phases: SinglePhasePowers) -> dict[str, str]:
    return {
        "P": _figure(phases.p_w.sum()),
        "P1": _figure(phases.p1_w.sum()),
        "PH": _figure(phases.ph_w.sum()),
        "Q1": _figure(phases.q1_var.sum()),
        "S": _figure(phases.s_va.sum()),
        "QB (Budeanu)": _figure(phases.q_budeanu_var.sum()),
    }


def _print_three_phase(three: ThreePhasePowers) -> None:
    document = _three_phase(three)
    rows = [
        ("S arithmetic", "s_arithmetic_va", "VA"),
        ("S vector", "s_vector_va", "VA"),
        ("Se effective", "se_va", "VA"),
        ("Se1", "se1_va", "VA"),
        ("SeN", "sen_va", "VA"),
        ("DeI", "dei_var", "var"),
        ("DeV", "dev_var", "var"),
        ("SeH", "seh_va", "VA"),
        ("DeH", "deh_var", "var"),
        ("N", "n_var", "var"),
        ("S1+", "s1_pos_va", "VA"),
        ("P1+", "p1_pos_w", "W"),
        ("Q1+", "q1_pos_var", "var"),
        ("SU1", "su1_va", "VA"),
        ("PF = P/Se", "pf", ""),
        ("PF arithmetic", "pf_arithmetic", ""),
        ("PF vector", "pf_vector", ""),
        ("PF1+", "pf1_pos", ""),
        ("Ve", "ve_v", "V"),
        ("Ie", "ie_a", "A"),
        ("In", "neutral_a", "A"),
        ("U1 positive", "u1_positive_v", "V"),
        ("U1 negative", "u1_negative_v", "V"),
        ("U1 zero", "u1_zero_v", "V"),
        ("u2 unbalance", "u2_percent", "%"),
        ("u0 unbalance", "u0_percent", "%"),
        ("i2 unbalance", "i2_percent", "%"),
        ("phase sequence", "phase_sequence", ""),
    ]
    print_table(
        "three phases",
        ("quantity", "value", "unit"),
        [
            (name, document[key] if isinstance(document[key], str) else _figure(document[key]), unit)
            for name, key, unit in rows
        ],
    )


_SHOWN_SHARE: Final = 1e-4


def _print_harmonics(measured: Measurement, names: list[str]) -> None:
    """The harmonics that stand out: a ten-thousandth of their fundamental or more."""
    u, i = measured.u_harmonics, measured.i_harmonics
    count = len(names)
    with np.errstate(invalid="ignore"):
        level = [
            (table.rms[:count] >= _SHOWN_SHARE * table.rms[:count, 1:2]) & (table.rms[:count] > 0)
            for table in (u, i)
        ]
    rows = []
    for order in range(u.rms.shape[1]):
        if not (level[0][:, order].any() or level[1][:, order].any()):
            continue
        cells: list[str] = []
        for index in range(count):
            for table in (u, i):
                cells += [
                    _figure(table.rms[index, order]),
                    _angle(table.degrees[index, order], table.rms[index, order]),
                ]
        rows.append((str(order), *cells))
    head = [
        f"{quantity} {name} {unit}"
        for name in names
        for quantity, unit in (("U", "V"), ("U", "deg"), ("I", "A"), ("I", "deg"))
    ]
    print_table("harmonics from 0.01 % of the fundamental on (0 is DC)", ("order", *head), rows)


def _angle(degrees: float, rms: float) -> str:
    return f"{degrees:.2f}".replace("-0.00", "0.00") if np.isfinite(rms) and rms > 0 else ""


def _figure(value: SupportsFloat | None) -> str:
    """A number with seven significant digits."""
    number = np.nan if value is None else float(value)
    if not np.isfinite(number):
        return "-"
    if number == 0.0:
        return "0"
    digits = min(max(6 - int(np.floor(np.log10(abs(number)))), 0), 9)
    return f"{number:,.{digits}f}"


def _plain(value: SupportsFloat) -> float | None:
    """A number for the document; what is not defined is null."""
    number = float(value)
    return number if np.isfinite(number) else None
