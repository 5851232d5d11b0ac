"""The vault: where sealed state waits whose client has no place for it. `io/vault.py` keeps it encrypted in the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

Owner = tuple[str, str]
"""The holder of the gateway's key, and the `fingerprint` of what credential the caller brought along."""


class Vault(Protocol):
    """Names are texts of any length; they do not leave the process as they are. Both raise `StoreUnavailable`."""

    def is_empty(self, holder: str) -> bool:
        """Whether it is known at once that nothing of any of this holder's is there. False says nothing."""
        ...

    async def put(self, owner: Owner, entries: Mapping[str, bytes]) -> None:
        """Safe on the disk when it returns. An entry of the same name is replaced."""
        ...

    async def several(self, owner: Owner, names: Sequence[str]) -> dict[str, bytes]:
        """Those that this owner has put there, by name. What can no longer be decrypted is not there."""
        ...
