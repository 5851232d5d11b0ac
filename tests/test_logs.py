"""The log: structured, bound to its request, masked, rotated, and never in the way."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

from dragoman import logs
from dragoman.errors import ConfigError
from dragoman.logs import Log
from dragoman.secret import Secret

logger = logging.getLogger("dragoman.tests.logs")
WAIT = 10.0


class Records:
    """A running log and what it wrote."""

    def __init__(self, log: Log, **options: Any) -> None:
        self.stream = io.StringIO()
        self.close = logs.setup(log, stream=self.stream, **options)

    def lines(self) -> list[str]:
        self.close()
        return self.stream.getvalue().splitlines()

    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines()]


@pytest.fixture
def start() -> Iterator[Callable[..., Records]]:
    started: list[Records] = []

    def run(log: Log | None = None, **options: Any) -> Records:
        started.append(Records(log or Log(format="json", level="debug"), **options))
        return started[-1]

    yield run
    for one in started:
        one.close()


Start = Callable[..., Records]


def test_a_json_record_has_time_level_logger_message_and_fields(start: Start) -> None:
    records = start()
    logger.info("answered %s", "well", extra={"status": 200, "ms": 1.5, "losses": ["a", "b"], "none": None})
    (record,) = records.objects()
    when = datetime.fromisoformat(record.pop("time"))
    assert abs(datetime.now(UTC) - when) < timedelta(minutes=1)
    assert record == {
        "level": "info",
        "logger": "dragoman.tests.logs",
        "message": "answered well",
        "status": 200,
        "ms": 1.5,
        "losses": ["a", "b"],
        "none": None,
    }


def test_a_text_record_is_one_line_with_its_fields(start: Start) -> None:
    records = start(Log(level="info"))
    logger.warning("two\nlines", extra={"model": "big", "why": "no reason", "n": 3, "empty": ""})
    (line,) = records.lines()
    time, rest = line.split(" ", 1)
    assert time.endswith("Z")
    assert rest == 'WARNING dragoman.tests.logs two\\nlines  model=big why="no reason" n=3 empty=""'


@pytest.mark.parametrize("nasty", ["\x1b[2J", "a\nb", "a\r", "\x00", "\x85", "\x9b31m", "\u2028", "\u202e", "\x7f"])
def test_no_words_from_outside_break_a_line_or_command_the_terminal(start: Start, nasty: str) -> None:
    records = start(Log(format="text"))
    logger.info("was at %s", nasty, extra={"path": f"/v1/{nasty}é", "several": [nasty]})
    (line,) = records.lines()
    assert line.isprintable()
    assert "é" in line


def test_an_exception_stands_below_its_record_or_in_its_own_field(start: Start) -> None:
    for form in ("json", "text"):
        records = start(Log(format=form))
        try:
            raise RuntimeError("it broke")
        except RuntimeError:
            logger.exception("failed")
        lines = records.lines()
        text = json.loads(lines[0])["error"] if form == "json" else "\n".join(lines[1:])
        assert text.startswith("Traceback (most recent call last):")
        assert text.endswith("RuntimeError: it broke")


def test_the_level_holds_for_ours_and_others_are_heard_from_warnings_on(start: Start) -> None:
    records = start(Log(format="json", level="info"))
    logger.debug("no")
    logger.info("yes")
    logging.getLogger("somebody.else").info("no")
    logging.getLogger("somebody.else").warning("yes too")
    assert [record["message"] for record in records.objects()] == ["yes", "yes too"]
    quiet = start(Log(format="json", level="error"))
    logging.getLogger("somebody.else").warning("no")
    logger.error("only this")
    assert [record["message"] for record in quiet.objects()] == ["only this"]


def test_ending_the_log_leaves_everything_as_it_was(start: Start) -> None:
    root, own = logging.getLogger(), logging.getLogger("dragoman")
    before = (list(root.handlers), root.level, own.level, threading.active_count())
    records = start(Log(level="debug"))
    records.close()
    records.close()
    assert (list(root.handlers), root.level, own.level, threading.active_count()) == before


# ---------------------------------------------------------------- context


def test_what_is_bound_is_on_every_record_until_it_is_left(start: Start) -> None:
    records = start()
    with logs.bound(request_id="req_1", client="alice", nothing=None):
        logger.info("a")
        with logs.bound(model="big", client="bob"):
            logger.info("b")
        logs.bind(provider="openai")
        logging.getLogger("somebody.else").warning("c")
    logger.info("d")
    assert logs.context() == {}
    bound = [{key: value for key, value in one.items() if key not in {"time", "level", "logger"}} for one in records.objects()]
    assert bound == [
        {"message": "a", "request_id": "req_1", "client": "alice"},
        {"message": "b", "request_id": "req_1", "client": "bob", "model": "big"},
        {"message": "c", "request_id": "req_1", "client": "alice", "provider": "openai"},
        {"message": "d"},
    ]


def test_tasks_at_the_same_time_do_not_see_each_others_context(start: Start) -> None:
    records = start()

    async def request(number: int, all_bound: asyncio.Barrier) -> None:
        with logs.bound(request_id=number):
            await all_bound.wait()
            logger.info("%d", number)

    async def main() -> None:
        barrier = asyncio.Barrier(20)
        async with asyncio.timeout(WAIT):
            await asyncio.gather(*(request(number, barrier) for number in range(20)))

    asyncio.run(main())
    found = records.objects()
    assert len(found) == 20
    assert all(record["message"] == str(record["request_id"]) for record in found)


def test_a_field_never_takes_the_place_of_the_records_own(start: Start) -> None:
    records = start()
    with logs.bound(level="x", time="y", logger="z"):
        logger.info("a")
    (record,) = records.objects()
    assert (record["level"], record["level_"], record["time_"], record["logger_"]) == ("info", "x", "y", "z")


# ---------------------------------------------------------------- lines


class Told(logs.Line, kw_only=True):
    free: ClassVar[tuple[str, ...]] = ("words", "reasons")

    status: int
    words: str | None = None
    reasons: list[str] | None = None
    where: str | None = None


def test_a_line_looks_like_the_record_with_its_fields(start: Start) -> None:
    for form in ("json", "text"):
        records = start(Log(format=form))
        logger.info("told", extra={"status": 200, "words": "a b\nc=d", "reasons": ["x", "y"]})
        logs.write(logger, Told(level="info", message="told", status=200, words="a b\nc=d", reasons=["x", "y"]))
        logger.warning("told", extra={"status": 500, "where": ""})
        logs.write(logger, Told(level="warning", message="told", status=500, where=""))
        lines = records.lines()
        if form == "json":
            one, two, three, four = ({**json.loads(line), "time": ""} for line in lines)
        else:
            one, two, three, four = (line.partition(" ")[2] for line in lines)
        assert (one, three) == (two, four)
        assert one != three


def test_a_line_masks_other_peoples_words_and_leaves_the_rest(start: Start) -> None:
    secret = "sk-proj-0123456789abcdefghij"
    for form in ("json", "text"):
        records = start(Log(format=form), secrets=["correct horse battery"])
        for words in (f"key {secret}", f"{'long ' * 100}{secret}", "it is correct horse battery"):
            logs.write(logger, Told(level="info", message="told", status=401, words=words, reasons=[words], where="a place"))
        text = "\n".join(records.lines())
        assert secret not in text
        assert "correct horse battery" not in text
        assert text.count("sk-p…ij") == 4
        assert text.count("a place") == 3


def test_a_secret_registered_later_is_masked_in_what_was_seen_before(start: Start) -> None:
    records = start()
    logs.write(logger, Told(level="info", message="told", status=200, words="open sesame, please"))
    logs.register_secret("open sesame, please")
    logs.write(logger, Told(level="info", message="told", status=200, words="open sesame, please"))
    assert [record["words"] for record in records.objects()] == ["open sesame, please", "open…se"]


def test_lines_and_records_keep_their_order_and_all_are_written(start: Start) -> None:
    records = start()
    for number in range(3_000):
        if number % 700 == 0:
            logger.warning("told", extra={"status": number})
        else:
            logs.write(logger, Told(level="info" if number % 3 else "warning", message="told", status=number))
    assert [record["status"] for record in records.objects()] == list(range(3_000))


def test_a_line_keeps_to_levels_files_and_what_is_bound(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "gateway.log"
    records = start(Log(format="json", file=str(path)))
    with logs.bound(client="alice"):
        logs.write(logger, Told(level="info", message="told", status=1))
    logs.write(logger, Told(level="warning", message="told", status=2))
    assert [record["status"] for record in records.objects()] == [2]
    written = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(record["status"], record.get("client")) for record in written] == [(1, "alice"), (2, None)]
    quiet = start(Log(format="json", level="warning"))
    logs.write(logger, Told(level="info", message="told", status=3))
    assert quiet.lines() == []


def test_without_a_log_of_ours_a_line_is_an_ordinary_record(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger.name):
        logs.write(logger, Told(level="info", message="told", status=204, where="here"))
    (record,) = caplog.records
    assert (record.name, record.levelname, record.getMessage()) == (logger.name, "INFO", "told")
    assert vars(record)["status"] == 204
    assert vars(record)["where"] == "here"
    assert "words" not in vars(record)


def test_half_a_character_does_not_lose_a_line(start: Start) -> None:
    records = start()
    logs.write(logger, Told(level="info", message="told", status=200, words="\ud83d"))
    assert [record["words"] for record in records.objects()] == ["\ud83d"]


# ---------------------------------------------------------------- masking


@pytest.mark.parametrize(
    "secret",
    [
        "sk-ant-api03-0123456789abcdefghij",
        "sk-proj-0123456789abcdefghij",
        "sk-or-v1-0123456789abcdefghij",
        "AIzaSyA0123456789abcdefghijklmnopqr",
        "gsk_0123456789abcdefghij",
        "hf_0123456789abcdefghij",
        "xai-0123456789abcdefghij",
        "pplx-0123456789abcdefghij",
        "nvapi-0123456789abcdefghij",
        "ghp_0123456789abcdefghijklmnop",
        "AKIA0123456789ABCDEF",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    ],
)
def test_whatever_looks_like_a_key_is_masked_everywhere(start: Start, secret: str) -> None:
    records = start()
    with logs.bound(bound=f"with {secret}"):
        try:
            raise ValueError(f"bad key {secret}!")
        except ValueError:
            logger.exception(
                "key %s", secret, extra={"field": f"<{secret}>", "deep": {"list": [secret]}, "object": [Secret(secret)]}
            )
    (line,) = records.lines()
    assert secret not in line
    assert line.count(secret[:4]) >= 4, "what is left tells keys apart"


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("Authorization: Bearer abc.def-ghi123", "abc.def-ghi123"),
        ("authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        ("x-api-key: 0123456789", "0123456789"),
        ('{"api_key": "0123456789"}', "0123456789"),
        ("GET /v1beta/models?key=0123456789&alt=sse", "0123456789"),
        ("password = hunter22", "hunter22"),
        ("bearer 0123456789", "0123456789"),
    ],
)
def test_a_value_behind_a_telling_word_is_masked(text: str, hidden: str) -> None:
    masked = logs.masked(text)
    assert hidden not in masked
    assert masked.split(hidden[:1])[0][:5] == text[:5]


@pytest.mark.parametrize(
    "text",
    [
        "request req_0123456789abcdef took 12 ms",
        "model claude-opus-5-5-20251101 on provider anthropic",
        "task-0123456789abcdef is not a key",
        "the tokens were 12345678",
        "skipped: desk-lamp-with-long-name",
        "https://api.openai.com/v1/chat/completions?alt=sse",
    ],
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert logs.masked(text) == text


def test_a_field_with_a_telling_name_is_masked_whatever_it_holds(start: Start) -> None:
    records = start()
    extra = {"authorization": "abc", "Api-Key": "x" * 20, "cookie": "a=b", "tokens": "12", "headers": {"X-Api-Key": "short"}}
    logger.info("sent", extra=extra)
    (record,) = records.objects()
    assert (record["authorization"], record["Api-Key"], record["cookie"]) == ("…", "xxxx…xx", "…")
    assert record["headers"] == {"X-Api-Key": "…"}
    assert record["tokens"] == "12"


def test_registered_secrets_are_masked_whatever_they_look_like(start: Start) -> None:
    plain, longer = "correct horse battery", "correct horse battery staple"
    records = start(secrets=[Secret(plain), longer, "short"])
    logger.info("it is %s, or %s, in short", longer, plain)
    (record,) = records.objects()
    assert record["message"] == "it is corr…le, or corr…ry, in short"


# ---------------------------------------------------------------- files


def test_a_file_gets_everything_and_the_console_only_what_is_wrong(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "new" / "gateway.log"
    records = start(Log(format="json", file=str(path)))
    logger.info("quiet")
    logger.error("loud")
    assert [record["message"] for record in records.objects()] == ["loud"]
    assert [json.loads(line)["message"] for line in path.read_text().splitlines()] == ["quiet", "loud"]


def test_a_new_day_begins_a_new_file_and_old_ones_go(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "gateway.log"
    path.write_text("yesterday\n")
    yesterday = datetime.now(UTC) - timedelta(days=1)
    os.utime(path, (yesterday.timestamp(), yesterday.timestamp()))
    for age in range(2, 6):
        (tmp_path / f"gateway.log.{(yesterday - timedelta(days=age)).date()}").write_text("old")
    records = start(Log(file=str(path), keep=3))
    logger.info("today")
    records.close()
    assert "today" in path.read_text()
    assert "yesterday" not in path.read_text()
    kept = sorted(one.name for one in tmp_path.iterdir())
    assert len(kept) == 4, kept
    assert (tmp_path / f"gateway.log.{yesterday.date()}").read_text() == "yesterday\n"


def test_a_file_that_cannot_be_written_is_a_mistake_in_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "a-file").write_text("")
    with pytest.raises(ConfigError, match=r"server\.log\.file: '.*' cannot be written: .*; allowed: a file path"):
        logs.setup(Log(file=str(tmp_path / "a-file" / "gateway.log")))
    with pytest.raises(ConfigError, match=r"server\.log\.file"):
        logs.setup(Log(file=str(tmp_path)))


# ---------------------------------------------------------------- never in the way


class Stuck(io.StringIO):
    """A console that takes nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()
        self.go = threading.Event()
        self.many = threading.Event()
        self.lines = 0

    def write(self, text: str) -> int:
        self.reached.set()
        assert self.go.wait(WAIT)
        self.lines += text.count("\n")
        if self.lines == 10_000:
            self.many.set()
        return super().write(text)


