"""What the subcommands share: the configuration, the local model, and failures that are sentences."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from dragoman.config import Config
from dragoman.errors import ConfigError
from dragoman.io.local import LocalModel, LocalUnavailable
from dragoman.io.supervising import Source

STANDARD_NAMES = ("dragoman.yaml", "dragoman.yml", "dragoman.toml", "dragoman.json")


class Failure(Exception):
    """Ends the command with a sentence and an exit code."""

    def __init__(self, sentence: str, code: int = 1) -> None:
        super().__init__(sentence)
        self.code = code


def add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", "-c", metavar="FILE", help="YAML, TOML or JSON; else DRAGOMAN_CONFIG, else dragoman.yaml in this folder"
    )


def read_config(options: argparse.Namespace, overrides: dict[str, Any] | None = None) -> Config:
    """Raises `ConfigError`."""
    return read_source(options, overrides).load(os.environ)


def read_source(options: argparse.Namespace, overrides: dict[str, Any] | None = None) -> Source:
    """Raises `ConfigError`."""
    path = config_path(options)
    if path is None:
        return Source(overrides=overrides or {})
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"it is not UTF-8 ({error})"
        raise ConfigError(f"the configuration {path} cannot be read: {reason}") from None
    return Source(text=text, suffix=path.suffix, name=str(path), overrides=overrides or {})


def config_path(options: argparse.Namespace) -> Path | None:
    named = options.config or os.environ.get("DRAGOMAN_CONFIG")
    if named:
        return Path(named)
    return next((path for name in STANDARD_NAMES if (path := Path(name)).is_file()), None)


def local_model(config: Config) -> tuple[LocalModel | None, str]:
    """The built-in model, not started yet; or None and a sentence that says why there is none. Raises
    `LocalUnavailable` where the configuration insists on it."""
    if config.local.enabled is False:
        return None, "switched off (local.enabled)"
    try:
        model = LocalModel.find(config.local.model, threads=config.local.threads, context=config.local.context)
    except LocalUnavailable as error:
        if config.local.enabled:
            raise
        return None, str(error)
    return model, ""


def warn(config: Config) -> None:
    for warning in config.warnings:
        print(f"dragoman: {warning}", file=sys.stderr)
