"""Podman, with the store of the platform's images: the program, its configuration, and the few calls made here.

The platform's images are files of this repository, which the machine's owner trusts as much as this program: that is
why they may be built by the engine itself. A user's repository never is (design.md, One build, one pod).
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from binderops.images.packages import MOUNT_POINT
from binderops.images.places import ImagePlaces
from binderops.images.programs import run_program
from binderops.podman.machine import cgroup_mode, default_ulimits, oci_runtime
from binderops.podman.tears import Restarts, make_removable, torn_images

_QUICK_SECONDS = 60.0


class ImageEngine:
    """The engine of one machine's image store. Use `prepare` first, while the mutex is held."""

    def __init__(self, places: ImagePlaces) -> None:
        self.places = places
        self._containers_conf = places.configuration / "containers.conf"
        self._storage_conf = places.configuration / "storage.conf"
        self.machine_folder = places.configuration / "machine"
        self.restarted = False
        """Whether this is the first use since the machine was started: what was written last may be torn."""
        self.torn: tuple[str, ...] = ()
        """What was wrong with the images that `prepare` removed."""

    async def prepare(self) -> None:
        """Write the configuration, and remove what an interrupted build left behind."""
        for folder in (self.places.storage, self.places.configuration, self.places.run):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.rmtree(self.places.work, ignore_errors=True)
        self.places.work.mkdir(mode=0o700)
        self._containers_conf.write_text(_containers_conf(self.machine_folder, self.places))
        self._storage_conf.write_text(_storage_conf(self.places))
        left = await self.podman("container", "ls", "--all", "--external", "--quiet", what="looking for leftovers")
        if left:
            await self.podman("rm", "--force", "--time", "0", *left, what="removing leftovers")
        await self._remove_torn()

    async def _remove_torn(self) -> None:
        """Remove what a power cut tore, the steps of builds too: it is built anew."""
        restarts = Restarts(self.places.configuration / "boot-id")
        self.restarted = restarts.seen()
        torn = await asyncio.to_thread(torn_images, self.places.storage, files=self.restarted)
        if torn:
            make_removable(self.places.storage)
        for identity in torn:
            await self.podman("rmi", "--force", identity, what="removing an image that is not whole on the disk")
        self.torn = tuple(torn.values())
        restarts.note()

    async def podman(
        self,
        *arguments: str,
        what: str,
        timeout_seconds: float = _QUICK_SECONDS,
        on_line: Callable[[str], None] = lambda _: None,
    ) -> list[str]:
        """Run `podman ARGUMENTS`; raises ImageError."""
        # Even looking at an image writes below TMPDIR.
        self.places.work.mkdir(exist_ok=True, mode=0o700)
        return await run_program(
            ["podman", *arguments],
            environment=self._environment(),
            timeout_seconds=timeout_seconds,
            what=what,
            on_line=on_line,
        )

    async def digest(self, reference: str) -> str | None:
        """Return the manifest digest of an image in the store, None when there is no such image."""
        listed = await self.podman(
            "image", "ls", "--filter", f"reference={reference}", "--format", "json", what=f"looking for {reference}"
        )
        images: list[dict[str, Any]] = json.loads("\n".join(listed) or "[]")
        named = [image for image in images if reference in (image.get("Names") or [])]
        return str(named[0]["Digest"]) if named else None

    def _environment(self) -> dict[str, str]:
        passed = ("PATH", "HOME", "LANG", "http_proxy", "https_proxy", "no_proxy")
        environment = {name: os.environ[name] for name in passed if name in os.environ}
        return environment | {
            "CONTAINERS_CONF": str(self._containers_conf),
            "CONTAINERS_STORAGE_CONF": str(self._storage_conf),
            "TMPDIR": str(self.places.work),
        }


def _containers_conf(machine_folder: Path, places: ImagePlaces) -> str:
    limits = ", ".join(f'"{limit}"' for limit in default_ulimits())
    return f"""\
[containers]
default_ulimits = [{limits}]
volumes = ["{machine_folder}:{MOUNT_POINT}:ro"]
[engine]
runtime = "{oci_runtime(cgroup_mode())}"
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "{places.run}/libpod"
"""


def _storage_conf(places: ImagePlaces) -> str:
    return f"""\
[storage]
driver = "overlay"
graphroot = "{places.storage}"
runroot = "{places.run}"
"""
