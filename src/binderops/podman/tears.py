"""Images that a power cut tore: their store knows them, and not all of their files reached the disk.

The store's lists are written through to the disk, what they name is not. So a file of an image can be missing or empty,
and nothing says so until a program fails in it. The store is read as containers/storage keeps it
(https://github.com/containers/storage/blob/v1.43.0/drivers/overlay/overlay.go, layers.go, images.go); the sizes of a
layer's files stand in its tar-split (https://github.com/vbatts/tar-split).
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import secrets
import stat
import string
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

WRITTEN_BACK_AFTER = timedelta(minutes=10)
"""What is older than this much before the last layer was on the disk (Linux writes back after half a minute)."""
_LINK_LETTERS = string.ascii_uppercase
_PLAIN = re.compile("[0-9a-z.]*")
_FILE = 1  # tar-split's type of an entry that is not a header
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def torn_images(storage: Path, *, files: bool = False) -> dict[str, str]:
    """Why an image of the store at `storage` (a graph root) is torn, by its id, those that stand on others first.

    Looked at is what holds an image together, a few files for each layer. With `files`, also every file of the layers
    that were made last: seconds for large images, worth it after a restart of the machine only.
    """
    layers = {str(entry["id"]): entry for entry in _entries(storage / "overlay-layers" / "layers.json")}
    recent = _recent(layers) if files else set()
    reasons: dict[str, str] = {}
    for identity, entry in layers.items():
        if why := _torn_layer(storage, entry) or (_torn_file(storage, identity) if identity in recent else ""):
            reasons[identity] = why
    found: dict[str, str] = {}
    images = _entries(storage / "overlay-images" / "images.json")
    for image in sorted(images, key=lambda image: -_depth(str(image.get("layer") or ""), layers)):
        if why := _torn_image(storage, image) or _torn_below(str(image.get("layer") or ""), layers, reasons):
            found[str(image["id"])] = why
    return found


def make_removable(storage: Path) -> None:
    """Give layers a link that have none: removing one without, the engine would remove the links of all layers."""
    for entry in _entries(storage / "overlay-layers" / "layers.json"):
        folder = storage / "overlay" / str(entry["id"])
        if folder.is_dir() and not _text(folder / "link"):
            (folder / "link").write_text("".join(secrets.choice(_LINK_LETTERS) for _ in range(26)))


class Restarts:
    """Whether the machine was started anew since it was last noted, by a file that holds the kernel's boot id."""

    def __init__(self, note: Path, boot: str | None = None) -> None:
        self._note = note
        self._boot = boot or _BOOT.read_text().strip()

    def seen(self) -> bool:
        """True also where nothing was noted yet."""
        try:
            return self._note.read_text().strip() != self._boot
        except OSError:
            return True

    def note(self) -> None:
        """Remember this run of the machine."""
        self._note.write_text(self._boot + "\n")


def _entries(path: Path) -> list[dict[str, Any]]:
    try:
        return list(json.loads(path.read_bytes()) or [])
    except (OSError, ValueError):
        return []  # no store yet, or one that its engine itself will complain about


def _recent(layers: Mapping[str, Mapping[str, Any]]) -> set[str]:
    made = {identity: _moment(entry.get("created")) for identity, entry in layers.items()}
    last = max((moment for moment in made.values() if moment), default=None)
    return {
        identity for identity, moment in made.items() if moment is None or (last and last - moment < WRITTEN_BACK_AFTER)
    }


def _moment(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(f"{str(text)[:19]}+00:00")  # Go's nanoseconds do not matter here
    except ValueError:
        return None


def _torn_layer(storage: Path, entry: Mapping[str, Any]) -> str:
    identity = str(entry["id"])
    folder = storage / "overlay" / identity
    if not (folder / "diff").is_dir():
        return f"layer {identity[:12]} has no files"
    if not _text(folder / "link"):  # one that is named but missing below l/ the engine makes anew itself
        return f"layer {identity[:12]} has no link"
    if entry.get("parent") and not _text(folder / "lower"):
        return f"layer {identity[:12]} does not name the layers below it"
    split = _split(storage, identity)
    if split.exists() and not split.stat().st_size:
        return f"layer {identity[:12]} does not tell its files"
    return ""


def _torn_file(storage: Path, identity: str) -> str:
    diff = storage / "overlay" / identity / "diff"
    try:
        expected = _sizes(_split(storage, identity))
    except (OSError, ValueError, EOFError) as error:
        return f"the list of the files of layer {identity[:12]} cannot be read: {error}"
    for name, size in expected.items():
        try:
            found = (diff / name).lstat()
        except OSError:
            return f"/{name} of layer {identity[:12]} is missing"
        if stat.S_ISREG(found.st_mode) and found.st_size != size:
            return f"/{name} of layer {identity[:12]} has {found.st_size} bytes instead of {size}"
    return ""


def _sizes(split: Path) -> dict[str, int]:
    """The files of a layer that are not empty; none where the store keeps no tar-split of it."""
    sizes: dict[str, int] = {}
    if not split.exists():
        return sizes
    with gzip.open(split) as lines:
        for line in lines:
            entry = json.loads(line)
            if entry.get("type") == _FILE and entry.get("size") and "name" in entry:
                sizes[str(entry["name"]).lstrip("/")] = int(entry["size"])
    return sizes


def _split(storage: Path, identity: str) -> Path:
    return storage / "overlay-layers" / f"{identity}.tar-split.gz"


def _torn_image(storage: Path, image: Mapping[str, Any]) -> str:
    folder = storage / "overlay-images" / str(image["id"])
    for name, size in (image.get("big-data-sizes") or {}).items():
        # The store's own rule for names that are no file names.
        known = name if _PLAIN.fullmatch(name) else "=" + base64.b64encode(name.encode()).decode()
        path = folder / known
        try:
            found = path.stat().st_size
        except OSError:
            return f"its {name[:24]} is missing"
        if found != size:
            return f"its {name[:24]} has {found} bytes instead of {size}"
    return ""


def _torn_below(layer: str, layers: Mapping[str, Mapping[str, Any]], reasons: Mapping[str, str]) -> str:
    while layer in layers:
        if layer in reasons:
            return reasons[layer]
        layer = str(layers[layer].get("parent") or "")
    return ""


def _depth(layer: str, layers: Mapping[str, Mapping[str, Any]]) -> int:
    count = 0
    while layer in layers:
        layer, count = str(layers[layer].get("parent") or ""), count + 1
    return count


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""
