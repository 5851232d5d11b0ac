"""The rules of the house, as tests. Their allow-lists only shrink."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SRC = ROOT / "src" / "dragoman"

# Who may import whom: each row may import itself and the rows above it, `testing` aside.
LAYERS: list[set[str]] = [
    {"__init__"},
    {"errors", "secret", "ir"},
    {"wire", "records"},
    {"dialects"},
    {"envelopes"},
    {"providers", "models"},
    {"route"},
    {"logs", "config"},
    {"flow"},
    {"pipeline"},
    {"explain", "stored"},
    {"gateway"},
    {"io"},
    {"cli", "__main__"},
]
OUTSIDE = {"testing", "conformance"}
"""Import nothing of the codecs, so that a mistake there cannot cancel itself out, and are imported by nobody but the command
that starts them. `conformance` may use `testing`, and not the other way round."""

IMPURE = {"asyncio", "socket", "ssl", "time", "random", "secrets", "threading", "subprocess", "select", "uvloop", "uvicorn"}
EDGES = {"io", "cli", "testing", "conformance", "__main__", "logs"}
"""Where the real world may be touched. `logs` writes files from a thread of its own."""


def modules() -> Iterator[tuple[Path, str, ast.Module]]:
    for path in sorted(SRC.rglob("*.py")):
        relative = path.relative_to(SRC)
        room = relative.parts[0] if len(relative.parts) > 1 else relative.stem
        yield path, room, ast.parse(path.read_text())


def imports_of(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.lineno, node.module
        elif isinstance(node, ast.Import):
            for name in node.names:
                yield node.lineno, name.name


def level_of(room: str) -> int:
    for level, rooms in enumerate(LAYERS):
        if room in rooms:
            return level
    pytest.fail(f"src/dragoman/{room} has no place in the order of imports: add it to LAYERS")


def test_imports_go_one_way() -> None:
    wrong: list[str] = []
    for path, room, tree in modules():
        for line, module in imports_of(tree):
            parts = module.split(".")
            if parts[0] != "dragoman":
                continue
            other = parts[1] if len(parts) > 1 else "__init__"
            where = f"{path.relative_to(SRC)}:{line} imports {module}"
            if room in OUTSIDE:
                if other in {"dialects", "ir", "pipeline", "flow", "gateway"} or (room == "testing" and other == "conformance"):
                    wrong.append(where)
            elif room == "cli" and other == "conformance":
                continue
            elif other in OUTSIDE or level_of(other) > level_of(room):
                wrong.append(where)
    assert not wrong


def test_the_core_touches_neither_sockets_nor_clocks_nor_dice() -> None:
    wrong = [
        f"{path.relative_to(SRC)}:{line} imports {module}"
        for path, room, tree in modules()
        if room not in EDGES
        for line, module in imports_of(tree)
        if module.split(".")[0] in IMPURE
    ]
    assert not wrong


def test_no_dialect_knows_another() -> None:
    wrong: list[str] = []
    for path in sorted((SRC / "dialects").rglob("*.py")):
        own = path.relative_to(SRC / "dialects").parts[0]
        for line, module in imports_of(ast.parse(path.read_text())):
            parts = module.split(".")
            shared = {
                "answers",
                "base",
                "blocks",
                "counts",
                "shape",
                "enforced",
                "foreign",
                "told",
                "freetext",
                "lenient",
                "openai_completions",
                "memory",
                "openai_embeddings",
                "openai_errors",
                "openai_models",
                "openai_parts",
                "openai_usage",
                "pairing",
                "raw",
                "sealing",
                "serial",
                "thinking",
            }
            if (
                parts[:2] == ["dragoman", "dialects"]
                and len(parts) > 2
                and own != "__init__.py"
                and parts[2] not in {own, *shared}
            ):
                wrong.append(f"{path.relative_to(SRC)}:{line} imports {module}")
    assert not wrong


PROVIDERS = "anthropic|openai|openrouter|mistral|groq|deepseek|xai|together|fireworks|moonshot|ollama|vllm|azure|bedrock|vertex"


def test_no_provider_is_asked_for_by_name_outside_providers() -> None:
    comparison = re.compile(rf"""(==|!=|\bin\b|\bcase\b)\s*[\[({{]*\s*["']({PROVIDERS})["']""")
    wrong = [
        f"{path.relative_to(SRC)}:{number}: {line.strip()}"
        for path, room, _ in modules()
        if room not in {"providers", "models", "testing"}
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if comparison.search(line)
    ]
    assert not wrong


def test_no_folder_is_deep_and_no_file_is_a_drawer() -> None:
    for path, _, _ in modules():
        assert len(path.relative_to(SRC).parts) <= 3, path
        assert path.stem not in {"utils", "helpers", "common", "misc"}, path


MOST_FILE = 650
MOST_FUNCTION = 90
DATA = {"providers/table.py"}


def test_no_file_and_no_function_is_too_long() -> None:
    for path, _, tree in modules():
        if path.relative_to(SRC).as_posix() not in DATA:
            assert len(path.read_text().splitlines()) <= MOST_FILE, path
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                assert length <= MOST_FUNCTION, f"{path}:{node.lineno} {node.name} has {length} lines"


# Optional extras are imported where they are used, and what is large and not always needed; nothing else is.
LOCAL_IMPORTS = {
    "cryptography", "xllamacpp", "uvloop", "fcntl", "genai_prices", "dragoman.io.database", "dragoman.cli.judging",
    "dragoman.io.uvicorn_server", "compression", "backports", "resource",
}  # fmt: skip


def test_imports_stand_at_the_top_but_for_extras() -> None:
    wrong: list[str] = []
    for path, _, tree in modules():
        for function in ast.walk(tree):
            if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
                inner = ast.Module([function], [])
                wrong += [
                    f"{path.relative_to(SRC)}:{line} {module}"
                    for line, module in imports_of(inner)
                    if not {module, module.split(".")[0]} & LOCAL_IMPORTS
                ]
    assert not wrong


FEW = {"msgspec", "uvicorn", "uvloop", "httptools", "pyyaml", "sqlalchemy", "backports.zstd"}


def test_the_core_depends_on_few_packages_and_a_gateway_that_starts_on_fewer() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {re.split(r"[^A-Za-z0-9._-]", line)[0] for line in project["dependencies"]} == FEW
    code = "import sys, dragoman.cli.main, dragoman.io.engine, dragoman.io.server; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    foreign = (loaded - sys.stdlib_module_names) & set(packages_distributions())
    # `_distutils_hack` comes with every environment that has setuptools.
    assert foreign - {"_distutils_hack"} <= {"dragoman", "msgspec", "typing_extensions", "httptools", "yaml", "uvloop"}, foreign
