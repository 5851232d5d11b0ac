"""`make bench-peers`: installs the other gateways, each into an environment of its own. What cannot be had is told.

python bench/peers/install.py [NAME ...]
"""

from __future__ import annotations

import hashlib
import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

PYTHON = ("litellm", "rolter", "smg", "tensorzero", "ferrogw")
NODE = ("portkey", "ccr")
HERE = Path(__file__).parent
_PATIENCE = 900


def main(names: list[str]) -> int:
    known = PYTHON + NODE
    for name in names:
        if name not in known:
            print(f"bench-peers: there is no peer {name!r}; known are {', '.join(known)}", file=sys.stderr)
            return 2
    had = [install(name) for name in names or known]
    print(f"bench-peers: {sum(had)} of {len(had)} are there. nginx is of the system: apt install nginx-light")
    return 0 if all(had) else 1


def install(name: str) -> bool:
    module = importlib.import_module(f"bench.peers.{name}")
    wanted: tuple[str, ...] = module.REQUIREMENTS if name in PYTHON else module.PACKAGES
    folder = HERE / ".env" / name
    stamp = folder / f".installed-{hashlib.sha256(' '.join(wanted).encode()).hexdigest()[:12]}"
    if stamp.exists():
        print(f"{name}: is there ({', '.join(wanted)})")
        return True
    print(f"{name}: installing {', '.join(wanted)} ...", flush=True)
    wrong = _with_pip(folder, wanted) if name in PYTHON else _with_npm(folder, wanted, getattr(module, "OVERRIDES", {}))
    if wrong:
        print(f"{name}: could not be had: {wrong}", file=sys.stderr, flush=True)
        return False
    stamp.touch()
    return True


def _with_pip(folder: Path, wanted: tuple[str, ...]) -> str:
    python = folder / "bin" / "python"
    if not python.exists() and (wrong := _run([sys.executable, "-m", "venv", str(folder)])):
        return wrong
    return _run([str(python), "-m", "pip", "--disable-pip-version-check", "install", "-q", *wanted])


def _with_npm(folder: Path, wanted: tuple[str, ...], overrides: dict[str, str]) -> str:
    npm = shutil.which("npm")
    if npm is None:
        return "there is no npm (install Node.js)"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "package.json").write_text(json.dumps({"private": True, "overrides": overrides}))
    return _run([npm, "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--loglevel=error", *wanted])


def _run(command: list[str]) -> str:
    """What it said last when it failed; nothing when all is well."""
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if said.returncode == 0:
        return ""
    lines = [line for line in (said.stderr or said.stdout).splitlines() if "rror" in line]
    return (lines or ["it failed"])[0][:300]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
