"""The site file: the example of the station's page, corrections, and what it does to a workspace."""

from __future__ import annotations

import re
import tomllib
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import pytest

from openami.mdm.formats import Policy
from openami.quantities.errors import FormatError
from openami.quantities.obis import EXPORT_INTERVAL, IMPORT_INTERVAL
from openami.security.public_keys import MeterPublicKeys, meter_keys_of
from openami.security.signature import new_private_key, public_octets
from openami.security.suites import SUITE_1
from openami.workspace.importing import import_file
from openami.workspace.meter_access import open_keyring, passwords_of
from openami.workspace.settings import Settings
from openami.workspace.site import is_site_file, read_site
from openami.workspace.workspace import Workspace
from workspace_world import contents, write

PAGE = Path(__file__).resolve().parents[2] / "docs" / "stations" / "workspace.md"
SETTINGS, SITE = re.findall(r"```toml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


def test_the_settings_of_the_page_are_settings() -> None:
    assert set(tomllib.loads(SETTINGS)) == set(Settings.model_fields)
    assert Settings.model_validate(tomllib.loads(SETTINGS)).currency == "EUR"


def test_the_site_file_of_the_page_is_recorded(workspace: Workspace, tmp_path: Path) -> None:
    path = write(tmp_path, "site.toml", SITE)
    assert is_site_file(path)
    report = import_file(workspace, path, policy=Policy.STRICT)
    assert (report.format, report.stored, report.new_meters, report.ok) == ("site", True, 1, True)
    registry = workspace.registry
    begin = datetime(2025, 12, 31, 23, tzinfo=UTC)
    meter = registry.meter("1EMH0012345678")
    assert (meter.host, meter.port, meter.channels) == ("10.0.3.7", 4059, (IMPORT_INTERVAL, EXPORT_INTERVAL))
    assert registry.multiplier("1EMH0012345678", begin) == Fraction(40)
    assert [point.usage_point_id for point in registry.usage_points("T1")] == ["MILL-ROAD-7"]
    assert registry.area("T1").meter_usage_point_id == "T1-METER"
    assert registry.installations()[0].valid_from == begin
    assert registry.agreement("AG17").tariff_id == "household_tou"
    assert passwords(workspace) == {"1EMH0012345678": b"00000001"}
    assert "00000001" not in "".join(map(repr, registry.meters()))


def test_the_same_site_file_again_changes_nothing_and_another_corrects(
    workspace: Workspace, tmp_path: Path
) -> None:
    import_file(workspace, write(tmp_path, "site.toml", SITE), policy=Policy.STRICT)
    before, revision = contents(workspace), workspace.registry.revision
    again = import_file(workspace, tmp_path / "site.toml", policy=Policy.STRICT)
    assert again.new_meters == 0
    assert (contents(workspace), workspace.registry.revision) == (before, revision)
    corrected = SITE.replace("A. Miller", "A. Müller").replace('password = "00000001"', 'password = "2"')
    import_file(workspace, write(tmp_path, "site.toml", corrected), policy=Policy.STRICT)
    assert workspace.registry.customer("C17").name == "A. Müller"
    assert workspace.registry.revision == revision + 1
    assert passwords(workspace) == {"1EMH0012345678": b"2"}


def passwords(workspace: Workspace) -> dict[str, bytes]:
    return passwords_of(workspace.folder, ["1EMH0012345678", "M2"])


def test_keys_of_a_meter_go_to_the_keyring_and_nowhere_else(workspace: Workspace, tmp_path: Path) -> None:
    digits = [f"{number:032x}" for number in (0xA1, 0xA2, 0xA3)]
    keys = 'keys = {{ global_unicast = "{}", authentication = "{}", master = "{}" }}'.format(*digits)
    meter = f'[[meter]]\nid = "M2"\nzone = "Europe/Berlin"\n{keys}\nsystem_title = "4f414d0000000001"\n'
    text = f'format = "openami-site"\n{meter}'
    import_file(workspace, write(tmp_path, "keys.toml", text), policy=Policy.STRICT)
    with open_keyring(workspace.folder) as keyring:
        found = keyring.credentials("M2")
    assert found.keys is not None
    assert found.keys.global_unicast.reveal() == bytes.fromhex(digits[0])
    assert (found.keys.suite_number, found.title) == (0, bytes.fromhex("4f414d0000000001"))
    assert not any(digit in repr(workspace.registry.meters()) for digit in digits)
    stored = b"".join(file.read_bytes() for file in workspace.folder.rglob("*") if file.is_file())
    assert not any(bytes.fromhex(digit) in stored or digit.encode() in stored for digit in digits)


@pytest.mark.parametrize("wrong", ["xyz", "00", f"{0xA2:032x}"])
def test_keys_that_are_none_are_refused_without_being_repeated(
    workspace: Workspace, tmp_path: Path, wrong: str
) -> None:
    keys = f'keys = {{ global_unicast = "{wrong}", authentication = "{0xA2:032x}", master = "{0xA3:032x}" }}'
    text = f'format = "openami-site"\n[[meter]]\nid = "M2"\nzone = "Europe/Berlin"\n{keys}\n'
    with pytest.raises(FormatError, match="keys of meter M2") as refused:
        import_file(workspace, write(tmp_path, "keys.toml", text), policy=Policy.STRICT)
    assert wrong not in str(refused.value).replace(str(tmp_path), "")
    assert workspace.registry.meters() == []


def test_passwords_of_other_meters_stay(workspace: Workspace, tmp_path: Path) -> None:
    import_file(workspace, write(tmp_path, "site.toml", SITE), policy=Policy.STRICT)
    meter = '[[meter]]\nid = "M2"\nzone = "Europe/Berlin"\npassword = "quote \\" and \\\\"\n'
    more = f'format = "openami-site"\n{meter}'
    import_file(workspace, write(tmp_path, "more.toml", more), policy=Policy.STRICT)
    assert passwords(workspace) == {"1EMH0012345678": b"00000001", "M2": b'quote " and \\'}


def test_instants_of_any_offset_are_the_same_instants(tmp_path: Path) -> None:
    for text in ("2026-01-01T00:00:00+01:00", "2025-12-31T23:00:00Z", "2026-01-01T07:00:00+08:00"):
        site = read_site(write(tmp_path, "site.toml", SITE.replace("2026-01-01T00:00:00+01:00", text)))
        instants = {row.valid_from for row in site.entities if type(row).__name__ == "Installation"}
        assert instants == {datetime(2025, 12, 31, 23, tzinfo=UTC)}


def test_a_toml_file_that_is_no_site_file_is_a_file_of_no_known_format(
    workspace: Workspace, tmp_path: Path
) -> None:
    path = write(tmp_path, "other.toml", "[tool]\nname = 1\n")
    assert not is_site_file(path)
    report = import_file(workspace, path, policy=Policy.STRICT)
    assert [fault.code for fault in report.diagnostics] == ["unknown_format"]


def test_mechanism_and_certificates_of_a_meter_go_to_the_keyring_or_are_refused(
    workspace: Workspace, tmp_path: Path
) -> None:
    key = public_octets(new_private_key(SUITE_1).public_key())

    def site(more: str, suite: int = 1) -> str:
        names = ("global_unicast", "authentication", "master")
        keys = ", ".join(f'{name} = "{number:032x}"' for number, name in enumerate(names, 1))
        row = f"keys = {{ {keys}, suite = {suite}, {more} }}"
        return f'format = "openami-site"\n[[meter]]\nid = "M2"\nzone = "Europe/Berlin"\n{row}\n'

    given = f'mechanism = 7, signature_certificate = "{key.hex()}"'
    for wrong in (
        site("mechanism = 7"),
        site("mechanism = 6"),
        site('signature_certificate = "xyz"'),
        site(f'mechanism = 7, signature_certificate = "{key.hex()[:-2]}"'),
        site(given, suite=0),
    ):
        with pytest.raises(FormatError, match=r"M2|keys"):
            import_file(workspace, write(tmp_path, "site.toml", wrong), policy=Policy.STRICT)
    import_file(workspace, write(tmp_path, "site.toml", site(given)), policy=Policy.STRICT)
    with open_keyring(workspace.folder) as keyring:
        assert meter_keys_of(keyring, ("M2",)) == {"M2": MeterPublicKeys(7, key)}
