"""`ami power-quality`: recordings or aggregates of a supply against EN 50160, and the weekly report."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from openami.cli.output import Advance, JsonOption, print_facts, print_json, print_table, progress, stdout
from openami.cli.whole_file import check_place, whole_file
from openami.quantities.errors import FormatError, MeteringError

if TYPE_CHECKING:
    from openami.metrology.power_quality.en50160 import EventTable, Finding, SupplyWeek
    from openami.metrology.power_quality.en50160_aggregates import SupplyAggregates
    from openami.metrology.power_quality.en50160_limits import SupplyLimits
    from openami.metrology.power_quality.en50160_measurement import SupplyMeasurement
    from openami.metrology.power_quality.en50160_report import ReportSource
    from openami.metrology.recording.opening import RecordedWaveform


class _Nominal(Enum):
    FIFTY = "50"
    SIXTY = "60"


class _Lamp(Enum):
    V120 = "120"
    V230 = "230"


class _Language(Enum):
    ENGLISH = "en"
    CHINESE = "zh"


def add_commands(app: typer.Typer) -> None:
    """Put the command under ``ami``."""
    app.command("power-quality")(power_quality_command)


def power_quality_command(
    files: Annotated[
        list[Path],
        typer.Argument(help="Recordings (NPZ, WAV, CSV, COMTRADE) of one supply, or files of aggregates."),
    ],
    declared_v: Annotated[
        float, typer.Option("--declared-v", help="Declared voltage of the measured conductors, V.", min=1.0)
    ] = 230.0,
    nominal: Annotated[_Nominal, typer.Option(help="Nominal frequency in Hz.")] = _Nominal.FIFTY,
    lamp: Annotated[
        _Lamp | None, typer.Option(help="Reference lamp of flicker in V; 230 at 50 Hz, 120 at 60 Hz.")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(help="UTC of the first sample (2026-03-02T00:00:00Z), where the recording has none."),
    ] = None,
    channels: Annotated[
        str | None, typer.Option(help="Which channels are the voltages: 'u=1,3,5' by number or name.")
    ] = None,
    scale_u: Annotated[
        float | None, typer.Option("--scale-u", help="Factor on the voltages (WAV: V per full scale).")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="True sampling rate in Hz, where the file does not tell it exactly.")
    ] = None,
    limits_file: Annotated[
        Path | None, typer.Option("--limits", help="TOML with other limits; those of the package otherwise.")
    ] = None,
    week: Annotated[int, typer.Option(help="Which week of the data, from 1.", min=1)] = 1,
    report: Annotated[
        Path | None, typer.Option("--report", help="Write the report as one HTML page.")
    ] = None,
    aggregates_file: Annotated[
        Path | None, typer.Option("--aggregates", help="Write what was measured, to be evaluated again.")
    ] = None,
    capture: Annotated[
        Path | None,
        typer.Option("--capture", help="Folder for the waveforms of events, a COMTRADE file (.cff) each."),
    ] = None,
    language: Annotated[_Language, typer.Option(help="Language of the report.")] = _Language.ENGLISH,
    json: JsonOption = False,
) -> None:
    """Hold a supply against EN 50160: voltage, frequency, flicker, unbalance, harmonics, events.

    Recordings are measured by class A of IEC 61000-4-30, one after the other; a week may be put together from
    days. Exit code 1 when a limit is broken.

    Example: ami power-quality monday.cfg tuesday.cfg --report week.html
    """
    from openami.metrology.power_quality.en50160 import Verdict, evaluate, weeks_of
    from openami.metrology.power_quality.en50160_file import write_aggregates
    from openami.metrology.power_quality.en50160_report import report_html

    for place in (report, aggregates_file):
        if place is not None:
            check_place(place)
    limits = _limits(limits_file)
    supply = _Supply(
        declared_v,
        int(nominal.value),
        int(lamp.value) if lamp else {_Nominal.FIFTY: 230, _Nominal.SIXTY: 120}[nominal],
        None if start is None else _instant(start),
    )
    if capture is not None:
        capture.mkdir(exist_ok=True)
    options = _Options(channels, scale_u, rate, capture)
    aggregates, sources = _taken(files, supply, options)
    if aggregates_file is not None:
        with whole_file(aggregates_file) as fresh:
            write_aggregates(fresh, aggregates)
    weeks = list(weeks_of(aggregates, limits))
    if week > len(weeks):
        raise FormatError(f"there is no week {week}", where="--week", expected=f"1 to {len(weeks)}")
    judged = evaluate(weeks[week - 1], limits)
    if report is not None:
        with whole_file(report) as fresh:
            fresh.write_text(report_html(judged, sources, language.value), "utf-8")
    if json:
        print_json({"week": week, "weeks": len(weeks), **_document(judged, sources)})
    else:
        _show(judged, week, len(weeks))
    if judged.verdict is Verdict.BROKEN:
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class _Supply:
    """What is said of the supply and not in its recordings."""

    declared_v: float
    nominal_hz: int
    lamp_v: int
    start_us: int | None


@dataclass(frozen=True, slots=True)
class _Options:
    """How recordings are read, and where the waveforms of events go."""

    channels: str | None
    scale_u: float | None
    rate_hz: float | None
    capture: Path | None


def _taken(
    files: Sequence[Path], supply: _Supply, options: _Options
) -> tuple[SupplyAggregates, list[ReportSource]]:
    """Aggregates of all files, and the files by their content."""
    from openami.metrology.power_quality.en50160_aggregates import joined
    from openami.metrology.power_quality.en50160_file import is_aggregates, read_aggregates
    from openami.metrology.power_quality.en50160_report import ReportSource
    from openami.metrology.recording.opening import ReadingOptions, open_recording

    reading = ReadingOptions(
        channels=options.channels, scale_u=options.scale_u, scale_i=1.0, rate_hz=options.rate_hz
    )
    parts, recordings, sources = [], [], []
    for file in files:
        if is_aggregates(file):
            parts.append(read_aggregates(file))
            with file.open("rb") as stream:
                sources.append(ReportSource(file.name, hashlib.file_digest(stream, "sha256").hexdigest()))
        else:
            recording = open_recording(file, reading)
            recordings.append(recording)
            sources.append(ReportSource(file.name, recording.digest()))
    if recordings:
        parts.append(_measured(recordings, supply, options.capture))
    return joined(parts), sources


def _measured(
    recordings: Sequence[RecordedWaveform], supply: _Supply, capture: Path | None
) -> SupplyAggregates:
    """Recordings in the order of their beginning through one instrument."""
    from openami.metrology.power_quality.en50160_measurement import CLOCK_S, SupplyMeasurement
    from openami.metrology.power_quality.waveform_capture import comtrade_sink

    ordered = sorted(
        ((_start(recording, supply), recording) for recording in recordings), key=lambda it: it[0]
    )
    first_us, first = ordered[0]
    total = sum(recording.samples for recording in recordings)
    try:
        measurement = SupplyMeasurement(
            first.rate_hz,
            len(first.selection.u),
            first_us,
            declared_v=supply.declared_v,
            nominal_hz=supply.nominal_hz,
            lamp_v=supply.lamp_v,
            sink=None if capture is None else comtrade_sink(capture, nominal_hz=float(supply.nominal_hz)),
        )
    except MeteringError as error:
        raise FormatError(error.message, where=str(first.file.paths[0]), expected=error.expected) from error
    done = 0
    with progress("measuring") as advance:
        for start_us, recording in ordered:
            base = measurement.position_of(start_us)
            if measurement.position - CLOCK_S * first.rate_hz <= base:
                base = max(base, measurement.position)
            where = str(recording.file.paths[0])
            try:
                _add(measurement, recording, base, done, total, advance)
            except MeteringError as error:
                raise FormatError(error.message, where=where, expected=error.expected) from None
            done += recording.samples
    return measurement.close()


def _add(
    measurement: SupplyMeasurement,
    recording: RecordedWaveform,
    base: int,
    done: int,
    total: int,
    advance: Advance,
) -> None:
    channels = recording.file.channels
    phases = len(recording.selection.u)
    in_amperes = all(channels[pick.index].gain is not None for pick in recording.selection.picks[phases:])
    for piece in recording.blocks():
        whole = piece if in_amperes else replace(piece, i=piece.i[:0], neutral=None)
        measurement.add(whole, base + piece.first_sample)
        advance(done + piece.first_sample + piece.samples, total)


def _start(recording: RecordedWaveform, supply: _Supply) -> int:
    """UTC of the first sample in microseconds."""
    start_us = supply.start_us if recording.file.start_us is None else recording.file.start_us
    if start_us is None:
        raise FormatError(
            "the recording does not tell when it began",
            where=str(recording.file.paths[0]),
            expected="--start, the UTC of its first sample",
        )
    return start_us


def _instant(text: str) -> int:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise FormatError(
            f"{text!r} is no instant", where="--start", expected="2026-03-02T00:00:00Z"
        ) from None
    if at.tzinfo is None:
        raise FormatError(
            f"{text} has no zone", where="--start", expected="UTC, with a Z: 2026-03-02T00:00:00Z"
        )
    return round(at.timestamp() * 1_000_000)


def _limits(file: Path | None) -> SupplyLimits:
    from openami.metrology.power_quality.en50160_limits import en50160_limits, limits_from_table

    if file is None:
        return en50160_limits()
    try:
        return limits_from_table(tomllib.loads(file.read_text("utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FormatError(f"not TOML: {error}", where=str(file), expected="a table of limits") from None
    except MeteringError as error:
        raise FormatError(error.message, where=str(file), expected=error.expected) from None


def _document(week: SupplyWeek, sources: Sequence[ReportSource]) -> dict[str, object]:
    data = week.aggregates
    return {
        "standard": week.limits.standard,
        "edition": week.limits.edition,
        "source": week.limits.source,
        "flagged_rule": {"rule": "excluded", "source": week.limits.flagged_source},
        "verdict": week.verdict.value,
        "whole_week": week.whole,
        "start_utc": _utc(data.start_us),
        "end_utc": _utc(data.end_us),
        "declared_v": data.nominal_v,
        "nominal_hz": data.nominal_hz,
        "phases": data.phases,
        "intervals": data.intervals,
        "intervals_measured": week.measured,
        "intervals_flagged": int((data.flagged & data.measured).sum()),
        "findings": [_finding(finding) for finding in week.findings],
        "dips": _table(week.dips, "residual_pct"),
        "swells": _table(week.swells, "largest_pct"),
        "interruptions": {
            "short": week.short_interruptions,
            "long": week.long_interruptions,
            "long_from_s": week.limits.long_interruption_s,
            "source": week.limits.interruption_source,
        },
        "rapid_voltage_changes": week.rapid_changes,
        "events_without_end": week.unended,
        "events": list(_events(data)),
        "files": [asdict(source) for source in sources],
    }


def _finding(finding: Finding) -> dict[str, object]:
    limit = finding.limit
    return {
        "limit": limit.name,
        "characteristic": limit.characteristic.value,
        "order": limit.order,
        "phase": finding.phase,
        "low": finding.low,
        "high": finding.high,
        "share_required": float(limit.share),
        "of": limit.of,
        "source": limit.source,
        "intervals": finding.intervals,
        "missing": finding.missing,
        "flagged": finding.flagged,
        "within": finding.within,
        "outside": finding.outside,
        "smallest": finding.smallest,
        "largest": finding.largest,
        "low_at_share": finding.low_at_share,
        "high_at_share": finding.high_at_share,
        "verdict": finding.verdict.value,
    }


def _table(table: EventTable, level: str) -> dict[str, object]:
    return {
        level: table.classes.level_percent,
        "duration_ms": table.classes.duration_ms,
        "counts": table.counts.tolist(),
        "source": table.classes.source,
    }


def _events(data: SupplyAggregates) -> Iterator[dict[str, object]]:
    from openami.metrology.power_quality.event_kernel import EventKind

    events = data.events
    columns = (events.kind, events.start_us, events.duration_s, events.level_v, events.phases)
    for kind, start_us, duration_s, level_v, phases in zip(*(c.tolist() for c in columns), strict=True):
        yield {
            "kind": EventKind(kind).name.lower(),
            "start_utc": _utc(start_us),
            "duration_s": duration_s,
            "u_v": level_v,
            "u_pct": level_v / data.nominal_v * 100,
            "phases": [phase + 1 for phase in range(3) if phases >> phase & 1],
        }


def _utc(instant_us: int) -> str:
    at = datetime.fromtimestamp(instant_us // 1_000_000, UTC).replace(microsecond=instant_us % 1_000_000)
    return at.isoformat()


def _show(week: SupplyWeek, number: int, weeks: int) -> None:
    from openami.metrology.power_quality.en50160 import Verdict

    data = week.aggregates
    print_facts(
        f"{week.limits.standard}: {week.verdict.value}",
        {
            "from": _utc(data.start_us),
            "to": _utc(data.end_us),
            "week": f"{number} of {weeks}" if weeks > 1 else "",
            "supply": f"{data.nominal_v:g} V, {data.nominal_hz} Hz, {data.phases} phases",
            "intervals measured": f"{week.measured} of {week.limits.week_intervals} of a week",
            "intervals flagged": int((data.flagged & data.measured).sum()),
            "dips, swells": f"{int(week.dips.counts.sum())}, {int(week.swells.counts.sum())}",
            "interruptions": f"{week.short_interruptions} short, {week.long_interruptions} long",
            "rapid voltage changes": week.rapid_changes,
        },
    )
    shown = [finding for finding in week.findings if finding.limit.order is None]
    shown += [
        finding for finding in week.findings if finding.limit.order and finding.verdict is Verdict.BROKEN
    ]
    print_table(
        "limits (of the harmonics those that are broken)",
        ("limit", "phase", "low", "high", "within", "judged", "required %", "verdict"),
        [
            (
                finding.limit.name,
                finding.phase,
                None if finding.low is None else f"{finding.low:g}",
                f"{finding.high:g}",
                finding.within,
                finding.judged,
                f"{float(finding.limit.share) * 100:g}",
                finding.verdict.value,
            )
            for finding in shown
        ],
    )
    if not week.whole:
        stdout.print("less than a whole week was measured: an indication, not a verdict on a week")
    if any("recalled" in finding.limit.source for finding in week.findings):
        stdout.print("limits are recalled: confirm them against the standard")
