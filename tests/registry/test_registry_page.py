"""The registry's page in the documentation shows what really happens."""

from __future__ import annotations

import doctest
from pathlib import Path


def test_the_examples_of_the_page_give_the_output_they_show() -> None:
    page = Path(__file__).parents[2] / "docs" / "stations" / "registry.md"
    outcome = doctest.testfile(str(page), module_relative=False, encoding="utf-8")
    assert outcome.failed == 0
    assert outcome.attempted > 15
