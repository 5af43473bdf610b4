"""What a repository says of its environment must lie in it: a link could name any file of the build pod.

repo2docker and buildah follow links, and say what they read when they cannot understand it, on a page for everybody.
Only the files that they read here are looked at. Other links that lead nowhere are the repository's own business: they
are copied as links, and in an image they name the image's files.
"""

from __future__ import annotations

import os
from pathlib import Path

from binderops.errors import BuildError
from binderops.repository import ENVIRONMENT_FILES, FOLDERS

# What repo2docker's own buildpacks and buildah read besides.
_READ_BY_OTHERS = (
    "requirements3.txt",
    "Containerfile",
    *(f"{name}.{kind}ignore" for name in ("", "Dockerfile", "Containerfile") for kind in ("docker", "container")),
)


def refuse_links_that_lead_out(checkout: Path, top: Path) -> None:
    """Raise BuildError where a file or folder that decides about the environment lies outside of `checkout`.

    `top` is the folder that is built, the checkout itself or one below it.
    """
    inside = Path(os.path.realpath(checkout))
    folders = [top, *(top / name for name in FOLDERS)]
    files = [folder / name for folder in folders for name in (*ENVIRONMENT_FILES, *_READ_BY_OTHERS)]
    for path in (*folders, *files):
        if os.path.lexists(path) and not Path(os.path.realpath(path)).is_relative_to(inside):
            raise BuildError(
                f"{os.path.relpath(path, checkout)} leads out of the repository",
                why="it is a link, or lies behind one, and builds read only what is in the repository",
                hint="commit the file itself in place of the link",
            )
