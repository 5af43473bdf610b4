"""The OCI runtime of RUN steps: refuses what they may not see, adds variables and a read-only mount, becomes runc.

buildah follows links in what a Dockerfile names as the source of a mount, and takes `..` in a cache's name at its word,
so that a step could be given any folder of the build pod. Here each source is looked up where it really lies, by the
kernel's own list of mounts, and handed to runc as that. Nothing of the repository runs meanwhile that could move it.

Run as a script by the wrapper that `machine` writes, without site packages: standard library only, a few milliseconds.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

# What buildah mounts that has no source of this pod's.
_WITHOUT_SOURCE = frozenset({"proc", "tmpfs", "devpts", "mqueue", "sysfs", "cgroup", "cgroup2"})
# What buildah itself makes for a step, below its folder for temporary files and below its store.
_OWN_FILES = re.compile(r"buildah\d+/(resolv\.conf|hosts|hostname|run/\.containerenv)|buildah-cache(-\d+)?/.+")
_VOLUMES = re.compile(
    r"overlay-containers/[0-9a-f]{64}/userdata/(buildah-volumes/[0-9a-f]{64}|overlay/\d+/(upper|work))"
)
_ROOTS = re.compile(r"overlay/[0-9a-f]{64}/merged")
_OCTAL = re.compile(r"\\([0-7]{3})")


class MountError(Exception):
    """A step may not have what it asks for; the text is for the log of the build."""


class Place(NamedTuple):
    """Where a path really lies: on which file system (`major:minor`), and at which path of that."""

    device: str
    path: PurePosixPath

    def below(self, other: Place) -> str | None:
        """The path from `other` to here, empty for the same; None where this lies elsewhere."""
        if self.device != other.device or not self.path.is_relative_to(other.path):
            return None
        return str(self.path.relative_to(other.path)).removeprefix(".")


class Mounts(NamedTuple):
    """What is mounted where, as /proc/self/mountinfo says (proc(5))."""

    places: tuple[tuple[PurePosixPath, Place], ...]

    @classmethod
    def parse(cls, mountinfo: str) -> Mounts:
        """Read the file's text."""
        lines = (line.split(" ") for line in mountinfo.splitlines())
        return cls(tuple((_path(at), Place(device, _path(root))) for _, _, device, root, at, *_ in lines))

    def place(self, path: str) -> Place:
        """Where an absolute path lies; links in it are followed."""
        real = PurePosixPath(os.path.realpath(path))
        # Of those at one path the last is on top.
        point, place = max(
            ((point, place) for point, place in self.places if real.is_relative_to(point)),
            key=lambda found: len(found[0].parts),
            default=(PurePosixPath("/"), Place("", PurePosixPath("/"))),
        )
        for at, covering in self.places:
            if at == point:
                place = covering
        return Place(place.device, place.path / real.relative_to(point))

    def roots(self, storage: str) -> Iterator[Place]:
        """The file systems of this build's containers and of the images that it mounts: whatever is in them."""
        for at, place in self.places:
            if at.is_relative_to(storage) and _ROOTS.fullmatch(str(at.relative_to(storage))):
                yield Place(place.device, PurePosixPath("/"))


class Shown:
    """What of this pod a step may be shown: its context, this build's images, caches and volumes."""

    def __init__(self, settings: dict[str, Any], mounts: Mounts) -> None:
        self._mounts = mounts
        self._whole = [*mounts.roots(settings["storage"]), *(mounts.place(path) for path in settings["whole"])]
        self._in_part = [
            (mounts.place(settings["temporary"]), _OWN_FILES),
            (mounts.place(settings["storage"]), _VOLUMES),
        ]

    def __contains__(self, path: str) -> bool:
        place = self._mounts.place(path)
        return any(place.below(allowed) is not None for allowed in self._whole) or any(
            (inner := place.below(folder)) is not None and form.fullmatch(inner) is not None
            for folder, form in self._in_part
        )


def check(configuration: dict[str, Any], settings: dict[str, Any], mounts: Mounts) -> None:
    """Raise MountError for a mount of more than a step may be shown, and /sys; make sources real paths."""
    shown = Shown(settings, mounts)
    for mount in configuration.get("mounts", []):
        kind, target, options = mount.get("type", ""), mount["destination"], mount.get("options") or []
        if kind == "bind" or "bind" in options or "rbind" in options:
            is_sys = target == "/sys" and mounts.place(mount["source"]) == mounts.place("/sys")
            if not is_sys and mount["source"] not in shown:
                # Not where it leads to: that path is the machine's.
                raise MountError(
                    f"the mount at {target} is refused: its source leads out of the build's context, stages and caches "
                    "(by a link, or by .. in a name)"
                )
            mount["source"] = os.path.realpath(mount["source"])
        elif kind == "overlay":
            if not all(path in shown for path in _layers(target, options)):
                raise MountError(f"the volume at {target} is refused: its content lies outside of the build's images")
        elif kind not in _WITHOUT_SOURCE:
            raise MountError(f"the mount at {target} is refused: builds have no mounts of type {kind}")


def _layers(target: str, options: list[str]) -> Iterator[str]:
    """The folders that an overlay is made of: what buildah makes of a VOLUME, whose name the image chooses."""
    for option in options:
        name, is_set, value = option.partition("=")
        # A comma would begin another option, a colon another folder.
        if any(sign in option for sign in ",:\\") or (is_set and name not in {"lowerdir", "upperdir", "workdir"}):
            raise MountError(f"the volume at {target} is refused: its name means something else to the kernel")
        if is_set:
            yield value


def add_to(configuration: dict[str, Any], settings: dict[str, Any]) -> None:
    """Change an OCI runtime configuration in place; a variable that the image sets itself keeps its value."""
    environment = configuration["process"].setdefault("env", [])
    there = {entry.partition("=")[0] for entry in environment}
    environment += [f"{name}={value}" for name, value in settings["env"].items() if name not in there]
    if not settings["source"]:
        return
    configuration.setdefault("mounts", []).append(
        {
            "destination": settings["target"],
            "type": "bind",
            "source": settings["source"],
            "options": ["bind", "ro", "nosuid", "nodev", "rprivate"],
        }
    )


def main(arguments: list[str]) -> None:
    """`runtime.py SETTINGS RUNC-ARGUMENTS…`."""
    path, *passed = arguments
    bundle = Path(_bundle(passed)) / "config.json"
    configuration, settings = json.loads(bundle.read_text()), json.loads(Path(path).read_text())
    try:
        check(configuration, settings, Mounts.parse(Path("/proc/self/mountinfo").read_text()))
    except MountError as error:
        sys.exit(str(error))
    add_to(configuration, settings)
    bundle.write_text(json.dumps(configuration))
    os.execvp("runc", ["runc", *passed])  # noqa: S606


def _path(escaped: str) -> PurePosixPath:
    return PurePosixPath(_OCTAL.sub(lambda found: chr(int(found.group(1), 8)), escaped))


def _bundle(arguments: list[str]) -> str:
    for number, argument in enumerate(arguments):
        if argument in {"--bundle", "-b"}:
            return arguments[number + 1]
        if argument.startswith("--bundle="):
            return argument.partition("=")[2]
    return "."


if __name__ == "__main__":
    main(sys.argv[1:])
