"""Every error Dragoman raises, as one tree.

    DragomanError
    |-- ConfigError            the configuration is wrong; says file, path, value, what is allowed
    |-- RequestError           the caller's fault; never retried
    |   |-- MalformedBody      not JSON, or not the dialect's shape; says where
    |   |-- BodyTooLarge
    |   |-- Unauthenticated    no or wrong gateway key
    |   |-- Forbidden          the key may not do this
    |   |-- UnknownRoute       no such path or method
    |   |-- UnknownModel       no target serves this model
    |   |-- Busy               too much of it at once
    |   `-- LossRefused        the target cannot say everything, in strict mode; or the least of it
    |       |-- UnfitMedia     an image, document or sound that the target would refuse
    |       `-- ThreadUnknown  what was said before is kept by another provider
    |-- UpstreamError          a provider's fault; says which, and whether another may be tried
    |   |-- UpstreamRefused    it answered with an error
    |   |-- UpstreamUnreachable  no connection, or the connection broke before an answer
    |   |-- UpstreamTimeout    connect, first byte, between chunks, total
    |   `-- UpstreamGarbled    its answer broke off, or is not what its dialect says
    |-- NoCredential           the target has no key
    |-- AllTargetsFailed       every target of the chain failed; carries each one's reason
    |-- StoreUnavailable       what should be remembered cannot be written or read
    `-- Internal               ours

An error knows its HTTP `status`, its `category` (what kind of thing went wrong, whatever the
dialect) and whether it is `retryable` on another target. How it looks on the wire is the business
of the caller's dialect (`dialects/<name>/errors.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

Category = Literal[
    "invalid_request",
    "authentication",
    "billing",
    "permission",
    "not_found",
    "conflict",
    "too_large",
    "rate_limit",
    "overloaded",
    "timeout",
    "unavailable",
    "capability",
    "internal",
]
"""What went wrong, in no dialect's words. `capability`: the target cannot do what was asked.
`unavailable`: an upstream could not be reached or answered nonsense. `overloaded`: it asks to come back later."""

STATUS_OF: dict[Category, int] = {
    "invalid_request": 400,
    "authentication": 401,
    "billing": 402,
    "permission": 403,
    "not_found": 404,
    "conflict": 409,
    "too_large": 413,
    "rate_limit": 429,
    "overloaded": 503,
    "timeout": 504,
    "unavailable": 502,
    "capability": 400,
    "internal": 500,
}

_CATEGORY_OF_STATUS: dict[int, Category] = {
    400: "invalid_request",
    401: "authentication",
    402: "billing",
    403: "permission",
    404: "not_found",
    405: "not_found",
    408: "timeout",
    409: "conflict",
    413: "too_large",
    422: "invalid_request",
    425: "overloaded",
    429: "rate_limit",
    498: "overloaded",
    499: "timeout",
    503: "overloaded",
    504: "timeout",
    524: "timeout",
    529: "overloaded",
}

# What another target may well do better: the caller's own mistakes stay out of this set.
RETRYABLE: frozenset[Category] = frozenset(
    {"authentication", "billing", "permission", "not_found", "rate_limit", "overloaded", "timeout", "unavailable", "internal"}
)


def category_of(status: int) -> Category:
    """The category of an HTTP status that came without a better word. 2xx and 3xx are `unavailable`:
    they are asked about only when something was wrong with them."""
    known = _CATEGORY_OF_STATUS.get(status)
    if known is not None:
        return known
    if 400 <= status < 500:
        return "invalid_request"
    return "internal" if status == 500 else "unavailable"


class DragomanError(Exception):
    """Base of the tree. `str(error)` is a sentence for a person, without secrets."""

    category: Category = "internal"

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        category: Category | None = None,
        code: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        if category is not None:
            self.category = category
        self.status = status if status is not None else STATUS_OF[self.category]
        self.code = code
        """A short machine-readable word, kept from the provider where it gave one."""
        self.param = param
        """Path of the offending field in the caller's request, e.g. `messages[3].content`."""
        self.retry_after = retry_after
        """Seconds until it is worth trying again, where somebody said so."""

    @property
    def retryable(self) -> bool:
        """Whether another target may succeed where this one failed."""
        return False

    def bare(self) -> Self:
        """The same without the frames that it came through, for who keeps it: they hold the whole request, and the error
        among them, so that all of it would wait for the garbage collector."""
        self.__traceback__ = self.__context__ = self.__cause__ = None
        return self


