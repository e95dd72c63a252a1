"""Every visible phrase exists in English and Chinese, and a Chinese page shows no English one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from string import Formatter

import httpx
import pytest

from console_world import HOSTILE, Utility
from openami.billing.ledger import BillState
from openami.console.exception_pages import STATES
from openami.console.i18n import chinese, translator
from openami.console.rendering import MENU
from openami.console.wording import NESTED, SENTENCES, match, speaker
from openami.mdm.exceptions import EXCEPTION_KINDS
from openami.mdm.vee.checks import Check
from openami.quantities.status import METHODS, DeviceFlag, Quality
from openami.readings.event import EventCode

TEMPLATES = Path(str(resources.files("openami.console"))) / "templates"
_CALL = re.compile(r"""\b_\(\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")""")
_NODE_KINDS = ("line", "determinant", "day", "window", "interval", "final", "raw", "evidence", "frame")
_UNITS = ("kWh", "kvarh", "kVAh", "kW", "kVA", "day", "month", "year", "bill", "base")
_READ_KINDS = ("freeze", "current", "install", "remove", "file")

# What is data on these pages, not text: names, units, codes, and what people wrote themselves.
_DATA = re.compile(
    r"""tcp://\S+ | Europe/Berlin | october\.csv | \bCustomer\ \d | Bahnhof.*?7(?:</b>)? | Kleinstadt
    | \b(?:M|UP|AC|AG|C|A)-[A-Z0-9-]+ | \b[0-9a-f]{16,} | 0x[0-9a-f]+ | \d+T\d+
    | load-curve | household_\w+ | shop_demand | pv_net | default@\S+ | openami | English
    | the\ meter\ was\ read\ wrongly | asked\ for | \b(?:ada|vee|tou|flat|ADL|SCADA)\b
    | \b(?:k?Wh|k?varh|k?VAh|kVA|kW|EUR|SHA|sha256|UTC)\b""",
    re.VERBOSE,
)


def _phrases_of_templates() -> Iterator[str]:
    for file in sorted(TEMPLATES.glob("*.html")):
        for single, double in _CALL.findall(file.read_text("utf-8")):
            yield (single or double).replace("\\'", "'").replace('\\"', '"')


def _phrases_of_data() -> Iterator[str]:
    yield from EXCEPTION_KINDS
    yield from STATES
    yield from _NODE_KINDS
    yield from _READ_KINDS
    yield from _UNITS
    yield from METHODS.values()
    yield from (label for _, label in MENU)
    yield from (state.value for state in BillState)
    yield from (code.name.replace("_", " ").lower() for code in EventCode)
    yield from (quality.name.replace("_", " ").lower() for quality in Quality)
    yield from (flag.name.replace("_", " ").lower() for flag in DeviceFlag if flag and flag.name)
    yield from (check.name.lower() for check in Check if check and check.name)
    yield from SENTENCES


@pytest.mark.parametrize("source", [_phrases_of_templates, _phrases_of_data])
def test_every_phrase_has_its_chinese_text(source: Callable[[], Iterator[str]]) -> None:
    phrases = set(source())
    assert len(phrases) > 60
    assert sorted(phrases - chinese().keys()) == []


def test_chinese_texts_fill_in_the_same_fields() -> None:
    for phrase, text in chinese().items():
        assert _fields(phrase) == _fields(text), phrase
        assert text.strip(), phrase


def test_no_phrase_of_the_catalogue_is_left_over() -> None:
    """The catalogue holds what can be shown and what the stations write (`openami.console.wording`)."""
    shown = {*_phrases_of_templates(), *_phrases_of_data()}
    stations = ("billing", "mdm", "workspace", "headend", "console")
    sources = "".join(
        file.read_text("utf-8")
        for station in stations
        for file in (TEMPLATES.parents[1] / station).rglob("*")
        if file.suffix in (".py", ".toml")
    )
    left = [phrase for phrase in chinese() if phrase not in shown and phrase.split(" {")[0] not in sources]
    assert left == []


