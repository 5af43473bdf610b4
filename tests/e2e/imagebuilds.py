"""A deployment's own images: one is made to be built again, and seen while it is."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.e2e.conftest import STATE


def forget_an_image() -> None:
    """Takes away the names by which `up` knows an image of the same sources: it is built again, from the cache."""
    store = [*("podman", "--root", str(STATE / "images/storage")), *("--runroot", str(STATE / "images/run"))]
    listed = subprocess.run(
        [*store, "images", "--format", "{{.Repository}}:{{.Tag}}", "localhost/binderops/build"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout.split()
    assert len(listed) >= 2, "by source, and the latest"
    for name in listed:
        subprocess.run([*store, "untag", name, name], capture_output=True, timeout=60, check=True)


def builds_an_image() -> bool:
    """Whether an image of the deployment is built just now."""
    wanted = f"{STATE}/images/work"
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_text(errors="replace")
        except OSError:
            continue
        if command.startswith("podman\0build") and wanted in command:
            return True
    return False
