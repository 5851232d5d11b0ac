"""Every request of the corpus that holds an image, a document or a sound, for targets that take all, bytes only, or nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from dragoman.dialects import DIALECTS
from dragoman.dialects.base import Target
from dragoman.errors import MalformedBody
from dragoman.flow.attachments import Attachments, Meanwhile, Pictures
from dragoman.flow.media import Fetched, Page, Pages, Unfetched, Unread, attachments_of
from dragoman.ir.losses import Ledger
from dragoman.ir.profile import Profile
from dragoman.ir.request import Audio, Document, Image, Request
from dragoman.route.target import Endpoint
from tests.files import JPEG, pdf, png

CORPUS = Path(__file__).parent.parent / "corpus"
PROFILES = {
    "all": Profile(images="urls", pdfs="urls", audio=True),
    "bytes": Profile(images="bytes", pdfs="bytes"),
    "reads": Profile(images="bytes", pdfs="none", audio=False),
    "blind": Profile(images="none", pdfs="none", audio=False),
}


class Web:
    """Whatever looks like a document is one, anything else a picture."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def fetch(
        self, urls: Sequence[str], patience: float, meanwhile: Meanwhile | None = None
    ) -> list[Fetched | Unfetched]:
        self.asked += urls
        return [Fetched(pdf(["It is cold."])) if "pdf" in url or "doc" in url else Fetched(png()) for url in urls]


class Library:
    pictures: Pictures = "bare"

    async def read(
        self, pdfs: Sequence[bytes], patience: float, meanwhile: Meanwhile | None = None, *, pictures: bool
    ) -> list[Pages | Unread]:
        return [Pages((Page("It is cold."), Page("", JPEG if pictures else b"")), 2) for _ in pdfs]


def requests() -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for dialect in DIALECTS:
        for file in sorted((CORPUS / dialect).glob("*/request.json")):
            try:
                asked = DIALECTS[dialect].decode_request(file.read_bytes())
            except MalformedBody:
                continue
            if attachments_of(asked):
                found.append((dialect, file.parent.name))
    return found


CASES = requests()


def fit(request: Request, dialect: str, profile: Profile, web: Web, ledger: Ledger) -> Request:
    endpoint = Endpoint(provider="p", model="m", issuer="p", urls={}, profile=profile)
    attachments = Attachments(request, web, Library())
    return asyncio.run(attachments.fit(endpoint, DIALECTS[dialect], ledger, 60.0))


def test_the_corpus_has_something_of_every_kind() -> None:
    kinds = {type(part) for source, case in CASES for part in attachments_of(decoded(source, case))}
    assert kinds == {Image, Document, Audio}


def decoded(source: str, case: str) -> Request:
    return DIALECTS[source].decode_request((CORPUS / source / case / "request.json").read_bytes())


@pytest.mark.parametrize("kind", PROFILES)
@pytest.mark.parametrize(("source", "case"), CASES)
def test_what_is_sent_is_what_the_target_takes(source: str, case: str, kind: str) -> None:
    profile = PROFILES[kind]
    for dialect in DIALECTS:
        request, web, ledger = decoded(source, case), Web(), Ledger()
        before = json.dumps([repr(part) for part in attachments_of(request)])
        fitted = fit(request, dialect, profile, web, ledger)
        # Another target of the chain begins with the same request.
        assert json.dumps([repr(part) for part in attachments_of(request)]) == before
        assert len(web.asked) == len(set(web.asked))
        for part in attachments_of(fitted):
            check(part, kind)
        DIALECTS[dialect].encode_request(fitted, Target("m", "p", profile), ledger)
        if len(attachments_of(fitted)) < len(attachments_of(request)):
            assert {loss.severity for loss in ledger.losses} & {"lost", "degraded"}


def check(part: Any, kind: str) -> None:
    match part:
        case Image():
            assert kind != "blind" or part.file is not None
            assert kind == "all" or part.url is None
            assert part.data is None or part.media_type
        case Document():
            assert kind in {"all", "bytes"} or part.data is None or part.media_type != "application/pdf"
            assert part.url is None or kind == "all"
        case Audio():
            assert kind in {"all", "bytes"}
        case _:
            raise AssertionError(part)
