"""What the fuzzer begins with: the corpus of requests, the scripted answers in every dialect, and what is odd on purpose."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from dragoman.dialects import EVERY
from dragoman.errors import UpstreamError
from dragoman.ir import carrier
from dragoman.ir.request import Reasoning, Seal
from dragoman.testing import SCENARIOS, VOICES, Ask
from dragoman.wire.framing import SSE
from dragoman.wire.sse import write_frame

HERE = Path(__file__).parent
KEPT = HERE / "kept"
"""For each target an archive of what the fuzzer found worth keeping: one input for each new path through the code."""
FOUND = HERE / "found"
"""Inputs that once broke something, `<target>/<what it was>`. They are replayed by an ordinary test, and never deleted."""
_CORPUS = HERE.parent / "corpus"
_MOST = 16 * 1024


def kept(target: str) -> list[bytes]:
    archive = KEPT / f"{target}.zip"
    if not archive.exists():
        return []
    with zipfile.ZipFile(archive) as opened:
        return [opened.read(name) for name in sorted(opened.namelist())]


def found(target: str) -> list[Path]:
    return sorted((FOUND / target).iterdir()) if (FOUND / target).exists() else []


def seeds(target: str) -> Iterator[bytes]:
    """Small inputs from which the fuzzer reaches the rest; those that it kept come with them."""
    yield from (one.read_bytes() for one in found(target))
    yield from kept(target)
    yield from (one for one in derived(target) if len(one) <= _MOST)


def derived(target: str) -> Iterator[bytes]:
    dialect, _, kind = target.partition("-")
    match kind:
        case "request" if dialect != "http":
            yield from requests(dialect)
        case "answer" if dialect != "http":
            yield from answers(dialect)
        case "stream" if dialect in EVERY:
            yield from (b"\0" + one for one in streams(dialect))
        case "error":
            yield from (bytes([number]) + one for number, one in enumerate(_ERRORS))
        case "verbatim":
            yield from requests(dialect)
            yield from answers(dialect)
            yield from streams(dialect)
        case _:
            yield from _others(target)


def requests(dialect: str) -> Iterator[bytes]:
    if dialect == "completions":
        yield _COMPLETIONS["request"]
    folder = _CORPUS / dialect
    for path in sorted(folder.glob("*/request.json")) if folder.exists() else ():
        body = msgspec.json.encode(msgspec.json.decode(path.read_bytes()))
        yield body
        if b'"call_' in body or b'"toolu_' in body:
            token = carrier.attach("call_1", [Reasoning(text="t", seal=Seal("s", "up", "messages"))])
            yield body.replace(b'"call_1"', json.dumps(token).encode()).replace(b'"toolu_01', b'"toolu_01-dgm1-')


def answers(dialect: str) -> Iterator[bytes]:
    if dialect == "completions":
        yield _COMPLETIONS["answer"]
    yield from _rendered(dialect, stream=False)


def streams(dialect: str) -> Iterator[bytes]:
    """As server-sent events, whatever carries the events of that dialect."""
    if dialect == "completions":
        yield _COMPLETIONS["stream"]
    framing = EVERY[dialect].framing
    for body in _rendered(dialect, stream=True):
        if framing is SSE:
            yield body
            continue
        with suppress(UpstreamError):
            yield b"".join(write_frame(frame.data, frame.event) for frame in framing.parser().feed(body))


_COMPLETIONS = {
    "request": b'{"model":"m","prompt":["a","b"],"max_tokens":5,"n":2,"logprobs":3,"echo":true,"stop":"x","suffix":"y"}',
    "answer": b'{"id":"cmpl-1","object":"text_completion","created":1,"model":"m","choices":[{"text":"a","index":0,"logprobs":'
    b'{"tokens":["a"],"token_logprobs":[-1.5],"top_logprobs":[{"a":-1.5}],"text_offset":[0]},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}',
    "stream": b'data: {"id":"cmpl-1","object":"text_completion","model":"m","choices":[{"text":"a","index":0,"logprobs":null,'
    b'"finish_reason":null}]}\n\ndata: {"choices":[{"text":"","index":0,"finish_reason":"length"}]}\n\ndata: [DONE]\n\n',
}


def _rendered(dialect: str, *, stream: bool) -> Iterator[bytes]:
    voice = VOICES.get(dialect)
    for scenario in SCENARIOS.values() if voice is not None else ():
        if dialect in scenario.dialects and voice is not None:
            rendered = voice.render(scenario, Ask(stream=stream))
            if rendered.body:
                yield rendered.body


_ERRORS = [
    b'{"error":{"message":"no","type":"invalid_request_error","param":"messages[0]","code":"context_length_exceeded"}}',
    b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_1"}',
    b'{"error":{"code":429,"message":"Quota","status":"RESOURCE_EXHAUSTED","details":[{"@type":"RetryInfo","retryDelay":"3s"}]}}',
    b'{"detail":[{"loc":["body","messages"],"msg":"field required","type":"value_error"}]}',
    b"<html><head><title>502 Bad Gateway</title></head><body><script>x</script><h1>502</h1></body></html>",
    b'[{"error":{"code":400,"message":"m","status":"INVALID_ARGUMENT"}}]',
    b'{"error":"text","code":"slow_down","status_code":503,"metadata":{"raw":"words"}}',
    b'"a text"',
    b"",
]

_SCHEMAS = [
    {"$defs": {"a": {"properties": {"x": {"$ref": "#/$defs/a"}}}}, "$ref": "#/$defs/a", "allOf": [{"required": ["x"]}]},
    {"type": ["object", "null"], "properties": {"n": {"enum": [1, "a", None]}, "u": {"oneOf": [{"const": 1}, True]}}},
    {"type": "ARRAY", "items": {"type": "STRING", "minLength": "3", "format": "enum"}, "prefixItems": [{}], "nullable": True},
    {"any_of": [{"type": "NULL"}, {"ref": "#/defs/a"}], "defs": {"a": {}}, "property_ordering": ["b"], "propertyNames": {}},
]

_CONFIGS = [
    b"\0server:\n  port: 4000\n  ping: 15s\nproviders:\n  a: {dialect: chat, base_url: 'http://h/v1', api_key: k}\n"
    b"models:\n  m: [a/b, {model: a/c, timeout: 3}]\naliases: {x: m}\nkeys: [{key: sk-1, name: n}]\n",
    b"\0a: &a [1]\nb: [*a, *a]\n<<: {c: 1}\n",
    b'\x01{"server":{"port":4000,"log":{"level":"info"}},"keys":["sk-1"]}',
    b'\x02[server]\nport = 4000\n[providers.a]\ndialect = "chat"\n[[keys]]\nkey = "k"\n',
]

_HTTP = [
    b"POST /v1/messages?a=b HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\n{}GET / HTTP/1.1\r\nhost: h\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n2;x=y\r\n{}\r\n0\r\nt: v\r\n\r\n",
    b"PUT http://h/a#b HTTP/1.1\r\nHost: h\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\nx",
    b"GET / HTTP/1.1\r\nhost: h\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\ncontent-length: 1\r\n\r\nx",
    b"HEAD / HTTP/1.0\r\n\r\n",
    b"GET /%2e%zz HTTP/1.1\r\nhost: h\r\nhost: i\r\n\r\n",
]

_ANSWERS = [
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-type: a/b\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;x=y\r\n{}\r\n0\r\nt: v\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.0 500 No\r\n\r\nuntil the end",
    b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n",
]


def _others(target: str) -> Iterator[bytes]:
    token = carrier.attach("call_1", [Reasoning(text="thought", seal=Seal("seal", "up", "messages"))])
    match target:
        case "event-stream":
            yield from _rendered("converse", stream=True)
            yield b"\x0b\x03a:b\x07\0\x04json{}"
        case "multipart":
            yield b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\nm\r\n--b\r\ncontent-type: a/b\r\n\r\nx\r\n--b--'
        case "pictures":
            yield b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\2"
            yield b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0\xff\xc0\0\x11\x08\0\1\0\1\3"
            yield b"RIFF\x24\0\0\0WEBPVP8 \x18\0\0\0\x30\1\0\x9d\1\x2a\1\0\1\0"
            yield b"GIF89a\1\0\1\0"
        case "sse":
            yield from streams("messages")
            yield b'\xef\xbb\xbfevent: a\r\ndata: b\r\ndata:c\r\r: ping\n\n{"error": 1}\n\ndata: end'
        case "jsonarray":
            yield from (b"[" + one + b",\n" + one + b"]" for one in answers("gemini"))
        case "body" | "json" | "partial":
            yield from (
                b'{"model":"a","x":{"model":"a"},"stream":true}',
                b'{"a":[1,{"b":"\\ud83d","c":NaN}],"d":"\\"',
                b'{"a":',
            )
        case "carriers":
            yield from (token.encode(), token.partition("dgm1-")[2].encode(), b"dgmid-Zm9v", b"functions.Bash:0")
        case "gemini-schema":
            yield from (json.dumps(one).encode() for one in _SCHEMAS)
        case "gemini-embed":
            yield b'{"content":{"parts":[{"text":"a"}]},"taskType":"X","requests":[{"model":"m","content":{"parts":[]}}]}'
            yield b'{"embeddings":[{"values":[0.5,1]}],"usageMetadata":{"promptTokenCount":3}}'
        case "config":
            yield from _CONFIGS
        case "http-request":
            yield from (b"\0" + one for one in _HTTP)
        case "http-answer":
            yield from (b"\0" + one for one in _ANSWERS)
        case _:
            yield b"{}"
