"""The demo runs: a fleet in a process of its own, a head-end that reads it night by night, the month's end.

Time is accelerated by moving the fleet's and the utility's clocks together; everything between them goes
over real sockets.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from fractions import Fraction
from importlib import resources
from pathlib import Path

from openami.cli.demo.fleet_process import FleetProcess
from openami.cli.demo.folder import claim_folder
from openami.cli.demo.scenario import Incident, Scenario, make_scenario, master_data, meter_entity
from openami.cli.demo.summary import closure, detect
from openami.headend.blocks import frames_evidence
from openami.headend.collection import CollectionPolicy
from openami.headend.dlms_conversation import LinkSettings
from openami.headend.dlms_tcp import DlmsTcpDriver
from openami.mdm.vee.run import VeeReport
from openami.meter.fleet_spec import MeterSpec
from openami.meter.serve import fast_loop
from openami.quantities.clock import SimulatedClock
from openami.quantities.money import money_text
from openami.quantities.obis import IMPORT_ENERGY, IMPORT_INTERVAL
from openami.readings.door import Batch
from openami.readings.read_order import ReadOrder
from openami.readings.register_read import RegisterRead
from openami.security.keyring import MeterCredentials
from openami.workspace.admission import meter_access
from openami.workspace.analysis import area_losses, look_for_theft
from openami.workspace.collecting import collect, orders_of_day
from openami.workspace.meter_access import put_credentials
from openami.workspace.settings import Settings
from openami.workspace.upkeep import compact_months
from openami.workspace.workspace import Workspace

HOST = "127.0.0.1"
ACTOR = "demo"
READ_AFTER_MIDNIGHT = timedelta(minutes=10)
HORIZON_DAYS = 3
"""No meter of the scenario is silent for more nights."""
CONCURRENCY = 48
LINK = LinkSettings(connect_timeout_s=5.0, request_timeout_s=0.6, repeats=0)
TARIFFS = ("household_tou", "household_tiered", "shop_demand", "pv_net")

Step = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Summary:
    """The demo's one document; see `docs/demo.md` for every key."""

    seed: int
    meters: int
    days: int
    intervals_expected: int
    intervals_measured: int
    intervals_estimated: int
    completeness: float
    exceptions: dict[str, int]
    register_advance_wh: int
    final_energy_wh: int
    closure_error_wh: int
    bills: int
    billed_wh: int
    amount: str
    currency: str
    areas: list[dict[str, object]]
    injected: dict[str, list[Incident]]
    detected: dict[str, list[Incident]]
    frames: int
    first_bill: str
    seconds: float


def run_demo(
    folder: Path, *, seed: int, meters: int, days: int, step: Step, concurrency: int = CONCURRENCY
) -> Summary:
    """Run the demo utility and leave its workspace in ``folder``.

    Parameters
    ----------
    folder:
        New, or the workspace of an earlier demo, which is replaced.
    seed, meters, days:
        See `make_scenario`.
    step:
        Called with a name, what is done and of how much.
    concurrency:
        Meters read at the same time; what is read does not depend on it.

    Raises
    ------
    FormatError
        The folder holds something that is not a demo (see `claim_folder`).
    QuantityError
        Too few meters or days (see `make_scenario`).
    LinkError
        The fleet did not start, or is gone.
    """
    began = time.perf_counter()
    scenario = make_scenario(seed, meters, days)
    claim_folder(folder, f'{{"seed": {seed}, "meters": {meters}, "days": {days}}}\n')
    clock = SimulatedClock(scenario.days[0].start)
    workspace = Workspace.create(folder, Settings(name="Demo", zone=scenario.days[0].zone), clock)
    try:
        with asyncio.Runner(loop_factory=fast_loop()) as runner:
            frames = runner.run(_live(workspace, clock, scenario, concurrency, step))
        step("compacting", 0, 1)
        # A commit a night makes many small files. The first midnight lies in the month of UTC before.
        compact_months(workspace.store, scenario.first_day - timedelta(days=1), scenario.after)
        step("validating", 0, 1)
        report = workspace.vee().run(scenario.first_day, scenario.after)
        step("billing", 0, 1)
        summary = _settle(workspace, scenario, report, step)
    finally:
        workspace.close()
    return replace(summary, frames=frames, seconds=round(time.perf_counter() - began, 2))


async def _live(
    workspace: Workspace, clock: SimulatedClock, scenario: Scenario, concurrency: int, step: Step
) -> int:
    """Live through the days of the scenario; gives the number of frames on the wire."""
    policy = CollectionPolicy(concurrency=concurrency, attempts=3, retry_pause_s=0.05, group_s=60.0)
    frames = 0
    async with FleetProcess(scenario.fleet, workspace.folder) as fleet:
        _open_utility(workspace, scenario, fleet.ports)
        for number, day in enumerate(scenario.days):
            step("reading", number, len(scenario.days))
            if day.start <= scenario.exchange.at < day.end:
                await fleet.advance_to(scenario.exchange.at)
                clock.advance_to(scenario.exchange.at)
                await _exchange_meter(workspace, scenario, fleet.ports)
            night = day.end + READ_AFTER_MIDNIGHT
            await fleet.advance_to(night)
            clock.advance_to(night)
            orders = orders_of_day(workspace, day.day, horizon_days=HORIZON_DAYS, set_clock_beyond_s=60)
            report = await collect(workspace, orders, policy=policy, link=LINK)
            frames += report.frames
            _deliver_again(workspace, [one for one in scenario.redelivered if one.day == day.day])
        step("reading", len(scenario.days), len(scenario.days))
    return frames


