"""The named scenarios, each with its oracle: `SCENARIOS["tools-interleaved"].expected` is what a correct client concludes.

The oracles are written by hand, not computed from the steps, so that they can judge the renderers too.
"""

from __future__ import annotations

from dragoman.testing.library_converse import CONVERSE
from dragoman.testing.library_faults import FAULTS
from dragoman.testing.library_gemini import GEMINI
from dragoman.testing.library_messages import MESSAGES
from dragoman.testing.library_responses import RESPONSES
from dragoman.testing.library_text import TEXTS
from dragoman.testing.library_tools import TOOLS
from dragoman.testing.scenario import Scenario

SCENARIOS: dict[str, Scenario] = {s.name: s for s in (*TEXTS, *TOOLS, *MESSAGES, *GEMINI, *RESPONSES, *CONVERSE, *FAULTS)}


def scenarios_for(dialect: str, *, regular: bool | None = None) -> list[Scenario]:
    """Those that make sense in a dialect; `regular` narrows them to those that keep, or bend, its rules."""
    return [s for s in SCENARIOS.values() if dialect in s.dialects and regular in (None, s.regular)]
