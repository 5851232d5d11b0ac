"""A connection that breaks behind the last thing that was to be said, in a dialect that has no last event."""

from __future__ import annotations

import pytest

from dragoman.testing import Cut, Finish, Reset, ScriptedUpstream, Text, Usage, scenario
from tests.gateway.talking import DIALECTS, ask
from tests.serving import serving


@pytest.mark.parametrize("client", DIALECTS)
@pytest.mark.parametrize("broken", [Cut(), Reset()])
@pytest.mark.parametrize("whole", [True, False])
def test_an_answer_is_whole_when_all_of_it_has_been_said(client: str, broken: Cut | Reset, whole: bool) -> None:
    ending = (Usage(input=3, output=4), Finish()) if whole else ()
    with ScriptedUpstream.in_thread() as server:
        server.script(scenario("late-break", Text("Hello"), *ending, broken), default=True)
        provider = {"dialect": "gemini", "base_url": server.url, "api_key": "k"}
        with serving({"providers": {"up": provider}}) as served:
            view = ask(served, client, "up/m").view(client)
    assert view.text == "Hello"
    assert (view.error is None) == whole
    assert (view.finish == "stop") == whole
