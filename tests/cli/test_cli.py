"""The `dragoman` command, run as a user runs it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from dragoman.testing import ScriptedUpstream

PATIENCE = 60


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Without any provider's key, so that a test means the same everywhere."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "VIRTUAL_ENV") if name in os.environ}
    return kept | {"PYTHONUNBUFFERED": "1"} | dict(more or {})


def dragoman(
    *arguments: str, cwd: Path, env: Mapping[str, str] | None = None, said: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dragoman", *arguments],
        input=said, capture_output=True, text=True, timeout=PATIENCE, check=False, cwd=cwd, env=environment(env),
    )  # fmt: skip


@contextmanager
def served(
    *arguments: str, cwd: Path, env: Mapping[str, str] | None = None
) -> Generator[tuple[str, str, subprocess.Popen[str]]]:
    """A running gateway: its URL, what it printed, its process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dragoman", "serve", "--port", "0", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd, env=environment(env),
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        lines: list[str] = []
        while not (line := process.stdout.readline()).startswith("  curl"):
            assert line, f"the gateway did not start: {process.stderr.read()}"
            lines.append(line)
        lines.append(line)
        url = re.search(r"http://127\.0\.0\.1:\d+", lines[0])
        assert url is not None
        yield url[0], "".join(lines), process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE)


def test_the_gateway_starts_says_how_to_use_it_and_answers_in_both_dialects(tmp_path: Path) -> None:
    with served(cwd=tmp_path) as (url, banner, _), httpx.Client(base_url=url, timeout=PATIENCE) as client:
        for line in ("models", "OpenAI API", "Anthropic API", "Claude Code", "Codex", "OpenAI SDK", "Anthropic SDK"):
            assert line in banner
        assert f"ANTHROPIC_BASE_URL={url}" in banner
        body = {"model": "local", "max_tokens": 8, "messages": [{"role": "user", "content": "Say hello."}]}
        assert client.post("/v1/chat/completions", json=body).json()["choices"][0]["message"]["content"]
        assert client.post("/v1/messages", json=body).json()["content"][0]["text"]
        assert [model["id"] for model in client.get("/v1/models").json()["data"]] == ["big", "small", "local"]


def test_providers_are_there_by_their_keys_in_the_environment(tmp_path: Path) -> None:
    with ScriptedUpstream.in_thread() as upstream:
        env = {"OPENAI_API_KEY": "sk-0123456789abcdef0123", "OPENAI_BASE_URL": f"{upstream.url}/v1"}
        with served("--no-local", cwd=tmp_path, env=env) as (url, banner, _):
            assert "openai/" in banner
            body = {"model": "openai/scenario:text", "messages": [{"role": "user", "content": "hi"}]}
            answer = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=PATIENCE)
        assert answer.status_code == 200
        assert dict(upstream.requests[-1].headers)["authorization"] == "Bearer sk-0123456789abcdef0123"


@pytest.mark.parametrize("driver", ["asgi", "native"])
@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_when_it_is_told_to(tmp_path: Path, driver: str, told: signal.Signals) -> None:
    env = {"GROQ_API_KEY": "gsk_0123456789abcdef"}
    with served("--no-local", "--driver", driver, cwd=tmp_path, env=env) as (url, _, process):
        with httpx.Client(base_url=url, timeout=PATIENCE) as client:
            assert client.get("/health").status_code == 200
            process.send_signal(told)  # while the client keeps its connection
            assert process.wait(PATIENCE) in ({0, -told} if told == signal.SIGTERM else {130, -told})
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def test_whoever_stops_it_is_told_what_it_waits_for_and_may_say_so_again(tmp_path: Path) -> None:
    with ScriptedUpstream.in_thread() as upstream:
        env = {"OPENAI_API_KEY": "sk-0123456789abcdef0123", "OPENAI_BASE_URL": f"{upstream.url}/v1"}
        body = {"model": "openai/scenario:endless", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
        with (
            served("--no-local", cwd=tmp_path, env=env) as (url, _, process),
            httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=PATIENCE) as answer,
        ):
            pieces = answer.iter_raw()  # held, or the client would leave
            assert b"Jack" in next(pieces)
            process.send_signal(signal.SIGINT)
            assert process.stderr is not None
            lines = iter(process.stderr.readline, "")
            assert "answers=1" in next(line for line in lines if "told again, at once" in line)
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) in {130, -signal.SIGINT}


def test_a_taken_port_is_a_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = dragoman("serve", "--port", port, cwd=tmp_path)
    assert done.returncode == 3
    assert (
        done.stderr == f"dragoman: port {port} on 127.0.0.1 is taken; stop what listens there, or choose another with --port\n"
    )


