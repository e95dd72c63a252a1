"""The example of the station's page is run as it stands there."""

from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "stations" / "power-quality.md"


def test_the_example_of_the_power_quality_page_says_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = (part.partition("```")[0] for part in PAGE.read_text("utf-8").split("```python\n")[1:])
    names: dict[str, object] = {}
    exec(compile(example, PAGE.name, "exec"), names)  # our own page
    windows, frequency, *events = capsys.readouterr().out.strip().splitlines()
    assert windows == "[230. 230. 230.] (99, 3, 51) 2"
    assert frequency == "[49.9]"
    assert events == ["DIP 138.0 0.203"]  # a cycle is 0.020
    assert names["partial"].flags.tolist() == [129]  # type: ignore[attr-defined]
