"""Tables and remarks from what was measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.report import BEGIN, END, Entry, Numbers, Results, Setting, Turn, put_between_marks, report
from bench.stats import bucket_of
from bench.suites import Measured

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"


def results(*turns: Turn, entries: list[Entry] | None = None, caveats: list[str] | None = None) -> Results:
    return Results(
        setting=Setting(
            when="2026-11-21", machine="A machine, 2 cores", python="Python 3.11", tools="in C", seconds=1, rounds=2,
            others=0.03, caveats=caveats or [],
        ),
        entries=entries or [Entry(name="ours", about="all on", version="1.0"), Entry(name="peer", about="a peer")],
        turns=list(turns),
    )  # fmt: skip


def turn(name: str, number: int, **measured: Measured) -> Turn:
    suites = {suite.replace("_", "-"): one for suite, one in measured.items()}
    return Turn(contestant=name, round=number, started=0.5, memory_idle=30.4, memory_after=41.6, measured=suites)


def times(**ms: float) -> dict[str, list[tuple[int, int]]]:
    return {name.replace("_", "-"): [(bucket_of(int(value * 1e6)), 100)] for name, value in ms.items()}


def row(text: str, name: str) -> list[str]:
    """The cells of every row that begins with this name."""
    return [line for line in text.splitlines() if line.startswith(f"| {name} |")]


def test_the_median_of_the_rounds_is_shown_with_what_a_core_is_good_for() -> None:
    text = report(results(*(turn("ours", number, chat=Measured(cpu_us=us)) for number, us in enumerate([80.0, 50.0, 60.0]))))
    assert "| ours | 60.0 (16,667/s) |" in text


def test_a_peer_that_is_missing_says_how_to_install_it() -> None:
    entries = [Entry(name="ours", about="all on"), Entry(name="peer", about="a peer", missing="not installed: `apt`")]
    text = report(results(turn("ours", 1, chat=Measured(cpu_us=50.0)), entries=entries))
    assert row(text, "peer") == ["| peer | not installed: `apt` |", "| peer | not installed: `apt` |  |  |  |"]


def test_a_suite_that_a_peer_cannot_answer_leaves_its_cell_empty() -> None:
    text = report(results(turn("ours", 1, chat=Measured(cpu_us=50.0), messages=Measured(cpu_us=70.0)),
                          turn("peer", 1, chat=Measured(cpu_us=500.0))))  # fmt: skip
    assert row(text, "peer")[0] == "| peer | 500 (2,000/s) |  |"


def test_only_suites_that_were_run_have_a_column() -> None:
    text = report(results(turn("ours", 1, chat=Measured(cpu_us=50.0))))
    assert "Chat JSON" in text
    assert "stream" not in text
    assert "without a gateway" not in text


def test_failed_requests_are_marked_and_explained() -> None:
    text = report(results(turn("ours", 1, chat=Measured(cpu_us=50.0, failed=3, complaint="answered with status 500"))))
    assert "| ours | 50.0 (20,000/s) \\* |" in text
    assert "- \\* ours, chat: 3 requests failed (answered with status 500)." in text


def test_a_turn_that_failed_says_so_once() -> None:
    failed = [Turn(contestant="peer", round=number, errors=["ended with exit code 1: no port"]) for number in (1, 2)]
    text = report(results(turn("ours", 1, chat=Measured(cpu_us=50.0)), *failed))
    assert text.count("- peer failed: ended with exit code 1: no port") == 1


def test_latency_is_shown_as_what_is_added() -> None:
    entries = [Entry(name="direct", about="nothing"), Entry(name="ours", about="all on")]
    base = Measured(histograms=times(answer_1=1.0, first_byte_1=2.0, answer_10=1.0, first_byte_10=2.0))
    mine = Measured(histograms=times(answer_1=1.5, first_byte_1=2.2, answer_10=3.0, first_byte_10=1.9))
    text = report(results(turn("direct", 1, latency=base), turn("ours", 1, latency=mine), entries=entries))
    direct, ours = row(text, "direct")[0].split(" | "), row(text, "ours")[0].split(" | ")
    assert direct[1] == "1.00 / 1.00"
    assert ours[1] == "+0.50 / +0.50"
    assert ours[2] in {"+1.99 / +1.99", "+2.00 / +2.00", "+2.01 / +2.01"}
    assert ours[3] == ""  # 32 connections were not measured
    assert ours[5].startswith("-0.1")


def test_latencies_of_all_rounds_are_one_histogram() -> None:
    slow, fast = times(answer_1=9.0)["answer-1"], times(answer_1=1.0)["answer-1"]
    turns = [
        turn("ours", number, latency=Measured(histograms={"answer-1": pairs})) for number, pairs in enumerate([fast, slow])
    ]
    assert len(Numbers(turns, "ours").histogram("latency", "answer-1")) == 200


def test_the_delay_of_events_stands_beside_their_cost() -> None:
    text = report(results(turn("ours", 1, chat_paced=Measured(event_us=26.04, histograms=times(delay=0.25)))))
    assert "| ours | 26.0 | 0.25 / 0.25 |" in text


def test_memory_start_and_rounds_have_a_table() -> None:
    text = report(results(*(turn("ours", number, chat=Measured(cpu_us=50.0)) for number in (1, 2))))
    assert row(text, "ours")[-1] == "| ours | 30 | 42 | 0.50 | 2 |"


def test_the_remarks_say_how_far_rounds_differed_and_how_busy_the_machine_was() -> None:
    text = report(results(turn("ours", 1, chat=Measured(cpu_us=50.0)), turn("ours", 2, chat=Measured(cpu_us=60.0)),
                          caveats=["There is only one core."]))  # fmt: skip
    assert "differed by 18% at most (ours, chat)" in text
    assert "kept 0.03 cores busy" in text
    assert "- There is only one core." in text


def test_every_row_of_a_table_has_as_many_cells_as_its_heading() -> None:
    entries = [Entry(name="ours", about="all on"), Entry(name="peer", about="a peer", missing="not installed")]
    mine = turn("ours", 1, chat=Measured(cpu_us=1.0), chat_paced=Measured(event_us=1.0), latency=Measured())
    for table in report(results(mine, entries=entries)).split("\n\n"):
        lines = [line for line in table.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) <= 1, table


def test_the_generated_section_of_the_page_is_replaced_and_nothing_else() -> None:
    page = f"# Title\n\n{BEGIN}\nold\n{END}\n\nThe end.\n"
    assert put_between_marks(page, "new\n") == f"# Title\n\n{BEGIN}\n\nnew\n\n{END}\n\nThe end.\n"
    assert put_between_marks(put_between_marks(page, "x"), "new") == put_between_marks(page, "new")


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks its marks"):
        put_between_marks("# Title\n", "new")


def test_the_page_in_the_documentation_has_its_marks() -> None:
    assert "table" in put_between_marks(PAGE.read_text(), "table")


def test_a_feature_is_shown_as_a_share_of_the_whole_in_the_same_round() -> None:
    entries = [
        Entry(name="dragoman", about="all on"),
        Entry(name="no-log", about="without a line for each request", group="feature"),
    ]
    turns = [
        turn(name, number, chat=Measured(cpu_us=us))
        for number, both in enumerate([(100.0, 80.0), (200.0, 180.0)], 1)
        for name, us in zip(("dragoman", "no-log"), both, strict=True)
    ]
    text = report(results(*turns, entries=entries))
    assert "| without a line for each request | 85% |" in text
    assert "| no-log |" not in text


def test_streams_held_open_say_what_arrived_and_what_each_takes() -> None:
    held = Measured(delivered=1.0, event_us=25.0, stream_kb=9.44, busy=0.31, histograms=times(delay=2.0))
    text = report(results(turn("ours", 1, streams_5000=held)))
    assert "an event of each every 500 ms (10,000 a second in all):" in text
    (line,) = [line for line in text.splitlines() if line.startswith("| ours | 100.00%")]
    assert line.endswith("| 9.4 | 31% |")


def test_a_busy_machine_is_told_first_of_all() -> None:
    found = results(turn("ours", 1, chat=Measured(cpu_us=50.0)))
    assert "was not quiet" not in report(found)
    found.setting.others = 1.2
    assert "**The machine was not quiet: other programs kept 1.2 cores busy." in report(found).split("CPU time")[0]


def test_several_workers_have_a_table_with_the_share_of_each() -> None:
    entries = [Entry(name=f"workers-{count}", about=f"{count} workers", group="workers") for count in (1, 2)]
    text = report(
        results(
            turn("workers-1", 1, workers=Measured(cpu_us=50.0, per_second=9_000)),
            turn("workers-2", 1, workers=Measured(cpu_us=51.0, per_second=18_000, shares=[0.52, 0.479, 0.001])),
            entries=entries,
        )
    )
    assert row(text, "1 workers") == ["| 1 workers | 9,000 | 50.0 | 100% | 30 |"]
    assert row(text, "2 workers") == ["| 2 workers | 18,000 | 51.0 | 52% + 48% | 30 |"]
    assert "start to first answer" not in text


def test_every_direction_has_a_cell_and_what_goes_verbatim_too() -> None:
    measured = {
        name: Measured(cpu_us=us)
        for name, us in {
            "chat": 50.0,
            "chat-burst": 90.0,
            "gemini-to-converse": 150.0,
            "gemini-to-converse-burst": 400.0,
        }.items()
    }
    text = report(results(turn("dragoman", 1, **measured), entries=[Entry(name="dragoman", about="all on")]))
    assert row(text, "Chat") == ["| Chat | 50.0 / 90.0 |  |  |  |  |"]
    assert row(text, "Gemini") == ["| Gemini |  |  |  |  | 150 / 400 |"]
    assert row(text, "dragoman")[0] == "| dragoman | 50.0 (20,000/s) | 90.0 (11,111/s) |"
