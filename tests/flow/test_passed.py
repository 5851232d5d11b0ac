"""What is kept of a verbatim stream that went by, and what is shown of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dragoman.flow.streams import _RECENT, _Passed  # pyright: ignore[reportPrivateUsage]

pieces = st.lists(
    st.one_of(st.binary(min_size=1, max_size=300), st.integers(1, 40_000).map(lambda size: bytes([size % 251]) * size)),
    max_size=60,
)


@given(pieces)
def test_the_witness_sees_each_byte_once_and_the_end_is_kept(said: list[bytes]) -> None:
    seen: list[bytes] = []
    passed = _Passed(seen.append)
    before = b"\n"
    for piece in said:
        assert passed.add(piece) == before[-1:] + piece
        before = piece
    recent = passed.recent()
    assert b"".join(seen) == b"".join(said)
    whole = b"\n" + b"".join(said)
    assert whole.endswith(recent)
    assert len(recent) >= min(_RECENT, len(whole), len(said[-1]) if said else 1)
    assert passed.recent() == recent
