"""The cases: named, explained, complete, and the published results are of the cases that exist."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

from dragoman.conformance import battery, peers, sources
from dragoman.conformance.catalogue import CASES
from dragoman.conformance.grammar import GRAMMAR
from dragoman.conformance.report import from_json
from dragoman.testing import SCENARIOS

RESULTS = Path(__file__).parent.parent.parent / "docs" / "conformance"

# Public issues from which the battery was made: what users of gateways met, as far as it can be judged from outside.
MET = re.findall(
    r"\S+",
    """
    LL#25321 LL#29491 LL#15315 sub2api#4294 new-api#6394 LL#13373 LL#32357 new-api#4697 new-api#2854 BF#4890 LL#24176
    CPA#1700 LL#41406 LL#31069 sglang#20678 weave-router#250 9router#354 BF#4900 opencode2api#27 CPA#5836 CPA#5028
    CPA#3055 CPA#4682 CPA#3798 LL#17246 LL#37956 LL#26167 CCR#1672 plano#980 CCR#198 LL#36024 LL#37322 openclaw#70739
    LL#15601 adk#3289 LL#38809 strands#2704 BF#5638 BF#5185 BF#6342 CPA#517 LL#16893 LL#16895 CPA#2098 PK#1442 LL#28668
    BF#5410 experiential#965 sub2api#3138 LL#26334 LL#8901 CPA#43 CPA#129 CPA#2123 CPA#3512 CPA#5065 BF#5097 vis#152
    langchain#37756 CCR#1678 LL#20403 LL#37462 vercel/ai#18982 BF#3942 BF#6692 BF#2347 BF#898 LL#15299 new-api#2975
    claude-code#13770 deepseek#606 LL#37102 CPA#4103 LL#13252 LL#9812 LL#11789 LL#40016 LL#37558 LL#36008 LL#37140
    LL#27823 LL#37754 LL#38153 LL#38606 LL#28216 LL#29808 LL#6957
    """,
)


def test_every_mistake_that_users_met_has_a_case() -> None:
    told = {source for case in CASES.values() for source in case.sources}
    assert set(MET) - told == set()
    assert told - set(MET) == set()


@pytest.mark.parametrize("case", CASES.values(), ids=lambda case: case.id)
def test_a_case_is_named_and_explained(case: battery.Case) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", case.id)
    assert case.title[0] == case.title[0].upper()
    assert not case.title.endswith(".")
    assert case.why == "" or case.why.endswith(".")
    assert case.modes
    assert "both" not in case.modes or case.modes == ("unary", "stream", "both")
    assert any(case.applies(client, upstream) for client in battery.CLIENTS for upstream in battery.UPSTREAMS)
    for source in case.sources:
        assert re.fullmatch(r"[\w./-]+#\d+", source)
        assert sources.link_of(source).startswith("https://") or source.partition("#")[0] not in sources.REPOSITORIES


def test_every_scenario_of_the_kit_is_judged_but_for_the_long_and_the_waiting() -> None:
    left = set(SCENARIOS) - set(CASES)
    waiting = {name for name in left if name.startswith(("slow-", "stall-"))}
    # Of the last one the case is `quota-untouched`.
    assert left - waiting == {"text-long", "tools-large-arguments", "endless", "endless-10k", "http-429-quota"}


def test_every_dialect_that_clients_speak_is_also_spoken_by_providers() -> None:
    assert set(battery.CUSTOMARY) == set(battery.CLIENTS)


# ---------------------------------------------------------------- what is published


def test_the_published_result_is_of_the_cases_that_exist() -> None:
    report = from_json((RESULTS / "dragoman.json").read_bytes())
    places = [(client, upstream) for client in report.clients for upstream in report.upstreams]
    cases = [case for case in CASES.values() if any(case.applies(*place) for place in places)]
    told = {case.id: (case.group, case.title, case.why, case.sources) for case in report.cases}
    assert told == {case.id: (case.group, case.title, case.why, case.sources) for case in cases}, "see docs/conformance.md"


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_a_published_result_adds_up_and_names_cases_that_exist(path: Path) -> None:
    report = from_json(path.read_bytes())
    assert report.total == sum(case.total for case in report.cases)
    assert report.passed == sum(case.passed for case in report.cases)
    assert {case.id for case in report.cases} <= set(CASES)
    for case in report.cases:
        assert case.total - case.passed == len(case.failures)


def test_the_published_result_of_this_gateway_is_whole_and_green() -> None:
    report = from_json((RESULTS / "dragoman.json").read_bytes())
    assert report.passed == report.total
    assert (report.clients, report.upstreams) == (tuple(battery.CLIENTS), battery.UPSTREAMS)
    expected = Counter[str]()
    for case in CASES.values():
        for client in report.clients:
            expected[case.id] += sum(len(case.modes) for upstream in report.upstreams if case.applies(client, upstream))
    # Every place, whole and streamed.
    assert expected[GRAMMAR.id] == 40
    assert {case.id: case.total for case in report.cases} == +expected


# ---------------------------------------------------------------- setting others up


@pytest.mark.parametrize("name", peers.SETUPS)
def test_a_setup_is_a_configuration_with_everything_filled_in(name: str) -> None:
    text = peers.setup_text(name, "http://127.0.0.1:9100", "a-key-of-my-own")
    said = yaml.safe_load(text) if peers.SETUPS[name].file.endswith(".yaml") else json.loads(text)
    assert said
    assert "http://127.0.0.1:9100" in text
    assert not re.search(r"\{(url|key|models|fallbacks)\}", text)


def test_litellms_has_a_model_and_a_chain_for_every_upstream() -> None:
    said = yaml.safe_load(peers.setup_text("litellm", "http://127.0.0.1:9100", peers.KEY))
    names = {row["model_name"] for row in said["model_list"]}
    assert {name(upstream) for upstream in battery.CUSTOMARY for name in (peers.model_of, peers.chain_of)} <= names
    assert {key for row in said["litellm_settings"]["fallbacks"] for key in row} <= names
