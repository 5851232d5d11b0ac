"""`dragoman models`: what can be asked for here and now."""

from __future__ import annotations

import argparse
import json

from dragoman.cli.setting import add_config, local_model, read_config, warn
from dragoman.config import Config


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("models", help="list the models that can be served")
    add_config(parser)
    parser.add_argument("--json", action="store_true", help="as JSON, one object a line")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    config = read_config(options)
    warn(config)
    model, why_not = local_model(config)
    config = with_local_listed(config, model is not None)
    served = config.served_models()
    if options.json:
        for line in served:
            chain = [target.name for target in config.route(line.id)]
            sizes = {"context": line.context, "output": line.output, "input": line.input}
            print(json.dumps({"id": line.id, "name": line.display_name, "targets": chain, **sizes}))
        return 0
    width = max((len(line.id) for line in served), default=0)
    for line in served:
        chain = " then ".join(target.name for target in config.route(line.id))
        print(f"{line.id:<{width}}  {line.display_name}" + (f"  -> {chain}" if chain != line.id else ""))
    if not served:
        print("No model can be served: set a provider's key, such as ANTHROPIC_API_KEY, in the environment.")
    if why_not:
        print(f"\nNo local model: {why_not}")
    return 0


def with_local_listed(config: Config, there: bool) -> Config:
    """The configuration as if the built-in model ran: to look at, not to send to."""
    return config.with_local("http://127.0.0.1:1/v1" if there else None)
