"""The root filesystem that everything stands on: Debian's, made by mmdebstrap, or pulled where that is wanted."""

from __future__ import annotations

import os
from pathlib import Path

from binderops.images.definitions import REPOSITORY, SUITE
from binderops.images.engine import ImageEngine
from binderops.images.machine import MachineSettings
from binderops.images.packages import debian_sources
from binderops.images.programs import run_program
from binderops.images.progress import Reporter

REPOSITORY_OF_ROOT = f"{REPOSITORY}/debian"
# Ubuntu's own keyring does not verify Debian's archive; the package of this name does.
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_DPKG_OPTIONS = (
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/locale/*",
)
_STEPS = ("retrieving", "extracting", "essential", "remaining", "cleaning", "tarball")


def root_options(pulled: str | None) -> dict[str, str]:
    """Return what decides whether a root filesystem is still the same, besides the packages."""
    if pulled:
        return {"root": pulled}
    return {"root": "mmdebstrap", "suite": SUITE, "dpkg": " ".join(_DPKG_OPTIONS)}


async def make_root(
    engine: ImageEngine, *, tag: str, packages: list[str], settings: MachineSettings, reporter: Reporter
) -> None:
    """Make Debian's minimal root filesystem with `packages` and import it under `tag`.

    The release is always the same one, whatever the host's: images must not differ from machine to machine.
    """
    archive = engine.places.work / "root.tar"
    seen = 0

    def follow(line: str) -> None:
        nonlocal seen
        if line.startswith("I: "):
            seen = min(seen + 1, len(_STEPS) + 1)
            reporter.tell("debian", "building", line[3:], step=seen, steps=len(_STEPS) + 2)

    sources = engine.places.configuration / "sources.list"
    sources.write_text("\n".join(debian_sources(MachineSettings(), SUITE)) + "\n")
    keyring = [f"--keyring={_KEYRING}"] if _KEYRING.exists() else []
    await run_program(
        [
            "mmdebstrap",
            "--variant=minbase",
            "--mode=root",
            f"--include={','.join(packages)}",
            *(f"--dpkgopt={option}" for option in _DPKG_OPTIONS),
            *keyring,
            # The image keeps Debian's own addresses, not this machine's mirrors.
            f"--customize-hook=upload {sources} /etc/apt/sources.list",
            SUITE,
            str(archive),
            *debian_sources(settings, SUITE),
        ],
        environment=_environment(settings, engine.places.work),
        timeout_seconds=900,
        what="making Debian's root filesystem",
        on_line=follow,
    )
    reporter.tell("debian", "building", "importing", step=len(_STEPS) + 2, steps=len(_STEPS) + 2)
    await engine.podman(
        "import", "--quiet", str(archive), tag, what="importing Debian's root filesystem", timeout_seconds=300
    )
    archive.unlink()


async def pull_root(engine: ImageEngine, *, tag: str, reference: str, reporter: Reporter) -> None:
    """Pull `reference` as the root filesystem instead."""
    reporter.tell("debian", "building", f"pulling {reference}", step=1, steps=1)
    await engine.podman("pull", "--quiet", reference, what=f"pulling {reference}", timeout_seconds=600)
    await engine.podman("tag", reference, tag, what=f"naming {reference}")


def _environment(settings: MachineSettings, work: Path) -> dict[str, str]:
    environment = {"PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), "TMPDIR": str(work), "LC_ALL": "C"}
    if settings.http_proxy:
        environment["http_proxy"] = settings.http_proxy
    if settings.https_proxy:
        environment["https_proxy"] = settings.https_proxy
    if settings.no_proxy:
        environment["no_proxy"] = settings.no_proxy
    return environment
