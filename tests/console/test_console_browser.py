"""Pages in a real Chromium: both languages, wide and narrow, light and dark, by mouse and by keyboard."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from importlib import resources
from typing import Literal

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, sync_playwright

from console_world import AFTER, FIRST, SPIKE_DAY, Utility

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

_ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage"]
_SERIOUS = ("serious", "critical")
_AXE = "async () => (await axe.run(document, {resultTypes: ['violations']})).violations"
_BACKGROUND = "getComputedStyle(document.documentElement).backgroundColor"


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=_ARGUMENTS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def axe() -> str:
    return (resources.files("axe_playwright_python") / "axe.min.js").read_text("utf-8")


class Watch:
    """What went wrong on a page, and what it asked for."""

    def __init__(self, page: Page, address: str) -> None:
        self.address = address
        self.faults: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self._say(message.type, message.text))
        page.on("pageerror", lambda error: self.faults.append(f"page error: {error}"))
        page.on("requestfailed", self._lost)
        page.on("request", lambda request: self.requests.append(request.url))

    def _lost(self, request: Request) -> None:
        # Chromium gives up its own request for the icon when the next page is opened before it came.
        given_up = request.failure == "net::ERR_ABORTED" and request.url.endswith("/static/icon.svg")
        if not given_up:
            self.faults.append(f"failed: {request.url}: {request.failure}")

    def _say(self, kind: str, text: str) -> None:
        # A policy that is violated is told as an error.
        if kind in ("error", "warning"):
            self.faults.append(f"{kind}: {text}")

    @property
    def strangers(self) -> list[str]:
        """Requests that left the origin."""
        return [url for url in self.requests if not url.startswith(f"{self.address}/")]


def _context(browser: Browser, width: int, scheme: Literal["light", "dark"] = "light") -> BrowserContext:
    context = browser.new_context(viewport={"width": width, "height": 860}, color_scheme=scheme)
    context.set_default_timeout(15_000)
    return context


def _visit(page: Page, address: str, path: str, language: str) -> None:
    page.goto(f"{address}{path}{'&' if '?' in path else '?'}lang={language}")
    for number in range(page.locator("[data-series]").count()):
        page.locator("[data-series]").nth(number).and_(page.locator("[data-drawn]")).wait_for()


def _violations(page: Page, axe: str) -> list[str]:
    page.evaluate(axe)
    return [
        f"{found['id']}: {json.dumps([node['html'][:160] for node in found['nodes']][:3])}"
        for found in page.evaluate(_AXE)
        if found["impact"] in _SERIOUS
    ]


def _overflow(page: Page) -> int:
    width: int = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return width


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("width", [1280, 390])
def test_every_page_is_sound(
    browser: Browser, axe: str, address: str, page_paths: Sequence[str], width: int, language: str
) -> None:
    with _context(browser, width) as context:
        page = context.new_page()
        watch = Watch(page, address)
        looked_at: set[str] = set()
        for path in page_paths:
            _visit(page, address, path, language)
            assert watch.faults == [], path
            assert watch.strangers == [], path
            assert _overflow(page) <= 0, path
            kind = f"{page.locator('h1').inner_text()[:3]}{page.locator('table').count()}"
            if kind not in looked_at:
                assert _violations(page, axe) == [], path
            looked_at.add(kind)
            assert page.locator("html").get_attribute("lang") == ("zh-CN" if language == "zh" else "en")
        assert len(looked_at) >= 12
        assert len(watch.requests) > 3 * len(page_paths)


def test_contrast_holds_in_the_dark(browser: Browser, axe: str, address: str, utility: Utility) -> None:
    with _context(browser, 1280, "dark") as context:
        page = context.new_page()
        for path in (
            "/", "/meters", f"/meters/M-4?from={FIRST}", "/exceptions?state=", "/bills",
            f"/bills/{utility.bills[0]}", f"/bills/{utility.bills[0]}/trace?line=2&path=0.0.0", "/areas/A-1",
            "/none",
        ):  # fmt: skip
            _visit(page, address, path, "en")
            assert _violations(page, axe) == [], path
            assert (
                page.evaluate("getComputedStyle(document.body.parentElement).backgroundColor")
                == "rgb(15, 22, 28)"
            )


def test_the_chart_has_a_point_for_every_interval(browser: Browser, address: str) -> None:
    with _context(browser, 1280) as context:
        page = context.new_page()
        _visit(page, address, f"/meters/M-4?from={SPIKE_DAY}&to={SPIKE_DAY}", "en")
        plot = page.locator("[data-series]")
        assert plot.get_attribute("data-drawn") == "96"
        assert page.locator(".u-over").is_visible()
        assert "60,000 Wh" in plot.locator(".beyond").inner_text()
        # The legend follows the pointer and tells the wall time of the meter's zone.
        box = page.locator(".u-over").bounding_box()
        assert box
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        assert page.locator(".u-legend .u-value").first.inner_text().startswith(f"{SPIKE_DAY} 1")


def test_a_trace_unfolds_by_mouse_to_the_bytes(browser: Browser, axe: str, address: str) -> None:
    with _context(browser, 390) as context:
        page = context.new_page()
        watch = Watch(page, address)
        _visit(page, address, "/bills/AG-4-0001", "en")
        page.get_by_text("What line 2 is made of").click()
        page.locator("details.day > summary").nth(2).click()
        page.locator("details.interval > summary").first.click()
        page.locator("details.frame > summary").last.click()
        page.locator("details.frame pre").last.wait_for()
        dump = page.locator("details.frame pre").last.inner_text()
        assert dump.startswith("0000  00 01 00 11 00 01")
        # Opened once, read once: what is closed and opened again asks nothing more.
        asked = len(watch.requests)
        page.locator("details.day > summary").nth(2).click()
        page.locator("details.day > summary").nth(2).click()
        assert len(watch.requests) == asked
        assert watch.faults == []
        assert _violations(page, axe) == []
        assert _overflow(page) <= 0


def test_a_trace_unfolds_by_keyboard_to_the_bytes(browser: Browser, address: str) -> None:
    with _context(browser, 1280) as context:
        page = context.new_page()
        _visit(page, address, "/bills/AG-4-0001", "zh")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        for place in ("tbody:nth-of-type(2) .why .trace", ".day", ".interval", ".frame"):
            _tab_to(page, f"{place}:not([open]) > summary")
            page.keyboard.press("Enter")
            page.locator(f"{place}[open] > .below > :not(a)").first.wait_for()
        page.locator("details.frame[open] pre").wait_for()
        assert page.locator("details.frame[open] pre").inner_text().startswith("0000  00 01 00 01")


def _tab_to(page: Page, selector: str) -> None:
    for _ in range(200):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"no way by keyboard to {selector}")


def test_the_language_link_keeps_the_page_and_is_remembered(browser: Browser, address: str) -> None:
    with _context(browser, 1280) as context:
        page = context.new_page()
        _visit(page, address, f"/meters/M-4?from={FIRST}&to={AFTER}", "en")
        page.get_by_role("link", name="中文").click()
        assert page.locator("h1").inner_text() == "电表 M-4"
        assert f"from={FIRST}&to={AFTER}" in page.url
        page.get_by_role("link", name="账单").click()
        assert page.locator("h1").inner_text() == "账单"


def test_lists_are_reached_and_filtered_by_keyboard(browser: Browser, address: str) -> None:
    with _context(browser, 1280) as context:
        page = context.new_page()
        _visit(page, address, "/meters", "en")
        _tab_to(page, "input[name=q]")
        page.keyboard.type("UP-4")
        page.keyboard.press("Enter")
        page.wait_for_url("**/meters?q=UP-4*")
        _tab_to(page, "tbody a")
        page.keyboard.press("Enter")
        page.wait_for_url("**/meters/M-4")


def test_pages_work_without_scripts(browser: Browser, address: str) -> None:
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(f"{address}/bills/AG-4-0001")
        page.get_by_text("What line 2 is made of").click()
        page.get_by_role("link", name="Show", exact=True).first.click()
        page.locator("details.day > summary").first.click()
        page.locator("details.day .below a").first.click()
        page.locator("details.interval > summary").first.click()
        page.locator("details.interval .below a").first.click()
        page.locator("details.frame > summary").last.click()
        assert page.locator("details.frame pre").last.is_visible()
        assert page.locator("nav.crumbs a").count() >= 4


def test_a_bill_prints_as_a_bill(browser: Browser, address: str) -> None:
    with _context(browser, 1280) as context:
        page = context.new_page()
        _visit(page, address, "/bills/AG-1-0001", "en")
        page.emulate_media(media="print")
        assert not page.locator("header.bar").is_visible()
        assert not page.get_by_text("What line 1 is made of").is_visible()
        assert page.locator(".bill-total").is_visible()
        assert page.locator("table.lines tfoot").is_visible()