def _open_utility(workspace: Workspace, scenario: Scenario, ports: Sequence[int]) -> None:
    registry = workspace.registry
    for name in TARIFFS:
        text = resources.files("openami.billing").joinpath(f"tariffs/{name}.toml").read_text("utf-8")
        registry.put_document(
            "tariff", name, text, valid_from=date(2026, 1, 1), actor=ACTOR, why="demo tariff"
        )
    registry.record(master_data(scenario, HOST, ports), actor=ACTOR, why="the utility opens")
    put_credentials(
        workspace.folder,
        {
            spec.meter_id: MeterCredentials(None, spec.keys.meter_keys(), spec.system_title)
            for spec in scenario.fleet.meters
            if spec.keys is not None
        },
    )


async def _exchange_meter(workspace: Workspace, scenario: Scenario, ports: Sequence[int]) -> None:
    """Field work: both dials are read on the spot, then the exchange is recorded."""
    swap = scenario.exchange
    for spec, kind in ((swap.old, "remove"), (swap.new, "install")):
        await _read_dial(workspace, spec, kind, swap.at, ports)
    workspace.registry.exchange_meter(
        swap.usage_point_id, meter_entity(swap.new, HOST, ports), swap.at, actor=ACTOR, why="meter exchange"
    )


async def _read_dial(
    workspace: Workspace, spec: MeterSpec, kind: str, at: datetime, ports: Sequence[int]
) -> None:
    order = ReadOrder(
        meter_id=spec.meter_id,
        host=HOST,
        port=ports[spec.port_index],
        logical_device=spec.wport,
        zone=spec.zone,
        start=at,
        end=at,
        channels=(IMPORT_INTERVAL,),
        registers=(IMPORT_ENERGY,),
    )
    with meter_access(workspace.folder, [order], at) as security:
        driver = DlmsTcpDriver(order, LINK, security=security(spec.meter_id))
        try:
            await driver.open()
            values = await driver.registers(order.registers)
        finally:
            await driver.close()
    evidence = frames_evidence(order, driver.take_frames(), at, str(IMPORT_ENERGY))
    reads = tuple(
        RegisterRead(
            spec.meter_id, value.register, at, value.quantum, value.value, at, kind,
            evidence_id=evidence.evidence_id,
        )
        for value in values
    )  # fmt: skip
    workspace.door.put(
        Batch(source=f"field work at {spec.meter_id}", register_reads=reads, evidence=(evidence,))
    )


def _deliver_again(workspace: Workspace, incidents: Sequence[Incident]) -> None:
    """The same reading arrives a second time, as a concentrator does that lost the acknowledgement."""
    for incident in incidents:
        blocks = workspace.store.raw([incident.meter], None, incident.day, incident.day + timedelta(days=1))
        now = workspace.clock.now() + timedelta(minutes=1)
        again = tuple(
            replace(block, captured_at=now, sources=(), seq=0, version=0, block_id="") for block in blocks
        )
        workspace.door.put(Batch(source=f"delivered again {incident.meter} {incident.day}", intervals=again))


def _customers_meters(workspace: Workspace) -> int:
    """Meters that hang at customers at the end: without those of the areas and those taken down."""
    registry = workspace.registry
    customers = {point.usage_point_id for point in registry.usage_points() if point.kind == "customer"}
    return sum(
        installation.usage_point_id in customers and installation.valid_to is None
        for installation in registry.installations()
    )


def _settle(workspace: Workspace, scenario: Scenario, report: VeeReport, step: Step) -> Summary:
    first, after = scenario.first_day, scenario.after
    agreements = [agreement.agreement_id for agreement in workspace.registry.agreements()]
    billed = workspace.bills.bill_many(
        agreements, first, after, progress=lambda done: step("billing", done, len(agreements))
    )
    if billed.refused:
        raise billed.refused[0].error
    bills = billed.bills
    step("analysing", 0, 1)
    look_for_theft(workspace, first, after)
    losses = area_losses(workspace, first, after)
    rows = closure(workspace, first, after)
    return Summary(
        seed=scenario.fleet.seed,
        meters=_customers_meters(workspace),
        days=len(scenario.days),
        intervals_expected=report.intervals_expected,
        intervals_measured=report.intervals_measured,
        intervals_estimated=report.intervals_estimated,
        completeness=round(report.intervals_measured / report.intervals_expected, 6),
        exceptions=workspace.exceptions.counts(),
        register_advance_wh=sum(row.advance_wh for row in rows),
        final_energy_wh=sum(row.final_wh for row in rows),
        closure_error_wh=max(abs(row.error_wh) for row in rows),
        bills=len(bills),
        billed_wh=sum(bill.energy_wh for bill in bills),
        amount=money_text(sum((bill.total for bill in bills), Fraction(0))),
        currency=bills[0].currency,
        areas=[
            {
                "area": loss.area_id,
                "supplied_wh": loss.supplied_wh,
                "sold_wh": loss.sold_wh,
                "loss_percent": None if loss.loss_percent is None else round(loss.loss_percent, 3),
            }
            for loss in losses
        ],
        injected=scenario.injected,
        detected=detect(workspace, first, after),
        frames=0,
        first_bill=bills[0].bill_id,
        seconds=0.0,
    )
