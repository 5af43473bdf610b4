"""One image away from a registry that runs: its manifest, then the tags that mean it. Nothing new is made for it."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from binderops.registry.budget import Image
from binderops.registry.picture import digest_of_tag
from binderops.registry.storage import (
    ASIDE,
    CURRENT,
    LINK,
    REVISIONS,
    TAGS,
    names_in,
    put_back,
    remove_if_empty,
    time_of,
)


def remove(image: Image) -> bool:
    """Whether it is gone; it stays where somebody used or pushed it since it was looked at. Raises OSError."""
    folder = image.link.folder
    link, aside = folder / LINK, folder / ASIDE
    with suppress(FileNotFoundError):
        link.rename(aside)
    if time_of(aside) != image.link.written:
        put_back(folder, LINK)
        return False
    for tag in image.tags:
        # Pushed again meanwhile: what is left of its tags is that push's.
        if link.exists() or not _remove_tag(image, tag):
            aside.unlink(missing_ok=True)
            return not link.exists()
    aside.unlink(missing_ok=True)
    remove_if_empty(folder)
    _forget(image)
    return True


def remove_tag(folder: Path) -> None:
    """What is left of a tag whose meaning was put aside, or that has none; it stays where it means something by now."""
    current = folder / CURRENT
    (current / ASIDE).unlink(missing_ok=True)
    if not (current / LINK).exists():
        shutil.rmtree(folder / "index", ignore_errors=True)
        remove_if_empty(current)
        remove_if_empty(folder)


def give_back_tag(folder: Path) -> bool:
    """Give back what a tag meant; False where it means something by now: that is newer."""
    link, aside = folder / CURRENT / LINK, folder / CURRENT / ASIDE
    try:
        os.link(aside, link)  # unlike a rename it takes no other's place
    except (FileExistsError, FileNotFoundError):
        aside.unlink(missing_ok=True)
        return False
    except OSError:  # a file system that knows no hard links
        aside.rename(link)
    aside.unlink(missing_ok=True)
    return True


def _remove_tag(image: Image, tag: str) -> bool:
    """Take a tag away, and give it back where it means something else; whether its manifest is still away."""
    folder = image.repository.folder / TAGS / tag
    try:
        (folder / CURRENT / LINK).rename(folder / CURRENT / ASIDE)
    except FileNotFoundError:
        return True
    is_pushed_again = (image.link.folder / LINK).exists()
    if is_pushed_again or digest_of_tag(folder, ASIDE) != image.digest:
        give_back_tag(folder)
    else:
        remove_tag(folder)
    return not is_pushed_again


def _forget(image: Image) -> None:
    """Tags that mean another manifest by now remember this one."""
    for tag in names_in(image.repository.folder / TAGS):
        remembered = image.repository.folder / TAGS / tag / "index/sha256" / image.digest.removeprefix("sha256:")
        shutil.rmtree(remembered, ignore_errors=True)
    remove_if_empty(image.repository.folder / REVISIONS)
