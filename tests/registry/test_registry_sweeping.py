"""What no manifest needs goes from under a running registry; what anybody has begun to use stays, or comes back."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import count, takewhile
from pathlib import Path

import pytest
from tests.registry.conftest import HOUR, Scene
from tests.registry.killed import cleaning

from binderops.errors import RegistryError
from binderops.oci.manifests import OCI_LAYER
from binderops.registry import sweeping
from binderops.registry.budget import images_of
from binderops.registry.cleaner import REST_SECONDS
from binderops.registry.picture import look_at
from binderops.registry.removing import give_back_tag, remove
from binderops.registry.storage import ASIDE, CURRENT, LINK, TAGS
from binderops.registry.sweeping import SETTLE_SECONDS, Sweep

OLD = 48.0
HASTY = 0.15
TRIES = 10
SLOW_LOOK = 0.3
"""Seconds: so old is what a look at thousands of repositories told, when the sweep begins to act on it."""


def blobs(scene: Scene) -> set[str]:
    return {path.parent.name for path in scene.storage.blobs.glob("*/*/data")}


def files(scene: Scene) -> list[Path]:
    return [path for path in scene.storage.root.rglob("*") if path.is_file()]


async def test_what_a_deleted_manifest_needed_goes_once_it_is_old(scene: Scene) -> None:
    kept = await scene.push("r2d-kept", "1", b"shared", b"kept")
    gone = await scene.push("r2d-gone", "1", b"shared", b"gone")
    await scene.client.delete_manifest("r2d-gone", gone.digest)
    cleaner = scene.cleaner()
    scene.look(cleaner)
    scene.settle(cleaner)
    assert len(blobs(scene)) == 7, "an hour has not passed: it may be a push that is not done"
    scene.age(OLD)
    scene.look(cleaner)
    assert len(blobs(scene)) == 6, "the manifest, and links: of what they name the bytes go later"
    scene.settle(cleaner)
    needed = {kept.digest, kept.config.digest, *(layer.digest for layer in kept.layers)}
    assert {f"sha256:{name}" for name in blobs(scene)} == needed
    assert await scene.is_whole("r2d-kept", "1")
    assert not [path for path in files(scene) if path.name == ASIDE]


async def test_nothing_is_left_of_a_build_whose_place_was_emptied(scene: Scene) -> None:
    """The binder deletes manifest and blobs there: their links, not their bytes, and no folder."""
    made = await scene.push("builds/build-x-0123", "image", b"layer")
    for blob in (made.config, *made.layers):
        assert await scene.client.mount_blob("r2d-x", blob.digest, source="builds/build-x-0123")
    await scene.client.put_manifest("r2d-x", "c0ffee", made)
    await scene.client.delete_manifest("builds/build-x-0123", made.digest)
    for blob in (made.config, *made.layers):
        await scene.client.delete_blob("builds/build-x-0123", blob.digest)
    scene.age(OLD)
    cleaner = scene.cleaner()
    scene.look(cleaner)
    scene.settle(cleaner)
    assert await scene.is_whole("r2d-x", "c0ffee")
    assert [path.name for path in scene.storage.repositories.iterdir()] == ["r2d-x"]
    assert len(blobs(scene)) == 3


async def test_uploads_that_broke_off_go_and_those_that_run_stay(scene: Scene) -> None:
    dead = await _begun(scene, "r2d-a")
    scene.age(OLD)
    alive = await _begun(scene, "r2d-a")
    scene.look(scene.cleaner())
    assert (dead.exists(), alive.exists()) == (False, True)


async def test_a_storage_that_nobody_changed_is_left_unread(scene: Scene) -> None:
    await scene.push("r2d-a", "1", b"layer")
    await scene.told()
    cleaner = scene.cleaner()
    scene.uses.changed.clear()
    assert cleaner.look(), "the first time"
    assert not cleaner.look()
    await scene.push("r2d-a", "2", b"layer")
    await scene.told()
    assert cleaner.look()
    assert not cleaner.look()
    scene.clock.now += 2 * HOUR
    assert cleaner.look(), "what was young is old"


# --- somebody begins to use what is being taken ---------------------------------------------------------------------


async def test_a_manifest_that_came_after_the_look_gets_its_layers_back(scene: Scene) -> None:
    layer = await scene.client.push_blob("r2d-a", b"layer", OCI_LAYER)
    scene.age(OLD)
    picture = look_at(scene.storage)
    await scene.push("r2d-a", "1", b"layer")
    swept = Sweep(scene.storage, picture, now=scene.clock.now, young=REST_SECONDS).run()
    assert swept.put_back == [f"r2d-a@{layer.digest}"]
    assert await scene.is_whole("r2d-a", "1")


async def test_a_manifest_that_came_while_its_layer_was_aside_gets_it_back(scene: Scene) -> None:
    image = await scene.push("r2d-a", "1", b"layer")
    await scene.client.delete_manifest("r2d-a", image.digest)
    scene.age(OLD)
    cleaner = scene.cleaner()
    scene.look(cleaner)
    # The registry had verified this manifest before: it refuses one whose layers are not there.
    for place in (scene.storage.blob(image.digest), scene.link("r2d-a", image).parent):
        place.mkdir(parents=True, exist_ok=True)
    (scene.storage.blob(image.digest) / "data").write_bytes(image.body)
    scene.link("r2d-a", image).write_text(image.digest)
    assert not await scene.client.has_blob("r2d-a", image.layers[0].digest)
    scene.look(cleaner, seconds=1)
    assert await scene.client.has_blob("r2d-a", image.layers[0].digest)
    scene.settle(cleaner)
    assert await scene.is_whole("r2d-a", image.digest)


async def test_bytes_that_were_uploaded_again_since_the_look_stay(scene: Scene) -> None:
    image = await scene.push("r2d-a", "1", b"layer")
    scene.age(OLD)
    shutil.rmtree(scene.storage.repositories / "r2d-a")
    picture = look_at(scene.storage)
    # The registry finds the old bytes, and writes a link alone.
    await scene.client.push_blob("r2d-b", b"layer", OCI_LAYER)
    swept = Sweep(scene.storage, picture, now=scene.clock.now, young=REST_SECONDS).run()
    assert swept.put_back == [image.layers[0].digest]
    assert await scene.client.get_blob("r2d-b", image.layers[0].digest) == b"layer"


async def test_bytes_that_were_linked_while_aside_come_back(scene: Scene) -> None:
    image = await scene.push("r2d-a", "1", b"layer")
    scene.age(OLD)
    shutil.rmtree(scene.storage.repositories / "r2d-a")
    cleaner = scene.cleaner()
    scene.look(cleaner)
    digest = image.layers[0].digest
    link = scene.storage.repositories / "r2d-b/_layers/sha256" / digest.removeprefix("sha256:") / LINK
    link.parent.mkdir(parents=True)
    link.write_text(digest)
    scene.look(cleaner, seconds=SETTLE_SECONDS + 1)
    assert await scene.client.get_blob("r2d-b", digest) == b"layer"


@pytest.mark.parametrize("moment", range(5))
async def test_a_cleaner_that_was_killed_while_it_removed_leaves_nothing_half(scene: Scene, moment: int) -> None:
    await scene.push("r2d-a", "1", b"layer")
    await scene.push("r2d-a", "2", b"other")
    scene.age(OLD)
    chosen = next(image for image in images_of(look_at(scene.storage)) if image.tags == ("1",))
    link, tag = chosen.link.folder / LINK, chosen.repository.folder / TAGS / "1"
    if moment >= 1:
        link.rename(link.with_name(ASIDE))
    if moment >= 2:
        (tag / CURRENT / LINK).rename(tag / CURRENT / ASIDE)
    if moment >= 3:
        (tag / CURRENT / ASIDE).unlink()
    if moment >= 4:
        shutil.rmtree(tag / "index")
        link.with_name(ASIDE).unlink()
    cleaner = scene.cleaner()
    scene.look(cleaner)
    scene.settle(cleaner)
    scene.look(cleaner, seconds=REST_SECONDS + 1)
    assert sorted(await scene.client.tags("r2d-a")) == (["1", "2"] if moment == 0 else ["2"])
    assert await scene.is_whole("r2d-a", "2")
    assert len(blobs(scene)) == (6 if moment == 0 else 3)
    assert not [path for path in files(scene) if path.name == ASIDE]


async def test_who_was_killed_before_he_saw_that_an_image_is_used_again_takes_nothing(scene: Scene) -> None:
    image = await scene.push("r2d-a", "1", b"layer")
    await scene.told()
    scene.age(OLD)
    link = scene.link("r2d-a", image)
    scene.used("r2d-a", image, hours_ago=0.01)
    link.rename(link.with_name(ASIDE))
    assert not await scene.is_whole("r2d-a", "1")
    scene.look(scene.cleaner())
    assert await scene.is_whole("r2d-a", "1")


async def test_who_was_killed_before_he_saw_that_a_tag_has_moved_takes_nothing(scene: Scene) -> None:
    await scene.push("local/x", "HEAD", b"first")
    moved = await scene.push("local/x", "HEAD", b"second")
    current = scene.storage.repositories / "local/x" / TAGS / "HEAD" / CURRENT
    (current / LINK).rename(current / ASIDE)
    assert await scene.client.head_manifest("local/x", "HEAD") is None
    scene.look(scene.cleaner())
    found = await scene.client.head_manifest("local/x", "HEAD")
    assert found is not None and found.digest == moved.digest


async def test_a_tag_that_was_written_while_its_meaning_was_aside_stays(scene: Scene) -> None:
    await scene.push("local/x", "HEAD", b"first")
    current = scene.storage.repositories / "local/x" / TAGS / "HEAD" / CURRENT
    (current / LINK).rename(current / ASIDE)
    moved = await scene.push("local/x", "HEAD", b"second")
    scene.look(scene.cleaner())
    found = await scene.client.head_manifest("local/x", "HEAD")
    assert found is not None and found.digest == moved.digest
    assert not (current / ASIDE).exists()
    assert not give_back_tag(current.parent), "nothing lies aside any more"


async def test_a_tag_that_was_being_written_at_the_look_stays(scene: Scene) -> None:
    await scene.push("r2d-a", "1", b"layer")
    link = scene.storage.repositories / "r2d-a" / TAGS / "1" / CURRENT / LINK
    text = link.read_text()
    link.write_text("")
    picture = look_at(scene.storage)
    assert picture.repositories[0].tags_of_nothing == ["1"]
    link.write_text(text)
    scene.age(OLD)
    Sweep(scene.storage, picture, now=scene.clock.now, young=REST_SECONDS).run()
    assert await scene.is_whole("r2d-a", "1")


async def test_folders_that_a_full_disk_left_without_a_file_go_once_they_are_old(scene: Scene) -> None:
    """The registry makes folders before it writes into them, and leaves them where it cannot."""
    await scene.push("r2d-a", "1", b"layer")
    hollow = scene.storage.blob("sha256:" + "0" * 64)
    torn = scene.storage.repositories / "r2d-a" / TAGS / "torn"
    hollow.mkdir(parents=True)
    (torn / CURRENT).mkdir(parents=True)
    (torn / CURRENT / LINK).touch()
    cleaner = scene.cleaner()
    scene.look(cleaner)
    assert hollow.exists() and torn.exists()
    scene.age(OLD)
    scene.look(cleaner)
    assert not hollow.exists() and not torn.exists()
    assert await scene.is_whole("r2d-a", "1")


async def test_a_tag_that_moved_since_the_look_stays(scene: Scene) -> None:
    await scene.push("local/x", "HEAD", b"first")
    await scene.told()
    scene.age(OLD)
    chosen = images_of(look_at(scene.storage))[0]
    moved = await scene.push("local/x", "HEAD", b"second")
    assert remove(chosen)
    found = await scene.client.head_manifest("local/x", "HEAD")
    assert found is not None
    assert found.digest == moved.digest
    assert await scene.is_whole("local/x", "HEAD")


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What was written a moment ago is old, and hardly anything lies aside: every race that an hour hides is open."""
    monkeypatch.setattr(sweeping, "SETTLE_SECONDS", 0.2)
    yield


