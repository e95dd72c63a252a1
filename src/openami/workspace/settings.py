"""``workspace.toml``: what one utility decides once.

The rule never to be broken: after a crash or on a full disk the file is the old or the new one, whole.
"""

from __future__ import annotations

import contextlib
import json
import os
import tomllib
from pathlib import Path
from typing import Annotated, Literal

import pydantic

from openami.quantities.civil_time import zone_of
from openami.quantities.errors import FormatError, OpenAmiError, StoreError

FILE = "workspace.toml"


class Settings(pydantic.BaseModel):
    """What one utility decides once.

    Parameters
    ----------
    name:
        Name of the utility, shown on the pages.
    zone:
        IANA zone of usage points that do not say their own.
    currency:
        ISO 4217 code.
    language:
        Language of the pages before a reader chooses.
    database:
        SQLAlchemy URL; None is SQLite inside the workspace. A password in it is better given by
        the environment variable ``OPENAMI_DATABASE``, which wins.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    name: str = "openami"
    zone: str = "Europe/Berlin"
    currency: Annotated[str, pydantic.Field(pattern=r"^[A-Z]{3}$")] = "EUR"
    language: Literal["en", "zh"] = "en"
    database: str | None = None

    @pydantic.field_validator("zone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            zone_of(name)
        except OpenAmiError as error:
            raise ValueError(str(error)) from None
        return name


def read_settings(folder: Path) -> Settings:
    """Settings of the workspace in ``folder``.

    Raises
    ------
    FormatError
        There is no workspace, or its file is not valid; all faults are listed.
    """
    file = folder / FILE
    try:
        text = file.read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise FormatError(
            "there is no workspace here", where=str(folder), expected="a folder made by `ami init`"
        ) from None
    except UnicodeDecodeError as error:
        raise FormatError(f"not TOML: {error}", where=str(file)) from None
    try:
        return Settings.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise FormatError(f"not TOML: {error}", where=str(file)) from None
    except pydantic.ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, f['loc']))}: {f['msg']}" for f in error.errors())
        raise FormatError(faults, where=str(file)) from None


def write_settings(folder: Path, settings: Settings) -> None:
    """Write ``workspace.toml``; raises `StoreError` when it cannot be written."""
    lines = [f"{key} = {_toml(value)}" for key, value in settings.model_dump(exclude_none=True).items()]
    write_whole(folder / FILE, "# one utility; see docs/stations/workspace.md\n" + "\n".join(lines) + "\n")


def write_whole(file: Path, text: str, mode: int = 0o644) -> None:
    """Write a small file so that after a crash the old or the new one is there, never a part.

    Raises
    ------
    StoreError
        It cannot be written; the old one is still there.
    """
    fresh = file.with_name(file.name + ".new")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            os.fchmod(descriptor, mode)
            stream.write(text)
            stream.flush()
            os.fsync(descriptor)
        fresh.replace(file)
        _sync_folder(file.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise StoreError(f"cannot be written: {error.strerror or error}", where=str(file)) from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _toml(value: object) -> str:
    if isinstance(value, int):
        return str(value)
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