def _fields(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def test_a_stored_sentence_keeps_its_numbers_and_names() -> None:
    say = speaker("zh")
    assert say("none of 96 intervals came") == "96 个区间均未收到"
    assert match("{count} of {expected} intervals missing: {ranges}", "4 of 96 intervals missing: 40-43") == {
        "count": "4",
        "expected": "96",
        "ranges": "40-43",
    }
    assert say("gap, spike; 4 intervals estimated") == "数据缺失、尖峰；估算 4 个区间"
    link = "tcp://127.0.0.1:4059/166"
    assert say(f"1 frames of {link}, attempt 2: {link}: no answer within 0.6 s") == (
        f"{link}、第 2 次尝试：{link}：0.6 秒内无应答 的 1 条报文"
    )
    assert say("nobody wrote this sentence") == "nobody wrote this sentence"
    assert speaker("en")("none of 96 intervals came") == "none of 96 intervals came"


def test_every_sentence_is_recognised_and_said() -> None:
    say = speaker("zh")
    for sentence in SENTENCES:
        text = sentence.format(
            **{name: "day" if name in ("definition", "per") else "7" for name in _fields(sentence)}
        )
        assert match(sentence, text) is not None, sentence
        assert say(text) != text, sentence


def test_a_long_stored_text_is_said_in_linear_time() -> None:
    text = "register " + " from ) to (" * 40_000
    assert speaker("zh")(text) == text
    assert NESTED


def test_code_words_are_words_in_english() -> None:
    assert translator("en")("clock_drift") == "clock drift"
    assert translator("en")("{count} meters", count=3) == "3 meters"


def test_language_is_chosen_by_address_then_cookie_then_workspace(visitor: httpx.Client) -> None:
    assert '<html lang="en">' in visitor.get("/").text
    first = visitor.get("/?lang=zh")
    assert '<html lang="zh-CN">' in first.text
    assert "HttpOnly" in first.headers["set-cookie"]
    assert "samesite=lax" in first.headers["set-cookie"].lower()
    assert '<html lang="zh-CN">' in visitor.get("/meters").text
    assert '<html lang="en">' in visitor.get("/meters?lang=en").text
    assert '<html lang="en">' in visitor.get("/meters?lang=%3Cb%3E").text


def test_language_link_keeps_the_page(visitor: httpx.Client) -> None:
    page = visitor.get("/exceptions?state=closed&kind=gap&lang=en").text
    assert 'href="?state=closed&amp;kind=gap&amp;lang=zh"' in page


def test_chinese_pages_show_no_english(
    utility: Utility, visitor: httpx.Client, page_paths: Sequence[str]
) -> None:
    left: dict[str, set[str]] = {}
    for path in [
        *page_paths,
        *_trace_paths(utility),
        "/nothing",
        "/?from=x",
        "/meters?page=x",
        "/meters/M-9",
    ]:
        page = visitor.get(f"{path}{'&' if '?' in path else '?'}lang=zh").text
        for text in _texts(page):
            for word in re.findall(r"[A-Za-z]{3,}", _DATA.sub(" ", text.replace(HOSTILE, ""))):
                left.setdefault(word, set()).add(f"{path}: {text}")
    assert left == {}


def _trace_paths(utility: Utility) -> Iterator[str]:
    for bill_id in utility.bills:
        for number in range(1, len(utility.workspace.bills.get(bill_id).lines) + 1):
            for path in ("", "&path=0", "&path=0.1", "&path=0.1.0", "&path=0.1.0.0"):
                yield f"/bills/{bill_id}/trace?line={number}{path}"


class _Visible(HTMLParser):
    """Collects text and the attributes that are read out."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in ("pre", "code", "script", "style")
        shown = ("aria-label", "title", "alt", "placeholder", "data-failed", "data-beyond")
        self.texts += [re.sub(r"\{\w+\}", "", value) for name, value in attrs if name in shown and value]

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("pre", "code", "script", "style")

    def handle_data(self, data: str) -> None:
        if not self._hidden and data.strip():
            self.texts.append(data.strip())


def _texts(page: str) -> list[str]:
    parser = _Visible()
    parser.feed(page)
    return parser.texts
