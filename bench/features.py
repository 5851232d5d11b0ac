"""What a feature costs: the gateway with one thing switched, beside the gateway as it is measured everywhere else.

Only what the configuration can switch can be measured so. Metering, timeouts and the loss ledger cannot be switched off;
what a loss costs when there is one is a suite of its own (`losses`).
"""

from __future__ import annotations

from collections.abc import Callable

from bench.contestant import Contestant
from bench.ours import ours

_SUITES = ("chat", "messages", "large", "chat-burst", "messages-burst")
_LOG = 'log: {level: info, format: json, sample: 0.1, file: "${BENCH_LOG}"}'
_KEYS = "keys:\n  - {name: bench, key: sk-bench-client-0001}\n"


def _replaced(before: str, after: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        if before not in text:
            raise ValueError(f"bench/dragoman.yaml does not hold {before!r} any more")
        return text.replace(before, after)

    return change


_MANY_KEYS = _KEYS + "".join(f"  - {{name: other-{number}, key: sk-bench-other-{number:04d}}}\n" for number in range(1_000))


CHANGES: dict[str, tuple[str, Callable[[str], str]]] = {
    "no-key": ("without a client key to check", _replaced(_KEYS, "")),
    "many-keys": ("with a thousand more client keys", _replaced(_KEYS, _MANY_KEYS)),
    "all-lines": ("with a line in the log for each request", _replaced("sample: 0.1", "sample: 1")),
    "text-lines": ("with a line for each, as text", _replaced("format: json, sample: 0.1", "format: text, sample: 1")),
    "no-log": ("without any (`level: warning`)", _replaced("level: info", "level: warning")),
    "debug-log": ("with `level: debug`", _replaced("level: info", "level: debug")),
    "strict": ("strict: what would be lost is refused", _replaced(_LOG, f"strict: true\n  {_LOG}")),
    "no-vault": ("without the vault of sealed state", _replaced("store: {", "vault: false\nstore: {")),
    "no-fetch": (
        "without fetching what requests link to, nor reading PDF",
        _replaced("store: {", "fetch: {enabled: false}\ndocuments: {enabled: false}\nstore: {"),
    ),
    "no-store": ("without the store of responses, and so without a vault", _replaced("store: {", "store: {enabled: false, ")),
}
"""By name: what is changed, and how."""


def features() -> dict[str, Callable[[], Contestant]]:
    return {name: _maker(name) for name in CHANGES}


def _maker(name: str) -> Callable[[], Contestant]:
    about, change = CHANGES[name]
    return lambda: ours(name, about, ways=("chat", "messages>chat"), change=change, only=_SUITES)
