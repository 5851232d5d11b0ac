"""From what the layers say to what the gateway uses."""

from __future__ import annotations

import sys
from base64 import urlsafe_b64decode
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

import msgspec

from dragoman.config.check import check_names
from dragoman.config.merge import Merge, digest_of, is_loopback, patience
from dragoman.config.parse import At
from dragoman.config.problems import Problems
from dragoman.config.resolved import (
    ClientKey,
    Config,
    Documents,
    Fetch,
    Local,
    ModelConfig,
    Server,
    ServerLimits,
    StoreConfig,
    TargetRef,
    Tls,
    VaultConfig,
)
from dragoman.config.schema import (
    DocumentsSection,
    FetchSection,
    LimitsSection,
    LocalSection,
    LogSection,
    ServerSection,
    StoreSection,
    VaultSection,
)
from dragoman.logs import Log
from dragoman.models.prices import Price, Rate
from dragoman.providers.table import Provider
from dragoman.secret import Secret
from dragoman.wire.http import Timeouts

OF_UVICORN = frozenset({"max_connections", "body_timeout", "idle_timeout"})
"""The limits that the other driver has as well."""
_SHORT_KEY = 16
_STORE = "dragoman.db"
VAULT_KEY = "DRAGOMAN_VAULT_KEY"
_VAULT_KEY_FILE = "vault.key"
_KEY_SIZE = 32
_URLSAFE = str.maketrans("+/", "-_")


def resolve(said: dict[str, Any], env: Mapping[str, str], table: Mapping[str, Provider], problems: Problems) -> Config:
    """`said` holds the merged layers by proper names. What is wrong goes into `problems`; the result is only good when
    there is nothing there."""
    server = _server(said.get("server", {}), problems)
    keys = tuple(_client_keys(said.get("keys", []), problems))
    _check_open(server, keys, problems)
    timeouts = patience(Timeouts(), said.get("timeouts", {}), ("timeouts",), problems)
    local = Local(**_filled(LocalSection, said.get("local", {})))
    merge = Merge(env=env, table=table, server=server, keys=keys, timeouts=timeouts, local=local, problems=problems)
    providers = merge.providers(said.get("providers", {}), auto=said.get("auto", True))
    config = Config(
        source=problems.source,
        server=server,
        keys=keys,
        providers=providers,
        models={name: _model(name, section, problems) for name, section in said.get("models", {}).items()},
        aliases=dict(said.get("aliases", {})),
        timeouts=timeouts,
        local=merge.local,
        store=(store := _store(said.get("store", {}), env, problems)),
        vault=_vault(said.get("vault", {}), store, env, problems),
        fetch=Fetch(**_filled(FetchSection, said.get("fetch", {}))),
        documents=Documents(**_filled(DocumentsSection, said.get("documents", {}))),
        table=table,
    )
    check_names(config, problems)
    return msgspec.structs.replace(config, warnings=tuple(problems.warnings), memo={})


def _store(said: dict[str, Any], env: Mapping[str, str], problems: Problems) -> StoreConfig:
    store = StoreConfig(**_filled(StoreSection, said))
    if store.url is not None and store.path is not None:
        problems.add(("store", "path"), "is given beside a `url`; keep one of them")
    if store.url is None and store.path is None:
        store = msgspec.structs.replace(store, path=default_store(env, sys.platform))
    return store


def _vault(said: dict[str, Any], store: StoreConfig, env: Mapping[str, str], problems: Problems) -> VaultConfig:
    vault = VaultConfig(**_filled(VaultSection, said))
    if vault.key is None and (given := env.get(VAULT_KEY)):
        vault = msgspec.structs.replace(vault, key=Secret(given))
    if vault.key is not None:
        if key_bytes(vault.key) is None:
            at = ("vault", "key")
            problems.add(at, "is no key of AES-256: 32 bytes in base64 or hex; `openssl rand -base64 32` makes one")
    elif vault.key_file is None:
        # Beside the records, or in the folder for what a program keeps for itself.
        place = store.path if store.path not in {None, ":memory:"} else default_store(env, sys.platform)
        if place is not None:
            vault = msgspec.structs.replace(vault, key_file=str(PurePath(place).with_name(_VAULT_KEY_FILE)))
    if vault.enabled and not store.enabled:
        problems.add(("vault", "enabled"), "needs the store, which is switched off")
    return vault


def key_bytes(key: Secret) -> bytes | None:
    """The 32 bytes that stand there in base64 (either alphabet) or hex; None for anything else."""
    text = key.reveal().strip()
    try:
        found = bytes.fromhex(text) if len(text) == _KEY_SIZE * 2 else urlsafe_b64decode(text.translate(_URLSAFE))
    except ValueError:
        return None
    return found if len(found) == _KEY_SIZE else None


