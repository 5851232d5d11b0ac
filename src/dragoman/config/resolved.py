"""The configuration as the gateway uses it: settled, immutable, and able to say where a model's name leads.

How a name is understood, first rule that fits:

    1  a name under `models`                            its chain of targets
    2  an alias (`big`, `small` unless given)           what it stands for
    3  provider/model, or provider:model                that provider, with everything after the first mark
    4  a name as Bedrock or Vertex spells it            that cloud, if it is ready; or its maker's own name, by these rules
    5  a pattern under `models` (claude-*)              its chain; the longest pattern wins
    6  a name in exactly one ready provider's list      that provider
    7  the beginning of a known family (claude-, gpt-)  its provider, or an aggregator that stands in for it
    8  vendor/model while an aggregator is ready        the aggregator

A pattern that fits a cloud's name alone (`us.anthropic.*`) and a list that has it come before rule 4.

A provider is *ready* when a request to it can carry a credential of ours, or needs none. One that is not ready can
still be named (rule 3): the caller may bring a credential of their own.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from dragoman.errors import UnknownModel
from dragoman.ir.profile import Profile
from dragoman.logs import Log
from dragoman.models.catalogue import Input, catalogue, plain_name
from dragoman.models.prices import Price
from dragoman.models.profiles import profile_for
from dragoman.providers.auth import Credential
from dragoman.providers.table import DialectName, Model, Provider, find
from dragoman.secret import Secret
from dragoman.wire.http import Timeouts

CredentialMode = Literal["auto", "gateway", "caller"]
_MOST_REMEMBERED = 1024
"""Names of models come from callers, so their number has no end."""
_MOST_NAMED = 12


Driver = Literal["native", "asgi"]
"""What speaks HTTP with the clients: our own server, or uvicorn."""


class Tls(msgspec.Struct, frozen=True):
    """Paths of PEM files: the certificate with those that vouch for it, and its key. No `key`: it stands in `cert` too."""

    cert: str
    key: str | None = None


class ServerLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much the server takes from one client, and how long it waits for it. Sizes in bytes, times in seconds."""

    max_connections: int | None = None
    """Of one process. Who comes when there are so many is told so, and let go."""
    max_headers: int = 100
    max_header_size: int = 64 * 1024
    """The whole head of a request; also framing within a chunked body that carries no content."""
    max_url_size: int = 16 * 1024
    read_ahead: int = 64 * 1024
    """What a client may send before the answer to its last request is done; then it is not read."""
    write_buffer: int = 256 * 1024
    """What may wait for a slow client before the handler waits too."""
    header_timeout: float = 10.0
    """From the first byte of a request to the end of its head."""
    body_timeout: float = 30.0
    """Between two pieces of a body."""
    idle_timeout: float = 75.0
    """Between two requests, and before the first."""
    send_timeout: float = 60.0
    """A client that takes nothing for so long while data waits for it is given up."""
    linger_timeout: float = 2.0
    """How long a client that was turned away may go on sending. A connection closed upon unread data is reset, and the
    client might never see why."""

    @property
    def pace(self) -> float:
        """The shortest of the times that a connection may be late by."""
        return min(self.header_timeout, self.body_timeout, self.idle_timeout, self.send_timeout)


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """`max_body` in bytes, `ping` and `drain` in seconds. `open`: listen beyond the loopback without client keys. `workers`:
    processes. `drain`: what answers under way get to end in when the gateway stops."""

    host: str
    port: int
    max_body: int
    strict: bool
    open: bool
    ping: float
    driver: Driver
    workers: int
    drain: float
    tls: Tls | None
    limits: ServerLimits
    log: Log


class Local(msgspec.Struct, frozen=True, kw_only=True):
    """The built-in model. `enabled` None: when its extra is installed. `model` None: the one that comes with it."""

    enabled: bool | None
    name: str
    model: str | None
    threads: int | None
    context: int


class StoreConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Where the gateway remembers things: `url` if it is given, else the SQLite file `path`; where there is neither, no
    place for one is known. `ttl`: seconds for which a stored answer is kept."""

    enabled: bool = True
    path: str | None = None
    url: Secret | None = None
    ttl: float = 30 * 86_400.0

    @property
    def location(self) -> str | None:
        """As a URL, with its password."""
        if self.url is not None:
            return self.url.reveal()
        return f"sqlite:///{self.path}" if self.path is not None else None

    @property
    def label(self) -> str:
        """For people, without a password."""
        if self.url is None:
            return self.path or "no place is known"
        bare = re.sub(r"(?<=://)[^/@\s]*@", "…@", self.url.reveal())
        return re.sub(r"(?<=[?&])(\w+)=[^&\s]+", r"\1=…", bare)


class VaultConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Where sealed state waits whose client cannot carry it. `enabled` None: where it can be. `key`: of AES-256; without one it
    is kept in `key_file`. `ttl` in seconds, `entries` for each holder of a key."""

    enabled: bool | None = None
    key: Secret | None = None
    key_file: str | None = None
    ttl: float = 7 * 86_400.0
    entries: int = 10_000


class Fetch(msgspec.Struct, frozen=True, kw_only=True):
    """What a request links to is fetched where a target takes bytes only. `max_bytes` of one file, `timeout` in seconds."""

    enabled: bool = True
    max_bytes: int = 20_000_000
    timeout: float = 10.0
    allow_hosts: tuple[str, ...] = ()
    allow_private: bool = False


class Documents(msgspec.Struct, frozen=True, kw_only=True):
    """How a PDF is read for models that take none. `pictures`: of which pages, where the model sees: `bare`, those without a
    text. `timeout` in seconds, `memory` in bytes, for one of them."""

    enabled: bool = True
    pictures: Literal["never", "bare", "always"] = "bare"
    max_pages: int = 100
    timeout: float = 30.0
    memory: int = 1_073_741_824


class ClientKey(msgspec.Struct, frozen=True):
    """Only the digest is kept: what the gateway does not hold, it cannot lose."""

    name: str
    digest: bytes

    @property
    def hint(self) -> str:
        return f"sha256:{self.digest.hex()[:8]}…"


class ProviderConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`row` is the built-in row with everything that the configuration changes in it.

    `credentials`: the first is tried first. `mode`: whose credential goes upstream: `gateway` only ours, `caller` only
    the one that the caller brought, `auto` ours, or else theirs. `explicit`: named in the configuration. `hint` says what
    is missing for it to be ready. `profile` holds overrides by field name. A connection limit of None is the transport's."""

    name: str
    row: Provider
    credentials: tuple[Credential, ...] = ()
    mode: CredentialMode = "auto"
    ready: bool = False
    explicit: bool = False
    issuer: str = ""
    timeouts: Timeouts = Timeouts()
    profile: dict[str, Any] = {}
    max_connections: int | None = None
    max_keepalive: int | None = None
    hint: str = ""

    @property
    def dialect(self) -> DialectName:
        return self.row.dialect

    @property
    def models(self) -> tuple[Model, ...]:
        return (*self.row.models, *self.row.embedders)

    def url(self, dialect: DialectName) -> str | None:
        return self.row.url(dialect)

    def profile_of(self, model: str, overrides: Mapping[str, Any] | None = None) -> Profile:
        """Of this model here: the row, what is known of the model, then what the configuration says."""
        profile = profile_for(model, self.row.profile, self.row.quirks)
        changes = {**self.profile, **(overrides or {})}
        return msgspec.structs.replace(profile, **changes) if changes else profile

    def model(self, name: str) -> Model | None:
        return next((model for model in self.models if model.id == name), None)


class TargetRef(msgspec.Struct, frozen=True, kw_only=True):
    """A target as it was written: the name of a model, or a provider with its model's name. `timeouts` and `profile`
    hold what is set, by field name."""

    model: str
    provider: str | None = None
    timeouts: dict[str, float] = {}
    profile: dict[str, Any] = {}
    price: Price | None = None


class ModelConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One public name with its chain. `strict` None: as the server says. `price` None: that of each target's provider."""

    name: str
    targets: tuple[TargetRef, ...]
    strict: bool | None = None
    timeouts: dict[str, float] = {}
    profile: dict[str, Any] = {}
    display_name: str | None = None
    description: str | None = None
    context: int | None = None
    output: int | None = None
    input: tuple[Input, ...] | None = None
    price: Price | None = None


class TargetConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Where one attempt goes. `model` is the name that the provider knows, `price` what the configuration says it costs,
    `input` what it says the model takes."""

    provider: ProviderConfig
    model: str
    profile: Profile
    timeouts: Timeouts
    strict: bool
    price: Price | None = None
    input: tuple[Input, ...] | None = None

    @property
    def name(self) -> str:
        return f"{self.provider.name}/{self.model}"


class _Settings(msgspec.Struct, frozen=True):
    """What the names on the way to a target say about it, by field name."""

    strict: bool
    timeouts: dict[str, float] = {}
    profile: dict[str, Any] = {}
    price: Price | None = None
    input: tuple[Input, ...] | None = None

    def under(self, said: ModelConfig | TargetRef) -> _Settings:
        """With the settings of what is closer to the target, which therefore prevail."""
        strict = said.strict if isinstance(said, ModelConfig) else None
        return _Settings(
            strict=self.strict if strict is None else strict,
            timeouts={**self.timeouts, **said.timeouts},
            profile={**self.profile, **said.profile},
            price=said.price or self.price,
            input=said.input if isinstance(said, ModelConfig) and said.input is not None else self.input,
        )


class ServedModel(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a model list. `created` in seconds since 1970, 0 where nobody says; `context` and `output` in tokens.
    `input`: what may be sent; None where nobody says."""

    id: str
    display_name: str
    provider: str
    created: int = 0
    description: str | None = None
    context: int | None = None
    output: int | None = None
    input: tuple[Input, ...] | None = None


