"""Profiles of companion models over a change of the clocks, as a client reads them: times and sums hold."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from openami.headend.dlms_meter import Meter
from openami.meter.companion.model import CompanionModel, companion_model, companion_names
from openami.meter.fleet import Fleet
from openami.meter.fleet_spec import FleetSpec, MeterSpec
from openami.meter.load_curve import CurveKind, CurveSpec
from openami.meter.tcp_server import FleetServer
from openami.quantities.civil_time import zone_of
from openami.quantities.clock import SimulatedClock
from openami.quantities.obis import ObisCode
from openami.security.secret import Secret

START = datetime(2026, 10, 20, 22, tzinfo=UTC)
BERLIN = zone_of("Europe/Berlin")
INTERVALS, DAYS = ObisCode.parse("1-0:99.1.0"), ObisCode.parse("1-0:99.2.0")
BILLING = (ObisCode.parse("0-0:98.1.0"), ObisCode.parse("1-0:98.1.0"))
NOVEMBER = datetime(2026, 10, 31, 23, tzinfo=UTC)


def has(model: CompanionModel, name: ObisCode) -> bool:
    return any(item.logical_name == name and item.capture for item in model.of_class(7))


@pytest.mark.parametrize("name", companion_names())
async def test_intervals_days_and_months_are_at_their_times_and_rise_by_what_was_used(name: str) -> None:
    model = companion_model(name)
    clock = SimulatedClock(START)
    spec = MeterSpec("M1", 16, CurveSpec(CurveKind.HOUSEHOLD, "M1"), companion=name)
    fleet = Fleet(FleetSpec(1, START, (spec,)), clock)
    clock.advance(timedelta(days=14, hours=5, minutes=7))
    recorded, frozen = fleet.meter("M1").profile.rows(), fleet.meter("M1").freezes.rows()
    totals = dict(zip(frozen.stamp_s.tolist(), frozen.values[0].tolist(), strict=True))
    server = FleetServer(fleet)
    (port,) = await server.start("127.0.0.1")
    who = next(client.port for client in model.clients if client.view == "everything")
    async with Meter("127.0.0.1", port, server=16, client=who, password=Secret(b"00000000")) as meter:
        intervals = await meter.profile(INTERVALS)
        stamps = [int(at.timestamp()) for at in intervals.column("time").to_pylist()]
        assert stamps == recorded.stamp_s[-len(stamps) :].tolist()
        assert len(stamps) in (960, 14 * 96 + 20)  # ten days of the Dutch lists, else all of them
        assert {later - sooner for sooner, later in itertools.pairwise(stamps)} == {900}
        if "1-0:1.29.0" in intervals.column_names:
            assert intervals.column("1-0:1.29.0").to_pylist() == recorded.values[0].tolist()
        else:
            dials = recorded.values[0].cumsum()[-len(stamps) :]
            assert intervals.column("1-0:1.8.0").to_pylist() == dials.tolist()
        if has(model, DAYS):
            days = await meter.profile(DAYS)
            local = [at.astimezone(BERLIN) for at in days.column("time").to_pylist()]
            assert [(at.hour, at.minute) for at in local] == [(0, 0)] * len(local)
            assert [(b.date() - a.date()).days for a, b in itertools.pairwise(local)] == [1] * (
                len(local) - 1
            )
            assert _energies(days.to_pydict()) == [totals[int(at.timestamp())] for at in local]
        for billing in BILLING:
            if has(model, billing):
                months = (await meter.profile(billing)).to_pydict()
                assert months["time"] == [NOVEMBER]
                assert _energies(months) == [totals[int(NOVEMBER.timestamp())]]
    await server.close()


def _energies(columns: dict[str, list[int]]) -> list[int]:
    """The register of all rates, or the sum of both rates where the profile has those alone."""
    if "1-0:1.8.0" in columns:
        return columns["1-0:1.8.0"]
    return [night + day for night, day in zip(columns["1-0:1.8.1"], columns["1-0:1.8.2"], strict=True)]
