"""What a utility decides once is written whole, read back, and refused with all its faults."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openami.quantities.errors import FormatError
from openami.workspace.settings import (
    Settings,
    read_settings,
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