def test_a_stuck_console_holds_nobody_up_and_what_was_lost_is_counted() -> None:
    stream = Stuck()
    close = logs.setup(Log(format="json"), stream=stream)
    try:
        for number in range(15_000):
            logger.info("%d", number)
        assert stream.reached.wait(WAIT)
        assert not stream.go.is_set(), "all of them were taken while the console was stuck"
        stream.go.set()
        assert stream.many.wait(WAIT)
        logger.info("after")
    finally:
        stream.go.set()
        close()
    records = [json.loads(line) for line in stream.getvalue().splitlines()]
    lost = [record for record in records if record["message"] == "records lost"]
    assert len(lost) == 1
    assert records[-1]["message"] == "after"
    assert len(records) - 2 + lost[0]["count"] == 15_000


def test_lines_are_bounded_too() -> None:
    stream = Stuck()
    close = logs.setup(Log(format="json"), stream=stream)
    try:
        for number in range(15_000):
            logs.write(logger, Told(level="info", message="told", status=number))
        assert stream.reached.wait(WAIT)
        assert not stream.go.is_set(), "all of them were taken while the console was stuck"
    finally:
        stream.go.set()
        close()
    assert 10_000 <= len(stream.getvalue().splitlines()) <= 10_500


def test_everything_that_was_logged_is_written_before_the_end(start: Start) -> None:
    records = start()
    for number in range(2_000):
        logger.info("%d", number)
    assert [record["message"] for record in records.objects()] == [str(number) for number in range(2_000)]


def test_one_log_may_begin_before_the_one_that_it_follows_ends(start: Start) -> None:
    """That the new one can be written is known before the old one is given up."""
    own = logging.getLogger("dragoman")
    levels = logging.getLogger().level, own.level
    first = start(Log(level="warning", format="json"))
    second = start(Log(level="debug", format="json"))
    assert first.objects() == []
    logger.debug("to the second")
    assert own.level == logging.DEBUG
    assert [one["message"] for one in second.objects()] == ["to the second"]
    assert (logging.getLogger().level, own.level) == levels
