"""Pages over HTTP: they are there, they show what is stored, and hostile requests get nowhere."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from datetime import timedelta
from fractions import Fraction

import httpx
import numpy as np
import pytest

from console_world import AFTER, FIRST, GAP_DAY, HOSTILE, SILENT_DAY, SPIKE_DAY, ZONE, Utility
from openami.billing.ledger import BillState
from openami.console.app import HEADERS
from openami.quantities.civil_time import CivilDay
from openami.quantities.money import money_text
from openami.quantities.obis import EXPORT_INTERVAL, IMPORT_INTERVAL
from openami.quantities.status import Status

LAST = AFTER - timedelta(days=1)


def _cells(page: str, table: str) -> list[list[str]]:
    """The text of the cells of the body of a named table, row by row."""
    body = re.search(rf'data-table="{table}".*?<tbody>(.*?)</tbody>', page, re.DOTALL)
    assert body, table
    rows = re.findall(r"<tr.*?</tr>", body[1], re.DOTALL)
    return [[_text(cell) for cell in re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL)] for row in rows]


def _text(fragment: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", fragment)).split())


def test_every_page_is_there_in_both_languages(visitor: httpx.Client, page_paths: Sequence[str]) -> None:
    for path in page_paths:
        for language in ("en", "zh"):
            answer = visitor.get(f"{path}{'&' if '?' in path else '?'}lang={language}")
            assert answer.status_code == 200, path
            assert answer.headers["content-type"] == "text/html; charset=utf-8"
            assert answer.text.count("<h1") == 1, path


def test_every_answer_carries_the_headers(visitor: httpx.Client) -> None:
    for path in ("/", "/static/app.js", "/nothing", "/?from=x", "/meters/M-1/series", "/static/../app.py"):
        answer = visitor.get(path)
        for name, value in HEADERS.items():
            assert answer.headers[name] == value, (path, name)
    policy = HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy


def test_overview_counts_what_is_stored(utility: Utility, visitor: httpx.Client) -> None:
    page = visitor.get(f"/?from={FIRST}&to={LAST}").text
    tiles = dict(re.findall(r"<dt>([^<]+)</dt><dd>(?:<a[^>]*>)?([^<]+)", page))
    assert tiles["Meters"] == "8"
    # 12 days of 7 meters hanging; M-3 did not answer on one.
    assert tiles["Read in time"] == f"{100 * (12 * 7 - 1) / (12 * 7):.2f} %"
    finals = utility.workspace.store.final(None, None, FIRST, AFTER)
    estimated = sum(int((block.status_ids & 7 != 0).sum()) for block in finals)
    intervals = sum(block.values.size for block in finals)
    assert intervals == 8 * (11 * 96 + 100)
    assert estimated >= 4 + 1 + 96
    assert tiles["Estimated intervals"] == f"{estimated:,}"
    assert tiles["Measured intervals"] == f"{100 * (intervals - estimated) / intervals:.2f} %"
    assert tiles["Open exceptions"] == str(sum(utility.workspace.exceptions.counts("open").values()))
    assert tiles["Bills issued"] == str(len(utility.workspace.bills.bills(state=BillState.ISSUED)))


@pytest.mark.parametrize("meter", ["M-1", "M-2", "M-4"])
def test_intervals_of_a_meter_are_the_stored_ones(
    utility: Utility, visitor: httpx.Client, meter: str
) -> None:
    store, point = utility.workspace.store, meter.replace("M", "UP")
    for day in (GAP_DAY, SPIKE_DAY):
        after = day + timedelta(days=1)
        (raw,) = store.raw([meter], [IMPORT_INTERVAL], day, after)
        (final,) = store.final([point], [IMPORT_INTERVAL], day, after)
        rows = _cells(visitor.get(f"/meters/{meter}?from={day}&to={day}").text, "intervals")
        assert len(rows) == 96
        for index, (start, raw_text, final_text, status_text) in enumerate(rows):
            assert start == f"{index // 4:02d}:{index % 4 * 15:02d}"
            assert raw_text == ("–" if raw.missing[index] else f"{raw.values[index]:,}")
            assert final_text == f"{final.values[index]:,}"
            assert status_text.split()[0] == str(Status.from_id(int(final.status_ids[index])))


def test_a_day_of_25_hours_has_100_rows(visitor: httpx.Client) -> None:
    rows = _cells(visitor.get("/meters/M-1?from=2026-10-25&to=2026-10-25").text, "intervals")
    assert [row[0] for row in rows[6:16]] == [
        "01:30", "01:45", "02:00", "02:15", "02:30", "02:45", "02:00", "02:15", "02:30", "02:45"
    ]  # fmt: skip
    assert len(rows) == 100


def test_registers_and_events_of_a_meter_are_the_stored_ones(utility: Utility, visitor: httpx.Client) -> None:
    page = visitor.get(f"/meters/M-4?from={FIRST}&to={LAST}").text
    start, end = CivilDay(FIRST, ZONE).start, CivilDay(LAST, ZONE).end
    reads = utility.workspace.store.register_reads(["M-4"], None, start, end)
    shown = _cells(page, "registers")
    assert sorted(row[2] for row in shown) == sorted(f"{read.value:,} Wh" for read in reads)
    assert len(_cells(page, "events")) == len(utility.workspace.store.events(["M-4"], start, end)) == 3


def test_series_are_the_stored_values(utility: Utility, visitor: httpx.Client) -> None:
    answer = visitor.get(f"/meters/M-4/series?from={FIRST}&to={LAST}").json()
    store = utility.workspace.store
    raw = np.concatenate([block.values for block in store.raw(["M-4"], [IMPORT_INTERVAL], FIRST, AFTER)])
    final = store.final(["UP-4"], [IMPORT_INTERVAL], FIRST, AFTER)
    values = np.concatenate([block.values for block in final])
    status = np.concatenate([block.status_ids for block in final])
    assert answer["raw"] == raw.tolist()
    assert answer["final"] == values.tolist()
    expected = [value if flag else None for value, flag in zip(values.tolist(), status & 7 != 0, strict=True)]
    assert answer["estimated"] == expected
    begin = int(CivilDay(FIRST, ZONE).start.timestamp())
    assert answer["t"] == list(range(begin, begin + 900 * raw.size, 900))
    assert (answer["unit"], answer["zone"]) == ("Wh", ZONE)


def test_series_of_export_and_of_what_never_came(utility: Utility, visitor: httpx.Client) -> None:
    sun = visitor.get(f"/meters/M-5/series?from={FIRST}&to={FIRST}&channel=1-0:2.29.0").json()
    assert sun["raw"] == utility.loads["M-5", EXPORT_INTERVAL, FIRST].tolist()
    silent = visitor.get(f"/meters/M-3/series?from={SILENT_DAY}&to={SILENT_DAY}").json()
    assert silent["raw"] == [None] * 96
    assert silent["estimated"] == silent["final"]
    assert sum(silent["final"]) == utility.loads["M-3", IMPORT_INTERVAL, SILENT_DAY].sum()
    assert visitor.get("/meters/M-3/series?from=2030-01-01&to=2030-01-02").json()["t"] == []


def test_an_exchanged_meter_shows_finals_while_it_hung(visitor: httpx.Client) -> None:
    old = visitor.get(f"/meters/M-6/series?from={FIRST}&to={LAST}").json()
    new = visitor.get(f"/meters/M-7/series?from={FIRST}&to={LAST}").json()
    assert (
        max(old["t"]) + 900
        == min(new["t"])
        == int(CivilDay(SPIKE_DAY + timedelta(2), ZONE).start.timestamp())
    )
    assert None not in old["final"] + new["final"]


def test_lists_filter_and_count(utility: Utility, visitor: httpx.Client) -> None:
    assert "8 meters" in visitor.get("/meters").text
    found = visitor.get("/meters?q=up-6").text
    assert "2 meters" in found
    assert "M-6" in found
    assert "0 meters" in visitor.get("/meters?area=A-9").text
    assert f"{len(utility.workspace.exceptions.find())} exceptions" in visitor.get("/exceptions?state=").text
    assert "1 exceptions" in visitor.get("/exceptions?kind=spike&meter=M-4").text
    assert "1 bills" in visitor.get("/bills?state=cancelled").text
    assert "7 bills" in visitor.get("/bills").text
    assert "1 bills" in visitor.get("/bills?q=Söhne").text
    assert "0 bills" in visitor.get("/bills?q=%25").text


def test_a_bill_multiplies_and_adds_up(utility: Utility, visitor: httpx.Client) -> None:
    for bill_id in utility.bills:
        bill = utility.workspace.bills.get(bill_id)
        page = visitor.get(f"/bills/{bill_id}").text
        lines = re.search(r'<table class="lines">.*?</table>', page, re.DOTALL)
        assert lines
        rows = re.findall(r"<tbody>\s*<tr>(.*?)</tr>", lines[0], re.DOTALL)
        assert len(rows) == len(bill.lines)
        amounts = []
        for row, line in zip(rows, bill.lines, strict=True):
            quantity, price, amount = (
                _text(cell) for cell in re.findall(r'<td class="n[^"]*">(.*?)</td>', row, re.DOTALL)
            )
            assert Fraction(quantity.split()[0].replace(",", "")) == line.quantity
            assert price == ("–" if line.price is None else f"× {line.price}")
            amounts.append(Fraction(amount.replace(",", "")))
        assert sum(amounts) == bill.total
        assert f"<strong>{money_text(bill.total)} EUR</strong>" in page


def test_a_cancelled_bill_says_who_and_why(utility: Utility, visitor: httpx.Client) -> None:
    page = visitor.get(f"/bills/{utility.cancelled}").text
    assert "ada: the meter was read wrongly" in page
    replaced = visitor.get(f"/bills/{utility.replaced}").text
    assert "/bills/AG-2-0002" in replaced
    assert f"/bills/{utility.replaced}" in visitor.get("/bills/AG-2-0002").text


def test_loss_of_the_area_is_supplied_less_sold(utility: Utility, visitor: httpx.Client) -> None:
    page = visitor.get(f"/areas/A-1?from={FIRST}&to={LAST}").text
    tiles = dict(re.findall(r"<dt>([^<]+)</dt><dd>([0-9.,]+)", page))
    supplied, sold, lost = (float(tiles[name].replace(",", "")) for name in ("Supplied", "Sold", "Lost"))
    assert lost == pytest.approx(supplied - sold, abs=0.11)
    final = utility.workspace.store.final(["UP-A"], [IMPORT_INTERVAL], FIRST, AFTER)
    assert tiles["Supplied"] == f"{sum(block.total for block in final) / 1000:,.1f}"


def test_what_is_not_there_is_404(visitor: httpx.Client) -> None:
    for path in (
        "/nothing", "/meters/M-99", "/meters/M-99/series", "/exceptions/none", "/bills/none", "/areas/none",
        "/bills/AG-1-0001/trace?line=99", "/bills/AG-1-0001/trace?line=2&path=7", "/bills/none/trace?line=1",
        "/bills/AG-1-0001/trace?line=2&path=0.0.0.0.0.0.0.0.0.0", "/static/nothing.js",
    ):  # fmt: skip
        answer = visitor.get(path)
        assert answer.status_code == 404, path
        assert "Not found" in answer.text


def test_what_cannot_be_understood_is_400(visitor: httpx.Client) -> None:
    for path in (
        "/?from=yesterday", "/?from=2026-13-01", "/?from=0001-01-01", "/?to=9999-12-31",
        "/?from=2026-10-20&to=2026-10-19", "/areas?from=1990-01-01&to=2026-01-01", "/meters?page=0",
        "/meters?page=-1", "/meters?page=x", "/meters?page=99999999999999999999", "/bills?page=%F0%9D%9F%99",
        "/meters/M-1?day=x", "/meters/M-1?channel=x", "/meters/M-1/series?channel=1-0:999.8.0",
        "/bills/AG-1-0001/trace", "/bills/AG-1-0001/trace?line=0", "/bills/AG-1-0001/trace?line=x",
        "/bills/AG-1-0001/trace?line=1&path=-1", "/bills/AG-1-0001/trace?line=1&path=1..2",
        f"/bills/AG-1-0001/trace?line=1&path={'.'.join('0' * 60)}",
    ):  # fmt: skip
        answer = visitor.get(path)
        assert answer.status_code == 400, path
        assert "The request was not understood" in answer.text


def test_pages_are_only_read(visitor: httpx.Client) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert visitor.request(method, "/bills").status_code == 405


def test_html_in_any_parameter_is_only_text(visitor: httpx.Client, page_paths: Sequence[str]) -> None:
    poison = "\"'><script>alert(1)</script>"
    names = (
        "q",
        "area",
        "state",
        "kind",
        "meter",
        "from",
        "to",
        "day",
        "channel",
        "page",
        "lang",
        "line",
        "path",
    )
    bare = [path.partition("?")[0] for path in page_paths]
    of_each_route = {re.sub(r"/(meters|exceptions|bills|areas)/[^/]+", r"/\1/x", path): path for path in bare}
    assert len(of_each_route) == 10
    for path in [*of_each_route.values(), "/meters/M-1/series"]:
        for name in names:
            answer = visitor.get(path, params={name: poison, "other": poison})
            assert answer.status_code in (200, 400, 404), (path, name)
            assert "<script>alert" not in answer.text, (path, name)
            assert "\"'>" not in answer.text, (path, name)
    assert "<script>alert" not in visitor.get("/meters/<script>alert(1)</script>").text


def test_html_in_stored_names_is_only_text(visitor: httpx.Client, page_paths: Sequence[str]) -> None:
    shown = 0
    for path in page_paths:
        page = visitor.get(path).text
        assert "<script>alert" not in page
        assert "<b>7</b>" not in page
        assert "<i>kWh</i>" not in page
        shown += html.escape(HOSTILE, quote=True).replace("&#x27;", "&#39;") in page
    assert shown >= 2


def test_nothing_outside_of_the_assets_is_served(address: str) -> None:
    for path in (
        "/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/app.py", "/static/....//app.py",
        "/static//etc/passwd", "/static/%2fetc%2fpasswd", "/static/vendor/../../i18n.py", "/static/",
    ):  # fmt: skip
        # By hand: clients tidy such addresses up before they send them.
        with httpx.Client(base_url=address) as client:
            request = client.build_request("GET", "/")
            request.url = request.url.copy_with(raw_path=path.encode())
            answer = client.send(request)
        assert answer.status_code == 404, path
        assert "import annotations" not in answer.text
        assert "root:" not in answer.text


def test_a_console_of_an_empty_workspace_opens(empty: httpx.Client) -> None:
    for path in ("/", "/meters", "/exceptions", "/bills", "/areas"):
        answer = empty.get(path)
        assert answer.status_code == 200, path
    assert "Nothing was read in this time." in empty.get("/").text
    assert empty.get("/meters/M-1").status_code == 404


def test_a_damaged_store_is_a_500_that_tells_no_path(broken: httpx.Client) -> None:
    answer = broken.get("/meters/M-1")
    assert answer.status_code == 500
    assert "Something went wrong" in answer.text
    assert answer.headers["Content-Security-Policy"] == HEADERS["Content-Security-Policy"]
