"""Charts: whole SVG documents that say what was measured."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from bench.charts import Bar, Panel, draw, shown, svg
from bench.report import Entry, Results, Setting, Turn
from bench.suites import Measured

DOCS = Path(__file__).parents[2] / "docs"
SVG = "{http://www.w3.org/2000/svg}"


def measured(**us: float) -> Results:
    setting = Setting(when="2026-11-21", machine="A machine", python="Python 3.11", tools="in C", seconds=1, rounds=1)
    turns = [Turn(contestant=name, round=1, measured={"chat": Measured(cpu_us=value)}) for name, value in us.items()]
    entries = [Entry(name=name, about="") for name in us]
    return Results(setting=setting, entries=entries, turns=turns)


def bars(text: str) -> dict[str, float]:
    """Widths, by class, in the order of the page."""
    root = ElementTree.fromstring(text)
    return {f"{number} {one.get('class')}": float(one.get("width", "0")) for number, one in enumerate(root.iter(f"{SVG}rect"))}


def test_a_bar_is_as_long_as_the_logarithm_of_what_it_stands_for() -> None:
    text = svg("t", "n", [Panel("p", [Bar("a", 10, "10"), Bar("b", 100, "100", ours=True), Bar("c", 1000, "1,000")])])
    a, b, c = bars(text).values()
    assert a == 2.0
    assert c - b == b
    assert list(bars(text)) == ["0 bar", "1 bar ours", "2 bar"]


def test_what_was_measured_is_drawn_with_the_cheapest_first() -> None:
    text = draw(measured(peer=1000.0, dragoman=100.0))["overhead.svg"]
    said = [one.text for one in ElementTree.fromstring(text).iter(f"{SVG}text")]
    assert said.index("dragoman") < said.index("peer")
    assert {"100", "1,000"} <= set(said)


def test_a_chart_without_anything_to_show_is_left_out() -> None:
    drawn = draw(measured(dragoman=100.0))
    assert list(drawn) == ["overhead.svg"]
    assert shown(drawn) == "![What a request costs in the gateway](charts/overhead.svg)\n"


def test_charts_read_well_on_dark_pages_and_hold_no_markup_of_others() -> None:
    text = svg("a < b", "n", [Panel("&", [Bar("<script>", 1, "1")])])
    ElementTree.fromstring(text)
    assert "prefers-color-scheme: dark" in text
    assert "<script>" not in text


def test_every_chart_on_the_page_exists() -> None:
    page = (DOCS / "performance.md").read_text()
    for part in page.split("](charts/")[1:]:
        assert (DOCS / "charts" / part.partition(")")[0]).is_file()
