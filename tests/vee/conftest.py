"""Fixtures of the tests of validation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from openami.registry.database import open_database
from vee_world import Utility


@pytest.fixture
def utility(tmp_path: Path) -> Iterator[Utility]:
    """A utility of its own for the test."""
    engine = open_database(f"sqlite:///{tmp_path / 'registry.sqlite'}")
    yield Utility(tmp_path, engine)
    engine.dispose()
