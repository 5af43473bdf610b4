"""The image of a server that runs is in use, however long ago it was launched."""

from __future__ import annotations

from typing import Any

from tests.registry.conftest import Scene, scene, until

from binderops.binder.launches.keeping import ASK_SECONDS, Keeping
from binderops.registry.cleaner import REST_SECONDS

__all__ = ["scene"]


def pod(image: str) -> dict[str, Any]:
    return {"metadata": {"name": "jupyter-x"}, "spec": {"containers": [{"name": "notebook", "image": image}]}}


async def test_images_of_running_servers_stay_in_the_registry(scene: Scene) -> None:
    image = await scene.push("r2d-runs", "c0ffee", b"runs")
    await scene.push("r2d-ended", "c0ffee", b"ended")
    await scene.told()
    scene.age(48)
    host = scene.client.host
    users = [pod(f"{host}/r2d-runs:c0ffee"), pod(f"{host}/r2d-gone:1"), pod("docker.io/library/x:1"), pod("NOT a name")]
    await Keeping(scene.client, lambda: users).ask()
    await until(lambda: scene.link("r2d-runs", image).stat().st_mtime > scene.clock.now - REST_SECONDS)
    scene.look(scene.cleaner(high=0, low=0))
    assert await scene.is_whole("r2d-runs", "c0ffee")
    assert await scene.client.head_manifest("r2d-ended", "c0ffee") is None
    assert ASK_SECONDS * 2 < REST_SECONDS
