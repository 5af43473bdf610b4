"""What the commands that look around print."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from binderops.delivery.looking import words_of


async def said(*chunks: bytes) -> bytes:
    async def stream() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    return b"".join([words async for words in words_of(stream())])


@given(st.lists(st.integers(0, 200), max_size=4))
async def test_a_builds_log_is_its_words_however_it_is_cut(cuts: list[int]) -> None:
    log = b'{"message": "Step 1\\n", "phase": "building"}\n{"message": "\xc3\xa4"}\nno JSON\n{"phase": "x"}\n[1]'
    places = [0, *sorted(cuts), len(log)]
    pieces = [log[start:end] for start, end in pairwise(places)]
    assert await said(*pieces) == b'Step 1\n\xc3\xa4\nno JSON\n{"phase": "x"}\n[1]\n'
