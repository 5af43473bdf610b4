"""Which images there are, what each starts from, and which files decide whether it is still the same."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from binderops.errors import ImageError

SUITE = "bookworm"
REPOSITORY = "localhost/binderops"
_ROOMS_OF_ALL = ("__init__.py", "authorities.py", "errors.py", "repository.py", "py.typed")


@dataclass(frozen=True)
class ImageDefinition:
    """One image: its folder under images/, its parent, the rooms of this project inside, its extras of pyproject."""

    name: str
    parent: str
    rooms: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()

    @property
    def repository(self) -> str:
        """The name that it is built under."""
        return f"{REPOSITORY}/{self.name}"


BASE = ImageDefinition(name="base", parent="debian")
# Only the rooms that run in an image are copied into it, so that a change elsewhere rebuilds nothing.
CHILDREN = (
    ImageDefinition(
        name="platform",
        parent="base",
        rooms=(
            "binder",
            "hub",
            "ingress",
            "lego",
            "registry",
            "kube",
            "oci",
            "git",
            "logs.py",
            "memory.py",
            "repository.py",
        ),
        extras=("hub", "binder", "ingress", "lego"),
    ),
    ImageDefinition(name="notebook", parent="base"),
    ImageDefinition(
        name="build", parent="base", rooms=("build", "oci", "repository.py", "seccomp.py"), extras=("build",)
    ),
)
# What charts are told of: the values paths are binderops.yaml's, these are their default (architecture.md, Images).
LOCKED = tuple(image.name for image in CHILDREN)


@dataclass(frozen=True)
class Sources:
    """A copy of this project that images are built from."""

    root: Path

    def folder(self, image: ImageDefinition) -> Path:
        """Where `image`'s Containerfile lies."""
        return self.root / "images" / image.name

    def extras(self, image: ImageDefinition) -> tuple[str, ...]:
        """Those of the image's extras that pyproject.toml declares."""
        declared = tomllib.loads((self.root / "pyproject.toml").read_text(encoding="utf-8"))
        optional = declared["project"].get("optional-dependencies", {})
        return tuple(extra for extra in image.extras if extra in optional)

    def files(self, image: ImageDefinition) -> dict[str, Path]:
        """What the image's build may read, by its path in the build context."""
        folder = self.folder(image)
        if not (folder / "Containerfile").is_file():
            raise ImageError(
                f"the image {image.name} cannot be built: it has no Containerfile",
                where=str(folder),
                why="images are built from a clone of the project",
                hint="run this in a clone, or name one",
            )
        found = {path.name: path for path in sorted(folder.iterdir()) if path.is_file()}
        if image.rooms:
            found |= {name: self.root / name for name in ("pyproject.toml", "uv.lock", "LICENSE", "README.md")}
            package = self.root / "src" / "binderops"
            for room in (*_ROOMS_OF_ALL, *image.rooms):
                found |= {path.relative_to(self.root).as_posix(): path for path in _tree(package / room)}
        return found


def clone_of_this_project() -> Sources:
    """Return the clone that this package is imported from.

    Raises ImageError where it was installed without its sources.
    """
    root = Path(__file__).resolve().parents[3]
    if not (root / "images" / "base" / "Containerfile").is_file():
        raise ImageError(
            "the platform's images cannot be built here",
            where=str(root),
            why="this binderops was installed without the folder images/",
            hint="use a clone of the project, or published images",
        )
    return Sources(root)


def _tree(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return [p for p in sorted(path.rglob("*")) if p.is_file() and "__pycache__" not in p.parts]
