"""`make fuzz`: a coverage-guided fuzzer (atheris) over every target, each for a bounded time, in a process of its own.

    python -m tests.fuzz.run                     each target for 20 seconds
    python -m tests.fuzz.run --seconds 600 chat  those whose name holds `chat`, ten minutes each
    python -m tests.fuzz.run --keep              and keep what led to new paths, in tests/fuzz/kept

A crash ends its target's turn: the input stands in build/fuzz/<target>/, and belongs into tests/fuzz/found once it is mended.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import resource
import subprocess
import sys
import zipfile
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
WORK = ROOT / "build" / "fuzz"
_MOST_BYTES = 16 * 1024
_MOST_MEMORY = 2048
"""MiB that one process may take."""
_PATIENCE = 10
"""Seconds for one input: more is a bug, instrumented as the code is."""
_KEPT_MOST = 40
_KEPT_SIZE = 1024
"""So many inputs are kept for a target, and none that is larger, in bytes."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.run", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("targets", nargs="*", help="parts of the names of targets (all)")
    parser.add_argument("--seconds", type=int, default=20, help="for each target (20)")
    parser.add_argument("--keep", action="store_true", help="keep the inputs that led to new paths, in tests/fuzz/kept")
    parser.add_argument("--list", action="store_true", help="print the names of the targets")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        _fuzz(options.child, options.seconds)
        return 0
    from tests.fuzz.targets import TARGETS

    names = [name for name in TARGETS if not options.targets or any(part in name for part in options.targets)]
    if options.list or not names:
        print("\n".join(names or TARGETS))
        return 0 if names else 2
    crashed = [name for name in names if not _turn(name, options.seconds)]
    if options.keep:
        for name in names:
            _keep(name)
    print(f"{len(names) - len(crashed)} of {len(names)} targets held" + (f"; crashed: {', '.join(crashed)}" if crashed else ""))
    return 1 if crashed else 0


def _turn(name: str, seconds: int) -> bool:
    from tests.fuzz.seeds import seeds

    corpus = WORK / name / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for data in seeds(name):
        (corpus / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.run", "--child", name, "--seconds", str(seconds)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    log = done.stdout.decode("utf-8", "replace")
    (WORK / name / "log").write_text(log)
    count = next((line for line in reversed(log.splitlines()) if line[:1] == "#" and line[1:2].isdigit()), "").split()
    held = done.returncode == 0
    print(f"{'ok   ' if held else 'CRASH'} {name:20} {' '.join(count[:1] + count[2:6])}", flush=True)
    if not held:
        print("\n".join(log.splitlines()[-40:]), flush=True)
    return held


def _fuzz(name: str, seconds: int) -> None:
    """In the child: never returns, libFuzzer ends the process."""
    atheris: Any = import_module("atheris")
    with atheris.instrument_imports(include=["dragoman"]):
        from tests.fuzz.targets import TARGETS
    from tests.fuzz.mutate import mutated, words_of
    from tests.fuzz.seeds import seeds

    run, words = TARGETS[name], words_of(list(seeds(name)))

    def mutator(data: bytes, most: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if words and rng.random() < 0.6:
            found = mutated(data, rng, words)
            if found != data and len(found) <= most:
                return found
        return atheris.Mutate(data, most)

    room = WORK / name
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    arguments = [
        "fuzz", str(room / "corpus"), f"-max_total_time={seconds}", f"-max_len={_MOST_BYTES}", f"-timeout={_PATIENCE}",
        f"-rss_limit_mb={_MOST_MEMORY}", f"-artifact_prefix={room}/", "-print_final_stats=1", "-detect_leaks=0",
    ]  # fmt: skip
    atheris.Setup(arguments, run, custom_mutator=mutator)
    atheris.Fuzz()


def _keep(name: str) -> None:
    """The smallest inputs that led to new paths, in the target's archive; seeds are there without."""
    from tests.fuzz.seeds import KEPT, derived

    known = set(derived(name))
    found = sorted((path.read_bytes() for path in (WORK / name / "corpus").iterdir()), key=lambda data: (len(data), data))
    kept = [data for data in found if data not in known and len(data) <= _KEPT_SIZE][:_KEPT_MOST]
    KEPT.mkdir(exist_ok=True)
    with zipfile.ZipFile(KEPT / f"{name}.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for data in sorted(kept):
            info = zipfile.ZipInfo(hashlib.sha256(data).hexdigest()[:16], (2026, 1, 1, 0, 0, 0))
            archive.writestr(info, data, zipfile.ZIP_DEFLATED)


if __name__ == "__main__":
    sys.exit(main())
