"""The images of the platform, and the operator's own: what is under images/, built here, locked by digest, published.

`build_images` makes the images that are missing or whose sources changed, and writes the lock; `publish_images` pushes
them for a cluster.
"""

from __future__ import annotations

from binderops.images.building import build_images
from binderops.images.lockfile import ImageLock, PinnedImage, read_lock
from binderops.images.machine import MachineSettings, detect_package_settings
from binderops.images.own import OwnImage, own_images, refuse_unplaced
from binderops.images.places import ImagePlaces
from binderops.images.progress import ImageProgress, ProgressCallback
from binderops.images.publishing import publish_images
from binderops.images.removal import remove_images

__all__ = [
    "ImageLock",
    "ImagePlaces",
    "ImageProgress",
    "MachineSettings",
    "OwnImage",
    "PinnedImage",
    "ProgressCallback",
    "build_images",
    "detect_package_settings",
    "own_images",
    "publish_images",
    "read_lock",
    "refuse_unplaced",
    "remove_images",
]
