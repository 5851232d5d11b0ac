"""What stands in Responses bodies for keeping an answer: read whatever it is, and never raising anything but a sentence."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman.dialects.responses import compaction
from dragoman.dialects.responses import keeping as forms
from dragoman.dialects.responses.decode_request import decode_request
from dragoman.errors import MalformedBody
from dragoman.ir.losses import Ledger
from dragoman.ir.request import Text
from dragoman.wire.http import Inbound
from dragoman.wire.sse import Frame

LEAF = (
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.text(max_size=8)
    | st.sampled_from(["user", "message", "item_reference"])
)
KEY = st.sampled_from(["id", "type", "role", "content", "output", "status", "encrypted_content", "input"])
TREE = st.recursive(LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEY, inner, max_size=4), max_leaves=12)
FIELDS = st.sampled_from(["model", "input", "store", "background", "previous_response_id", "conversation", "stream"])
MOST = settings(max_examples=80, deadline=None)


def inbound(body: bytes) -> Inbound:
    return Inbound(method="POST", path="/v1/responses", raw_path=b"/v1/responses", query=b"", headers=[], body=body)


@MOST
@given(st.dictionaries(FIELDS, TREE, max_size=5))
def test_any_body_is_read_or_refused_in_a_sentence(fields: dict[str, Any]) -> None:
    body = json.dumps(fields).encode()
    try:
        forms.asked(inbound(body))
        items = forms.own_items(body)
        whole = forms.expanded(body, [*items, *items], stream=True)
    except MalformedBody:
        return
    again = json.loads(whole)
    assert len(again["input"]) == 2 * len(items)
    assert not {"background", "previous_response_id", "conversation"} & again.keys()
    assert len(forms.references(items)) <= len(items)
    page = json.loads(forms.listed(items, [str(number) for number in range(len(items))], {}))
    assert len(page["data"]) == len(items)
    assert all(item["id"] for item in page["data"])
    compaction.transcript(items)


@MOST
@given(st.binary(max_size=40) | TREE.map(lambda tree: json.dumps(tree).encode()))
def test_any_answer_is_looked_at_without_harm(data: bytes) -> None:
    forms.id_of(forms.sound(data))
    forms.status_of(data)
    forms.ids_of(forms.output_of(data))
    for name in ("", "response.completed", "response.created"):
        forms.ending(Frame(name, data))
        forms.id_within(Frame(name, data))


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("response.completed", '{"type":"response.completed","response":{"id":"resp_1"}}', "resp_1"),
        ("", '{"type":"response.incomplete","response":{"id":"resp_2"}}', "resp_2"),
        ("response.failed", '{"type":"response.failed","response":{"id":"resp_3"}}', "resp_3"),
        ("response.created", '{"type":"response.created","response":{"id":"resp_4"}}', None),
        ("response.output_text.delta", '{"type":"response.output_text.delta","delta":"response.completed"}', None),
        ("", "[DONE]", None),
    ],
)
def test_the_end_of_a_stream_is_known(name: str, data: str, expected: str | None) -> None:
    response = forms.ending(Frame(name, data.encode()))
    assert (forms.id_of(response) if response is not None else None) == expected


def test_items_that_only_name_others_are_told_from_those_that_say_something() -> None:
    given_items: list[Any] = [
        {"type": "item_reference", "id": "msg_1"},
        {"id": "rs_1"},
        {"type": None, "id": "fc_1"},
        {"id": "msg_2", "role": "user", "content": "x"},
        {"type": "reasoning", "id": "rs_2", "summary": []},
    ]
    items = forms.own_items(json.dumps({"input": given_items}).encode())
    assert forms.references(items) == ["msg_1", "rs_1", "fc_1"]


def test_losses_are_told_in_the_callers_words() -> None:
    ledger = Ledger()
    at: Any = (None, "input")
    for number in (0, 2, 2, 3):
        ledger.add((at, number), None, "lost", "lost")
    ledger.add((at, 1), "id", "a label", "info")
    ledger.add((None, "top_p"), None, "weaker", "degraded")
    forms.placed(ledger, 3, text=False)
    assert [loss.path for loss in ledger.losses] == ["previous_response_id", "input[0]", "top_p"]
    forms.placed(ledger, 0, text=True)
    assert [loss.path for loss in ledger.losses] == ["previous_response_id", "input", "top_p"]


def test_a_summary_of_ours_is_told_to_every_model_and_a_providers_own_is_not_touched() -> None:
    answer = {"output": [{"type": "message", "content": [{"type": "output_text", "text": "They like tea."}]}], "usage": None}
    items = [msgspec.Raw(b'{"role":"user","content":"I like tea."}'), msgspec.Raw(b'{"role":"assistant","content":"Noted."}')]
    short = json.loads(compaction.compacted("resp_1", 5, items, json.dumps(answer).encode()))
    assert [item["type"] for item in short["output"]] == ["message", "compaction"]
    request = decode_request(json.dumps({"model": "x", "input": short["output"]}).encode())
    assert [message.role for message in request.messages] == ["user", "user"]
    told = request.messages[1].parts[0]
    assert isinstance(told, Text)
    assert told.text.endswith("They like tea.")
    foreign = decode_request(b'{"model":"x","input":[{"type":"compaction","encrypted_content":"gAAAA"}]}')
    assert type(foreign.messages[0].parts[0]).__name__ == "Unknown"


@pytest.mark.parametrize(
    ("item", "leans"),
    [
        ('{"id":"msg_1"}', True),
        ('{ "id" : "msg_1" , "type" : null }', True),
        ('{"type":"item_reference","id":"msg_1"}', True),
        (r'{"\u0069d":"msg_1"}', True),
        (r'{"type":"item\u005freference","id":"msg_1"}', True),
        ('{"type":"reasoning","id":"msg_1","summary":[]}', True),
        ('{"type":"reasoning","id":"msg_1","summary":[],"encrypted_content":null}', True),
        ('{"type":"image_generation_call","id":"msg_1"}', True),
        ('{"type":"reasoning","id":"msg_1","summary":[],"encrypted_content":"c2VhbA=="}', False),
        ('{"type":"image_generation_call","id":"msg_1","result":"aGk="}', False),
        ('{"id":"msg_1","role":"assistant","content":"Hi"}', False),
        ('{"type":"message","id":"msg_1","role":"assistant","content":[]}', False),
        ('{"type":"function_call","id":"msg_1","call_id":"c","name":"f","arguments":"{}"}', False),
        ('{"role":"user","content":"{\\"id\\":\\"msg_1\\"}"}', False),
        ('{"type":"item_reference"}', False),
    ],
)
def test_an_item_that_leaves_out_what_its_id_stands_for_is_known(item: str, leans: bool) -> None:
    for others in ("", ',{"role":"user","content":"Hi"}', ',{"type":5,"id":[],"role":{}}', ",null,5"):
        body = b'{"model":"m","input":[' + f"{item}{others}]}}".encode()
        assert forms.asked(inbound(body)).leaning() == (["msg_1"] if leans else []), body


@MOST
@given(st.binary(max_size=40) | st.dictionaries(FIELDS | KEY, TREE, max_size=5).map(lambda tree: json.dumps(tree).encode()))
def test_ids_are_looked_for_in_anything(data: bytes) -> None:
    ids, conversations = forms.given(data)
    assert all(isinstance(one, str) for one in (*ids, *conversations))
    assert all(isinstance(one, str) for one in forms.given_in(Frame("response.completed", data)))
    try:
        leant, asked = forms.leant_on(data), forms.asked(inbound(data))
    except MalformedBody:
        return
    assert all(isinstance(one, str) for one in leant.ids)
    previous = [asked.previous_response_id] if asked.previous_response_id else []
    assert leant.ids == [*previous, *asked.leaning()], "the same as on the other way"


@pytest.mark.parametrize("given", ['"A text."', "null", "5", "{}", '"item_reference"', "[]"])
def test_an_input_without_items_names_none(given: str) -> None:
    assert forms.asked(inbound(b'{"model":"m","store":true,"input":%b}' % given.encode())).leaning() == []
