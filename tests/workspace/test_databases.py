"""A workspace on SQLite and on PostgreSQL: import, validate, bill, explain, and open again."""

from __future__ import annotations

from datetime import date
from fractions import Fraction
from pathlib import Path

import pytest

from openami.mdm.formats import Policy
from openami.quantities.errors import RegistryError
from openami.workspace.agreements import assign_tariff
from openami.workspace.importing import import_file
from openami.workspace.settings import Settings
from openami.workspace.workspace import Workspace
from workspace_world import contents, flat_days, nem12, write

TARIFF = """
id = "tiers"
name = "Two tiers"
currency = "AUD"
zone = "Australia/Brisbane"
valid_from = 2024-01-01
source = "this test"
rounding = "half_up 2"
total_rounding = "half_up 2"
[[charges]]
name = "energy"
kind = "energy"
tiers = { per = "month", interaction = "pro_rata", steps = [
  { up_to = "500", price = "0.20" },
  { price = "0.30" },
] }
"""
TOTAL = Fraction("173.20")
"""31 days of 24 kWh are 744 kWh: 500 x 0.20 + 244 x 0.30."""


@pytest.fixture(params=["environment", "settings"])
def settings(request: pytest.FixtureRequest, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The database named in the environment, or in the settings."""
    if request.param == "settings":
        return Settings(zone="Australia/Brisbane", currency="AUD", database=database_url)
    monkeypatch.setenv("OPENAMI_DATABASE", database_url)
    return Settings(zone="Australia/Brisbane", currency="AUD")


def test_a_month_goes_from_its_file_to_an_explained_bill(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "utility"
    workspace = Workspace.create(folder, settings)
    file = write(tmp_path, "march.csv", nem12(("NMI1", "M1", "E1", flat_days(1, 31))))
    assert import_file(workspace, file, policy=Policy.STRICT).stored
    vee = workspace.vee().run(date(2024, 3, 1), date(2024, 4, 1))
    assert vee.intervals_measured == 31 * 48
    workspace.registry.put_document(
        "tariff", "tiers", TARIFF, valid_from=date(2024, 1, 1), actor="test", why="test"
    )
    (agreement,) = assign_tariff(workspace, "tiers", ["NMI1"], date(2024, 3, 1))
    bill = workspace.bills.bill(agreement.agreement_id, date(2024, 3, 1), date(2024, 4, 1))
    assert (bill.total, bill.energy_wh) == (TOTAL, 744_000)
    before = contents(workspace)
    workspace.close()
    assert not (folder / "registry.db").exists()
    other = Workspace.open(folder)
    assert contents(other) == before
    assert other.bills.recompute(bill.bill_id).holds
    node = other.bills.explain(bill.bill_id, 1)
    while children := node.children():
        node = children[0]
    assert node.label == "march.csv, line 3"
    assert import_file(other, file, policy=Policy.STRICT).duplicates == 31
    other.close()


def test_a_database_that_does_not_answer_is_named_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAMI_DATABASE", "postgresql+psycopg://ami:secret@127.0.0.1:1/ami")
    with pytest.raises(RegistryError) as error:
        Workspace.create(tmp_path / "utility", Settings())
    assert "secret" not in str(error.value)
    assert "127.0.0.1:1" in str(error.value)
