"""The resolved configuration for a person to read (`dragoman config check`), with every secret masked."""

from __future__ import annotations

from typing import Any

import msgspec
import yaml

from dragoman.config.resolved import Config, ModelConfig, ProviderConfig, secret_header
from dragoman.config.schema import PriceSection
from dragoman.secret import mask


def render(config: Config) -> str:
    """YAML: the settings in force, the providers that can be used, where the names lead, and the warnings as comments."""
    tree: dict[str, Any] = {
        "server": _bare(msgspec.to_builtins(config.server)),
        "keys": [{"name": key.name, "key": key.hint} for key in config.keys],
        "providers": {
            name: _provider(provider) for name, provider in config.providers.items() if provider.ready or provider.explicit
        },
        "models": {name: _model(entry) for name, entry in config.models.items()},
        "aliases": {**_defaults(config), **config.aliases},
        "timeouts": msgspec.to_builtins(config.timeouts),
        "local": _bare(msgspec.to_builtins(config.local)),
        "fetch": _bare(msgspec.to_builtins(config.fetch)),
        "documents": _bare(msgspec.to_builtins(config.documents)),
        "vault": _bare(
            {"enabled": config.vault.enabled, "key": str(config.vault.key) if config.vault.key else config.vault.key_file}
            | {"ttl": config.vault.ttl, "entries": config.vault.entries}
        ),
        "store": {"at": config.store.label, "ttl": config.store.ttl} if config.store.enabled else {"enabled": False},
    }
    text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=120)
    served = ", ".join(model.id for model in config.served_models()) or "none"
    head = [f"# {config.source}", f"# models that can be served: {served}", *(f"# warning: {one}" for one in config.warnings)]
    return "\n".join(head) + "\n" + text


def _provider(provider: ProviderConfig) -> dict[str, Any]:
    row = provider.row
    said: dict[str, Any] = {
        "ready": provider.ready or provider.hint,
        "dialect": row.dialect,
        "base_url": row.base_url,
        "dialects": {name: row.url(name) for name in row.dialects() if name != row.dialect},
        "auth": row.auth,
        "api_key": [f"{credential.secret} ({credential.source})" for credential in provider.credentials],
        "credentials": provider.mode,
        "headers": {name: mask(value) if secret_header(name) else value for name, value in row.headers},
        "models": [model.id for model in row.models],
        "timeouts": msgspec.to_builtins(provider.timeouts),
        "max_connections": provider.max_connections,
        "max_keepalive": provider.max_keepalive,
        "profile": {
            name: value
            for name, value in msgspec.to_builtins(provider.profile_of("")).items()
            if value != msgspec.to_builtins(type(row.profile)())[name]
        },
    }
    return _bare(said)


def _model(entry: ModelConfig) -> dict[str, Any]:
    said = msgspec.to_builtins(entry)
    said.pop("name")
    if entry.price is not None:
        rates = {name: getattr(entry.price, name) for name in PriceSection.__struct_fields__}
        said["price"] = {name: float(rate.base) for name, rate in rates.items() if rate is not None}
    said["targets"] = [f"{target.provider}/{target.model}" if target.provider else target.model for target in entry.targets]
    return _bare(said)


def _defaults(config: Config) -> dict[str, str]:
    return {name: target for name in ("big", "small") if (target := config.alias(name)) is not None}


def _bare(said: dict[str, Any]) -> dict[str, Any]:
    """Without what says nothing."""
    return {name: value for name, value in said.items() if value not in (None, {}, [])}