@pytest.mark.slow
@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("ends", ["by itself", "killed"])
async def test_no_image_that_was_acknowledged_is_lost_while_others_are_swept(scene: Scene, ends: str) -> None:
    """Three pushers of bytes that were garbage a moment ago, and a sweep that never rests, or is killed often.

    One that removes at once what its look found unneeded loses some of these thirty in most runs.
    """
    pieces = [os.urandom(20_000) for _ in range(6)]
    acknowledged: set[tuple[str, str]] = set()
    refused = sweeps = 0
    over = False

    async def push(number: int) -> None:
        nonlocal refused
        choose = random.Random(number)
        for turn in takewhile(lambda turn: turn < 30 or sweeps < 5, count()):
            repository, tag = f"r2d-{choose.randrange(3)}", f"{number}-{turn}"
            chosen = choose.sample(pieces, 3)
            for _ in range(TRIES):
                try:
                    image = await scene.push(repository, tag, *chosen)
                    break
                except RegistryError:
                    refused += 1  # the client is told, and sends it again
            else:
                continue
            if turn % 3:
                await scene.client.delete_manifest(repository, image.digest)
            else:
                acknowledged.add((repository, tag))

    def sweep() -> None:
        nonlocal sweeps
        while not over:
            picture = look_at(scene.storage)
            time.sleep(SLOW_LOOK)
            Sweep(scene.storage, picture, now=time.time(), young=HASTY).run()
            sweeps += 1

    def sweep_and_die() -> None:
        nonlocal sweeps
        choose = random.Random(len(ends))
        while not over:
            with cleaning(scene.storage.root, high=100, rest=HASTY, settle=sweeping.SETTLE_SECONDS):
                time.sleep(choose.uniform(0, 1))
            sweeps += 1

    sweeper = sweep if ends == "by itself" else sweep_and_die
    sweeping_thread = asyncio.create_task(asyncio.to_thread(sweeper))
    try:
        await asyncio.gather(*(push(number) for number in range(3)))
    finally:
        over = True
        await sweeping_thread
    assert sweeps > 4
    assert len(acknowledged) > 20, f"{refused} refused"
    for _ in range(4):
        await asyncio.sleep(sweeping.SETTLE_SECONDS)
        Sweep(scene.storage, look_at(scene.storage), now=time.time(), young=HASTY).run()
    lost = [place for place in sorted(acknowledged) if not await _is_whole(scene, *place)]
    assert lost == [], f"{len(lost)} of {len(acknowledged)}, {refused} refused, {sweeps} sweeps"
    needed = {digest for repository in look_at(scene.storage).repositories for digest in repository.needed}
    assert {f"sha256:{name}" for name in blobs(scene)} == needed, "garbage is gone"


async def _is_whole(scene: Scene, repository: str, tag: str) -> bool:
    with suppress(RegistryError):
        return await scene.is_whole(repository, tag)
    return False


async def _begun(scene: Scene, repository: str) -> Path:
    """An upload that has begun: its folder."""
    before = set(scene.storage.repositories.glob("*/_uploads/*"))
    # A mount of what is not there opens an upload; the client gives it back, so it is opened by hand.
    import httpx

    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.post(f"http://{scene.client.host}/v2/{repository}/blobs/uploads/")
        assert answer.status_code == 202
        await client.patch(
            httpx.URL(f"http://{scene.client.host}").join(answer.headers["location"]),
            content=b"half",
            headers={"Content-Type": "application/octet-stream"},
        )
    (made,) = set(scene.storage.repositories.glob("*/_uploads/*")) - before
    return made
