"""What is known of some models: sizes, modalities, capabilities. Facts stand in `data/*.json`, one file for each maker, with
their source and the day they were read; what nobody could confirm is left out.

    catalogue().find("anthropic/claude-opus-5.5")     also claude-opus-5-5, us.anthropic.claude-opus-5-5-v1:0, ...@20261001
    catalogue().models_of("anthropic")
    price_of("anthropic", "claude-opus-5-5", usage, at=clock.time())     in `prices.py`

It is read at the first question. Figures are those of the maker's own service; another host may allow less.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache, lru_cache
from pathlib import Path
from typing import Literal

import msgspec

Input = Literal["text", "image", "audio", "pdf"]
Output = Literal["text", "audio", "embedding"]
Capability = Literal["tools", "structured", "reasoning", "caching"]


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes in tokens; `context` is the whole window, `dimensions` how long the vectors of an embedding model are. None:
    not known, where an empty tuple means that there is none. `released`: YYYY-MM-DD or YYYY-MM, announced or from the id of its
    first version. `source`: where its maker's page says nothing. `vendor` is the maker, `provider` the maker's own service."""

    id: str
    name: str
    context: int | None = None
    output: int | None = None
    dimensions: int | None = None
    input: tuple[Input, ...] | None = None
    makes: tuple[Output, ...] | None = None
    can: tuple[Capability, ...] | None = None
    released: str = ""
    aliases: tuple[str, ...] = ()
    source: str = ""
    vendor: str = ""
    provider: str = ""


class Vendor(msgspec.Struct, frozen=True, kw_only=True):
    """One file. `source` is the maker's own page, `via` the collections that the figures were taken from and that name that
    page, `read` the day of it. What most of them say counts; where no two agree, nothing does."""

    vendor: str
    name: str
    provider: str
    source: str
    read: str
    via: str = ""
    models: tuple[Model, ...]


class Catalogue:
    """Immutable once made."""

    def __init__(self, vendors: tuple[Vendor, ...]) -> None:
        self.vendors = vendors
        self.models = tuple(
            msgspec.structs.replace(model, vendor=vendor.vendor, provider=vendor.provider, source=model.source or vendor.source)
            for vendor in vendors
            for model in vendor.models
        )
        self._by_key = {_key(name): model for model in self.models for name in (*model.aliases, model.id)}
        self.find: Callable[[str], Model | None] = lru_cache(maxsize=4096)(self._find)

    def models_of(self, provider: str) -> tuple[Model, ...]:
        """The models of the maker whose own service this is."""
        return tuple(model for model in self.models if model.provider == provider)

    def _find(self, name: str) -> Model | None:
        """By any of its spellings, or None. The most exact one counts: a dated version is looked for before the model."""
        for spelling in _spellings(name):
            found = self._by_key.get(_key(spelling))
            if found is not None:
                return found
        return None


@cache
def catalogue() -> Catalogue:
    """The one that comes with Dragoman."""
    texts = [file.read_bytes() for file in sorted((Path(__file__).parent / "data").glob("*.json"))]
    return Catalogue(tuple(msgspec.json.decode(text, type=Vendor) for text in texts))


# us.anthropic.claude-...-v1:0, as Bedrock has it, also behind arn:aws:bedrock:...:inference-profile/
_REGION = re.compile(r"^(?:global|us|us-gov|eu|apac|jp|au|ca|sa|regional)\.")
_BEDROCK_VERSION = re.compile(r"-v\d+(?::\d+)*(?::\d+k)?$")
_VARIANT = re.compile(r"[:@](?:[a-z][a-z-]*|\d{6,8}|\d{4}-\d{2}-\d{2})$")
_DATE = re.compile(r"[-@](?:20\d{6}|20\d{2}-\d{2}-\d{2}|latest)$")
_MAKER = re.compile(r"^[a-z][a-z0-9-]*\.(?=[a-z])")


def _spellings(name: str) -> list[str]:
    """The name and what it comes to when a host's additions are taken off, one after another."""
    name = name.strip().lower()
    bare = name.rpartition("/")[2]
    found = [name, bare]
    for pattern in (_VARIANT, _REGION, _MAKER, _BEDROCK_VERSION, _DATE):
        bare = pattern.sub("", bare)
        found.append(bare)
    return list(dict.fromkeys(found))


_ARN = re.compile(r"^arn:aws[a-z-]*:bedrock:[^/]*/")
_BEDROCK = re.compile(r"^(?:[a-z-]+\.)?(?P<maker>[a-z][a-z0-9-]*)\.(?P<model>[a-z][^:/]*?)(?:-v\d+)?(?::\d+)*(?::\d+k)?$")
_VERTEX = re.compile(r"^(?P<model>[a-z][^:/@]*)@(?P<version>\d{8}|default|latest|\d{3})$")


def plain_name(name: str) -> str | None:
    """A model as its maker names it, of a name as Bedrock (`us.anthropic.claude-haiku-4-5-20251001-v1:0`, also behind its ARN)
    or Vertex (`claude-haiku-4-5@20251001`) has it. None for a name that is neither."""
    name = name.strip()
    found = _VERTEX.match(name)
    if found is not None:
        version = found["version"]
        return found["model"] if version.isalpha() else f"{found['model']}-{version}"
    bare = _ARN.sub("", name)
    found = _BEDROCK.match(bare)
    # A number is written with a dot, too: only behind a letter does one stand between a maker and its model.
    return found["model"] if found is not None and (bare != name or found["maker"] in _MAKERS) else None


_MAKERS = frozenset(
    {"ai21", "amazon", "anthropic", "cohere", "deepseek", "google", "meta", "minimax", "mistral", "moonshot", "moonshotai",
     "nvidia", "openai", "qwen", "zai"}
)  # fmt: skip
"""As Bedrock calls them: https://docs.aws.amazon.com/bedrock/latest/userguide/models-supported.html"""


def _key(name: str) -> str:
    """4.5, 4-5 and 4p5 are one number; makers and hosts write it in each of these ways."""
    return re.sub(r"(?<=\d)p(?=\d)", "-", name.lower()).replace(".", "-").replace("_", "-")
