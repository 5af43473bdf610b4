"""Stopping, interrupting, killing and purging the deployment. Runs last: nothing is left for other journeys."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import NAME, PORT, RUN, STATE
from tests.e2e.helming import change_the_release, helm_is_at_work
from tests.e2e.imagebuilds import builds_an_image, forget_an_image
from tests.e2e.launches import Binder, git_spec
from tests.e2e.listing import files, remaining, running
from tests.e2e.networks import until
from tests.e2e.repositories import EMPTY_NOTEBOOK, Repositories
from websockets.asyncio.client import connect

pytestmark = [pytest.mark.e2e, pytest.mark.podman, pytest.mark.root, pytest.mark.slow]

FOLDERS = (STATE / "nodes" / NAME, RUN)
KEPT = bool(os.environ.get("BINDEROPS_E2E_KEEP"))


def test_a_killed_node_leaves_servers_running_and_comes_back(
    deployed: Any, binder: Binder, repositories: Repositories
) -> None:
    server = binder.launch(git_spec(repositories.add("survivor", {"index.ipynb": EMPTY_NOTEBOOK})))
    asyncio.run(_kernel_through(server, lambda: _kill_and_bring_back(deployed)))
    assert server.run("40 + 2") == "42"


async def _kernel_through(server: Any, disaster: Any) -> None:
    """Counts in a kernel, over one websocket, while `disaster` happens beside it."""
    import httpx

    headers = {"Authorization": f"token {server.token}"}
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        base = httpx.URL(server.url)
        local = base.copy_with(host="127.0.0.1")
        named = {**headers, "Host": base.netloc.decode()}
        kernel = (await client.post(f"{local}api/kernels", headers=named, json={"name": "python3"})).json()["id"]
    channel = f"{server.url}api/kernels/{kernel}/channels".replace("http", "ws", 1)
    async with connect(channel, host="127.0.0.1", port=PORT, additional_headers=headers, proxy=None) as websocket:
        code = "import time\nfor i in range(400):\n    print(i, flush=True); time.sleep(0.05)"
        header = {"msg_id": "count", "msg_type": "execute_request", "session": "s", "username": "u", "version": "5.3"}
        content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
        message = {"channel": "shell", "header": header, "parent_header": {}, "metadata": {}, "content": content}
        await websocket.send(json.dumps(message))
        disasters = asyncio.create_task(asyncio.to_thread(disaster))
        seen = ""
        async with asyncio.timeout(120):
            while "399" not in seen.split():
                told = json.loads(await websocket.recv())
                if told["header"]["msg_type"] == "stream":
                    seen += told["content"]["text"]
        assert seen.split() == [str(number) for number in range(400)], "the kernel missed a beat"
        await disasters


def _kill_and_bring_back(deployed: Any) -> None:
    pid = int((RUN / NAME / "node.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    until(lambda: not _lives(pid), "the node to be gone", timeout=10)
    assert deployed.run("up", NAME).returncode == 0


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("step", ["images", "release", "proof"])
def test_interrupted_it_goes_on_from_there(deployed: Any, tmp_path: Path, step: str) -> None:
    begun = {
        "images": lambda told: builds_an_image(),
        "release": lambda told: helm_is_at_work(deployed.kubeconfig),
        "proof": lambda told: "✓ release" in told,
    }[step]
    if step == "images":
        forget_an_image()
    if step == "release":
        change_the_release(deployed.root)
    code, told = deployed.interrupted(tmp_path / "told", begun, signal.SIGINT)
    assert code == 130, told
    assert "goes on from here" in told
    assert not builds_an_image()
    again = deployed.json("up", NAME)
    assert again["proof"]["answer"] > 0
    assert [words for words in again["deploy"]["settled"] if "an upgrade that was cut off" in words] == (
        again["deploy"]["settled"] if step == "release" else []
    )
    assert bool(again["deploy"]["settled"]) == (step == "release")


def test_down_leaves_nothing_running_and_up_brings_the_same_back(deployed: Any) -> None:
    before = deployed.json("status", NAME)["environments"][0]
    assert running(NAME, FOLDERS), "the listing sees what runs"
    assert deployed.run("down", NAME).returncode == 0
    until(lambda: not running(NAME, FOLDERS), f"nothing to run: {running(NAME, FOLDERS)}", timeout=20)
    assert deployed.run("down", NAME).returncode == 0, "twice is no mistake"
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", PORT))
        taken.listen()
        refused = deployed.run("up", NAME)
        assert refused.returncode == 1
        assert f"port {PORT} on 127.0.0.1 is taken" in refused.stderr
    started = time.monotonic()
    result = deployed.json("up", NAME)
    assert time.monotonic() - started < 90
    assert (result["deploy"]["changed"], result["deploy"]["revision"]) == (False, before["revision"])
    assert result["proof"]["launch"]["built"] is False, "the registry's data was kept"


# Everything is imported first: this clone may lie where only root may read.
AS_NOBODY = """
import os, sys
from binderops.cli import app, images_command, lifecycle, observing
os.setgroups([]); os.setgid(65534); os.setuid(65534)
sys.argv = ["binderops", *sys.argv[1:]]
app.run()
"""


def test_not_root_is_one_sentence(deployed: Any) -> None:
    for folder in (deployed.root, *deployed.root.parents):
        if folder.is_relative_to("/tmp") and folder != Path("/tmp"):
            folder.chmod(0o755)
    command = [sys.executable, "-c", AS_NOBODY, "up", NAME, "--directory", str(deployed.root)]
    refused = subprocess.run(
        command, env=deployed.environment, cwd="/", capture_output=True, text=True, timeout=60, check=False
    )
    assert refused.returncode == 1, refused.stderr
    assert "needs root" in refused.stderr and "sudo make up" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.skipif(KEPT, reason="BINDEROPS_E2E_KEEP keeps the deployment")
def test_purge_leaves_nothing(deployed: Any) -> None:
    assert files((RUN,)), "the listing sees what is there"
    leak = STATE / "nodes" / NAME / "volumes" / "leak"
    leak.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "leak", str(leak)], check=True, timeout=20)
    assert any("leak" in line for line in running(NAME, FOLDERS)), "a planted leak is seen"
    subprocess.run(["umount", str(leak)], check=True, timeout=20)
    result = deployed.json("purge", NAME)
    until(lambda: not running(NAME, (STATE, RUN)), f"nothing to run: {running(NAME, (STATE, RUN))}", timeout=20)
    assert remaining(NAME, (STATE, RUN)) == set()
    assert all("Debian packages" in line or "Podman's note" in line for line in result["stays"])
    assert deployed.run("purge", NAME).returncode == 0, "twice is no mistake"
