"""What a utility decides once is written whole, read back, and refused with all its faults."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openami.quantities.errors import FormatError
from openami.workspace.settings import (
    Settings,
    read_passwords,
    read_settings,
    write_passwords,
    write_settings,
)
from openami.workspace.workspace import Workspace

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(name=TEXT)
def test_every_name_is_read_back_as_it_was_written(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("settings")
    settings = Settings(
        name=name, zone="Europe/London", currency="GBP", language="zh", database="sqlite:///x"
    )
    write_settings(folder, settings)
    assert read_settings(folder) == settings


@given(passwords=st.dictionaries(TEXT, TEXT.map(str.encode)))
def test_every_password_is_read_back_as_it_was_written(
    passwords: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("passwords")
    write_passwords(folder, passwords)
    assert read_passwords(folder) == passwords


def test_passwords_are_for_their_owner_alone(tmp_path: Path) -> None:
    (tmp_path / "passwords.toml.new").touch(mode=0o644)  # left by a crash
    write_passwords(tmp_path, {"M1": b"secret"})
    assert stat.S_IMODE((tmp_path / "passwords.toml").stat().st_mode) == 0o600


def test_faults_of_the_settings_are_all_listed(tmp_path: Path) -> None:
    (tmp_path / "workspace.toml").write_text(
        'zone = "Mars"\ncurrency = "euro"\nlanguage = "de"\ncolour = 1\n'
    )
    with pytest.raises(FormatError) as error:
        read_settings(tmp_path)
    for fault in ("zone: Value error, unknown time zone 'Mars'", "currency: ", "language: ", "colour: "):
        assert fault in str(error.value)


@pytest.mark.parametrize("content", [b"zone = ", b"\xff\xfe", b"name = 'a\nb'"])
def test_settings_that_are_no_toml_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "workspace.toml").write_bytes(content)
    with pytest.raises(FormatError, match=r"workspace\.toml: not TOML"):
        read_settings(tmp_path)


def test_a_folder_without_a_workspace_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path, tmp_path / "nothing", tmp_path / "file"):
        with pytest.raises(FormatError, match="there is no workspace here"):
            Workspace.open(folder)


@pytest.mark.parametrize("content", ["M1 = 5", 'M1 = ["a"]', "M1 = "])
def test_a_damaged_file_of_passwords_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "passwords.toml").write_text(content)
    with pytest.raises(FormatError, match=r"passwords\.toml"):
        read_passwords(tmp_path)
