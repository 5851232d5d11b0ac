"""What a request links to is fetched, within limits, and nothing of the caller or of the environment goes along."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import zlib
from collections.abc import Iterator, Sequence

import pytest

from dragoman.flow.media import Fetched, Unfetched
from dragoman.io.dial import Address
from dragoman.io.fetch import HttpFetcher
from dragoman.io.guard import Guard
from dragoman.testing import ScriptedUpstream, ThreadedUpstream
from tests.files import png
from tests.io.authority import Authority

PATIENCE = 10.0


@pytest.fixture(scope="module")
def web() -> Iterator[ThreadedUpstream]:
    with ScriptedUpstream.in_thread() as server:
        server.on("/x.png", 200, png(), [("content-type", "image/png")])
        server.on("/gone", 404, b"no")
        server.on("/nothing", 200)
        server.on("/partial", 206, b"half")
        server.on("/big", 200, b"x" * 50_001)
        server.on("/half-big", 200, b"x" * 30_000)
        server.on("/bomb", 200, gzip.compress(b"\0" * 10_000_000), [("content-encoding", "gzip")])
        server.on("/packed", 200, zlib.compress(png()), [("content-encoding", "deflate")])
        server.on("/torn", 200, gzip.compress(png())[:-9], [("content-encoding", "gzip")])
        server.on("/broken", 200, b"not packed", [("content-encoding", "gzip")])
        server.on("/brotli", 200, b"x", [("content-encoding", "br")])
        server.on("/once", 302, b"", [("location", "/x.png")])
        server.on("/round", 301, b"", [("location", "round")])
        server.on("/inside", 307, b"", [("location", "http://169.254.169.254/latest/meta-data/")])
        server.on("/file", 302, b"", [("location", "file:///etc/passwd")])
        server.on("/nowhere", 308)
        yield server


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


class Names:
    """Every name is at this address; `asked` are those that were looked up."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.address = address
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[Address]:
        self.asked.append(host)
        return [(socket.AF_INET, (self.address, port))]


def fetched(
    *urls: str, names: Names | None = None, guard: Guard | None = None, patience: float = PATIENCE,
    max_bytes: int = 50_000, timeout: float = PATIENCE, trust: ssl.SSLContext | None = None,
) -> list[Fetched | Unfetched]:  # fmt: skip
    async def run() -> list[Fetched | Unfetched]:
        fetcher = HttpFetcher(
            guard or Guard(allow_private=True),
            max_bytes=max_bytes, timeout=timeout, ssl_context=trust, resolve=names or Names(),
        )  # fmt: skip
        try:
            return await fetcher.fetch(urls, patience)
        finally:
            await fetcher.aclose()

    return asyncio.run(run())


def why(*urls: str, guard: Guard | None = None, timeout: float = PATIENCE) -> str:
    (found,) = fetched(*urls, guard=guard, timeout=timeout)
    assert isinstance(found, Unfetched)
    return found.why


def test_links_are_fetched_in_order(web: ThreadedUpstream) -> None:
    found = fetched(f"{web.url}/x.png", f"{web.url}/once", f"{web.url}/nothing", f"{web.url}/packed")
    assert [one.data for one in found if isinstance(one, Fetched)] == [png(), png(), b"", png()]
    assert isinstance(found[0], Fetched)
    assert found[0].declared == "image/png"


def test_one_that_fails_keeps_nobody_waiting_for_the_others(web: ThreadedUpstream) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        silent = f"http://127.0.0.1:{listener.getsockname()[1]}/x"
        found = fetched(silent, f"{web.url}/gone", *[silent] * 20)
    assert found[1] == Unfetched("could not be fetched: it answered with status 404")
    assert {one.skipped for one in [found[0], *found[2:]] if isinstance(one, Unfetched)} == {True}


def test_the_address_that_was_checked_is_the_one_that_is_connected_to(web: ThreadedUpstream) -> None:
    names = Names()
    (found,) = fetched(f"http://pictures.example:{web.port}/x.png", names=names)
    assert isinstance(found, Fetched)
    assert names.asked == ["pictures.example"]
    assert web.requests[-1].header("host") == f"pictures.example:{web.port}"


def test_a_name_that_leads_inside_is_refused(web: ThreadedUpstream) -> None:
    before = len(web.requests)
    found = fetched(f"http://pictures.example:{web.port}/x.png", guard=Guard())
    assert found == [Unfetched("cannot be fetched: its address is private, and this gateway may only ask public ones")]
    assert len(web.requests) == before


def test_nothing_of_the_caller_or_the_environment_goes_along(web: ThreadedUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    (found,) = fetched(f"http://pictures.example:{web.port}/x.png")
    assert isinstance(found, Fetched)
    request = web.requests[-1]
    assert request.target == "/x.png"
    assert {name.lower() for name, _ in request.headers} == {"host", "accept", "accept-encoding", "user-agent"}
    assert (request.header("user-agent") or "").startswith("dragoman/")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/partial", "status 206"),
        ("/big", "it is larger than 0.05 MB"),
        ("/bomb", "it is larger than 0.05 MB"),
        ("/torn", "breaks off"),
        ("/broken", "the packing is broken"),
        ("/brotli", "'br', which was not asked for"),
        ("/round", "redirects more than 5 times"),
        ("/inside", "redirects to a URL that cannot be fetched: its address is link-local"),
        ("/file", "redirects to a URL that cannot be fetched: only http and https"),
        ("/nowhere", "redirects nowhere"),
    ],
)
def test_what_cannot_be_fetched_says_why(web: ThreadedUpstream, path: str, reason: str) -> None:
    assert reason in why(web.url + path)


def test_all_links_of_a_request_have_a_limit_together(web: ThreadedUpstream) -> None:
    assert all(isinstance(one, Fetched) for one in fetched(*[f"{web.url}/half-big?{number}" for number in range(6)]))
    found = fetched(*[f"{web.url}/half-big?{number}" for number in range(8)])
    assert {one.why for one in found if isinstance(one, Unfetched) and not one.skipped} == {
        "could not be fetched: all that this request links to is larger than 0.2 MB together"
    }


def test_a_server_that_is_not_there_or_says_nothing_costs_a_bounded_time() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/x"
        assert "took longer than 0.1 s" in why(url, timeout=0.1)
        late = [one for one in fetched(*[url] * 20, patience=0.1) if isinstance(one, Unfetched) and not one.skipped]
        assert set(late) == {Unfetched("could not be fetched: it took longer than 0.1 s")}
    assert "refused" in why(url)


def test_tls_is_verified_under_the_name_and_never_left_by_a_redirect(authority: Authority) -> None:
    with ScriptedUpstream.in_thread(ssl=authority.serving("pictures.example")) as secure, ScriptedUpstream.in_thread() as plain:
        plain.on("/x.png", 200, png())
        plain.on("/up", 302, b"", [("location", f"https://pictures.example:{secure.port}/x.png")])
        secure.on("/x.png", 200, png())
        secure.on("/down", 302, b"", [("location", f"http://pictures.example:{plain.port}/x.png")])
        base = f"https://pictures.example:{secure.port}"
        trust = authority.trusting()
        urls = [f"{base}/x.png", f"http://pictures.example:{plain.port}/up"]
        assert all(isinstance(one, Fetched) for one in fetched(*urls, trust=trust))
        (down,) = fetched(f"{base}/down", trust=trust)
        (other,) = fetched(f"https://other.example:{secure.port}/x.png", trust=trust)
    assert down == Unfetched("could not be fetched: it redirects from https to http")
    assert isinstance(other, Unfetched)
    assert "TLS" in other.why
