"""How safe a provider rated its answer (Gemini's `safetyRatings`), for dialects that have no word for it."""

from __future__ import annotations

from dragoman.ir.events import Finish
from dragoman.ir.losses import Ledger


def unsaid(finish: Finish, ledger: Ledger) -> None:
    """Enters the loss, where there were ratings."""
    if finish.ratings:
        ledger.add(None, "safety_ratings", "how safe the provider rated the answer has no place in this dialect", "info")
