"""A private engine and an image of one static program, made without any network."""

from __future__ import annotations

import asyncio
import io
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from binderops.podman import EngineSettings, Podman, start_service, stop_service
from binderops.podman.mounts import mounts, unmount

TINY = "localhost/tiny:1"
BUSYBOX = Path("/bin/busybox")
NAMES = """
sh sleep echo cat ls httpd nc id env mkdir chmod touch test true false stat kill head tail wc stty pwd hostname
df ps dd readlink wget nslookup date timeout
"""
APPLETS = NAMES.split()


def root_filesystem() -> bytes:
    """A tar: busybox, a link for each applet, /etc/passwd, /tmp."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, mode in (("bin", 0o755), ("etc", 0o755), ("tmp", 0o1777), ("home", 0o755), ("www", 0o755)):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, mode
            archive.addfile(folder)
        program = tarfile.TarInfo("bin/busybox")
        program.size, program.mode = BUSYBOX.stat().st_size, 0o755
        with BUSYBOX.open("rb") as source:
            archive.addfile(program, source)
        for applet in APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
        for name, text in (
            ("etc/passwd", "root:x:0:0::/:/bin/sh\njovyan:x:1000:100::/home:/bin/sh\n"),
            ("etc/group", "root:x:0:\nusers:x:100:\n"),
        ):
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return content.getvalue()


async def clear(settings: EngineSettings) -> None:
    """Remove all containers, end the service, unmount everything below its folders."""
    async with Podman(settings.socket) as podman:
        for container in await podman.containers.list_all():
            await podman.containers.remove(container["Id"], force=True)
    await stop_service(settings, release=True)
    for folder in (settings.folder, settings.run):
        for mount in reversed(mounts()):
            if Path(mount.point).is_relative_to(folder):
                await unmount(Path(mount.point))


@contextmanager
def private_engine(folder: Path) -> Iterator[EngineSettings]:
    """A running engine below `folder` that has the image TINY; everything is removed at the end."""
    assert BUSYBOX.exists(), "install the package busybox-static"
    # Podman's own clean-up of a container that ended, and with it its event, wants a runroot of at most 50 letters.
    run = Path(tempfile.mkdtemp(prefix="bo-", dir="/run"))
    settings = EngineSettings.of_machine(folder / "engine", run=run, shared_folders=(folder / "shared",))

    async def begin() -> None:
        await start_service(settings)
        async with Podman(settings.socket) as podman:
            await podman.images.import_archive(root_filesystem(), reference=TINY)

    asyncio.run(begin())
    try:
        yield settings
    finally:
        asyncio.run(clear(settings))
        shared = folder / "shared"
        asyncio.run(unmount(shared))
        for made in (folder, run):
            shutil.rmtree(made, ignore_errors=True)
