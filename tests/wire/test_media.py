"""What bytes are, by their own word."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.wire.media import BadBase64, audio_format, bare, dimensions, from_base64, inline, is_text, sniff
from tests import files


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (files.png(), "image/png"),
        (files.JPEG, "image/jpeg"),
        (files.GIF, "image/gif"),
        (files.WEBP, "image/webp"),
        (files.HEIC, "image/heic"),
        (files.WAV, "audio/wav"),
        (files.MP3, "audio/mpeg"),
        (b"\xff\xfb\x90\x00", "audio/mpeg"),
        (b"\xff\xf1\x50\x80", "audio/aac"),
        (files.OGG, "audio/ogg"),
        (files.DOCX, "application/zip"),
        (files.pdf(["x"]), "application/pdf"),
        (b"junk before it\n%PDF-1.7\n", "application/pdf"),
        (b"\n<!DOCTYPE html><p>", "text/html"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"),
        (b"", ""),
        (b"plain words", ""),
        (b"\x00\x01\x02", ""),
    ],
)
def test_bytes_say_what_they_are(data: bytes, media_type: str) -> None:
    assert sniff(data) == media_type


@given(st.binary(max_size=64))
def test_any_bytes_are_looked_at_without_harm(data: bytes) -> None:
    found = sniff(data)
    dimensions(data, found)
    for head in (files.png()[:16], files.JPEG[:20], files.WEBP[:16], b"GIF89a"):
        dimensions(head + data, sniff(head))


@pytest.mark.parametrize(
    ("data", "media_type", "size"),
    [
        (files.png(3, 2), "image/png", (3, 2)),
        (files.JPEG, "image/jpeg", (48, 32)),
        (files.GIF, "image/gif", (2, 3)),
        (files.WEBP, "image/webp", (10, 20)),
        (files.HEIC, "image/heic", None),
        (b"\x89PNG\r\n\x1a\n", "image/png", None),
    ],
)
def test_a_picture_says_how_large_it_is(data: bytes, media_type: str, size: tuple[int, int] | None) -> None:
    assert dimensions(data, media_type) == size


@pytest.mark.parametrize(
    ("data", "media_type", "size"),
    [
        (files.WEBP, "image/webp", (10, 20)),
        (files.WEBP_LOSSLESS, "image/webp", (300, 5)),
        (files.WEBP_LOSSY, "image/webp", (300, 5)),
        (files.png(3, 2)[:24], "image/png", (3, 2)),
        (files.GIF[:10], "image/gif", (2, 3)),
        (files.JPEG[:29], "image/jpeg", (48, 32)),
    ],
)
def test_a_picture_that_breaks_off_within_its_head_has_no_size(data: bytes, media_type: str, size: tuple[int, int]) -> None:
    assert dimensions(data, media_type) == size
    assert [end for end in range(len(data)) if dimensions(data[:end], media_type) is not None] == []


@pytest.mark.parametrize("kind", [b"VP8 ", b"VP8L"])
def test_a_webp_whose_picture_is_none_has_no_size(kind: bytes) -> None:
    assert dimensions(b"RIFF\x1a\x00\x00\x00WEBP" + kind + b"\x0a\x00\x00\x00" + b"\x01" * 40, "image/webp") is None


@given(st.binary(max_size=200))
def test_base64_in_every_customary_form_becomes_standard_base64(data: bytes) -> None:
    standard = base64.b64encode(data).decode()
    lines = "\r\n".join(standard[at : at + 8] for at in range(0, len(standard), 8))
    for written in (standard, standard.rstrip("="), base64.urlsafe_b64encode(data).decode(), lines):
        assert from_base64(written) == (data, standard)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("aG%k", "'%' at character 2"),
        ("aGk=aGk=", "'=' at character 3"),
        ("_-=x", "'=' at character 2"),
        ("a", "character 1"),
        ("aGkü", "'ü' at character 3"),
    ],
)
def test_what_is_no_base64_says_where(text: str, where: str) -> None:
    with pytest.raises(BadBase64, match=where):
        from_base64(text)


def test_types_are_known_by_their_other_names() -> None:
    assert bare("Image/JPG; charset=x") == "image/jpeg"
    assert audio_format("audio/x-wav") == "wav"
    assert audio_format("audio/midi") == ""
    assert [is_text(kind) for kind in ("text/csv; header=present", "application/ld+json", "application/pdf")] == [
        True,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("url", "held"),
    [
        ("data:image/png;base64,aGk=", ("image/png", "aGk=")),
        ("DATA:image/png;x=1;BASE64,aGk%3D", ("image/png;x=1", "aGk=")),
        ("data:,hi%20you", ("text/plain", "aGkgeW91")),
        ("data:text/csv,a", ("text/csv", "YQ==")),
        ("data:", ("text/plain", "")),
        ("https://example.com/data:", None),
    ],
)
def test_a_data_url_holds_what_others_link_to(url: str, held: tuple[str, str] | None) -> None:
    assert inline(url) == held
