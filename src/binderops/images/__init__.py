"""The platform's own images: what is under images/, built on this machine, locked by digest, published.

`build_images` is the one action: it makes the images that are missing or whose sources changed, and writes the lock.
"""

from __future__ import annotations

from binderops.images.building import build_images
from binderops.images.lockfile import ImageLock, PinnedImage
from binderops.images.machine import MachineSettings, detect_package_settings
from binderops.images.places import ImagePlaces
from binderops.images.progress import ImageProgress, ProgressCallback

__all__ = [
    "ImageLock",
    "ImagePlaces",
    "ImageProgress",
    "MachineSettings",
    "PinnedImage",
    "ProgressCallback",
    "build_images",
    "detect_package_settings",
]
