"""What is sealed for another provider is taken out of a body, and every other byte stays."""

from __future__ import annotations

import pytest

from dragoman.dialects import DIALECTS

# The values of another begin with `F`, those of the provider itself with `O`. A number that a float cannot hold would be
# another one after a look.
CASES: dict[str, tuple[str, str, int]] = {
    "messages": (
        '{"max_tokens":1.10,"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"a","signature":"F1"},'
        '{"type":"thinking","thinking":"b","signature":"O1"},{"type":"redacted_thinking","data":"F2"},'
        '{"type":"tool_use","id":"1","name":"n","input":{"signature":"F3","x":1.10}}]},{"role":"user","content":"\\"thinking"}]}',
        '{"max_tokens":1.10,"messages":[{"role":"assistant","content":['
        '{"type":"thinking","thinking":"b","signature":"O1"},'
        '{"type":"tool_use","id":"1","name":"n","input":{"signature":"F3","x":1.10}}]},{"role":"user","content":"\\"thinking"}]}',
        2,
    ),
    "converse": (
        '{"messages":[{"role":"assistant","content":[{"reasoningContent":{"reasoningText":{"text":"a","signature":"F1"}}},'
        '{"reasoningContent":{"redactedContent":"F2"}},{"toolUse":{"input":{"x":1.10}}}]}]}',
        '{"messages":[{"role":"assistant","content":[{"toolUse":{"input":{"x":1.10}}}]}]}',
        2,
    ),
    "gemini": (
        '{"contents":[{"role":"model","parts":[{"text":"a","thought":true,"thoughtSignature":"Fg=="},'
        '{"functionCall":{"name":"f","args":{"x":1.10}},"thoughtSignature":"Og=="}]}]}',
        '{"contents":[{"role":"model","parts":['
        '{"functionCall":{"name":"f","args":{"x":1.10}},"thoughtSignature":"Og=="}]}]}',
        1,
    ),
    "responses": (
        '{"top_p":0.50,"input":[{"type":"reasoning","encrypted_content":"F1"},{"type":"reasoning","encrypted_content":"O1"}]}',
        '{"top_p":0.50,"input":[{"type":"reasoning","encrypted_content":"O1"}]}',
        1,
    ),
    "chat": (
        '{"messages":[{"role":"assistant","content":"a","reasoning_details":[{"type":"reasoning.encrypted","data":"F1"}]},'
        '{"role":"user","content":"b","x":1.10}]}',
        '{"messages":[{"role":"assistant","content":"a"},{"role":"user","content":"b","x":1.10}]}',
        1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("dialect", CASES)
def test_only_what_another_sealed_is_left_out(dialect: str) -> None:
    sealing = DIALECTS[dialect].sealing
    assert sealing is not None
    body, left, taken = CASES[dialect]
    assert sealing.marked(body.encode())
    assert sealing.without(body.encode(), lambda value: value.startswith("F")) == (left.encode(), taken)
    assert sealing.without(body.encode(), lambda _: False) == (body.encode(), 0)


@pytest.mark.parametrize("dialect", CASES)
@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"messages":5,"contents":null,"input":"a"}', b'{"messages":[5],"input":[5]}']
)
def test_what_cannot_be_read_stays_as_it_is(dialect: str, body: bytes) -> None:
    sealing = DIALECTS[dialect].sealing
    assert sealing is not None
    assert sealing.without(body, lambda _: True) == (body, 0)


OFF = '"thinking":{"type":"disabled"}'
ON = '"thinking":{"type":"enabled","budget_tokens":2048}'


@pytest.mark.parametrize(
    ("last", "thinks"),
    [
        ('{"role":"user","content":[{"type":"tool_result","tool_use_id":"1","content":"x"}]}', False),
        ('{"role":"user","content":"and now?"}', True),
    ],
)
def test_thinking_with_a_budget_is_off_where_a_call_has_lost_its_thinking_and_is_answered(last: str, thinks: bool) -> None:
    sealing = DIALECTS["messages"].sealing
    assert sealing is not None
    call = '{"type":"tool_use","id":"1","name":"n","input":{}}'
    turn = f'{{"role":"assistant","content":[{{"type":"thinking","thinking":"a","signature":"F"}},{call}]}}'
    body, taken = sealing.without(f'{{{ON},"messages":[{turn},{last}]}}'.encode(), lambda _: True)
    assert taken == 1
    assert (ON if thinks else OFF) in body.decode()
