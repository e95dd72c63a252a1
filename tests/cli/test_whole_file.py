"""A file that a command writes is there whole or not at all, and nothing but a file is ever replaced."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from openami.cli.whole_file import whole_file


def written(file: Path, text: str) -> None:
    with whole_file(file) as fresh:
        fresh.write_text(text)


def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    written(file, "one")
    written(file, "two")
    assert file.read_text() == "two"
    assert list(tmp_path.iterdir()) == [file]


def test_what_was_there_stays_when_the_writer_fails(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text("before")
    with pytest.raises(UnicodeEncodeError), whole_file(file) as fresh:
        fresh.write_text("half of it \udc00", "utf-8")
    assert file.read_text() == "before"
    assert list(tmp_path.iterdir()) == [file]


def test_a_link_is_followed_and_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "reports").mkdir()
    link = tmp_path / "latest.html"
    link.symlink_to(tmp_path / "reports" / "may.html")
    written(link, "may")
    assert link.is_symlink()
    assert (tmp_path / "reports" / "may.html").read_text() == "may"


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        written(pipe, "through")
        assert os.read(reader, 100) == b"through"
    finally:
        os.close(reader)
    assert pipe.is_fifo()


def test_a_full_device_is_told_and_stays_a_device() -> None:
    device = Path("/dev/full")
    if not device.is_char_device():
        pytest.skip("no /dev/full here")
    with pytest.raises(OSError, match="No space left") as full:
        written(device, "x")
    assert full.value.filename == "/dev/full"
    assert device.is_char_device()


def test_a_folder_in_the_files_place_and_a_folder_that_is_not_there_are_told(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError) as folder:
        written(tmp_path, "x")
    assert folder.value.filename == str(tmp_path)
    with pytest.raises(FileNotFoundError) as missing:
        written(tmp_path / "no" / "page.html", "x")
    assert missing.value.filename == str(tmp_path / "no")
