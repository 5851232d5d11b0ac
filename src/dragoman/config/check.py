"""Whether every name in the configuration leads somewhere."""

from __future__ import annotations

import msgspec

from dragoman.config.parse import At
from dragoman.config.problems import Problems, closest
from dragoman.config.resolved import Config, ModelConfig, TargetRef
from dragoman.errors import UnknownModel


def check_names(config: Config, problems: Problems) -> None:
    """Every name in a chain leads somewhere, and no chain leads back into itself."""
    for name, entry in config.models.items():
        _check_pattern(config, entry, problems)
        for index, target in enumerate(entry.targets):
            _check_target(config, entry, target, ("models", name, "targets", index), problems)
    for name, alias in config.aliases.items():
        path: At = ("aliases", name)
        loop = _loop(config, name)
        if "*" in name or "*" in alias:
            problems.add(path, "an alias has no star; allowed: patterns stand under `models`")
        elif name in config.models:
            problems.add(path, f"there is a model of the name {name!r} under `models` as well; keep one of them")
        elif loop:
            problems.add(path, f"leads back to itself: {' -> '.join(loop)}")
        else:
            _check_leads(config, alias, path, problems)


def _check_pattern(config: Config, entry: ModelConfig, problems: Problems) -> None:
    path: At = ("models", entry.name)
    if entry.name.count("*") > 1:
        problems.add(path, "a pattern has one star")
    head, slash, _ = entry.name.partition("/")
    if "*" in entry.name and slash and "*" not in head and config.provider(head) is not None:
        problems.warn(path, f"is never reached: names that begin with {head}/ go to that provider")


def _check_target(config: Config, entry: ModelConfig, target: TargetRef, path: At, problems: Problems) -> None:
    if "*" in target.model and "*" not in entry.name:
        problems.add(path, f"{target.model!r} has a star, but the name {entry.name!r} has none to fill it with")
        return
    if target.provider is not None:
        if config.provider(target.provider) is None:
            unknown_provider(config, target.provider, (*path, "provider"), problems)
        return
    loop = _loop(config, entry.name, target.model) if target.model != entry.name else ()
    if loop:
        problems.add(path, f"leads back to itself: {' -> '.join(loop)}")
        return
    sample = target.model.replace("*", "x")
    if target.model == entry.name and config.models.get(target.model) is entry:
        # A name within its own chain has its plain meaning.
        try:
            plain = {name: one for name, one in config.models.items() if name != entry.name}
            msgspec.structs.replace(config, models=plain, memo={}).route(sample)
        except UnknownModel:
            problems.add(path, f"{target.model!r} stands for itself; allowed: provider/model")
        return
    _check_leads(config, sample, path, problems, shown_as=target.model)


def unknown_provider(config: Config, name: str, path: At, problems: Problems, shown_as: str = "") -> None:
    if any(failed[:2] == ("providers", name) for failed in problems.failed):
        return  # there is one, and what is wrong with it has been said
    hint = closest(name, config.providers)
    named = [one.name for one in config.providers.values() if one.ready or one.explicit]
    there = f" there are: {', '.join(named)} and the built-in ones" if named else " there are only the built-in ones"
    what = f"{shown_as!r} names no provider: " if shown_as else ""
    problems.add(path, f"{what}there is no {name!r};{hint or there}")


def _check_leads(config: Config, name: str, path: At, problems: Problems, shown_as: str | None = None) -> None:
    shown_as = shown_as or name
    head, slash, _ = name.partition("/")
    try:
        chain = config.route(name)
    except UnknownModel as error:
        if slash and config.provider(head) is None:
            unknown_provider(config, head, path, problems, shown_as=shown_as)
        else:
            problems.add(path, f"{shown_as!r} leads nowhere. {error.message}")
        return
    for target in chain:
        if not target.provider.ready and target.provider.name != config.local.name:
            problems.warn(path, f"{target.name}: {target.provider.hint}")


def _loop(config: Config, *way: str) -> tuple[str, ...]:
    """The names on the way from the last one back to one of these, or nothing."""
    name, above = way[-1], way[:-1]
    if name in above:
        return (*above[above.index(name) :], name)
    if name in config.models:
        following = [one.model for one in config.models[name].targets if one.provider is None and one.model != name]
    else:
        following = [config.aliases[name]] if name in config.aliases else []
    return next((loop for one in following if (loop := _loop(config, *way, one))), ())
