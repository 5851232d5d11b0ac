"""PDF documents are read in a process of their own, which may do what it likes."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from dragoman.flow.attachments import Pictures
from dragoman.flow.media import Page, Pages, Unread
from dragoman.io import documents
from dragoman.io.documents import PdfReader
from tests.files import pdf

PATIENCE = 30.0


def read(data: bytes, *, reader: PdfReader | None = None, pictures: bool = False) -> Pages | Unread:
    async def run() -> Pages | Unread:
        (found,) = await (reader or PdfReader()).read([data], PATIENCE, pictures=pictures)
        return found

    return asyncio.run(run())


def child(folder: Path, code: str) -> PdfReader:
    """A reader whose process runs this instead."""
    file = folder / "child.py"
    file.write_text(f"import os, sys, time, signal\nsys.stdin.buffer.readline()\n{code}\n")
    return PdfReader(child=file, timeout=1.0)


def test_its_text_is_read_page_by_page() -> None:
    assert read(pdf(["First page", "", "Third page"])) == Pages((Page("First page"), Page(""), Page("Third page")), 3)


@pytest.mark.parametrize(("pictures", "pages"), [("bare", [1]), ("always", [0, 1]), ("never", list[int]())])
def test_pages_are_drawn_where_that_is_wanted(pictures: Pictures, pages: list[int]) -> None:
    found = read(pdf(["A page with a text", ""]), reader=PdfReader(pictures=pictures), pictures=True)
    assert isinstance(found, Pages)
    assert [number for number, page in enumerate(found.pages) if page.picture] == pages
    for number in pages:
        with Image.open(io.BytesIO(found.pages[number].picture)) as picture:
            assert (picture.format, picture.size) == ("JPEG", (1212, 1568))
            if number == 1:
                red, green, _ = picture.getpixel((400, 1100))  # type: ignore[misc]
                assert red > 200 > green


def test_a_model_that_sees_nothing_gets_no_pictures() -> None:
    found = read(pdf([""]), reader=PdfReader(pictures="always"), pictures=False)
    assert found == Pages((Page(""),), 1)


def test_several_are_read_each_by_itself_and_in_order() -> None:
    async def run() -> list[Pages | Unread]:
        return await PdfReader().read([pdf(["one"]), b"%PDF-", pdf(["three"])], PATIENCE, pictures=False)

    one, two, three = asyncio.run(run())
    assert (one, three) == (Pages((Page("one"),), 1), Pages((Page("three"),), 1))
    assert isinstance(two, Unread)


def test_only_the_first_pages_are_read() -> None:
    found = read(pdf(["one", "two", "three"]), reader=PdfReader(max_pages=2))
    assert found == Pages((Page("one"), Page("two")), 3)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"%PDF-1.4\nnothing of the kind", "broken"),
        (b"", "broken"),
        (os.urandom(5000), "broken"),
        (pdf(["secret"], encrypted=True), "encrypted"),
        (pdf(["x"])[:200], "broken"),
    ],
)
def test_what_cannot_be_read_says_why(data: bytes, why: str) -> None:
    found = read(data)
    assert isinstance(found, Unread)
    assert why in found.why
    assert not found.missing


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "more time or memory than there is"),
        ("os._exit(0)", "more time or memory than there is"),
        ("print('not JSON')", "more time or memory than there is"),
        ("sys.stdout.write('{\"count\": 1}')", ""),
        ("raise MemoryError", "more time or memory than there is"),
    ],
)
def test_whatever_its_process_does_is_an_answer(tmp_path: Path, code: str, why: str) -> None:
    found = read(pdf(["x"]), reader=child(tmp_path, code))
    assert found == Pages((), 1) if not why else isinstance(found, Unread) and why in found.why


def test_one_that_takes_too_long_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "_WORST_START", 0.0)
    found = read(pdf(["x"]), reader=child(tmp_path, "time.sleep(60)"))
    assert found == Unread("could not be read within 1 s")


def test_it_is_stopped_when_nobody_waits_for_it_any_more(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = child(tmp_path, f"open({str(pipe)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)")

    async def run() -> int:
        work = asyncio.create_task(reader.read([pdf(["x"])], PATIENCE, pictures=False))
        async with asyncio.timeout(PATIENCE):
            number = int(await asyncio.to_thread(pipe.read_text))  # returns when the process has written and closed it
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        return number

    number = asyncio.run(run())  # which waits for its threads
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)


def test_its_memory_and_time_are_bounded_and_its_environment_is_empty(tmp_path: Path) -> None:
    """The child's own limits, set before it sees the document."""
    file = documents._CHILD
    code = (
        f"import runpy, sys, os; child = runpy.run_path({str(file)!r})\n"
        "child['confine']({'memory': 300_000_000, 'seconds': 2})\n"
        "import resource\n"
        "print([resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE)])\n"
        "try: bytearray(400_000_000)\n"
        "except MemoryError: print('bounded')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert done.stdout.splitlines() == ["[300000000, 2, 0]", "bounded"]
    found = read(pdf(["x"]), reader=child(tmp_path, "print('{\"count\": %d}' % len(os.environ))"))
    # What the interpreter itself puts there.
    assert found in [Pages((), 0), Pages((), 1)]


def test_without_its_extra_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "is_installed", lambda: False)
    assert read(pdf(["x"])) == Unread("nothing here can read it: pip install 'dragoman[documents]'", missing=True)
