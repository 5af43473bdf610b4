"""The platform's own images: what is under images/, built on this machine, locked by digest, published.

`build_images` makes the images that are missing or whose sources changed, and writes the lock; `publish_images` pushes
them for a cluster.
"""

from __future__ import annotations

from binderops.images.building import build_images
from binderops.images.lockfile import ImageLock, PinnedImage, read_lock
from binderops.images.machine import MachineSettings, detect_package_settings
from binderops.images.places import ImagePlaces
from binderops.images.progress import ImageProgress, ProgressCallback
from binderops.images.publishing import publish_images
from binderops.images.removal import remove_images

__all__ = [
    "ImageLock",
    "ImagePlaces",
    "ImageProgress",
    "MachineSettings",
    "PinnedImage",
    "ProgressCallback",
    "build_images",
    "detect_package_settings",
    "publish_images",
    "read_lock",
    "remove_images",
]
