"""Configuration: one file, the environment and the command line, to one immutable value.

    config = load(path.read_text(), path.suffix, os.environ, path.name)
    config.route("big")         the chain of targets behind a name
    config.served_models()      what the model list shows
    render(config)              all of it as YAML, secrets masked

Everything here is pure: reading the file is the caller's business.
"""

from dragoman.config.load import load, settings
from dragoman.config.merge import is_loopback
from dragoman.config.render import render
from dragoman.config.resolve import key_bytes
from dragoman.config.resolved import (
    ClientKey,
    Config,
    Documents,
    Fetch,
    Local,
    ModelConfig,
    ProviderConfig,
    ServedModel,
    Server,
    ServerLimits,
    StoreConfig,
    TargetConfig,
    TargetRef,
    Tls,
    VaultConfig,
)

__all__ = [
    "ClientKey",
    "Config",
    "Documents",
    "Fetch",
    "Local",
    "ModelConfig",
    "ProviderConfig",
    "ServedModel",
    "Server",
    "ServerLimits",
    "StoreConfig",
    "TargetConfig",
    "TargetRef",
    "Tls",
    "VaultConfig",
    "is_loopback",
    "key_bytes",
    "load",
    "render",
    "settings",
]