class Config(msgspec.Struct, frozen=True, kw_only=True):
    source: str
    server: Server
    keys: tuple[ClientKey, ...]
    providers: Mapping[str, ProviderConfig]
    models: Mapping[str, ModelConfig]
    aliases: Mapping[str, str]
    timeouts: Timeouts
    local: Local
    store: StoreConfig = StoreConfig()
    vault: VaultConfig = VaultConfig()
    fetch: Fetch = Fetch()
    documents: Documents = Documents()
    table: Mapping[str, Provider]
    warnings: tuple[str, ...] = ()
    memo: dict[str, tuple[TargetConfig, ...]] = {}

    # ------------------------------------------------------------ keys

    def client(self, presented: str) -> ClientKey | None:
        """Whose key this is. Looking up the digest leaks nothing about the key through time."""
        digest = hashlib.sha256(presented.encode("utf-8", "surrogateescape")).digest()
        return next((key for key in self.keys if key.digest == digest), None)

    def secrets(self) -> Iterator[Secret]:
        """Every secret that is held, for the log to mask."""
        for provider in self.providers.values():
            for credential in provider.credentials:
                yield credential.secret
            for name, value in provider.row.headers:
                if secret_header(name):
                    yield Secret(value)
        if self.vault.key is not None:
            yield self.vault.key
        if self.store.url is not None:
            yield self.store.url
            if password := urlsplit(self.store.url.reveal()).password:
                yield Secret(password)

    # ------------------------------------------------------------ the local model

    def built_in(self, provider: ProviderConfig) -> bool:
        return self.local.enabled is not False and provider.name == self.local.name

    def with_local(self, base_url: str | None) -> Config:
        """The same with the built-in model served at this URL (`http://127.0.0.1:PORT/v1`), or without it."""
        name = self.local.name
        provider = self.providers.get(name)
        if provider is None or not self.built_in(provider):
            return self
        changed = msgspec.structs.replace(
            provider, ready=base_url is not None, row=provider.row.at(base_url) if base_url else provider.row
        )
        return msgspec.structs.replace(self, providers={**self.providers, name: changed}, memo={})

    # ------------------------------------------------------------ routing

    def route(self, model: str) -> tuple[TargetConfig, ...]:
        """The chain of targets behind a name, in the order in which they are tried. Raises `UnknownModel`."""
        known = self.memo.get(model)
        if known is None:
            known = tuple(self._chain(model, (), _Settings(self.server.strict)))
            if len(self.memo) < _MOST_REMEMBERED:
                self.memo[model] = known
        return known

    def provider(self, name: str) -> ProviderConfig | None:
        """By its name, or another one that people use for it (`google` for `gemini`)."""
        provider = self.providers.get(name) or self.providers.get(name.lower())
        if provider is not None:
            return provider
        row = find(name, self.table)
        if row is None:
            return None
        return next((one for one in self.providers.values() if one.row.name == row.name), None)

    def _chain(self, name: str, above: tuple[str, ...], settings: _Settings) -> Iterator[TargetConfig]:
        """`above`: the names that led here. A name within its own chain has its plain meaning."""
        name = name.strip()
        entry = self.models.get(name) if name not in above else None
        if entry is not None:
            yield from self._entry(entry, name, above, settings)
        elif name not in above and (alias := self.alias(name)) is not None:
            yield from self._chain(alias, (*above, name), settings)
        elif (named := self._named(name)) is not None:
            yield self._target(*named, settings)
        elif (home := self._home(name, above)) is not None:
            yield self._target(home, name, settings)
        elif (plain := self._plain(name, above)) is not None:
            yield from self._spelled(name, plain, (*above, name), settings)
        elif (pattern := self._pattern(name, above)) is not None:
            yield from self._entry(pattern, name, above, settings)
        elif (guess := self._listed(name) or self._family(name) or self._aggregated(name)) is not None:
            yield self._target(*guess, settings)
        else:
            raise self._unknown(name)

    def _entry(self, entry: ModelConfig, name: str, above: tuple[str, ...], settings: _Settings) -> Iterator[TargetConfig]:
        settings = settings.under(entry)
        for target in entry.targets:
            own = settings.under(target)
            wanted = filled(entry.name, name, target.model)
            if "*" in target.model:
                wanted = self._respelled(wanted)
            if target.provider is None:
                yield from self._chain(wanted, (*above, name, entry.name), own)
                continue
            provider = self.provider(target.provider)
            if provider is None:
                raise self._unknown(f"{target.provider}/{wanted}")
            yield self._target(provider, wanted, own)

    def _home(self, name: str, above: tuple[str, ...]) -> ProviderConfig | None:
        """The cloud that knows a model by this name, where it can be asked and no pattern says otherwise."""
        if plain_name(name) is None and not name.startswith("arn:"):
            return None
        for provider in self.providers.values():
            known = provider.dialect == "converse" and provider.row.family
            if known and (provider.ready or provider.explicit) and re.match(known, name.lower()):
                return provider if self._pattern(name, above) is None else None
        return None

    def _plain(self, name: str, above: tuple[str, ...]) -> str | None:
        """The maker's name of a model that a cloud spells its own way; None where nobody has a use for that."""
        plain = plain_name(name)
        if plain is None or plain in above or self._listed(name) is not None:
            return None
        pattern = self._pattern(name, above)
        if pattern is None:
            return plain
        homes = [self.provider(target.provider or target.model.partition("/")[0]) for target in pattern.targets]
        # Who speaks Converse is Bedrock, and knows its models by no other names.
        at_home = any(home is not None and home.dialect == "converse" for home in homes)
        return None if at_home or captured(pattern.name, plain) is None else plain

    def _spelled(self, name: str, plain: str, above: tuple[str, ...], settings: _Settings) -> Iterator[TargetConfig]:
        """`plain` is what a cloud's name comes to. An error speaks of the name that the caller knows."""
        try:
            yield from self._chain(plain, above, settings)
        except UnknownModel:
            raise self._unknown(name) from None

    def _respelled(self, name: str) -> str:
        """A name put together from a pattern, as an aggregator spells it. Names that somebody wrote are never changed."""
        head, _, rest = name.partition("/")
        vendor, slash, model = rest.partition("/")
        provider = self.provider(head) if slash else None
        return f"{head}/{provider.row.renamed(vendor, model)}" if provider is not None and provider.row.aggregator else name

    def _target(self, provider: ProviderConfig, model: str, settings: _Settings) -> TargetConfig:
        return TargetConfig(
            provider=provider,
            model=model,
            profile=provider.profile_of(model, settings.profile),
            timeouts=capped({**msgspec.structs.asdict(provider.timeouts), **settings.timeouts}),
            strict=settings.strict,
            price=settings.price,
            input=settings.input,
        )

    def alias(self, name: str) -> str | None:
        """What an alias stands for. `big` and `small`, where nobody says: the first ready provider's, the configured ones
        first; or else the built-in model."""
        given = self.aliases.get(name)
        if given is not None or name not in {"big", "small"}:
            return given
        ready = sorted((one for one in self.providers.values() if one.ready), key=lambda one: not one.explicit)
        ready.sort(key=self.built_in)
        for provider in ready:
            model = provider.row.big if name == "big" else provider.row.small
            if model:
                return f"{provider.name}/{model}"
        return None

    def _named(self, name: str) -> tuple[ProviderConfig, str] | None:
        mark = re.search(r"[/:]", name)
        if mark is None:
            return None
        provider, rest = self.provider(name[: mark.start()]), name[mark.end() :]
        if provider is None or not rest.strip():
            return None
        if provider.ready or provider.explicit or mark[0] == ":":
            return provider, rest
        # Nobody could pay for `openai/...` here, but another may have a model of just that name.
        stand_in = self._aggregator(provider.row.vendor, rest) if provider.row.vendor else None
        return self._listed(name) or stand_in or (provider, rest)

    def _pattern(self, name: str, above: tuple[str, ...]) -> ModelConfig | None:
        fitting = [
            entry
            for entry in self.models.values()
            if "*" in entry.name and entry.name not in above and captured(entry.name, name) is not None
        ]
        return max(fitting, key=lambda entry: len(entry.name), default=None)

    def _listed(self, name: str) -> tuple[ProviderConfig, str] | None:
        having = [one for one in self.providers.values() if one.ready and one.model(name) is not None]
        return (having[0], name) if len(having) == 1 else None

    def _family(self, name: str) -> tuple[ProviderConfig, str] | None:
        if "/" in name or ":" in name:
            return None
        for row in self.table.values():
            if not row.family or not re.match(row.family, name.lower()):
                continue
            provider = self.provider(row.name)
            if provider is not None and (provider.ready or provider.explicit):
                return provider, name
            stand_in = self._aggregator(row.vendor, name) if row.vendor else None
            if stand_in is not None:
                return stand_in
            return (provider, name) if provider is not None else None
        return None

    def _aggregated(self, name: str) -> tuple[ProviderConfig, str] | None:
        vendor, slash, model = name.partition("/")
        return self._aggregator(vendor, model) if slash and model else None

    def _aggregator(self, vendor: str, model: str) -> tuple[ProviderConfig, str] | None:
        for provider in self.providers.values():
            if provider.ready and provider.row.aggregator:
                return provider, provider.row.renamed(vendor, model)
        return None

    def _unknown(self, name: str) -> UnknownModel:
        # Not `served_models`: that asks where names lead, which is what just failed.
        listed = [f"{one.name}/{model.id}" for one in self.providers.values() if one.ready for model in one.models]
        there = [*self.aliases, *(one for one in self.models if "*" not in one), *listed]
        close = difflib.get_close_matches(name, there, n=3, cutoff=0.6)
        head, slash, _ = name.partition("/")
        if not close and slash and self.provider(head) is None:
            close = difflib.get_close_matches(head, [*self.providers], n=1, cutoff=0.6)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        if there:
            more = f" and {len(there) - _MOST_NAMED} more" if len(there) > _MOST_NAMED else ""
            hint += f" There are: {', '.join(there[:_MOST_NAMED])}{more}. Or name a provider: provider/model."
        elif any(one.ready for one in self.providers.values()):
            ready = ", ".join(f"{one.name}/..." for one in self.providers.values() if one.ready)
            hint += f" Name one as provider/model: {ready}."
        else:
            hint += " Nothing is configured that could serve a model: set a provider's key, such as ANTHROPIC_API_KEY."
        if name == self.local.name:
            hint = " The built-in model does not run here; `dragoman doctor` says why."
        return UnknownModel(f"No model {name!r} here.{hint}", code="model_not_found", param="model")

    # ------------------------------------------------------------ lists

    def served_models(self) -> list[ServedModel]:
        """What can be asked for here and now: aliases, names of the configuration, and the lists of the ready providers.
        A chain counts when one of its targets is ready."""
        found: dict[str, ServedModel] = {}
        for name in dict.fromkeys(("big", "small", *self.aliases, *self.models)):
            entry = self.models.get(name)
            line = self._line(name, entry) if "*" not in name else None
            if line is not None:
                found[name] = line
        for provider in self.providers.values():
            if not provider.ready:
                continue
            for model in provider.models:
                # The built-in model is called by its own name: there is nothing to tell it apart from.
                name = model.id if self.built_in(provider) else f"{provider.name}/{model.id}"
                title, context, output, taken = self._known(provider, model.id)
                line = ServedModel(
                    id=name, display_name=title, provider=provider.name, context=context, output=output, input=taken
                )
                found.setdefault(name, line)
        return list(found.values())

    def _line(self, name: str, entry: ModelConfig | None) -> ServedModel | None:
        if entry is None and self.alias(name) is None:
            return None
        try:
            chain = self.route(name)
        except UnknownModel:
            return None
        target = next((one for one in chain if one.provider.ready), None)
        if target is None:
            return None
        title, context, output, taken = self._known(target.provider, target.model)
        return ServedModel(
            id=name,
            display_name=(entry.display_name if entry else None) or f"{name} ({title})",
            provider=target.provider.name,
            description=entry.description if entry else None,
            context=(entry.context if entry else None) or context,
            output=(entry.output if entry else None) or output,
            input=(entry.input if entry else None) or taken,
        )

    def _known(self, provider: ProviderConfig, name: str) -> tuple[str, int | None, int | None, tuple[Input, ...] | None]:
        """The title of a model, its context, its output, what it takes: by the provider's list, else by the catalogue."""
        row = provider.model(name)
        known = catalogue().find(name)
        title = row.name if row and row.name != row.id else known.name if known else name
        context, output = (row.context, row.output) if row else (None, None)
        if known is None or not (provider.row.aggregator or provider.row.name == known.provider):
            # Another host of the same model may allow less than its maker.
            return title, context, output, None
        return title, context or known.context, output or known.output, known.input


