"""The vault: `flow/vault.py` on the store, encrypted with AES-256-GCM (https://csrc.nist.gov/pubs/sp/800/38/d/final).

What names an entry is a conversation's own words, so only a keyed hash of it leaves the process; the entry itself is bound by
its encryption to that hash and to its owner. Each owner has so many slots, and an entry's hash says in which it goes: the vault
cannot grow beyond them, and the price is that two entries of thousands may meet in one, where the later stays.
"""

from __future__ import annotations

import asyncio
import hmac
import importlib.util
import logging
import math
import os
import stat
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from dragoman.config import VaultConfig, key_bytes
from dragoman.errors import ConfigError, StoreUnavailable
from dragoman.flow.vault import Owner
from dragoman.io.store import Store
from dragoman.records import Record
from dragoman.wire.http import Clock

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

log = logging.getLogger("dragoman.vault")

KIND = "sealed"
_NONCE = 12
_TAG = 16
"""Bytes of a name's hash that stand before what is encrypted: two names may share a slot."""
_KEY = 32
_NOT_OF_OURS = 0o077
_NOT_OF_ROOTS = 0o037
"""The rights to a key's file that nobody else may have."""
_EMPTY_FOR = 1.0
"""Seconds for which an owner without entries is not asked for again: another process may have put one there meanwhile."""
_MOST_OWNERS = 10_000
_WARN_EVERY = 60.0
"""Seconds between two warnings that there is no key: each request would be one."""
_PATIENCE = 3.0
"""Seconds. The first use opens the store, which takes half of one."""


def vault_of(config: VaultConfig, store: Store | None, clock: Clock) -> StoreVault | None:
    """The vault, where there can be one. Raises `ConfigError` where it is demanded and cannot be."""
    if config.enabled is False or store is None or (config.key is None and config.key_file is None):
        return None
    if importlib.util.find_spec("cryptography") is None:
        if config.enabled:
            raise ConfigError("vault: it needs the package cryptography: pip install 'dragoman[vault]'")
        return None
    if (wrong := _too_open(config)) is not None:
        if config.enabled:
            raise ConfigError(f"vault: {wrong}")
        log.warning("the vault cannot be used: %s", wrong)
    return StoreVault(config, store, clock)


def _too_open(config: VaultConfig) -> str | None:
    """What is wrong with who may read the key's file, as far as that can be told before it is needed."""
    if config.key is not None or config.key_file is None:
        return None
    path = Path(config.key_file)
    try:
        return readable_by_others(path, path.stat())
    except OSError:
        return None  # it is not there yet; what else is wrong is told when it is needed