class ConfigError(DragomanError):
    """The configuration cannot be used. The message names file, path, value and what is allowed."""

    category = "invalid_request"


class RequestError(DragomanError):
    """The caller's own mistake: no target would do better."""

    category = "invalid_request"


class MalformedBody(RequestError):
    """The body is not JSON or not what the dialect says a request is."""


class BodyTooLarge(RequestError):
    category = "too_large"


class Unauthenticated(RequestError):
    category = "authentication"


class Forbidden(RequestError):
    category = "permission"


class UnknownRoute(RequestError):
    category = "not_found"


class UnknownModel(RequestError):
    category = "not_found"


class Busy(RequestError):
    """The gateway does as much of this as it can. Waiting mends it."""

    category = "rate_limit"


THREAD_UNKNOWN = "thread_not_found"
"""The Messages API's code for it."""


class LossRefused(RequestError):
    """The request holds something that the target cannot say: in strict mode anything, otherwise what it is nothing without."""

    category = "capability"


class UnfitMedia(LossRefused):
    """An image, a document or a sound that this target cannot be sent as it is; another may take it."""

    category = "invalid_request"


class ThreadUnknown(LossRefused):
    """The request goes on from an answer that only the provider that gave it keeps, with all that was said before. By its code
    clients of the API know that they must say everything again."""

    category = "invalid_request"

    def __init__(self, message: str, *, param: str) -> None:
        super().__init__(message, code=THREAD_UNKNOWN, param=param)


class UpstreamError(DragomanError):
    """A provider failed. `provider` is its name in the configuration."""

    category = "unavailable"

    def __init__(
        self,
        message: str,
        *,
        provider: str = "",
        status: int | None = None,
        category: Category | None = None,
        code: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, status=status, category=category, code=code, param=param, retry_after=retry_after)
        self.provider = provider

    @property
    def retryable(self) -> bool:
        return self.category in RETRYABLE


class UpstreamRefused(UpstreamError):
    """The provider answered, with an error: in its status, or inside a 200."""


class UpstreamUnreachable(UpstreamError):
    """No connection could be made, or it broke before an answer began."""


class UpstreamTimeout(UpstreamError):
    """`phase` says which patience ran out: `connect`, `first_byte`, `idle` (between chunks) or `total`."""

    category = "timeout"

    def __init__(self, message: str, *, phase: Literal["connect", "first_byte", "idle", "total"], provider: str = "") -> None:
        super().__init__(message, provider=provider)
        self.phase = phase

    @property
    def retryable(self) -> bool:
        """The total is that of all attempts: when it is over, no other gets a turn."""
        return self.phase != "total"


class UpstreamGarbled(UpstreamError):
    """The answer broke off, or is not what the provider's dialect says an answer is."""


class NoCredential(UpstreamError):
    """There is no key for this target. For the caller this is a bad gateway, not their 401."""

    category = "unavailable"


class AllTargetsFailed(UpstreamError):
    """Every target failed. `reasons` holds one line for each attempt, in order."""

    def __init__(self, message: str, *, reasons: Sequence[str], last: DragomanError) -> None:
        super().__init__(message, status=last.status, category=last.category, code=last.code, retry_after=last.retry_after)
        self.reasons = tuple(reasons)


class StoreUnavailable(DragomanError):
    """The gateway's own store cannot be used, and this request needs it. Waiting may mend it."""

    category = "overloaded"


class Internal(DragomanError):
    """A fault of the gateway itself."""
