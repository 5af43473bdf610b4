"""What build pods mount read-only: the notebook base once more, owned by their user ids, and its layers as pushed.

A build pod has a user namespace of its own, and sees the files of the machine's image store as nobody's. So the base is
unpacked a second time, inside a namespace with the same range. Beside it lies the base as an OCI layout: its layers
compressed once, so that a build neither compresses nor, where the registry has them, uploads them.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from binderops.images.definitions import REPOSITORY
from binderops.images.engine import ImageEngine
from binderops.images.lockfile import ImageLock
from binderops.images.progress import Reporter
from binderops.podman.tears import torn_images

NAME = "build-base"
# Inside the store that pods mount: containers/storage ignores what it does not know.
LAYOUT = "oci-layout"
USER_IDS = "0:200000:65536"
_NOTEBOOK = f"{REPOSITORY}/notebook:latest"
_KEPT_VERSIONS = 2
# Unpacked again the image has another digest; so the pinned one's first digits are a tag (binderops.build knows).
_UNPACK = f"""
set -eu
buildah() {{ command buildah --root /base --runroot /tmp/run --storage-driver overlay "$@"; }}
id=$(buildah pull --quiet oci:/base/{LAYOUT}:notebook)
buildah tag "$id" {_NOTEBOOK} "{REPOSITORY}/notebook:$1"
"""


async def prepare_build_base(engine: ImageEngine, lock: ImageLock, *, reporter: Reporter) -> None:
    """Make `build-base/storage` hold the notebook image of `lock`; running builds keep the one that they mounted."""
    root = engine.places.build_base
    version = lock.images["notebook"].digest.removeprefix("sha256:")[:12]
    link = engine.places.build_base_storage
    if link.is_symlink() and link.readlink() == Path(version) and _is_whole(root / version, engine):
        reporter.tell(NAME, "kept")
        return
    root.mkdir(parents=True, exist_ok=True, mode=0o711)
    target = root / version
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(mode=0o755)
    reporter.tell(NAME, "building", "compressing the notebook base", step=1, steps=2)
    await engine.podman(
        "push", "--quiet", _NOTEBOOK, f"oci:{target / LAYOUT}:notebook",
        what="compressing the notebook base", timeout_seconds=600,
    )  # fmt: skip
    reporter.tell(NAME, "building", "unpacking it for build pods", step=2, steps=2)
    _give(target, int(USER_IDS.split(":")[1]))
    await engine.podman(
        "run", "--rm", "--pull=never", "--network", "none",
        "--uidmap", USER_IDS, "--gidmap", USER_IDS, "--cap-add", "SYS_ADMIN",
        "--security-opt", "seccomp=unconfined",
        # Where AppArmor is in force, its default profile for containers forbids to mount.
        "--security-opt", "apparmor=unconfined", "--volume", f"{target}:/base",
        lock.images["build"].reference, "bash", "-c", _UNPACK, "unpack", version,
        what="unpacking the notebook base for build pods", timeout_seconds=600,
    )  # fmt: skip
    (target / "complete").touch()
    _point(link, version)
    _remove_old(root, keep=version)
    reporter.tell(NAME, "built")


def _is_whole(target: Path, engine: ImageEngine) -> bool:
    return (target / "complete").exists() and not torn_images(target, files=engine.restarted)


def _give(folder: Path, uid: int) -> None:
    for path in (folder, *folder.rglob("*")):
        shutil.chown(path, uid, uid)


def _point(link: Path, version: str) -> None:
    new = link.with_name(".storage.new")
    new.unlink(missing_ok=True)
    new.symlink_to(version)
    new.replace(link)


def _remove_old(root: Path, *, keep: str) -> None:
    versions = sorted((p for p in root.iterdir() if p.is_dir() and not p.is_symlink()), key=lambda p: p.stat().st_mtime)
    for old in versions[:-_KEPT_VERSIONS]:
        if old.name != keep:
            shutil.rmtree(old)
