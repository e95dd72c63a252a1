"""`ami laboratory`: test meter models against their class, compare measuring principles, write waveforms."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from openami.cli.laboratory_serve import serve_waveform
from openami.cli.laboratory_waveform import write_waveform
from openami.cli.output import JsonOption, print_facts, print_json, print_table, progress, stdout
from openami.cli.whole_file import check_place, whole_file
from openami.laboratory.bench import run
from openami.laboratory.current_range import Size
from openami.laboratory.devices import device_source
from openami.laboratory.evolution_chart import evolution, evolution_document, evolution_page
from openami.laboratory.plan import plan_of
from openami.laboratory.report import report_page
from openami.laboratory.report_document import Document, model_facts, report_document
from openami.laboratory.verdict import Verdict
from openami.laboratory.wording import translator
from openami.meter.model import meter_model, model_names

commands = typer.Typer(
    help="Test meters against their accuracy class.\n\nExample: ami laboratory test --model ct_02s"
)

QuickOption = Annotated[bool, typer.Option("--quick", help="Fewer points of each range.")]
ReportOption = Annotated[Path | None, typer.Option("--report", help="Write the report as one HTML page.")]
LanguageOption = Annotated[str, typer.Option("--language", help="Language of the report: en or zh.")]


def add_commands(app: typer.Typer) -> None:
    """Put the commands under ``ami``."""
    app.add_typer(commands, name="laboratory")


@commands.command("test")
def verify(
    model: Annotated[str, typer.Option("--model", help="Name of a model, or a .toml file.")],
    class_name: Annotated[
        str | None, typer.Option("--class", help="Accuracy class; the model's own when left out.")
    ] = None,
    standard: Annotated[
        str | None,
        typer.Option(
            "--standard", help="62053-21, 62053-22, R46 or MID (EN 50470-3); by the class when left out."
        ),
    ] = None,
    quick: QuickOption = False,
    seed: Annotated[int, typer.Option(help="Of the noise of the device.", min=1, max=2**53)] = 1,
    report: ReportOption = None,
    language: LanguageOption = "en",
    json: JsonOption = False,
) -> None:
    """Run the accuracy tests of a class on a meter model and judge them.

    Errors over current and power factor, start, no load, constant, repeatability, influence quantities,
    combined error, harmonic energy, power factor 0.01, linearity and drift over the service life. Exit code 1
    when the verdict is not a pass.

    Example: ami laboratory test --model gateway_01s --class 0.1S --report gateway.html
    """
    translator(language)
    if report is not None:
        check_place(report)
    chosen = meter_model(model)
    plan = plan_of(chosen, class_name=class_name, standard=standard, size=_size(quick))
    with progress(f"testing {chosen.name}") as advance:
        done = run(plan, device_source(chosen, seed), progress=advance)
    document = report_document(done, tested_at=datetime.now(UTC), seed=seed)
    if report is not None:
        _write(report, report_page(done, document, language))
    if json:
        print_json(document)
    else:
        _show(document)
    if done.verdict is not Verdict.PASS:
        raise typer.Exit(1)


@commands.command("evolution")
def evolution_command(
    quick: QuickOption = False,
    report: ReportOption = None,
    language: LanguageOption = "en",
    json: JsonOption = False,
) -> None:
    """Measure the four measuring principles under sine and distorted load, and draw their error curves.

    Example: ami laboratory evolution --report evolution.html
    """
    translator(language)
    if report is not None:
        check_place(report)
    with progress("measuring the principles") as advance:
        measured = evolution(_size(quick), advance)
    document = evolution_document(measured, tested_at=datetime.now(UTC))
    if report is not None:
        _write(report, evolution_page(measured, document, language))
    if json:
        print_json(document)
        return
    for load in dict.fromkeys(line.load for line in measured.lines):
        lines = [line for line in measured.lines if line.load == load]
        print_table(
            f"{translator('en')(load)}: error in %",
            ("current A", *(translator("en")(line.principle.value) for line in lines)),
            [
                (f"{current:g}", *(line.error_pct[row] for line in lines))
                for row, current in enumerate(lines[0].current_a)
            ],
        )


@commands.command("waveform")
def waveform_command(
    scenario: Annotated[Path, typer.Argument(help="Waveform as TOML: page *waveform-generator*.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="NPZ file to write: u, i, rate_hz.")],
    rate: Annotated[float, typer.Option(help="Samples a second.", min=100.0, max=1e7)] = 6400.0,
    json: JsonOption = False,
) -> None:
    """Write a described waveform as a recording, with what a perfect meter registers of it.

    Powers, rms values and energy are integrals in closed form; `ami measure` reads the file.

    Example: ami laboratory waveform evening.toml --output evening.npz
    """
    check_place(output)
    write_waveform(scenario, output, rate, as_json=json)


@commands.command("serve")
def serve_command(
    scenario: Annotated[Path, typer.Argument(help="Waveform as TOML: page *waveform-generator*.")],
    model: Annotated[str, typer.Option("--model", help="Name of a digital model, or a .toml file.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="TCP port; 0 takes a free one.", min=0, max=65535)] = 4059,
    password: Annotated[
        str, typer.Option(help="Password of the management client.", envvar="OPENAMI_DLMS_PASSWORD")
    ] = "00000000",
    seed: Annotated[int, typer.Option(help="Of the noise of the device.", min=1, max=2**53)] = 1,
    json: JsonOption = False,
) -> None:
    """Let a meter measure a waveform now, and serve its registers over DLMS/COSEM until ctrl-c.

    Front end, compensation and energy path are those that the bench tests; logical device 16 has the four
    quadrants, apparent energy, powers, load profile and freezes, as any meter of a fleet.

    Example: ami laboratory serve evening.toml --model gateway_01s --port 4059
    """
    serve_waveform(scenario, model, host, port, password, seed, as_json=json)


@commands.command("models")
def models_command(json: JsonOption = False) -> None:
    """List the meter models that can be tested.

    Example: ami laboratory models
    """
    facts = [model_facts(meter_model(name)) for name in model_names()]
    if json:
        print_json(facts)
        return
    print_table(
        "meter models",
        ("model", "what it is", "class", "standard", "generation"),
        [(row["name"], row["title"], row["class"], row["standard"], row["generation"]) for row in facts],
    )


def _size(quick: bool) -> Size:
    return Size.QUICK if quick else Size.FULL


def _show(document: Document) -> None:
    words = translator("en")
    print_facts(
        f"{document['model']['title']}: {words(document['verdict'])}",
        {
            "class": f"{document['class']} of {document['standard']}",
            "model": f"{document['model']['name']}, {document['model']['identification'][:16]}",
            "software": document["software"],
            "conditions measured": document["conditions_measured"],
            "largest uncertainty, %": document["bench_uncertainty_pct"],
            "goals": "hold" if document["goals_hold"] else "do not all hold",
        },
    )
    for title, rows in (("tests of the standard", document["tests"]), ("goals", document["goals"])):
        print_table(
            title,
            ("test", "points", "worst", "limit", "unit", "of limit %", "verdict", "limits are"),
            [
                (
                    words(row["test"]),
                    row["points"],
                    _digits(row["worst"]),
                    _digits(row["limit"]),
                    row["unit"],
                    None if row["share_of_limit"] is None else f"{100 * row['share_of_limit']:.0f}",
                    words(row["verdict"]),
                    ", ".join(row["bases"]),
                )
                for row in rows
            ],
        )
    if any("recalled" in row["bases"] for row in document["tests"]):
        stdout.print("limits marked recalled: confirm them against the standard before signing")


def _digits(value: float | None) -> str | None:
    return None if value is None else f"{value:.4g}"


def _write(file: Path, page: str) -> None:
    with whole_file(file) as fresh:
        fresh.write_text(page, "utf-8")
