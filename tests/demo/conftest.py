"""One demo of reduced size, run once through the real command, for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from demo_world import SEED, DemoRun, run_command
from openami.workspace.workspace import Workspace, opened


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DemoRun:
    return run_command(tmp_path_factory.mktemp("demo") / "utility", seed=SEED)


@pytest.fixture(scope="session")
def utility(demo: DemoRun) -> Iterator[Workspace]:
    with opened(demo.folder) as workspace:
        yield workspace
