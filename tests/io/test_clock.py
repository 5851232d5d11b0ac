from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from dragoman.io.clock import new_id


def test_ids_have_24_letters_none_is_given_twice_and_no_letter_is_likelier() -> None:
    with ThreadPoolExecutor(4) as pool:
        ids = [one for many in pool.map(lambda _: [new_id() for _ in range(2_000)], range(8)) for one in many]
    assert len(set(ids)) == 16_000
    assert {len(one) for one in ids} == {24}
    counts = Counter("".join(ids))
    expected = 16_000 * 24 / len(counts)
    assert len(counts) == 54
    assert all(0.9 < count / expected < 1.1 for count in counts.values())
