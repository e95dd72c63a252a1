"""`ami measure`: every quantity of a recorded waveform."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from openami.cli.output import Advance, JsonOption, print_json, progress
from openami.quantities.errors import MeteringError

if TYPE_CHECKING:
    from openami.metrology.recording.opening import RecordedWaveform
    from openami.metrology.recording.recording import Recording


class _Wiring(Enum):
    EACH = "1p"
    FOUR_WIRE = "3p4w"
    THREE_WIRE = "3p3w"
    LINES = "3p3w-lines"
    ARON = "aron"


class _Side(Enum):
    RECORDED = "recorded"
    PRIMARY = "primary"
    SECONDARY = "secondary"


class _Nominal(Enum):
    FIFTY = "50"
    SIXTY = "60"


def add_commands(app: typer.Typer) -> None:
    """Put the command under ``ami``."""
    app.command("measure")(measure_command)


def measure_command(
    file: Annotated[Path, typer.Argument(help="NPZ, WAV, CSV or COMTRADE (CFG with DAT, or CFF).")],
    channels: Annotated[
        str | None,
        typer.Option(
            help="Which channels are what: 'u=1,3,5 i=2,4,6 n=7' by number or name, a minus turns the sign; "
            "or by position 'u1,i1,u2,i2,-,n'."
        ),
    ] = None,
    scale_u: Annotated[
        float | None,
        typer.Option("--scale-u", help="Factor on the voltages (WAV: V per full scale)."),
    ] = None,
    scale_i: Annotated[
        float | None,
        typer.Option("--scale-i", help="Factor on the currents (WAV: A per full scale)."),
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="True sampling rate in Hz, where the file does not tell it exactly.")
    ] = None,
    wiring: Annotated[
        _Wiring | None,
        typer.Option(
            help="1p: each phase by itself; 3p4w; 3p3w: against any common point; 3p3w-lines: u12, u23, u31; "
            "aron: u12, u32 and i1, i3. Left out: 3p4w for three phases, else 1p."
        ),
    ] = None,
    nominal: Annotated[
        _Nominal | None, typer.Option(help="Nominal frequency in Hz; left out, the nearer one.")
    ] = None,
    windows: Annotated[
        bool, typer.Option("--windows", help="Every window of 10 or 12 cycles as well.")
    ] = False,
    decimal: Annotated[str, typer.Option(help="Decimal sign of a CSV file, '.' or ','.")] = ".",
    segment: Annotated[
        int | None, typer.Option(help="Which sampling rate of a COMTRADE record, from 1.", min=1)
    ] = None,
    side: Annotated[
        _Side, typer.Option(help="Side of the transformers that values of a COMTRADE record are wanted on.")
    ] = _Side.RECORDED,
    json: JsonOption = False,
) -> None:
    """Measure a recorded waveform: rms, powers of IEEE 1459, harmonics to 50, unbalance, energy.

    An NPZ file holds u and i of shape (samples,) or (samples, phases) in V and A, and rate_hz.

    Example: ami measure feeder.wav --channels "u=1,3,5 i=2,4,6" --scale-u 460 --scale-i 100
    """
    from openami.cli.measure_report import measurement_document, print_measurement
    from openami.metrology.powers.measured_values import Wiring
    from openami.metrology.powers.measurement import MeasuringSettings, measure
    from openami.metrology.recording.comtrade import Side
    from openami.metrology.recording.opening import ReadingOptions, open_recording

    waveform = open_recording(
        file,
        ReadingOptions(
            channels=channels,
            scale_u=scale_u,
            scale_i=scale_i,
            rate_hz=rate,
            decimal=decimal,
            segment=segment,
            side=Side(side.value),
        ),
    )
    settings = MeasuringSettings(
        wiring=None if wiring is None else Wiring(wiring.value),
        nominal_hz=None if nominal is None else float(nominal.value),
        skews_s=waveform.skews_s,
    )
    with progress("measuring") as advance:
        try:
            measured = measure(_reported(waveform, advance), settings)
        except MeteringError as error:
            raise MeteringError(
                error.message, where=error.where or str(file), expected=error.expected
            ) from error
    if json:
        print_json(measurement_document(waveform, measured, with_windows=windows))
    else:
        print_measurement(waveform, measured, with_windows=windows)


def _reported(waveform: RecordedWaveform, advance: Advance) -> Iterator[Recording]:
    """The pieces of a waveform; each is reported when it has been measured."""
    done = 0
    for piece in waveform.blocks():
        yield piece
        done += piece.samples
        advance(done, waveform.samples)
