"""The providers: built-in rows, what the configuration changes in them, and what the environment says of each.

For every provider NAME the environment may hold NAME_API_KEY (several with commas), NAME_BASE_URL, NAME_TIMEOUT,
NAME_MAX_CONNECTIONS, NAME_MAX_KEEPALIVE and NAME_VERSION. These are often set for other programs, so what the
configuration says itself prevails.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from dragoman.config.parse import At
from dragoman.config.problems import Problems, closest
from dragoman.config.resolved import ClientKey, Local, ProviderConfig, Server, capped
from dragoman.config.schema import Count, Kind, Seconds, SecretText, Url, Version
from dragoman.ir.profile import Profile
from dragoman.providers.auth import CREDENTIAL_HEADERS, Credential
from dragoman.providers.table import ANTHROPIC_VERSION, Model, Provider, find, normalised
from dragoman.secret import Secret, mask
from dragoman.wire.http import Timeouts


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost" or host.lower().endswith(".localhost")


def digest_of(key: str) -> bytes | None:
    if not key.startswith("sha256:"):
        return hashlib.sha256(key.encode()).digest()
    found = re.fullmatch(r"[0-9a-fA-F]{64}", key.removeprefix("sha256:"))
    return bytes.fromhex(found[0]) if found else None


def patience(base: Timeouts, said: Mapping[str, float], path: At, problems: Problems) -> Timeouts:
    """`said` over `base`. A single wait longer than all of them together is lowered; that is worth a warning only
    where somebody wrote it down."""
    values = {**msgspec.structs.asdict(base), **said}
    for name, value in said.items():
        if name != "total" and value > values["total"]:
            problems.warn((*path, name), f"{value:g} s is longer than the total of {values['total']:g} s; lowered to that")
    return capped(values)


class Merge:
    """What the configuration says over the built-in rows, and what the environment says of every provider."""

    def __init__(
        self,
        *,
        env: Mapping[str, str],
        table: Mapping[str, Provider],
        server: Server,
        keys: tuple[ClientKey, ...],
        timeouts: Timeouts,
        local: Local,
        problems: Problems,
    ) -> None:
        self.env = env
        self.table = table
        self.server = server
        self.client_digests = {key.digest for key in keys}
        self.timeouts = timeouts
        self.local = local
        self.problems = problems

    def providers(self, said: dict[str, dict[str, Any]], *, auto: bool) -> dict[str, ProviderConfig]:
        """Every provider that can be reached, the configured ones first. `auto`: the built-in rows as well."""
        found: dict[str, ProviderConfig] = {}
        rows: set[str] = set()
        for name, section in said.items():
            row = find(section.get("like") or name, self.table)
            if row is not None and "like" not in section:
                rows.add(row.name)
            if section.get("enabled", True):
                provider = self.configured(name, row, section)
                if provider is not None:
                    found[name] = provider
        if auto:
            for name, row in self.table.items():
                if name not in rows and name not in found:
                    found[name] = self.finished(name, row, {}, explicit=False)
        self.add_local(found)
        return found

    def add_local(self, found: dict[str, ProviderConfig]) -> None:
        """The built-in model. It is ready when the process that runs it says so (`Config.with_local`)."""
        name = self.local.name
        if self.local.enabled is False:
            return
        if name in found:
            self.problems.warn(("providers", name), "has the name of the built-in model, which is therefore left out")
            self.local = msgspec.structs.replace(self.local, enabled=False)
            return
        found[name] = ProviderConfig(
            name=name,
            row=Provider(
                name=name,
                title="The built-in model",
                dialect="chat",
                base_url="http://127.0.0.1:0/v1",
                counts=("chat",),
                # Its Messages endpoint ignores structured outputs, which a translation to this one keeps.
                also={"completions": "http://127.0.0.1:0/v1"},
                auth="none",
                local=True,
                profile=Profile(
                    extra_sampling=True,
                    embed_dimensions=False,
                    reasoning="none",
                    thinking="none",
                    max_output_tokens=1024,
                    # It is run without the part of a model that sees or hears.
                    images="none",
                    pdfs="none",
                    audio=False,
                    # How a call begins in the model that comes with Dragoman; another one brings its own template.
                    call_opening="" if self.local.model else "<tool_call>\n",
                ),
                models=(Model(name, "Built-in local model", self.local.context),),
                big=name,
                small=name,
            ),
            mode="gateway",
            issuer=name,
            timeouts=self.timeouts,
            hint="the built-in model is not running",
        )

    # ------------------------------------------------------------ one provider

    def configured(self, name: str, row: Provider | None, section: dict[str, Any]) -> ProviderConfig | None:
        path: At = ("providers", name)
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            self.problems.add(path, "cannot be a provider's name; allowed: letters, digits, dots, dashes, underscores")
            return None
        if "like" in section and row is None:
            hint = closest(section["like"], self.table) or self.known()
            self.problems.add((*path, "like"), f"there is no built-in provider {section['like']!r};{hint}")
            return None
        if row is None:
            row = self.custom(name, section, path)
            if row is None:
                return None
        return self.finished(name, self.changed(row, section, path), section, explicit=True)

    def known(self) -> str:
        return " built in are: " + ", ".join(self.table)

    def custom(self, name: str, section: dict[str, Any], path: At) -> Provider | None:
        """A provider of the user's own: all we know is its URL and, perhaps, its dialect."""
        urls = {dialect: url for dialect, url in (section.get("dialects") or {}).items() if url}
        url = section.get("base_url") or self.env.get(variable(name, "BASE_URL"), "").strip() or next(iter(urls.values()), None)
        if url is None:
            if (*path, "base_url") not in self.problems.failed:
                hint = closest(name, [*self.table, *(other for row in self.table.values() for other in row.aka)])
                self.problems.add(path, f"is no built-in provider, so it needs a `base_url`;{hint or self.known()}")
            return None
        dialect = section.get("dialect")
        if dialect is None and "base_url" not in section:
            dialect = next(iter(urls), None)
        if dialect is None:
            dialect = "messages" if re.search(r"/anthropic\b|/messages$", url) else "chat"
        auth = {"messages": "x-api-key", "gemini": "x-goog-api-key"}.get(dialect, "bearer")
        headers = (("anthropic-version", ANTHROPIC_VERSION),) if dialect == "messages" else ()
        return Provider(
            name=name,
            title=name,
            dialect=dialect,
            base_url=normalised(url, dialect),
            auth=auth,  # pyright: ignore[reportArgumentType]
            headers=headers,
            version_header="anthropic-version" if dialect == "messages" else "",
        )

    def changed(self, row: Provider, section: dict[str, Any], path: At) -> Provider:
        """The row with what the section says about it, but for its URL, which the environment may give as well."""
        changes: dict[str, Any] = {}
        if (dialect := section.get("dialect")) is not None and dialect != row.dialect:
            if dialect in row.also and "base_url" not in section:
                changes |= {"dialect": dialect, "base_url": row.also[dialect], "also": row.also | {row.dialect: row.base_url}}
            else:
                changes |= {"dialect": dialect, "also": {}}
        if (auth := section.get("auth")) is not None:
            changes |= {"auth": auth, "root_auth": None}
        if (headers := section.get("headers")) is not None:
            kept = tuple(pair for pair in row.headers if pair[0].lower() not in headers)
            changes["headers"] = (*kept, *headers.items())
        if (models := section.get("models")) is not None:
            changes["embedders"] = ()
            changes["models"] = tuple(
                Model(one["id"], one.get("display_name") or one["id"], one.get("context"), one.get("output")) for one in models
            )
            names = [one["id"] for one in models if "*" not in one["id"]]
            changes |= {"big": names[0] if names else "", "small": names[-1] if names else ""}
        changes |= {key: section[key] for key in ("big", "small") if key in section}
        row = msgspec.structs.replace(row, **changes)
        if (url := section.get("base_url")) is not None:
            row = self.moved(row, url, (*path, "base_url"))
        for dialect, url in (section.get("dialects") or {}).items():
            also = {key: value for key, value in row.also.items() if key != dialect}
            if url is not None:
                also[dialect] = normalised(url, dialect)
            row = msgspec.structs.replace(row, also=also)
        return row

    def moved(self, row: Provider, url: str, path: At) -> Provider:
        url = normalised(url, row.dialect)
        usual = urlsplit(row.base_url).path
        if usual and not urlsplit(url).path and row.name in self.table:
            url += usual
            self.problems.warn(path, f"has no path; {usual!r} is put behind it, as {row.title} has it")
        if self.is_self(url):
            self.problems.add(path, f"{url!r} is this gateway's own address: it would call itself")
        elif url.startswith("http://") and not row.local and not _private(urlsplit(url).hostname or ""):
            self.problems.warn(path, "is plain http:// over a public network: whoever listens can read the key")
        return row.at(url)

    def is_self(self, url: str) -> bool:
        """Whether the gateway itself listens there."""
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        if port != self.server.port:
            return False
        host = (parts.hostname or "").lower()
        anywhere = self.server.host in {"0.0.0.0", "::", ""}  # noqa: S104  compared, not bound
        here = is_loopback(host) or host in {"0.0.0.0", "::"}  # noqa: S104
        return host == self.server.host.lower() or (here and (anywhere or is_loopback(self.server.host)))

    # ------------------------------------------------------------ what the environment says of every provider

    def finished(self, name: str, row: Provider, section: dict[str, Any], *, explicit: bool) -> ProviderConfig:
        path: At = ("providers", name)
        row, pointed, own_shell = self.pointed(name, row, section, path)
        if not pointed and "base_url" not in section:
            row = self.regional(row)
        row = self.versioned(name, row, section, path)
        credentials = self.credentials(name, row, section, own_shell=own_shell)
        explicit = explicit or pointed
        # Of a provider that nobody uses here, a variable that another program has is none of our business.
        used = explicit or bool(credentials)
        waits = dict(section.get("timeouts", {}))
        if used and "total" not in waits and (seconds := self.from_env(variable(name, "TIMEOUT"), Seconds)) is not None:
            waits["total"] = seconds
        connections, keepalive = self.connections(name, section, path) if used else (None, None)
        mode = section.get("credentials") or "auto"
        in_headers = next((key for key, _ in row.headers if key.lower().encode() in CREDENTIAL_HEADERS), None)
        if in_headers is not None and credentials:
            # Two would go out. The file prevails over a key in the environment, but not over itself.
            if section.get("api_key"):
                what = f"hold {in_headers!r}, and there is an `api_key` as well; keep one of them"
                self.problems.add((*path, "headers"), what)
            credentials = ()
        needs_none = row.auth == "none" or in_headers is not None or (row.local and explicit)
        return ProviderConfig(
            name=name,
            row=row,
            credentials=() if mode == "caller" else credentials,
            mode=mode,
            ready=bool(credentials) or needs_none or mode == "caller",
            explicit=explicit,
            issuer=section.get("issuer") or row.name,
            timeouts=patience(self.timeouts, waits, (*path, "timeouts"), self.problems),
            profile=section.get("profile", {}),
            max_connections=connections,
            max_keepalive=keepalive,
            hint=self.missing(name, row),
        )

    def pointed(self, name: str, row: Provider, section: dict[str, Any], path: At) -> tuple[Provider, bool, bool]:
        """Moved to where `NAME_BASE_URL` points; whether it does; and whether it points to this very gateway.

        Whoever points Claude Code at the gateway has `ANTHROPIC_BASE_URL` in the shell in which the gateway may be
        started as well: followed, it would call itself."""
        key = variable(name, "BASE_URL")
        url = self.from_env(key, Url) if "base_url" not in section else None
        if url is None:
            return row, False, False
        if self.is_self(url):
            self.problems.warnings.append(f"{key}: {url!r} is this gateway's own address and is ignored here")
            return row, False, True
        self.problems.labels[(*path, "base_url")] = key
        return self.moved(row, url, (*path, "base_url")), True, False

    def regional(self, row: Provider) -> Provider:
        """In the region that the environment names."""
        for key in row.region_env:
            region = self.env.get(key, "").strip().lower()
            if region and not re.fullmatch(r"[a-z0-9-]+", region):
                self.problems.warnings.append(f"{key}: {region!r} is no name of a region and is ignored")
            elif region:
                return row.at(row.base_url.replace(row.region, region))
        return row

    def versioned(self, name: str, row: Provider, section: dict[str, Any], path: At) -> Provider:
        if not row.version_header:
            if "version" in section:
                what = f"{row.title} has no version; leave it out, or set a header under `headers`"
                self.problems.add((*path, "version"), what)
            return row
        version = section.get("version") or self.from_env(variable(name, "VERSION"), Version)
        if version is None:
            return row
        kept = tuple(pair for pair in row.headers if pair[0] != row.version_header)
        return msgspec.structs.replace(row, headers=(*kept, (row.version_header, version)))

    def connections(self, name: str, section: dict[str, Any], path: At) -> tuple[int | None, int | None]:
        most, kept = section.get("max_connections"), section.get("max_keepalive")
        if most is None:
            most = self.from_env(variable(name, "MAX_CONNECTIONS"), Count)
        if kept is None:
            kept = self.from_env(variable(name, "MAX_KEEPALIVE"), Count)
        if most is not None and kept is not None and kept > most:
            self.problems.warn(
                (*path, "max_keepalive"), f"{kept} is more than the {most} connections there may be; lowered to that"
            )
            kept = most
        return most, kept

    def missing(self, name: str, row: Provider) -> str:
        if row.local:
            return f"{row.title} is not configured; set {variable(name, 'BASE_URL')}, or name it under `providers`"
        names = list(dict.fromkeys([*row.env, variable(name, "API_KEY")]))
        return f"no key; set {names[0]}, or `providers.{name}.api_key`"

    def credentials(self, name: str, row: Provider, section: dict[str, Any], *, own_shell: bool) -> tuple[Credential, ...]:
        """The configured ones, or else those of the first customary variable that holds any."""
        given: list[Secret] | None = section.get("api_key")
        if given is not None:
            path = f"providers.{name}.api_key"
            return tuple(Credential(secret, source=path) for secret in given)
        for key in dict.fromkeys((variable(name, "API_KEY"), *row.env)):
            found = self.keys_from(key, None)
            if found:
                return found
        for key in row.token_env:
            if own_shell and self.env.get(key):
                # The shell in which a client is pointed at us: that token is meant for us, not for the provider.
                self.problems.warnings.append(f"{key}: is ignored, because {variable(name, 'BASE_URL')} points to this gateway")
            elif found := self.keys_from(key, "bearer"):
                return found
        return ()

    def keys_from(self, key: str, auth: Any) -> tuple[Credential, ...]:
        found: list[Credential] = []
        for text in self.env.get(key, "").split(","):
            if not text.strip():
                continue
            if digest_of(text.strip()) in self.client_digests:
                self.problems.warnings.append(f"{key}: is one of the gateway's own `keys` and is not sent to a provider")
                continue
            secret = self.parsed(key, text, SecretText)
            if secret is not None:
                found.append(Credential(secret, auth, f"environment variable {key}"))
        return tuple(found)

    def from_env(self, key: str, hint: Any) -> Any:
        text = self.env.get(key, "").strip()
        return self.parsed(key, text, hint) if text else None

    def parsed(self, key: str, text: str, hint: Any) -> Any:
        kind = next(meta for meta in hint.__metadata__ if isinstance(meta, Kind))
        try:
            return kind.parse(text.strip())
        except ValueError as error:
            value = mask(text) if kind.secret else repr(text)
            self.problems.errors.append(f"environment variable {key}: {value} {error}; allowed: {kind.allowed}")
            return None


def variable(name: str, what: str) -> str:
    """`ANTHROPIC_BASE_URL`: the environment's name for a setting of a provider."""
    return re.sub(r"[^A-Z0-9]+", "_", name.upper()) + "_" + what


def _private(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.endswith((".local", ".internal", ".lan", ".localhost", ".svc"))
    return address.is_private
