"""The dialects. Each folder is one codec, used on both sides; this is the table of them."""

from __future__ import annotations

from dragoman.dialects.base import Dialect
from dragoman.dialects.chat import CHAT
from dragoman.dialects.completions import COMPLETIONS
from dragoman.dialects.converse import CONVERSE
from dragoman.dialects.gemini import GEMINI
from dragoman.dialects.messages import MESSAGES
from dragoman.dialects.responses import RESPONSES

DIALECTS: dict[str, Dialect] = {dialect.name: dialect for dialect in (MESSAGES, CHAT, GEMINI, RESPONSES, CONVERSE)}
"""Those in which one can converse: with turns, tools, thinking."""

EVERY: dict[str, Dialect] = {**DIALECTS, COMPLETIONS.name: COMPLETIONS}
"""And the one that only goes on with a text."""
