"""Making the images that are missing or whose sources changed, and writing the lock: what `up` does first."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from binderops.errors import ImageError
from binderops.images.buildbase import prepare_build_base
from binderops.images.context import assemble, source_digest
from binderops.images.definitions import (
    BASE,
    CHILDREN,
    REPOSITORY,
    SUITE,
    ImageDefinition,
    Sources,
    clone_of_this_project,
)
from binderops.images.engine import ImageEngine
from binderops.images.lockfile import ImageLock, PinnedImage
from binderops.images.machine import MachineSettings
from binderops.images.mutex import exclusive
from binderops.images.own import OwnImage
from binderops.images.packages import write_machine_folder
from binderops.images.places import ImagePlaces
from binderops.images.programs import end_leftovers
from binderops.images.progress import ProgressCallback, Reporter
from binderops.images.pruning import prune
from binderops.images.reach import refuse_silent, sources_of
from binderops.images.rootfs import REPOSITORY_OF_ROOT, make_root, pull_root, root_options

_STEP = re.compile(r"STEP (\d+)/(\d+): (.*)")
_BUILD_SECONDS = 1800.0
_WAIT_SECONDS = 3600.0


async def build_images(
    state: Path,
    *,
    progress: ProgressCallback,
    settings: MachineSettings,
    sources: Sources | None = None,
    pulled_root: str | None = None,
    own: Sequence[OwnImage] = (),
    deployed: Collection[str] | None = None,
) -> ImageLock:
    """Build what is missing or changed into STATE/images/storage, prepare the build pods' base, and write the lock.

    Where something was built, images of earlier sources go (`pruning`) that are not among `deployed`, the digests of
    what environments may still run; None: that is not known, and all stay.

    `own` are the operator's (`own.own_images`), built after the platform's in the order given.

    An image is kept while the digest over its files, its parent and its options is the same: a second run takes about
    a second. `pulled_root` names an image to start from instead of a root filesystem made here (option `--base`; not
    tried where this was written, since no registry of images was in reach). Only one build runs at a time; an
    interrupted one leaves nothing that the next does not remove. Raises ImageError.
    """
    sources = sources or clone_of_this_project()
    places = ImagePlaces(state)
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    places.root.mkdir(exist_ok=True, mode=0o700)
    reporter = Reporter(progress)

    def waiting() -> None:
        reporter.tell("images", "building", "waiting for another command that builds images")

    async with exclusive(places.mutex, timeout_seconds=_WAIT_SECONDS, waiting=waiting):
        for name in await end_leftovers({"podman", "mmdebstrap"}, mentioned=places.work):
            reporter.tell("images", "building", f"ended {name}, left by a command that was killed")
        engine = ImageEngine(places)
        await engine.prepare()
        for why in engine.torn:
            reporter.tell("images", "building", f"one was not whole on the disk and is built anew: {why}")
        write_machine_folder(engine.machine_folder, settings, suite=SUITE)
        builder = _Builder(engine=engine, sources=sources, reporter=reporter)
        await builder.refuse_without_network(settings, pulled_root)
        try:
            base = await builder.base(settings, pulled_root)
            lock = ImageLock({**(await builder.children(base)).images, **(await builder.own(own))})
            if deployed is not None and builder.has_built:
                pinned = {image.digest for image in lock.images.values()}
                await prune(engine, deployed={*deployed, *pinned}, now=builder.names, reporter=reporter)
        finally:
            shutil.rmtree(places.work, ignore_errors=True)
            # It holds this machine's index, and perhaps a password in its address.
            shutil.rmtree(engine.machine_folder, ignore_errors=True)
        lock.write(places.lock_file)
        return lock


class _Builder:
    """Builds the images of one run."""

    def __init__(self, *, engine: ImageEngine, sources: Sources, reporter: Reporter) -> None:
        self._engine = engine
        self._sources = sources
        self._reporter = reporter
        self._digests: dict[str, str] = {}
        self.has_built = False

    @property
    def names(self) -> set[str]:
        """The images of today's sources, by the tag that tells them."""
        return {f"{REPOSITORY}/{name}:{digest[:12]}" for name, digest in self._digests.items()}

    async def refuse_without_network(self, settings: MachineSettings, pulled_root: str | None) -> None:
        """Raise ImageError where something must be built and what it is made from does not answer.

        What an earlier build of the same image left in the cache spares it Debian's and npm's packages.
        """
        needed = [image for image, tag in self._tags(pulled_root).items() if await self._engine.digest(tag) is None]
        if not needed:
            return
        new = [image for image in needed if await self._engine.digest(f"{REPOSITORY}/{image}:latest") is None]
        self._reporter.tell("images", "building", "asking the package indexes")
        places = sources_of(settings, debian=bool(new) and not pulled_root, npm="platform" in new)
        await refuse_silent(places, settings)

    def _tags(self, pulled_root: str | None) -> dict[str, str]:
        """Image name -> the tag under which today's sources are found when they are built."""
        files = self._sources.files(BASE)
        parent = source_digest({"packages.txt": files["packages.txt"]}, parent="", options=root_options(pulled_root))
        root = f"{REPOSITORY_OF_ROOT}:{parent[:12]}"
        base = source_digest(files, parent=parent, options={"ROOT": root})
        tags = {"debian": root, BASE.name: f"{BASE.repository}:{base[:12]}"}
        for image in CHILDREN:
            digest = source_digest(self._sources.files(image), parent=base, options=self._arguments(image))
            tags[image.name] = f"{image.repository}:{digest[:12]}"
        return tags

    def _arguments(self, image: ImageDefinition) -> dict[str, str]:
        extras = " ".join(self._sources.extras(image))
        return {"EXTRAS": extras} if extras else {}

    async def base(self, settings: MachineSettings, pulled_root: str | None) -> str:
        """Return the source digest of the base, which is there afterwards."""
        files = self._sources.files(BASE)
        options = root_options(pulled_root)
        root_digest = source_digest({"packages.txt": files["packages.txt"]}, parent="", options=options)
        root = f"{REPOSITORY_OF_ROOT}:{root_digest[:12]}"
        if await self._engine.digest(root) is not None:
            self._reporter.tell("debian", "kept")
        else:
            if pulled_root:
                await pull_root(self._engine, tag=root, reference=pulled_root, reporter=self._reporter)
            else:
                packages = files["packages.txt"].read_text(encoding="utf-8").split()
                await make_root(self._engine, tag=root, packages=packages, settings=settings, reporter=self._reporter)
            self._reporter.tell("debian", "built")
        return await self._image(BASE, parent=root_digest, arguments={"ROOT": root})

    async def children(self, base: str) -> ImageLock:
        """Build the images that stand on the base, side by side, and what build pods mount of them."""
        try:
            async with asyncio.TaskGroup() as group:
                tasks = {image.name: group.create_task(self._child(image, base)) for image in CHILDREN}
                # The largest image takes longest, and build pods need nothing of it.
                notebook, build = await tasks["notebook"], await tasks["build"]
                needed = ImageLock({"notebook": notebook, "build": build})
                await prepare_build_base(self._engine, needed, reporter=self._reporter)
        except BaseExceptionGroup as failed:
            # One reason is enough to act on; the others were cancelled, or fail for the same.
            reasons = failed.subgroup(ImageError)
            raise (reasons or failed).exceptions[0] from None
        return ImageLock({name: task.result() for name, task in tasks.items()})

    async def own(self, images: Sequence[OwnImage]) -> dict[str, PinnedImage]:
        """Build the operator's images, one after the other: each may start from those before it."""
        built: dict[str, PinnedImage] = {}
        for image in images:
            parent = "\n".join(f"{name} {self._digests[name]}" for name in image.parents)
            # An image from elsewhere is fetched once; one that must not move is named by digest.
            await self._made(image.name, image.files, parent=parent, arguments={}, pull="missing")
            built[image.name] = await self._pinned(image.repository)
        return built

    async def _child(self, image: ImageDefinition, base: str) -> PinnedImage:
        await self._image(image, parent=base, arguments=self._arguments(image))
        return await self._pinned(image.repository)

    async def _pinned(self, repository: str) -> PinnedImage:
        return PinnedImage(repository, await self._engine.digest(f"{repository}:latest") or "")

    async def _image(self, image: ImageDefinition, *, parent: str, arguments: Mapping[str, str]) -> str:
        return await self._made(
            image.name, self._sources.files(image), parent=parent, arguments=arguments, pull="never"
        )

    async def _made(
        self, name: str, files: Mapping[str, Path], *, parent: str, arguments: Mapping[str, str], pull: str
    ) -> str:
        """Build one image unless it is there; returns the digest over its sources."""
        repository = f"{REPOSITORY}/{name}"
        digest = self._digests[name] = source_digest(files, parent=parent, options=arguments)
        # The tag by source keeps a former image, and its digest, when the sources go back and forth.
        tag, latest = f"{repository}:{digest[:12]}", f"{repository}:latest"
        if await self._engine.digest(tag) is None:
            context = self._engine.places.work / name
            assemble(files, context)
            await self._podman_build(name, context, tag=tag, digest=digest, arguments=arguments, pull=pull)
            self.has_built = True
            self._reporter.tell(name, "built")
        else:
            self._reporter.tell(name, "kept")
        await self._engine.podman("tag", tag, latest, what=f"naming the image {name}")
        return digest

    async def _podman_build(
        self, name: str, context: Path, *, tag: str, digest: str, arguments: Mapping[str, str], pull: str
    ) -> None:
        def follow(line: str) -> None:
            if step := _STEP.match(line):
                number, total, instruction = step.groups()
                doing = instruction.removeprefix("RUN . /run/machine/environment; ")
                self._reporter.tell(name, "building", doing, step=int(number), steps=int(total))

        await self._engine.podman(
            "build",
            "--tag", tag,
            "--label", f"binderops.dev/source={digest}",
            f"--pull={pull}",
            "--network", "host",
            "--isolation", "oci",
            *(part for key, value in arguments.items() for part in ("--build-arg", f"{key}={value}")),
            str(context),
            what=f"building the image {name}",
            timeout_seconds=_BUILD_SECONDS,
            on_line=follow,
        )  # fmt: skip
