"""The lock as a values layer, and one build at a time."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binderops.errors import ImageError
from binderops.images.lockfile import ImageLock, PinnedImage, read_lock
from binderops.images.mutex import exclusive

_NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True)
_DIGESTS = st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True)
_REPOSITORIES = st.from_regex(r"[a-z0-9.]{1,10}(:[0-9]{2,4})?/[a-z0-9][a-z0-9/-]{0,20}", fullmatch=True)


@given(st.dictionaries(_NAMES, st.builds(PinnedImage, _REPOSITORIES, _DIGESTS), min_size=1, max_size=4))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, images: dict[str, PinnedImage]) -> None:
    path = tmp_path_factory.mktemp("lock") / "images.lock.yaml"
    ImageLock(images).write(path)
    assert read_lock(path) == ImageLock(images)


def test_an_unchanged_lock_is_left_alone(tmp_path: Path) -> None:
    lock = ImageLock({"platform": PinnedImage("localhost/p", f"sha256:{'a' * 64}")})
    path = tmp_path / "images.lock.yaml"
    lock.write(path)
    before = path.stat()
    lock.write(path)
    assert path.stat().st_ino == before.st_ino
    assert lock.values() == {"global": {"images": {"platform": {"name": "localhost/p", "tag": f"sha256:{'a' * 64}"}}}}


@pytest.mark.parametrize("text", ["", "[]", "global: {images: 3}", "a: [", "global: {images: {p: {name: x, tag: v1}}}"])
def test_what_is_no_lock_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "images.lock.yaml"
    path.write_text(text)
    with pytest.raises(ImageError):
        read_lock(path)


def test_a_missing_lock_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="binderops images build"):
        read_lock(tmp_path / "none")


async def test_one_holder_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "mutex"
    waited: list[float] = []
    entered = asyncio.Event()
    release = asyncio.Event()

    async def first() -> None:
        async with exclusive(path, timeout_seconds=5, waiting=lambda: None):
            entered.set()
            await release.wait()

    holder = asyncio.create_task(first())
    await entered.wait()

    def let_go() -> None:
        waited.append(time.monotonic())
        release.set()

    async with exclusive(path, timeout_seconds=5, waiting=let_go):
        assert len(waited) == 1
        assert release.is_set()
    await holder


async def test_waiting_ends(tmp_path: Path) -> None:
    path = tmp_path / "mutex"
    async with exclusive(path, timeout_seconds=5, waiting=lambda: None):
        with pytest.raises(ImageError, match="another command"):
            async with exclusive(path, timeout_seconds=0.1, waiting=lambda: None):
                pass