def default_store(env: Mapping[str, str], platform: str) -> str | None:
    """In the folder for what a program keeps for itself: XDG's where it is set, else the platform's. None without a home."""
    home = env.get("HOME") or env.get("USERPROFILE")
    if state := env.get("XDG_STATE_HOME"):
        return str(PurePath(state) / "dragoman" / _STORE)
    if platform == "win32":
        local = env.get("LOCALAPPDATA")
        return str(PurePath(local) / "dragoman" / _STORE) if local else None
    if not home:
        return None
    below = ("Library", "Application Support") if platform == "darwin" else (".local", "state")
    return str(PurePath(home, *below, "dragoman", _STORE))


def _filled(section: type[msgspec.Struct], said: dict[str, Any]) -> dict[str, Any]:
    return msgspec.structs.asdict(section(**said))


def _server(said: dict[str, Any], problems: Problems) -> Server:
    plain = {name: value for name, value in said.items() if name not in {"log", "tls", "limits"}}
    values: dict[str, Any] = _filled(ServerSection, plain)
    values["log"] = Log(**_filled(LogSection, said.get("log", {})))
    values["limits"] = ServerLimits(**_filled(LimitsSection, said.get("limits", {})))
    if values["driver"] == "asgi":
        for name in said.get("limits", {}).keys() - OF_UVICORN:
            problems.warn(("server", "limits", name), "has no effect: uvicorn (server.driver: asgi) has no such limit")
    tls = said.get("tls", {})
    values["tls"] = Tls(tls["cert"], tls.get("key")) if tls.get("cert") else None
    if tls.get("key") and not tls.get("cert"):
        problems.add(("server", "tls"), "there is a key and no `cert`; name the file of the certificate as well")
    return Server(**values)


# ---------------------------------------------------------------- client keys


def _client_keys(said: list[dict[str, Any]], problems: Problems) -> Iterator[ClientKey]:
    names: set[str] = set()
    digests: set[bytes] = set()
    for index, entry in enumerate(said):
        path: At = ("keys", index)
        secret: Secret = entry["key"]
        digest = digest_of(secret.reveal())
        if digest is None:
            problems.add(path, f"{secret} is not a digest; allowed: a key, or sha256: with 64 hexadecimal digits")
            continue
        # Not by its place in the list: what is stored for a key stays there under its name when another is taken away.
        name = entry.get("name") or f"key-{digest.hex()[:8]}"
        if digest in digests:
            problems.add(path, f"the key {secret} stands here twice; keep one of them")
        elif name in names:
            problems.add(path, f"there are two keys of the name {name!r}; keep one of them")
        if not secret.reveal().startswith("sha256:") and len(secret.reveal()) < _SHORT_KEY:
            problems.warn(path, f"the key is short enough to be guessed; better have {_SHORT_KEY} characters or more")
        names.add(name)
        digests.add(digest)
        yield ClientKey(name, digest)


def _check_open(server: Server, keys: tuple[ClientKey, ...], problems: Problems) -> None:
    if keys or server.open or is_loopback(server.host):
        return
    problems.add(
        ("server", "host"),
        f"{server.host!r} can be reached from elsewhere, and there are no `keys`; allowed: 127.0.0.1, or keys for the "
        "clients, or `server.open: true` to let everybody use your providers",
    )


# ---------------------------------------------------------------- models


def _model(name: str, section: dict[str, Any], problems: Problems) -> ModelConfig:
    _check_waits(section, ("models", name), problems)
    for index, one in enumerate(section.get("targets", [])):
        _check_waits(one, ("models", name, "targets", index), problems)
    taken = section.get("input")
    targets = tuple(
        TargetRef(
            model=one["model"],
            provider=one.get("provider"),
            timeouts=one.get("timeouts", {}),
            profile=one.get("profile", {}),
            price=_price(one, ("models", name, "targets", index), problems),
        )
        for index, one in enumerate(section.get("targets", []))
    )
    return ModelConfig(
        name=name,
        targets=targets,
        strict=section.get("strict"),
        timeouts=section.get("timeouts", {}),
        profile=section.get("profile", {}),
        display_name=section.get("display_name"),
        description=section.get("description"),
        context=section.get("context"),
        output=section.get("output"),
        input=tuple(taken) if taken is not None else None,
        price=_price(section, ("models", name), problems),
    )


def _price(section: dict[str, Any], path: At, problems: Problems) -> Price | None:
    said: dict[str, Any] | None = section.get("price")
    if said is None:
        return None
    if not {"input", "output"} <= said.keys():
        problems.add((*path, "price"), "is incomplete; allowed: `input` and `output` in US dollars for a million tokens")
        return None
    return Price(**{name: Rate(dollars) for name, dollars in said.items()})


def _check_waits(section: dict[str, Any], path: At, problems: Problems) -> None:
    waits: dict[str, float] = section.get("timeouts", {})
    if "total" in waits:
        patience(Timeouts(), waits, (*path, "timeouts"), problems)
