from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dragoman.dialects.gemini.paths import Verb, bare_model, locate, locate_model, upstream_url, wants_array
from dragoman.errors import MalformedBody

FOUND: list[tuple[str, str, Verb]] = [
    ("/v1beta/models/gemini-4-argon:generateContent", "gemini-4-argon", "generateContent"),
    ("/v1/models/gemini-4-argon:streamGenerateContent", "gemini-4-argon", "streamGenerateContent"),
    ("/v1alpha/models/m:countTokens", "m", "countTokens"),
    ("/v1beta2/models/m:embedContent", "m", "embedContent"),
    ("/v1beta/models/m:batchEmbedContents", "m", "batchEmbedContents"),
    ("/v1beta/tunedModels/mine-1:generateContent", "tunedModels/mine-1", "generateContent"),
    ("/v1beta1/publishers/google/models/m:generateContent", "m", "generateContent"),
    ("/v1beta/some-prefix/gemini-4-argon:generateContent", "some-prefix/gemini-4-argon", "generateContent"),
    ("/v1beta/models/anthropic/claude-opus-5:generateContent", "anthropic/claude-opus-5", "generateContent"),
    ("/v1beta/models/anthropic%2Fclaude-opus-5:generateContent", "anthropic/claude-opus-5", "generateContent"),
    ("/v1beta/models/llama3:8b:generateContent", "llama3:8b", "generateContent"),
    ("/v1beta/models/llama3%3A8b:generateContent", "llama3:8b", "generateContent"),
    ("/v1beta/models/m%3AgenerateContent", "m", "generateContent"),
    ("/v1beta/models/m%20x%25:generateContent", "m x%", "generateContent"),
    ("/v1beta/models/models/m:generateContent", "models/m", "generateContent"),
]


@pytest.mark.parametrize(("path", "model", "verb"), FOUND)
def test_model_and_verb_are_read_off_the_path(path: str, model: str, verb: Verb) -> None:
    located = locate(path)
    assert located is not None
    assert (located.model, located.verb) == (model, verb)
    assert located.stream == (verb == "streamGenerateContent")


@pytest.mark.parametrize(
    "path",
    [
        "/v1beta/models/m",
        "/v1beta/models/m:predict",
        "/v1beta/models/:generateContent",
        "/v1beta/models:generateContent",
        "/v1/chat/completions",
        "/v1/messages",
        "/models/m:generateContent",
        "/v1x/models/m:generateContent",
        "/v1beta/",
        "",
        ":generateContent",
    ],
)
def test_other_paths_are_not_taken_for_it(path: str) -> None:
    found = locate(path)
    assert found is None or found.model == "models"


@pytest.mark.parametrize("name", ["..", "../../x", "models/../cachedContents", "a/..", "publishers/google/models/../x"])
def test_a_name_cannot_lead_to_another_resource(name: str) -> None:
    with pytest.raises(MalformedBody, match="between slashes"):
        upstream_url("http://host/v1beta/models", name, "generateContent")
    assert upstream_url("http://host/v1beta/models", "a..b/c...", "generateContent").endswith(
        "/models/a..b/c...:generateContent"
    )


@example("../x")
@given(st.text(min_size=1).filter(lambda name: name.strip("/") == name and not name.startswith(("models/", "publishers/"))))
def test_a_name_of_any_characters_comes_back_from_the_url_made_for_it(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        return
    if ".." in name.split("/"):
        with pytest.raises(MalformedBody, match="between slashes"):
            upstream_url("http://host/v1beta/models", name, "generateContent")
        return
    url = upstream_url("http://host/v1beta/models", name, "generateContent")
    located = locate(url.removeprefix("http://host"))
    assert located is not None
    assert located.model == name


@given(st.text())
def test_no_path_makes_it_raise(path: str) -> None:
    locate(path)
    locate_model(path)


BASE = "https://generativelanguage.googleapis.com/v1beta/models"


def test_a_stream_is_asked_for_as_server_sent_events() -> None:
    assert upstream_url(BASE, "m", "generateContent") == BASE + "/m:generateContent"
    assert upstream_url(BASE + "/", "m", "streamGenerateContent") == BASE + "/m:streamGenerateContent?alt=sse"
    assert upstream_url(BASE, "a/b c", "countTokens") == BASE + "/a/b%20c:countTokens"


def test_a_tuned_model_is_asked_for_in_its_own_collection() -> None:
    assert (
        upstream_url(BASE, "tunedModels/x", "generateContent")
        == BASE.removesuffix("/models") + "/tunedModels/x:generateContent"
    )


@pytest.mark.parametrize(
    ("verb", "query", "array"),
    [
        ("streamGenerateContent", "alt=sse", False),
        ("streamGenerateContent", "key=abc&alt=sse", False),
        ("streamGenerateContent", "", True),
        ("streamGenerateContent", "alt=json", True),
        ("generateContent", "", False),
    ],
)
def test_a_stream_is_an_array_unless_events_are_asked_for(verb: str, query: str, array: bool) -> None:
    assert wants_array(verb, query) is array


def test_names_lose_their_collection_once() -> None:
    assert [bare_model(name) for name in ("models/m", "m", "/models/m/", "tunedModels/m", "publishers/x/models/m")] == [
        "m",
        "m",
        "m",
        "tunedModels/m",
        "m",
    ]


def test_the_model_of_a_model_path_is_found() -> None:
    assert locate_model("/v1beta/models/gemini-4-argon") == "gemini-4-argon"
    assert locate_model("/v1/models/a%2Fb") == "a/b"
    assert locate_model("/v1beta/tunedModels/x") == "tunedModels/x"
    assert locate_model("/v1beta/models") is None
    assert locate_model("/v1beta/files/x") is None
