"""Images by the real engine: built once, kept, rebuilt when sources change, found by digest from another store."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from tests.disks import fail, fill_but, repair, small_disk

from binderops.cli.disk import with_disk_named
from binderops.cli.images import publish_all
from binderops.delivery.progress import Silent, Step
from binderops.errors import ImageError
from binderops.images import (
    ImagePlaces,
    MachineSettings,
    build_images,
    own_images,
    publish_images,
    read_lock,
    remove_images,
)
from binderops.images.context import source_digest
from binderops.images.definitions import BASE, CHILDREN, Sources
from binderops.images.engine import ImageEngine
from binderops.images.progress import ImageProgress
from binderops.images.rootfs import REPOSITORY_OF_ROOT, root_options
from binderops.podman.tears import torn_images
from binderops.state.layers import read_layers

pytestmark = [pytest.mark.podman, pytest.mark.root]


@pytest.fixture
def project(tmp_path: Path) -> Sources:
    """A project whose images hold one file each: no program runs while they are built."""
    root = tmp_path / "project"
    for image in (BASE, *CHILDREN):
        folder = root / "images" / image.name
        folder.mkdir(parents=True)
        start = "ARG ROOT\nFROM ${ROOT}" if image is BASE else "FROM localhost/binderops/base"
        (folder / "Containerfile").write_text(f"{start}\nCOPY content /{image.name}\n")
        (folder / "content").write_text("one")
        for room in image.rooms:
            (root / "src/binderops" / room).mkdir(parents=True, exist_ok=True)
    (root / "images/base/packages.txt").write_text("none\n")
    for name in ("__init__.py", "errors.py", "py.typed"):
        (root / "src/binderops" / name).touch()
    (root / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    for name in ("uv.lock", "LICENSE", "README.md"):
        (root / name).touch()
    return Sources(root)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """For the state of the tests that ask for it."""
    with small_disk(tmp_path, 64 << 20) as mounted:
        yield mounted


@pytest.fixture
async def state(request: pytest.FixtureRequest, tmp_path: Path, project: Sources) -> AsyncIterator[Path]:
    """A state folder whose root filesystem is there already, so that no Debian is downloaded."""
    state = (request.getfixturevalue("disk") if "disk" in request.fixturenames else tmp_path) / "state"
    engine = ImageEngine(ImagePlaces(state))
    await engine.prepare()
    archive = tmp_path / "root.tar"
    with tarfile.open(archive, "w") as tar:
        entry = tarfile.TarInfo("etc/root")
        entry.size = 4
        tar.addfile(entry, io.BytesIO(b"root"))
    packages = project.files(BASE)["packages.txt"]
    digest = source_digest({"packages.txt": packages}, parent="", options=root_options(None))
    await engine.podman("import", "--quiet", str(archive), f"{REPOSITORY_OF_ROOT}:{digest[:12]}", what="importing")
    yield state
    await remove_images(state)


def run(arguments: list[str], environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(arguments, env=environment, capture_output=True, timeout=60, check=False)


async def build(state: Path, project: Sources) -> dict[str, str]:
    """Build, and return how each image came out. Its tiny build image cannot unpack a base for build pods."""
    told: list[ImageProgress] = []
    with pytest.raises(ImageError, match="unpacking the notebook base"):
        await build_images(state, progress=told.append, settings=MachineSettings(), sources=project)
    return {event.image: event.state for event in told if event.state != "building"}


async def test_built_kept_rebuilt(state: Path, project: Sources) -> None:
    all_built = {image.name: "built" for image in (BASE, *CHILDREN)}
    assert await build(state, project) == {"debian": "kept", **all_built}
    engine = ImageEngine(ImagePlaces(state))
    first = {image.name: await engine.digest(f"{image.repository}:latest") for image in (BASE, *CHILDREN)}
    assert all(first.values())

    assert set((await build(state, project)).values()) == {"kept"}

    (project.root / "images/notebook/content").write_text("two")
    assert {name for name, how in (await build(state, project)).items() if how == "built"} == {"notebook"}
    assert await engine.digest("localhost/binderops/notebook:latest") != first["notebook"]

    (project.root / "images/notebook/content").write_text("one")
    assert set((await build(state, project)).values()) == {"kept"}
    assert await engine.digest("localhost/binderops/notebook:latest") == first["notebook"]

    (project.root / "images/base/content").write_text("two")
    outcome = await build(state, project)
    assert {name for name, how in outcome.items() if how == "kept"} == {"debian"}


async def test_what_a_power_cut_tore_is_built_anew(state: Path, project: Sources) -> None:
    await build(state, project)
    places = ImagePlaces(state)
    images = json.loads((places.storage / "overlay-images/images.json").read_bytes())
    layer = next(each["layer"] for each in images if "localhost/binderops/notebook:latest" in (each.get("names") or []))
    (places.storage / "overlay" / layer / "diff/notebook").write_text("")  # written back too late
    (places.configuration / "boot-id").write_text("the run before\n")
    outcome = await build(state, project)
    assert {name for name, how in outcome.items() if how == "built"} == {"notebook"}
    assert torn_images(places.storage, files=True) == {}


@pytest.mark.parametrize("disaster", ["full", "read-only"])
async def test_a_disk_that_takes_no_more_is_named_and_the_next_build_goes_on(
    disk: Path, state: Path, project: Sources, disaster: str
) -> None:
    (project.root / "images/notebook/content").write_bytes(os.urandom(4 << 20))
    engine = ImageEngine(ImagePlaces(state))
    (root,) = await engine.podman("image", "ls", "--quiet", what="listing")
    if disaster == "full":
        fill_but(disk / "others", 3 << 20)
    else:
        os.sync()  # what was not written yet would be torn afterwards, and rightly made anew
        fail(disk)
    with pytest.raises((ImageError, OSError)) as refused:
        await build_images(state, progress=lambda _: None, settings=MachineSettings(), sources=project)
    told = str(with_disk_named(refused.value))
    assert ("no space left" if disaster == "full" else "read-only") in told.lower() and "df -h" in told
    if disaster == "full":
        (disk / "others").unlink()
    else:
        repair(disk)
    outcome = await build(state, project)
    assert outcome["debian"] == "kept" and outcome["notebook"] == "built"
    assert root in await engine.podman("image", "ls", "--quiet", what="listing")


async def test_a_silent_index_is_named_before_anything_is_built_and_never_asked_when_all_is_there(
    state: Path, project: Sources
) -> None:
    silent = MachineSettings(pip_index="http://127.0.0.1:9/simple")
    told: list[ImageProgress] = []
    with pytest.raises(ImageError, match="the Python package index does not answer"):
        await build_images(state, progress=told.append, settings=silent, sources=project)
    assert {event.image for event in told} == {"images"}
    await build(state, project)
    with pytest.raises(ImageError, match="unpacking the notebook base"):
        await build_images(state, progress=told.append, settings=silent, sources=project)


async def test_a_node_finds_an_image_by_digest_in_its_additional_store(
    state: Path, project: Sources, tmp_path: Path
) -> None:
    await build(state, project)
    engine = ImageEngine(ImagePlaces(state))
    digest = await engine.digest("localhost/binderops/platform:latest")
    node = tmp_path / "node"
    node.mkdir()
    (node / "storage.conf").write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{node}/storage"\nrunroot = "{node}/run"\n'
        f'[storage.options]\nadditionalimagestores = ["{state}/images/storage"]\n'
    )
    environment = {**os.environ, "CONTAINERS_STORAGE_CONF": str(node / "storage.conf")}

    def exists(reference: str) -> bool:
        return run(["podman", "image", "exists", reference], environment).returncode == 0

    try:
        assert exists(f"localhost/binderops/platform@{digest}")
        assert not exists(f"localhost/binderops/platform@sha256:{'0' * 64}")
    finally:
        run(["umount", f"{node}/storage/overlay"])


async def test_a_broken_image_says_why_and_leaves_the_others(state: Path, project: Sources) -> None:
    (project.root / "images/notebook/Containerfile").write_text("FROM localhost/binderops/base\nCOPY missing /x\n")
    with pytest.raises(ImageError) as failed:
        await build_images(state, progress=lambda _: None, settings=MachineSettings(), sources=project)
    assert failed.value.what == "building the image notebook failed"
    assert "missing" in str(failed.value.why)
    assert not ImagePlaces(state).lock_file.exists()
    assert list(ImagePlaces(state).root.glob("work")) == []


async def test_what_an_interrupted_build_left_is_removed(state: Path) -> None:
    engine = ImageEngine(ImagePlaces(state))
    root = next(line for line in await engine.podman("image", "ls", "--quiet", what="x") if line)
    environment = engine._environment()
    engine.machine_folder.mkdir()
    left = run(["buildah", "from", "--pull-never", root], environment)
    assert left.returncode == 0, left.stderr
    (engine.places.work / "half").write_text("")
    await engine.prepare()
    assert await engine.podman("container", "ls", "--all", "--external", "--quiet", what="x") == []
    assert not (engine.places.work / "half").exists()


async def test_the_engine_keeps_its_accounts_in_its_own_folder(state: Path) -> None:
    """Podman's default is /run/libpod, which would stay when a deployment is purged."""
    assert (ImagePlaces(state).run / "libpod/events/events.log").read_text()


