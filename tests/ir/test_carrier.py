from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.ir import carrier
from dragoman.ir.request import Reasoning, Seal

PARTS = [
    Reasoning(text="Let me see…", seal=Seal("c2lnbmF0dXJl", "anthropic", "messages")),
    Reasoning(seal=Seal("b3BhcXVl", "anthropic", "messages"), redacted=True),
]


def test_what_is_packed_comes_back() -> None:
    token = carrier.pack(PARTS)
    assert token is not None
    assert carrier.is_token(token)
    assert carrier.unpack(token) == PARTS


def test_a_call_id_carries_and_is_bare_again() -> None:
    loaded = carrier.attach("toolu_01", PARTS)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", loaded)
    assert carrier.detach(loaded) == ("toolu_01", PARTS)
    assert carrier.detach("toolu_01") == ("toolu_01", [])


def test_an_id_is_left_bare_when_the_state_is_too_large() -> None:
    noise = "".join(hashlib.sha256(b"%d" % number).hexdigest() for number in range(1000))
    assert carrier.attach("call_1", [Reasoning(text=noise, seal=Seal("s"))]) == "call_1"


def test_a_body_is_freed_of_the_tokens_in_its_ids_and_of_nothing_else() -> None:
    body = b'{"id": "%b", "text": "dgm1 is a word"}' % carrier.attach("call_1", PARTS).encode()
    assert carrier.carries(body)
    assert carrier.strip_ids(body) == b'{"id": "call_1", "text": "dgm1 is a word"}'


@pytest.mark.parametrize("token", ["dgm1-", "dgm1-!!!", "dgm1-AAAA", "something else", "dgm1-" + "A" * 999])
def test_a_damaged_token_is_no_token(token: str) -> None:
    assert carrier.unpack(token) is None


@given(st.text(max_size=120))
def test_any_id_becomes_a_safe_one_and_itself_again(call_id: str) -> None:
    safe = carrier.safe_id(call_id)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", safe)
    assert carrier.original_id(safe) == call_id


def test_a_safe_id_stays_as_it_is() -> None:
    assert carrier.safe_id("toolu_01-A") == "toolu_01-A"
    assert carrier.safe_id("functions.Bash:0") == carrier.safe_id("functions.Bash:0") != "functions.Bash:0"
