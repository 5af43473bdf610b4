"""One image away from a registry that runs: its manifest, then the tags that mean it."""

from __future__ import annotations

import shutil
from contextlib import suppress

from binderops.registry.budget import Image
from binderops.registry.picture import digest_of_tag
from binderops.registry.storage import (
    ASIDE,
    LINK,
    REVISIONS,
    TAGS,
    TAKEN_TAG,
    Storage,
    names_in,
    put_back,
    remove_if_empty,
    time_of,
)


def remove(storage: Storage, image: Image) -> bool:
    """Whether it is gone; it stays where somebody used or pushed it since it was looked at. Raises OSError."""
    folder = image.link.folder
    link, aside = folder / LINK, folder / ASIDE
    with suppress(FileNotFoundError):
        link.rename(aside)
    if time_of(aside) != image.link.written:
        put_back(folder)
        return False
    for tag in image.tags:
        # Pushed again meanwhile: what is left of its tags is that push's.
        if link.exists() or not _remove_tag(storage, image, tag):
            aside.unlink(missing_ok=True)
            return not link.exists()
    aside.unlink(missing_ok=True)
    remove_if_empty(folder)
    _forget(image)
    return True


def _remove_tag(storage: Storage, image: Image, tag: str) -> bool:
    """Take a tag away whole, and give it back where it means something else, or its manifest is there again."""
    folder = image.repository.folder / TAGS / tag
    taken = storage.aside / f"{TAKEN_TAG}{image.digest[-12:]}-{tag}"
    storage.aside.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(taken, ignore_errors=True)
    try:
        folder.rename(taken)
    except FileNotFoundError:
        return True
    is_ours = digest_of_tag(taken) == image.digest
    is_pushed_again = (image.link.folder / LINK).exists()
    if not is_ours or is_pushed_again:
        with suppress(OSError):  # a tag that was written meanwhile is newer
            taken.rename(folder)
    shutil.rmtree(taken, ignore_errors=True)
    return not is_pushed_again


def _forget(image: Image) -> None:
    """Tags that mean another manifest by now remember this one."""
    for tag in names_in(image.repository.folder / TAGS):
        remembered = image.repository.folder / TAGS / tag / "index/sha256" / image.digest.removeprefix("sha256:")
        shutil.rmtree(remembered, ignore_errors=True)
    remove_if_empty(image.repository.folder / REVISIONS)
