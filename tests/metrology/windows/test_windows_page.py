"""The example of the station's page is run as it stands there."""

from pathlib import Path

import numpy as np
import pytest

PAGE = Path(__file__).parents[3] / "docs" / "stations" / "windows.md"


def test_the_example_of_the_page_says_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = (part.partition("```")[0] for part in PAGE.read_text("utf-8").split("```python\n")[1:])
    names: dict[str, object] = {}
    exec(compile(example, PAGE.name, "exec"), names)  # our own page
    assert "[1146.6825 1146.6825 1146.6825]" in capsys.readouterr().out
    power = names["windows"].p_w  # type: ignore[attr-defined]
    assert power == pytest.approx(325.3 * 14.1 / 2 * 0.5, rel=1e-9)
    assert np.asarray(names["thds"]).max() < 1e-5
