"""The programs that tests run: found, or a failure that names the package. A test never passes by not running."""

from __future__ import annotations

import os
import shutil

import pytest

PACKAGES = {
    "chromium": "chromium",
    "docker-registry": "docker-registry",
    "git": "git",
    "nginx": "nginx-light",
    "systemctl": "systemd",
}


def program(name: str) -> str:
    """Its path, also where a PATH lacks sbin; fails the test where it is not installed."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin")
    if found is None:
        pytest.fail(f"{name} is not installed: `scripts/system-packages --tests` brings Debian's {PACKAGES[name]}")
    return found
