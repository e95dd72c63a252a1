"""The trace behind every line of a bill: every level sums exactly, down to the bytes."""

from __future__ import annotations

import html
import re
from fractions import Fraction

import httpx
import pytest

from console_world import SPIKE_DAY, Utility
from openami.billing.explain import Node
from openami.console.hex_dump import hex_rows
from openami.console.trace import shown, unfold
from openami.quantities.obis import IMPORT_INTERVAL

_PART = {"HX-Request": "true"}


def test_every_level_of_every_line_adds_up_to_the_one_above(utility: Utility) -> None:
    checked: dict[str, int] = {}
    for bill_id in utility.bills:
        for line in range(1, len(utility.workspace.bills.get(bill_id).lines) + 1):
            top = utility.workspace.bills.explain(bill_id, line)
            _descend(top, line, (), checked)
    assert checked["determinant"] > 10
    assert checked["day"] > 30
    assert checked["window"] >= 1
    assert checked["interval"] > 90


def _descend(node: Node, line: int, path: tuple[int, ...], checked: dict[str, int]) -> None:
    """Check sums below a node; of many children the first, the middle and the last are followed."""
    if node.kind == "final":
        return
    place = unfold(node, line, path)
    assert place.below is not None
    if node.additive and place.below:
        assert place.total == place.value, (node.kind, node.label)
        assert sum((child.node.value or Fraction(0) for child in place.below), Fraction(0)) == node.value
        checked[node.kind] = checked.get(node.kind, 0) + 1
    children = node.children()
    for number in sorted({0, len(children) // 2, len(children) - 1} & set(range(len(children)))):
        _descend(children[number], line, (*path, number), checked)


def test_a_trace_ends_at_the_frames_of_the_collection(utility: Utility, visitor: httpx.Client) -> None:
    # AG-4, line 2: peak energy of the shop; its first interval of the day of the spike
    top = utility.workspace.bills.explain("AG-4-0001", 2)
    day = next(
        number
        for number, node in enumerate(top.children()[0].children())
        if node.label == SPIKE_DAY.isoformat()
    )
    page = visitor.get(f"/bills/AG-4-0001/trace?line=2&path=0.{day}.0", headers=_PART).text
    assert "<html" not in page
    assert re.findall(r'<span class="kind">(\w+)</span>', page) == [
        "final",
        "raw",
        "evidence",
        "frame",
        "frame",
    ]
    dump = html.unescape("".join(re.findall(r"<pre[^>]*>(.*?)</pre>", page, re.DOTALL)))
    loaded = utility.loads["M-4", IMPORT_INTERVAL, SPIKE_DAY]
    frame = bytes.fromhex("000100110001") + loaded.tobytes()
    octets = bytes.fromhex("".join(row[6:53].replace(" ", "") for row in dump.splitlines() if row.strip()))
    assert octets == bytes.fromhex("0001000100110002c001") + frame


def test_a_trace_ends_at_the_line_of_a_file(visitor: httpx.Client) -> None:
    page = visitor.get("/bills/AG-1-0001/trace?line=2&path=0.1.0").text
    assert "october.csv, line 2" in page
    assert "M-1," in page
    assert "&lt;i&gt;kWh&lt;/i&gt;" in page


def test_a_place_is_a_page_without_scripts(visitor: httpx.Client) -> None:
    page = visitor.get("/bills/AG-1-0001/trace?line=2&path=0.1").text
    assert page.count("<h1") == 1
    crumbs = re.search(r'<nav class="crumbs".*?</nav>', page, re.DOTALL)
    assert crumbs
    for link in re.findall(r'href="([^"]+)"', crumbs[0]):
        assert visitor.get(html.unescape(link)).status_code == 200
    links = [html.unescape(link) for link in re.findall(r'<a href="([^"]+trace[^"]+)"', page)]
    assert len(links) > 30
    assert visitor.get(links[-1]).status_code == 200


def test_a_refused_part_is_a_part(visitor: httpx.Client) -> None:
    answer = visitor.get("/bills/AG-1-0001/trace?line=77", headers=_PART)
    assert answer.status_code == 404
    assert "<html" not in answer.text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (Fraction(1234567), "1 Wh", ("1,234,567", "Wh")),
        (Fraction(1234567), "1e-3 Wh", ("1,234.567", "Wh")),
        (Fraction(12), "1e3 varh", ("12,000", "varh")),
        (Fraction(1, 3), "EUR", ("1/3", "EUR")),
        (Fraction(-123456, 100), "EUR", ("-1,234.56", "EUR")),
        (None, "Wh", ("", "")),
    ],
)
def test_values_are_written_exactly(value: Fraction | None, unit: str, text: tuple[str, str]) -> None:
    assert shown(value, unit) == text


def test_a_dump_shows_every_byte() -> None:
    octets = bytes(range(256)) + b"openami"
    rows = list(hex_rows(octets))
    assert rows[2] == "0020  20 21 22 23 24 25 26 27 28 29 2a 2b 2c 2d 2e 2f   !\"#$%&'()*+,-./"
    assert rows[-1] == f"0100  {'6f 70 65 6e 61 6d 69':<47}  openami"
    assert bytes.fromhex("".join(row[6:53].replace(" ", "") for row in rows)) == octets
