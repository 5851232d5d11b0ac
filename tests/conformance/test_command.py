"""`dragoman conformance` by hand, and its scoreboard."""

from __future__ import annotations

import re
import socket
from html.parser import HTMLParser
from pathlib import Path

import pytest

from dragoman.cli.main import main
from dragoman.conformance import scoreboard
from dragoman.conformance.case import Check, Difference
from dragoman.conformance.catalogue import CASES
from dragoman.conformance.matrix import lines
from dragoman.conformance.report import Report, cells_of, from_json, results_of, to_json


def check(case: str, client: str, upstream: str, *differences: Difference, offered: bool = True) -> Check:
    result = "failed" if differences else "passed" if offered else "not offered"
    return Check(case=case, client=client, upstream=upstream, mode="stream", result=result, differences=differences)


ODD = Difference("part 1 (text): its <content>", "'<b>&'", "'&amp;'")
CHECKS = [
    check("text", "chat", "messages"),
    check("text", "messages", "messages", ODD),
    check("tools-one", "messages", "messages", ODD),
    check("tools-one", "chat", "messages", Difference("how the answer ended", "tool_calls", "stop")),
    check("text", "chat", "gemini", offered=False),
    check("text", "messages", "gemini", offered=False),
]


def report() -> Report:
    places = ("chat", "messages"), ("messages", "gemini")
    cells, cases = cells_of(*places, CHECKS), results_of(CASES, CHECKS)
    return Report("Some <gateway> 1.0", "2026-11-21", 12.3, ("anthropic 2.12.0",), *places, cells, cases)


def test_a_report_comes_back_from_its_file() -> None:
    assert from_json(to_json(report())) == report()


def test_the_terminal_shows_the_matrix_and_says_what_differs_once() -> None:
    text = "\n".join(lines(report()))
    assert re.search(r"^chat +1/2 +not offered$", text, re.MULTILINE)
    assert re.search(r"^messages +0/2 +not offered$", text, re.MULTILINE)
    assert "1 of 4 passed; 2 of 2 cases differ somewhere" in text
    assert "chat to messages, stream\n     how the answer ended\n       expected tool_calls\n       got      stop" in text


class Tags(HTMLParser):
    """Whether every tag is closed, and what the page would fetch."""

    VOID = ("meta", "input", "br", "link", "img")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.ids: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.fetched += [value for name, value in attrs if value and (name == "src" or (name == "href" and tag != "a"))]
        if given.get("id"):
            self.ids.append(str(given["id"]))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_scoreboard_is_one_whole_page_that_fetches_nothing() -> None:
    page = scoreboard.page(report())
    tags = Tags()
    tags.feed(page)
    tags.close()
    assert tags.open == []
    assert tags.fetched == []
    assert len(tags.ids) == len(set(tags.ids))
    assert {"text", "tools-one"} <= set(tags.ids)
    assert "<!--" not in page.replace("<!doctype", "")
    text = "".join(tags.text)
    assert "Some <gateway> 1.0" in text
    assert "'<b>&'" in text
    assert "not offered" in text
    assert 'data-place="messages-messages"' in page
    assert "prefers-color-scheme: dark" in page


def test_the_cases_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conformance", "--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(CASES)


def test_a_known_gateways_setup_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conformance", "--setup", "litellm", "--upstream-port", "9200"]) == 0
    said = capsys.readouterr()
    assert "http://127.0.0.1:9200/v1" in said.out
    assert "--upstream-port 9200" in said.err
    assert main(["conformance", "--setup", "nobody"]) == 2
    assert "litellm" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--only", "no-such-case"], "no case is called 'no-such-case'"),
        (["--clients", "messages,smoke-signals"], "not smoke-signals"),
        (["--upstreams", ","], "not nothing"),
        (["--model", "chat"], "--model is UPSTREAM=NAME"),
        (["--base-url", "http://127.0.0.1:9", "--upstream-port", "0"], "nobody answers at http://127.0.0.1:9"),
    ],
)
def test_what_cannot_be_judged_is_a_2_and_says_why(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(["conformance", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_a_port_that_is_taken_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["conformance", "--base-url", "http://127.0.0.1:9", "--upstream-port", str(port)]) == 2
    assert "cannot listen" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_told_before_anything_is_asked(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    missing = tmp_path / "no" / "such" / "folder.json"
    assert main(["conformance", "--base-url", "http://127.0.0.1:9", "--json", str(missing)]) == 2
    assert "cannot be written" in capsys.readouterr().err