class StoreVault:
    """Its key is read, or made, when it is first needed."""

    def __init__(self, config: VaultConfig, store: Store, clock: Clock) -> None:
        self._config = config
        self._store = store
        self._clock = clock
        self._cipher: AESGCM | None = None
        self._naming = b""
        self._warned_at = -math.inf
        self._empty: dict[str, float] = {}
        """Owners who had nothing there, and until when that is believed."""

    def is_empty(self, holder: str) -> bool:
        return self._clock.now() < self._empty.get(holder, 0.0)

    async def put(self, owner: Owner, entries: Mapping[str, bytes]) -> None:
        async with _soon():
            await self._put(owner, entries)

    async def several(self, owner: Owner, names: Sequence[str]) -> dict[str, bytes]:
        async with _soon():
            return await self._several(owner, names)

    async def _put(self, owner: Owner, entries: Mapping[str, bytes]) -> None:
        cipher = await self._ready()
        now = self._clock.time()
        holder = owner[0]
        self._empty.pop(holder, None)
        records: dict[str, Record] = {}
        for name, data in entries.items():
            digest = self._digest(owner, name)
            slot = self._slot(digest)
            nonce = os.urandom(_NONCE)
            body = digest[:_TAG] + nonce + cipher.encrypt(nonce, data, _bound(holder, digest))
            records[slot] = Record(kind=KIND, owner=holder, id=slot, body=body, created=now, expires=now + self._config.ttl)
        await self._store.put(*records.values())
        self._empty.pop(holder, None)

    async def _several(self, owner: Owner, names: Sequence[str]) -> dict[str, bytes]:
        holder = owner[0]
        if self.is_empty(holder):
            return {}
        cipher = await self._ready()
        wanted = {name: self._digest(owner, name) for name in names}
        records = await self._store.several(KIND, holder, [self._slot(digest) for digest in wanted.values()])
        if not records and not await self._store.page(KIND, holder, limit=1):
            if len(self._empty) >= _MOST_OWNERS:
                self._empty.clear()
            self._empty[holder] = self._clock.now() + _EMPTY_FOR
            return {}
        found: dict[str, bytes] = {}
        old: list[str] = []
        now = self._clock.time()
        for name, digest in wanted.items():
            record = records.get(self._slot(digest))
            if record is None or record.body[:_TAG] != digest[:_TAG]:
                continue
            data = _opened(cipher, record.body, _bound(holder, digest))
            if data is not None:
                found[name] = data
                if (record.expires or 0) - now < self._config.ttl / 2:
                    old.append(record.id)
        if old:
            # The conversation goes on.
            await self._store.keep(KIND, holder, old, now + self._config.ttl)
        return found

    def _digest(self, owner: Owner, name: str) -> bytes:
        holder, credential = owner
        said = msgspec.msgpack.encode((holder, credential, name.encode("utf-8", "surrogatepass")))
        return hmac.digest(self._naming, said, "sha256")

    def _slot(self, digest: bytes) -> str:
        return str(int.from_bytes(digest[_TAG:]) % self._config.entries)

    async def _ready(self) -> AESGCM:
        if self._cipher is None:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM

            key = await self._key()
            # One key for each purpose.
            self._naming = hmac.digest(key, b"dragoman vault names", "sha256")
            self._cipher = AESGCM(hmac.digest(key, b"dragoman vault entries", "sha256"))
        return self._cipher

    async def _key(self) -> bytes:
        config = self._config
        if config.key is not None:
            given = key_bytes(config.key)
            assert given is not None, "the configuration has checked it"
            return given
        assert config.key_file is not None
        try:
            return await asyncio.to_thread(_kept_key, Path(config.key_file))
        except (OSError, ValueError) as error:
            if (now := self._clock.now()) - self._warned_at >= _WARN_EVERY:
                self._warned_at = now
                log.warning("the vault cannot be used: its key in %s: %s", config.key_file, error)
            raise StoreUnavailable(f"the vault has no key: {error}") from None


@asynccontextmanager
async def _soon() -> AsyncGenerator[None]:
    """A conversation can go on without the vault; it does not wait for one that hangs."""
    try:
        async with asyncio.timeout(_PATIENCE):
            yield
    except TimeoutError:
        raise StoreUnavailable(f"the vault did not answer within {_PATIENCE:g} s") from None


def _bound(holder: str, digest: bytes) -> bytes:
    return KIND.encode() + b"\0" + sha256(holder.encode()).digest() + digest


def _opened(cipher: AESGCM, body: bytes, bound: bytes) -> bytes | None:
    """None for what was encrypted with another key, or has been tampered with."""
    from cryptography.exceptions import InvalidTag

    nonce, sealed = body[_TAG : _TAG + _NONCE], body[_TAG + _NONCE :]
    try:
        return cipher.decrypt(nonce, sealed, bound)
    except (InvalidTag, ValueError):
        return None


def _kept_key(path: Path) -> bytes:
    """The key in the file. Where there is none it is made, readable by this user alone; of several processes that make one
    at once, one wins."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        fresh = path.with_name(f"{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
        try:
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(urlsafe_b64encode(os.urandom(_KEY)) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            os.link(fresh, path)
        except FileExistsError:
            pass  # another process was faster
        finally:
            fresh.unlink(missing_ok=True)
    with path.open("rb") as file:
        if (wrong := readable_by_others(path, os.fstat(file.fileno()))) is not None:
            raise ValueError(wrong)
        text = file.read().strip()
    key = urlsafe_b64decode(text)
    if len(key) != _KEY:
        raise ValueError("it does not hold 32 bytes in base64")
    return key


def readable_by_others(path: Path, found: os.stat_result) -> str | None:
    """A sentence where more than this user may use the key. Root's own file may be shared with a group: that is how
    orchestrators hand secrets to a user (PostgreSQL draws the line in the same place,
    https://www.postgresql.org/docs/current/ssl-tcp.html)."""
    if os.name == "nt":
        return None  # has no such modes
    mode = stat.S_IMODE(found.st_mode)
    if not mode & (_NOT_OF_ROOTS if found.st_uid == 0 else _NOT_OF_OURS):
        return None
    return (
        f"others can read the vault's key: {path} has the mode {mode:04o}. Let only the user who runs the gateway read it "
        f"(chmod 600 {path}); if others may have read it already, remove it for a new one, with which what is in the vault now "
        "cannot be read"
    )