_FAMILIES = re.compile(
    r"(claude|gpt|o|chatgpt|codex|gemini|gemma|mistral|grok|deepseek|kimi|glm|qwen|command|minimax|llama)-?$"
)


def captured(pattern: str, name: str) -> str | None:
    """What the star of the pattern stands for in this name, or None when it does not fit."""
    head, _, tail = pattern.partition("*")
    if len(name) < len(head) + len(tail) or not name.startswith(head) or not name.endswith(tail):
        return None
    return name[len(head) : len(name) - len(tail)]


def filled(pattern: str, name: str, target: str) -> str:
    """The target with its star filled by what the pattern's star took.

    Where the pattern begins with a family's own name (`claude-*`), that is part of the model's name and no prefix of ours,
    so a target that does not repeat it (`openrouter/anthropic/*`) gets it as well."""
    if "*" not in target:
        return target
    star = captured(pattern, name) or ""
    head = pattern.partition("*")[0].rpartition("/")[2]
    if head and _FAMILIES.fullmatch(head.lower()) and not target.partition("*")[0].endswith(head):
        star = head + star
    return target.replace("*", star, 1)


def capped(values: Mapping[str, float]) -> Timeouts:
    """No single wait is longer than all of them together."""
    total = values.get("total", Timeouts().total)
    return Timeouts(**{**{name: min(value, total) for name, value in values.items()}, "total": total})


def secret_header(name: str) -> bool:
    return re.search(r"auth|key|token|secret|cookie|password", name, re.IGNORECASE) is not None
