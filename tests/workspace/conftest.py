"""Workspaces in temporary folders, and how to look at what is in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from openami.quantities.clock import SimulatedClock
from openami.workspace.settings import Settings
from openami.workspace.workspace import Workspace
from workspace_world import MakeWorkspace

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def make_workspace(tmp_path: Path) -> Iterator[MakeWorkspace]:
    """Make workspaces by name; settings are keyword arguments."""
    with ExitStack() as opened:

        def make(name: str = "utility", **settings: object) -> Workspace:
            chosen = Settings.model_validate(settings)
            workspace = Workspace.create(tmp_path / name, chosen, SimulatedClock(NOW))
            opened.callback(workspace.close)
            return workspace

        yield make


@pytest.fixture
def workspace(make_workspace: MakeWorkspace) -> Workspace:
    """An empty workspace."""
    return make_workspace()
