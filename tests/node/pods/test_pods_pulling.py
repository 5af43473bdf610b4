"""What is asked of the engine before a container can be made: an image of many launches once, and not for long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.podman.tiny import TINY, private_engine, root_filesystem

from binderops.errors import ContainerImageError
from binderops.node.pods import pulling
from binderops.node.pods.pulling import Puller
from binderops.node.pods.unpacking import PullRoom
from binderops.node.pods.usage import room_of
from binderops.podman import Podman

pytestmark = [pytest.mark.podman, pytest.mark.root]

POD: dict[str, Any] = {"metadata": {"name": "a", "namespace": "n"}, "spec": {"containers": []}}
CONTAINER = {"name": "main", "image": TINY, "imagePullPolicy": "Never"}


@pytest.fixture
async def podman(tmp_path: Path) -> AsyncIterator[Podman]:
    manager = private_engine(tmp_path / "of")
    settings = await asyncio.to_thread(manager.__enter__)
    try:
        async with Podman(settings.socket) as client:
            yield client
    finally:
        await asyncio.to_thread(manager.__exit__, None, None, None)


async def test_many_launches_of_one_image_ask_for_it_once(
    podman: Podman, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    inspect = podman.images.inspect

    async def counted(name: str) -> dict[str, Any]:
        asked.append(name)
        return await inspect(name)

    monkeypatch.setattr(podman.images, "inspect", counted)

    async def nothing(*_: object) -> None:
        """No Secret, no ServiceAccount."""

    puller = Puller(podman, nothing, PullRoom(None, lambda: room_of(tmp_path)))  # type: ignore[arg-type]  # no pull
    first, pulled = await puller.image_of(POD, CONTAINER)
    assert not pulled and len(first.id) == 64
    for _ in range(9):
        assert (await puller.image_of(POD, CONTAINER))[0] == first
    assert asked == [TINY]

    monkeypatch.setattr(pulling, "KNOWN_SECONDS", 0.0)
    puller._known.clear()
    await podman.images.remove(TINY)
    with pytest.raises(ContainerImageError, match="not present with pull policy of Never"):
        await puller.image_of(POD, CONTAINER)
    await podman.images.import_archive(root_filesystem(), reference=TINY)
    assert len((await puller.image_of(POD, CONTAINER))[0].id) == 64, "that there was none is not remembered"
