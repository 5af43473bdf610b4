"""Pushing this machine's images to a registry that a cluster reaches, and the lock that names them there."""

from __future__ import annotations

from pathlib import Path

from binderops.images.engine import ImageEngine
from binderops.images.lockfile import ImageLock, PinnedImage, read_lock
from binderops.images.mutex import exclusive
from binderops.images.places import ImagePlaces
from binderops.images.progress import ProgressCallback, Reporter

_PUSH_SECONDS = 1800.0
_WAIT_SECONDS = 3600.0


async def publish_images(
    state: Path,
    target: str,
    *,
    progress: ProgressCallback,
    authentication: Path | None = None,
    insecure: bool = False,
) -> ImageLock:
    """Push the images of STATE's lock to `target`/NAME and return the lock to commit as images.lock.yaml.

    `target` is a registry and a path in it, as in `quay.io/example/binder`. `authentication` is a config.json with the
    registry's credentials, by default what `podman login` or `docker login` has stored. `insecure` means plain http.
    Pushed images are compressed, so their digests there differ from those on this machine. Raises ImageError.
    """
    places = ImagePlaces(state)
    reporter = Reporter(progress)
    local = read_lock(places.lock_file)
    published: dict[str, PinnedImage] = {}

    def waiting() -> None:
        reporter.tell("images", "building", "waiting for another command that builds images")

    async with exclusive(places.mutex, timeout_seconds=_WAIT_SECONDS, waiting=waiting):
        engine = ImageEngine(places)
        await engine.prepare()
        for name, image in sorted(local.images.items()):
            repository = f"{target.rstrip('/')}/{name}"
            reporter.tell(name, "building", f"pushing to {repository}", step=1, steps=1)
            digest_file = places.work / f"{name}.digest"
            await engine.podman(
                "push",
                "--quiet",
                f"--digestfile={digest_file}",
                f"--tls-verify={str(not insecure).lower()}",
                *([f"--authfile={authentication}"] if authentication else []),
                image.reference,
                f"{repository}:{image.digest.removeprefix('sha256:')[:12]}",
                what=f"pushing the image {name}",
                timeout_seconds=_PUSH_SECONDS,
            )
            published[name] = PinnedImage(repository, digest_file.read_text(encoding="utf-8").strip())
            reporter.tell(name, "built", repository)
    return ImageLock(published)
