"""What the registry tells is written down; what is no notification, or names what it must not, changes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.oci.docker_registry import free_port
from tests.registry.conftest import until

from binderops.registry.storage import LINK, Storage
from binderops.registry.uses import Uses, listen

DIGEST = "sha256:" + "0" * 64


def told(repository: str, digest: str = DIGEST, action: str = "pull") -> dict[str, Any]:
    return {"events": [{"action": action, "target": {"repository": repository, "digest": digest}}]}


@pytest.mark.parametrize(
    "envelope",
    [
        None,
        [],
        "text",
        {"events": "x"},
        {"events": [1, {"target": 2}, {"action": "pull", "target": {}}]},
        told("../../outside"),
        told("/outside"),
        told("r2d-a/../../outside"),
        told("r2d-a", "sha256:../../../outside"),
        told("r2d-a", DIGEST + "/../x"),
        told("r2d-gone"),
    ],
)
def test_what_names_no_image_changes_nothing(tmp_path: Path, envelope: Any) -> None:
    outside = tmp_path / "outside" / LINK
    outside.parent.mkdir()
    outside.touch()
    os.utime(outside, (1, 1))
    uses = Uses(Storage(tmp_path / "storage"))
    uses.take(envelope)
    assert outside.stat().st_mtime == 1
    assert not uses.changed.is_set()


def test_bodies_that_cannot_be_read_are_answered_once(tmp_path: Path) -> None:
    """The registry would send the same again and again."""
    server = listen(Uses(Storage(tmp_path)), 0)
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        with httpx.Client(trust_env=False) as client:
            assert client.post(url, content=b"{not json").status_code == 200
            assert client.post(url, content=json.dumps(told("x", action="push"))).status_code == 200
            assert client.post(url, content=b"x" * (5 << 20)).status_code == 413
    finally:
        server.shutdown()
        server.server_close()


async def test_the_program(tmp_path: Path) -> None:
    """As the chart starts it: it reads an empty storage, and tells Prometheus."""
    events, metrics = free_port(), free_port()
    process = subprocess.Popen(  # noqa: ASYNC220
        [
            *(sys.executable, "-m", "binderops.registry", f"--storage={tmp_path}", "--capacity=2Gi"),
            *("--threshold-type=relative", "--high=80", "--low=60", "--delay=5", "--keep=local/*:HEAD"),
            *(f"--events-port={events}", f"--metrics-port={metrics}"),
        ],
        stderr=subprocess.PIPE,
    )
    try:

        def page() -> str:
            try:
                return httpx.get(f"http://127.0.0.1:{metrics}/metrics", trust_env=False).text
            except httpx.TransportError:
                return ""

        await until(lambda: "binderops_registry_looked_timestamp_seconds 1" in page())
        assert "binderops_registry_bytes 0.0" in page()
        assert "binderops_registry_high_bytes 1.717986918e+09" in page(), "80 % of 2 GiB: the disk has more"
        assert "binderops_registry_cleaning_failures_total 0.0" in page()
    finally:
        process.terminate()
        _, said = process.communicate(timeout=10)
    assert json.loads(said.splitlines()[0])["event"] == "cleaning up"
