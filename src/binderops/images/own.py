"""The operator's own images: what lies under images/ of a deployment's repository beside the platform's.

They are built after the platform's and with the same engine: like those, they are files that the machine's owner
trusts. A user's repository never gets here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from binderops.errors import ImageError
from binderops.images.context import source_digest
from binderops.images.definitions import BASE, CHILDREN, REPOSITORY, Sources

RECIPES = ("Containerfile", "Dockerfile")
PLATFORM = tuple(image.name for image in (BASE, *CHILDREN))
_RESERVED = (*PLATFORM, "debian")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_OF_THIS_MACHINE = re.compile(rf"(?<![\w./-]){re.escape(REPOSITORY)}/([a-z0-9-]+)")


@dataclass(frozen=True)
class OwnImage:
    """One image: its name, the files of its build by their path in the context, and the images here that it uses."""

    name: str
    recipe: str
    files: dict[str, Path]
    parents: tuple[str, ...]

    @property
    def repository(self) -> str:
        """The name that it is built under."""
        return f"{REPOSITORY}/{self.name}"


def own_images(root: Path, *, sources: Sources) -> list[OwnImage]:
    """The images of the repository at `root` that are not the platform's, each after those that it starts from.

    `sources` is the project that the platform's images are built from. Raises ImageError for a folder that is no
    image, or that takes a name of the platform's for something else.
    """
    folders = sorted(path for path in (root / "images").glob("*") if path.is_dir() and any(path.iterdir()))
    found = {folder.name: _read(folder) for folder in folders if not _is_the_platforms(folder, sources)}
    for image in found.values():
        unknown = [parent for parent in image.parents if parent not in found and parent not in PLATFORM]
        if unknown:
            raise ImageError(
                f"the image {image.name} starts from {REPOSITORY}/{unknown[0]}, which is no image here",
                where=f"images/{image.name}/{image.recipe}",
                hint=f"images here: {', '.join([*PLATFORM, *found])}",
            )
    try:
        order = TopologicalSorter({name: image.parents for name, image in found.items()}).static_order()
        return [found[name] for name in order if name in found]
    except CycleError as error:
        raise ImageError(
            "images start from one another in a circle", where="images/", why=" → ".join(error.args[1])
        ) from None


def refuse_unplaced(images: Iterable[OwnImage], named: Iterable[str]) -> None:
    """Raise ImageError where binderops.yaml's `images` (the names in `named`) and the folders disagree."""
    folders, known = [image.name for image in images], list(named)
    for name in folders:
        if name not in known:
            raise ImageError(
                f"no place in the values for the image {name}",
                where="binderops.yaml: images",
                why=f"images/{name} is there, and nothing says where its digest is written to",
                hint=f"add `{name}: [extra.{name}.image]`",
            )
    for name in known:
        if name not in folders and name not in PLATFORM:
            raise ImageError(
                f"there is no image {name}",
                where="binderops.yaml: images",
                why=f"images/{name} holds no {' or '.join(RECIPES)}",
                hint=f"write images/{name}/{RECIPES[0]}, or take the line out",
            )


def _read(folder: Path) -> OwnImage:
    if not _NAME.fullmatch(folder.name) or folder.name in _RESERVED:
        raise ImageError(
            f"an image cannot be named {folder.name}",
            where=f"images/{folder.name}",
            why=f"{', '.join(_RESERVED)} are the platform's; names are small letters, digits and dashes",
            hint="give it another name",
        )
    files = {path.relative_to(folder).as_posix(): path for path in _files(folder)}
    recipe = next((name for name in RECIPES if name in files), None)
    if recipe is None:
        raise ImageError(
            f"the image {folder.name} cannot be built: it has no {' or '.join(RECIPES)}",
            where=f"images/{folder.name}",
            hint="write one, or move the folder out of images/",
        )
    text = files[recipe].read_text(encoding="utf-8", errors="replace")
    used = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    parents = sorted({name for line in used for name in _OF_THIS_MACHINE.findall(line)})
    return OwnImage(folder.name, recipe, files, tuple(parents))


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            # It may lead to a secret outside the folder, and what stands there would not be seen to change.
            raise ImageError(
                f"the image {folder.name} holds a symbolic link",
                where=f"images/{folder.name}/{path.relative_to(folder).as_posix()}",
                hint="put the file itself there",
            )
        if path.is_file() and "__pycache__" not in path.parts:
            yield path


def _is_the_platforms(folder: Path, sources: Sources) -> bool:
    """Whether a folder of a platform image's name holds what the platform is built from (a clone, or a copy of one)."""
    ours = sources.root / "images" / folder.name
    if folder.name not in PLATFORM or not ours.is_dir():
        return False
    return folder.resolve() == ours.resolve() or _digest(folder) == _digest(ours)


def _digest(folder: Path) -> str:
    files = {path.relative_to(folder).as_posix(): path for path in _files(folder)}
    return source_digest(files, parent="", options={})