def test_nothing_to_serve_is_a_sentence(tmp_path: Path) -> None:
    done = dragoman("serve", "--no-local", "--port", "0", cwd=tmp_path)
    assert done.returncode == 4
    assert "there is nothing to serve" in done.stderr
    assert "ANTHROPIC_API_KEY" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_log_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "dragoman.yaml").write_text("server: {log: {file: file/gateway.log}}")
    done = dragoman("serve", "--port", "0", cwd=tmp_path)
    assert done.returncode == 2
    assert "server.log.file" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [("server: {prt: 1}", "did you mean 'port'"), ("server: {port: high}", "server.port"), ("server: [", "not valid YAML")],
)
def test_a_mistake_in_the_configuration_is_a_sentence(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "gateway.yaml").write_text(text)
    for command in (["config", "check", "gateway.yaml"], ["serve", "-c", "gateway.yaml"], ["models", "-c", "gateway.yaml"]):
        done = dragoman(*command, cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr.startswith("dragoman: gateway.yaml:1: ")
        assert words in done.stderr


def test_config_check_shows_the_result_and_no_secret(tmp_path: Path) -> None:
    (tmp_path / "dragoman.yaml").write_text("keys: [gw-secret-0123456789]\nproviders: {openai: {api_key: 'env:WORK_KEY'}}\n")
    done = dragoman("config", "check", cwd=tmp_path, env={"WORK_KEY": "sk-verysecret0123456789"})
    assert done.returncode == 0
    assert "openai:" in done.stdout
    assert "verysecret" not in done.stdout + done.stderr
    assert "gw-secret" not in done.stdout + done.stderr


def test_models_lists_what_can_be_served(tmp_path: Path) -> None:
    env = {"ANTHROPIC_API_KEY": "sk-ant-0123456789abcdef"}
    listed = dragoman("models", cwd=tmp_path, env=env)
    assert "anthropic/claude-" in listed.stdout
    lines = [json.loads(line) for line in dragoman("models", "--json", cwd=tmp_path, env=env).stdout.splitlines()]
    assert {"big", "small", "local"} <= {line["id"] for line in lines}


def test_doctor_says_what_is_amiss(tmp_path: Path) -> None:
    anywhere = {"DRAGOMAN_SERVER__PORT": "0"}
    well = dragoman("doctor", cwd=tmp_path, env=anywhere)
    assert well.returncode == 0
    assert "local model: loads" in well.stdout
    (tmp_path / "dragoman.yaml").write_text("providers: {anthropic: {}}")
    amiss = dragoman("doctor", cwd=tmp_path, env=anywhere)
    assert amiss.returncode == 1
    assert "BAD  anthropic" in amiss.stdout
    assert "ANTHROPIC_API_KEY" in amiss.stdout


def test_doctor_finds_what_serve_would_fail_for(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        env = {
            "DRAGOMAN_SERVER__PORT": str(taken.getsockname()[1]), "DRAGOMAN_LOCAL": "false",
            "HTTPS_PROXY": "http://me:secret@proxy.example:port",
        }  # fmt: skip
        amiss = dragoman("doctor", cwd=tmp_path, env=env)
    assert amiss.returncode == 1
    assert re.search(r"BAD  port \d+ on 127\.0\.0\.1: Address already in use, and not by a gateway", amiss.stdout)
    assert "BAD  there is nothing to serve" in amiss.stdout
    assert "BAD  HTTPS_PROXY is not a proxy's URL" in amiss.stdout
    assert "3 to mend." in amiss.stdout
    assert "secret" not in amiss.stdout + amiss.stderr


def test_doctor_asks_the_providers_when_told_to(tmp_path: Path) -> None:
    with ScriptedUpstream.in_thread() as upstream:
        env = {"OPENAI_API_KEY": "sk-0123456789abcdef0123", "OPENAI_BASE_URL": f"{upstream.url}/v1"}
        done = dragoman("doctor", "--online", cwd=tmp_path, env=env)
        assert "openai: takes the key" in done.stdout
        upstream.on("/v1/models", 401, b"{}")
        assert "openai: answers 401" in dragoman("doctor", "--online", cwd=tmp_path, env=env).stdout


def test_a_gateway_serves_on_when_nobody_reads_what_it_prints(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "dragoman", "serve", "--no-local", "--port", str(port)]
    env = environment({"OPENAI_API_KEY": "sk-0123456789abcdef0123"})
    reader, writer = os.pipe()
    os.close(reader)
    with subprocess.Popen(command, stdout=writer, stderr=subprocess.PIPE, cwd=tmp_path, env=env) as process:
        os.close(writer)
        try:
            with httpx.Client(transport=httpx.HTTPTransport(retries=8)) as client:
                assert client.get(f"http://127.0.0.1:{port}/health").status_code == 200
        finally:
            process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert b"BrokenPipe" not in said


def test_chat_answers_one_question_and_a_pipe(tmp_path: Path) -> None:
    asked = dragoman("chat", "--model", "local", "--max-tokens", "8", "What is 2+2?", cwd=tmp_path)
    assert asked.returncode == 0
    assert asked.stdout.strip()
    piped = dragoman("chat", "--model", "local", "--max-tokens", "8", cwd=tmp_path, said="What is 2+2?")
    assert piped.stdout.strip()
    unknown = dragoman("chat", "--model", "nope", "hi", cwd=tmp_path)
    assert unknown.returncode == 1
    assert "No model 'nope'" in unknown.stderr


def test_chat_says_what_went_wrong_and_nothing_else(tmp_path: Path) -> None:
    refused = dragoman("chat", "--model", "groq/llama", "hi", cwd=tmp_path)
    assert refused.returncode == 1
    assert refused.stderr.startswith("dragoman: there is no key for the provider groq")
    assert len(refused.stderr.splitlines()) == 1


def test_help_and_version(tmp_path: Path) -> None:
    assert dragoman("--version", cwd=tmp_path).stdout.startswith("dragoman ")
    for command in ("serve", "chat", "models", "doctor", "config"):
        assert dragoman(command, "--help", cwd=tmp_path).returncode == 0
    assert dragoman(cwd=tmp_path).returncode == 2
