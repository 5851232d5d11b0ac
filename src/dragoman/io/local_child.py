"""The process that runs llama.cpp. Started by `local.py`, by path: it imports nothing of Dragoman.

A process of its own, because llama.cpp in the gateway's process would freeze it while a model loads (the binding
keeps the interpreter's lock), would take it down with a failed assertion or for want of memory, and cannot be stopped
while an answer is being generated.

    in    one line of JSON, the settings; then nothing until the end, which ends the process
    out   one line of JSON: {"address": "http://..."} or {"error": "..."}
    err   llama.cpp's own words about what went wrong
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    # Whatever llama.cpp prints must not mix with the answer.
    answers = os.dup(1)
    os.dup2(2, 1)
    # Ctrl-C goes to the whole group; the gateway decides when this process ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        # When memory runs out, this process is the one to go. Linux only.
        Path("/proc/self/oom_score_adj").write_text("1000")
    settings = json.loads(sys.stdin.readline())
    sys.path[:] = settings["paths"]
    try:
        server = serve(settings)
    except ImportError as error:
        answer(answers, {"error": f"the package xllamacpp cannot be loaded: {error}"})
        return
    except RuntimeError as error:
        answer(answers, {"error": str(error)})
        return
    answer(answers, {"address": server.listening_address})
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    # The other end closes when the gateway says so, and when it dies.
    sys.stdin.read()
    # No farewell: llama.cpp's would wait for the answers in progress.
    os._exit(0)


def serve(settings: dict[str, Any]) -> Any:
    """Loads the model and listens. Raises `RuntimeError` without a reason; that is on standard error."""
    llama = importlib.import_module("xllamacpp")
    params = llama.CommonParams()
    params.model.path = settings["path"]
    params.model_alias = {settings["alias"]}
    params.hostnames = [settings["host"]]
    params.port = settings["port"]
    params.api_keys = [settings["key"]]
    params.n_ctx = settings["context"]
    params.n_parallel = settings["parallel"]
    # One pool of context for all slots: each request may fill it.
    params.kv_unified = True
    params.cpuparams.n_threads = settings["threads"]
    params.cpuparams_batch.n_threads = settings["prompt_threads"]
    if settings["template"]:
        params.chat_template = settings["template"]
    params.embedding = True
    if settings["embed_most"]:
        # Otherwise a model that was made for it says how, and one that was not refuses.
        params.pooling_type = llama.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
        # What is embedded must fit into one batch. The memory for it is only taken when it is used.
        params.n_ubatch = settings["embed_most"]
    # What was asked for, or an error: no silent shrinking to fit.
    params.fit_params = False
    params.warmup = False
    params.cache_prompt = settings["cache"]
    params.cache_ram_mib = 256 if settings["cache"] else 0
    params.ui = False
    params.endpoint_slots = False
    params.verbosity = 1
    return llama.Server(params)


def answer(to: int, words: dict[str, str]) -> None:
    os.write(to, json.dumps(words).encode() + b"\n")


if __name__ == "__main__":
    main()
