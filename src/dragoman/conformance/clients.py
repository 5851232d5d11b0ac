"""The official SDKs as a table. A further dialect of clients is a module like these and a row here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import httpx2

from dragoman.conformance.client_chat import ChatClient
from dragoman.conformance.client_gemini import GeminiClient
from dragoman.conformance.client_messages import MessagesClient
from dragoman.conformance.client_responses import ResponsesClient
from dragoman.conformance.prompt import Prompt
from dragoman.testing import View


class Client(Protocol):
    """An official SDK. `body` is its keyword arguments for a prompt; `create` and `stream` send them and return the SDK's own
    object of the whole answer, or raise what the SDK raises; `read` says what stands in it; `replay` is what goes into the next
    request (`prompt.Again`). `count` may be `NotImplementedError` where the API counts nothing."""

    dialect: str
    sdk: str

    def body(self, prompt: Prompt, model: str) -> dict[str, Any]: ...
    async def create(self, body: Mapping[str, Any]) -> Any: ...
    async def stream(self, body: Mapping[str, Any]) -> Any: ...
    def read(self, said: Any) -> View: ...
    def replay(self, said: Any) -> Any: ...
    async def count(self, prompt: Prompt, model: str) -> int: ...
    async def models(self) -> list[str]: ...


CLIENTS: dict[str, Callable[[str, str, httpx2.AsyncClient], Client]] = {
    "messages": MessagesClient,
    "chat": ChatClient,
    "responses": ResponsesClient,
    "gemini": GeminiClient,
}
"""Base URL without a path, key, HTTP client."""
