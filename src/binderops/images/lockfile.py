"""The lock: which images a deployment runs, by digest, as a values layer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from binderops.errors import ImageError

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_HEADER = (
    "# Written by `binderops images`. Images, pinned by digest; binderops.yaml's `images` says where they go\n"
    "# in the values.\n"
)


@dataclass(frozen=True)
class PinnedImage:
    """An image that cannot change: a repository and the digest of a manifest in it."""

    repository: str
    digest: str

    def __post_init__(self) -> None:
        if not _DIGEST.fullmatch(self.digest):
            raise ImageError(
                f"the image {self.repository} is not pinned", why=f"{self.digest!r} is not a sha256 digest"
            )

    @property
    def reference(self) -> str:
        """As engines want it."""
        return f"{self.repository}@{self.digest}"


@dataclass(frozen=True)
class ImageLock:
    """Images by name: platform, build, notebook, and the operator's own."""

    images: dict[str, PinnedImage]

    def values(self) -> dict[str, object]:
        """Return the layer: {name, tag} at global.images.NAME, tag being the digest."""
        pinned = {n: {"name": i.repository, "tag": i.digest} for n, i in sorted(self.images.items())}
        return {"global": {"images": pinned}}

    def write(self, path: Path) -> None:
        """Replace the file at `path` whole; an unchanged one keeps its time."""
        lines = [_HEADER, "global:\n  images:\n"]
        for name, image in sorted(self.images.items()):
            lines.append(f"    {name}:\n      name: {image.repository}\n      tag: {image.digest}\n")
        text = "".join(lines)
        if path.exists() and path.read_text(encoding="utf-8") == text:
            return
        written = path.with_name(f".{path.name}.new")
        written.write_text(text, encoding="utf-8")
        written.replace(path)


def read_lock(path: Path) -> ImageLock:
    """Read a lock.

    Raises ImageError when the file is missing or is not a lock.
    """
    hint = "run `binderops images build`"
    try:
        document = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
        images = document["global"]["images"]
        return ImageLock({str(n): PinnedImage(str(i["name"]), str(i["tag"])) for n, i in images.items()})
    except FileNotFoundError as error:
        raise ImageError("the images of this machine are not built", where=str(path), hint=hint) from error
    except (OSError, YAMLError, KeyError, TypeError, AttributeError) as error:
        raise ImageError("the lock of the images cannot be read", where=str(path), why=str(error), hint=hint) from error
