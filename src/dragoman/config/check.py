"""Whether every name in the configuration leads somewhere."""

from __future__ import annotations

import msgspec

from dragoman.config.parse import At
from dragoman.config.problems import Problems, closest
from dragoman.config.resolved import Config, ModelConfig, TargetRef
from dragoman.errors import UnknownModel

_LONGEST_WAY = 64
"""From name to name. Nobody means a longer one, and the interpreter ends before the way does."""


def check_names(config: Config, problems: Problems) -> None:
    """Every name in a chain leads somewhere, and no chain leads back into itself."""
    check = _Check(config, problems)
    for name, entry in config.models.items():
        check.pattern(entry, ("models", name))
        for index, target in enumerate(entry.targets):
            check.target(entry, target, ("models", name, "targets", index))
    for name, alias in config.aliases.items():
        check.alias(name, alias, ("aliases", name))


class _Check:
    def __init__(self, config: Config, problems: Problems) -> None:
        # As if the built-in model ran: whether it can is known only when the gateway starts.
        self.config = config.with_local("http://127.0.0.1/v1")
        self.problems = problems
        self.loops: set[frozenset[str]] = set()

    def pattern(self, entry: ModelConfig, path: At) -> None:
        if entry.name.count("*") > 1:
            self.problems.add(path, "a pattern has one star")
        head, slash, _ = entry.name.partition("/")
        if "*" in entry.name and slash and "*" not in head and self.config.provider(head) is not None:
            self.problems.warn(path, f"is never reached: names that begin with {head}/ go to that provider")

    def target(self, entry: ModelConfig, target: TargetRef, path: At) -> None:
        if "*" in target.model and "*" not in entry.name:
            self.problems.add(path, f"{target.model!r} has a star, but the name {entry.name!r} has none to fill it with")
        elif target.provider is not None:
            if self.config.provider(target.provider) is None:
                self.unknown_provider(target.provider, (*path, "provider"), "")
        elif target.model == entry.name:
            self.itself(entry, path)
        elif not self.loop(path, entry.name, target.model):
            self.leads(target.model.replace("*", "x"), path, target.model)

    def alias(self, name: str, alias: str, path: At) -> None:
        if "*" in name or "*" in alias:
            self.problems.add(path, "an alias has no star; allowed: patterns stand under `models`")
        elif name in self.config.models:
            self.problems.add(path, f"there is a model of the name {name!r} under `models` as well; keep one of them")
        elif not self.loop(path, name):
            self.leads(alias, path, alias)

    def itself(self, entry: ModelConfig, path: At) -> None:
        """A name within its own chain has its plain meaning, so it needs one."""
        others = {name: one for name, one in self.config.models.items() if name != entry.name}
        try:
            msgspec.structs.replace(self.config, models=others, memo={}).route(entry.name.replace("*", "x"))
        except UnknownModel:
            self.problems.add(path, f"{entry.name!r} stands for itself; allowed: provider/model")

    def leads(self, name: str, path: At, written: str) -> None:
        head, slash, _ = name.partition("/")
        try:
            chain = self.config.route(name)
        except UnknownModel as error:
            if slash and self.config.provider(head) is None:
                self.unknown_provider(head, path, f"{written!r} names no provider: ")
            else:
                self.problems.add(path, f"{written!r} leads nowhere. {error.message}")
            return
        for target in chain:
            if not target.provider.ready and not self.config.built_in(target.provider):
                self.problems.warn(path, f"{target.name}: {target.provider.hint}")

    def unknown_provider(self, name: str, path: At, what: str) -> None:
        if any(failed[:2] == ("providers", name) for failed in self.problems.failed):
            return  # there is one, and what is wrong with it has been said
        named = [one.name for one in self.config.providers.values() if one.ready or one.explicit]
        there = f" there are: {', '.join(named)} and the built-in ones" if named else " there are only the built-in ones"
        self.problems.add(path, f"{what}there is no {name!r};{closest(name, self.config.providers) or there}")

    def loop(self, path: At, *way: str) -> bool:
        """Whether it leads back to itself. Each loop is reported once, not from each of its names."""
        loop = self.way_back(*way)
        if loop and frozenset(loop) not in self.loops:
            self.loops.add(frozenset(loop))
            back = f"leads back to itself: {' -> '.join(loop)}"
            self.problems.add(path, back if len(loop) <= _LONGEST_WAY else f"leads through more than {_LONGEST_WAY} names")
        return bool(loop)

    def way_back(self, *way: str) -> tuple[str, ...]:
        """The names on the way from the last one back to one of these, or nothing."""
        name, above = way[-1], way[:-1]
        if len(way) > _LONGEST_WAY:
            return way
        if name in above:
            return (*above[above.index(name) :], name)
        if name in self.config.models:
            targets = self.config.models[name].targets
            following = [one.model for one in targets if one.provider is None and one.model != name]
        else:
            following = [self.config.aliases[name]] if name in self.config.aliases else []
        return next((loop for one in following if (loop := self.way_back(*way, one))), ())