async def test_removal_leaves_nothing(state: Path) -> None:
    await remove_images(state)
    assert not (state / "images").exists()
    assert str(state) not in Path("/proc/self/mountinfo").read_text()


async def _nothing(*_: object, **__: object) -> None:
    """In place of the build pods' base, which these tiny images cannot unpack."""


async def test_own_images_are_built_after_the_platforms_and_follow_what_they_start_from(
    state: Path, project: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("binderops.images.building.prepare_build_base", _nothing)
    root = tmp_path / "repository"
    for name, start in {"tool": "base", "above": "tool"}.items():
        (root / "images" / name).mkdir(parents=True)
        (root / "images" / name / "Dockerfile").write_text(f"FROM localhost/binderops/{start}\nCOPY {name} /{name}\n")
        (root / "images" / name / name).write_text("one")

    async def outcome() -> set[str]:
        told: list[ImageProgress] = []
        own = own_images(root, sources=project)
        lock = await build_images(state, progress=told.append, settings=MachineSettings(), sources=project, own=own)
        assert set(lock.images) == {"platform", "notebook", "build", "tool", "above"}
        assert read_lock(ImagePlaces(state).lock_file) == lock
        return {event.image for event in told if event.state == "built"}

    assert {"tool", "above"} <= await outcome()
    assert await outcome() == set()
    (root / "images/above/above").write_text("two")
    assert await outcome() == {"above"}
    (root / "images/tool/tool").write_text("two")
    assert await outcome() == {"tool", "above"}
    (project.root / "images/base/content").write_text("two")
    assert {"base", "tool", "above"} <= await outcome()
    (project.root / "images/notebook/content").write_text("two")
    assert await outcome() == {"notebook"}


class Said(Silent):
    """What an action says on its way."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def say(self, step: str, text: str, *, fraction: float | None = None) -> None:
        self.texts.append(text)


async def test_published_images_are_locked_by_the_digest_that_the_registry_has(
    state: Path, project: Sources, registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operator's own among them, as `images publish` does it: the lock lies in the repository, and is placed."""
    monkeypatch.setattr("binderops.images.building.prepare_build_base", _nothing)
    root, told = tmp_path / "repository", Said()
    (root / "images/tool").mkdir(parents=True)
    (root / "images/tool/Containerfile").write_text("FROM localhost/binderops/base\nCOPY tool /tool\n")
    (root / "images/tool/tool").write_text("what the operator wrote")
    own = own_images(root, sources=project)
    built = await build_images(state, progress=lambda _: None, settings=MachineSettings(), sources=project, own=own)
    target = f"{registry}/example/binder"
    digests = await publish_all(root, state, target, credentials=None, insecure=True, step=Step(told, "publish"))
    lock = read_lock(root / "images.lock.yaml")
    assert set(lock.images) == set(built.images) == {"platform", "notebook", "build", "tool"}
    assert digests == {name: image.digest for name, image in lock.images.items()}
    assert {text.partition(": ")[0] for text in told.texts} >= set(lock.images)
    accepted = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    async with httpx.AsyncClient(base_url=f"http://{registry}/v2/example/binder/", headers=accepted) as client:
        for name, image in lock.images.items():
            assert image.repository == f"{target}/{name}"
            answer = await client.get(f"{name}/manifests/{image.digest}")
            assert (answer.status_code, answer.headers["docker-content-digest"]) == (200, image.digest)
        layers = (await client.get(f"tool/manifests/{lock.images['tool'].digest}")).json()["layers"]
        blob = (await client.get(f"tool/blobs/{layers[-1]['digest']}")).content
    with tarfile.open(fileobj=io.BytesIO(blob)) as archive:
        file = archive.extractfile("tool")
        assert file and file.read() == b"what the operator wrote"

    places = {"tool": ["extra.tool.image"]}
    layers = read_layers(root, [], owner="prod", generated=[root / "images.lock.yaml"], images=places)
    assert layers.merged["extra"] == {"tool": {"image": {"name": f"{target}/tool", "tag": lock.images["tool"].digest}}}
    with pytest.raises(ImageError, match="pushing the image build failed"):
        await publish_images(state, "127.0.0.1:9/x", progress=lambda _: None, insecure=True)
