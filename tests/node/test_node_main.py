"""The node's process, started as a program."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from binderops.node.arguments import parse
from binderops.node.main import end


def node(running: Any, *arguments: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "binderops.node", *arguments, "--state", str(running.root), "--name", running.name]
    return subprocess.run(
        command, env=running.environment, capture_output=True, text=True, timeout=timeout, check=False
    )


async def test_a_node_starts_quickly_answers_and_stops_cleanly(new_api: Any) -> None:
    began = time.monotonic()
    new_api.start()
    assert time.monotonic() - began < 10  # two seconds are the bar on a quiet machine; bench holds it
    assert new_api.kubeconfig.stat().st_mode & 0o777 == 0o600
    state = json.loads(node(new_api, "status").stdout)
    assert (state["ready"], state["pid"]) == (True, new_api.process.pid)
    async with new_api.session() as session:
        assert (await session.get("/readyz")).text == "ok"
    assert new_api.stop() == 0
    assert not new_api.kubeconfig.exists()
    status = node(new_api, "status")
    assert (status.returncode, json.loads(status.stdout)["running"]) == (3, False)


async def test_what_was_acknowledged_outlives_kill_9_and_versions_go_on(new_api: Any, as_admin: Any) -> None:
    new_api.start()
    made = await as_admin(new_api).create("/api/v1/namespaces", {"metadata": {"name": "kept"}})
    new_api.stop(signal.SIGKILL)
    new_api.start()
    again = as_admin(new_api)
    assert (await again.get("/api/v1/namespaces/kept"))["metadata"]["uid"] == made["metadata"]["uid"]
    later = await again.create("/api/v1/namespaces", {"metadata": {"name": "later"}})
    assert int(later["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])
    code, _ = await again.ask("GET", "/api/v1/namespaces/kept")
    assert code == 200
    # Nothing was lost between: who watched until the end may go on; who was behind must list again.
    events = again.watch("/api/v1/namespaces", resourceVersion=made["metadata"]["resourceVersion"])
    assert (await anext(events))["object"]["metadata"]["name"] == "later"
    assert (await anext(again.watch("/api/v1/namespaces", resourceVersion="1")))["object"]["code"] == 410


async def test_a_task_that_loses_its_cancellation_does_not_keep_the_process() -> None:
    async def loses_it() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(30)
        await asyncio.sleep(30)

    task = asyncio.create_task(loses_it())
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await end(task, within=0.1)
    assert not task.done()
    await end(task, within=5)
    assert task.cancelled()


def test_a_second_process_of_one_node_is_refused_and_changes_nothing(new_api: Any) -> None:
    new_api.start()
    second = node(new_api, "run", "--api-only", "--api-port", "1234")
    assert second.returncode == 1
    assert "this node runs already" in second.stderr and str(new_api.process.pid) in second.stderr
    assert new_api.config.api_port == new_api.port


def test_a_taken_port_is_named(new_api: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", new_api.port))
        taken.listen()
        result = node(new_api, "run", "--api-only", "--api-port", str(new_api.port))
    assert result.returncode == 1
    assert f"127.0.0.1:{new_api.port}" in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize("command", ["status", "stop"])
def test_a_node_that_never_was(new_api: Any, command: str) -> None:
    result = node(new_api, command)
    assert (result.returncode, "there is no node" in result.stderr) == (1, True)


def test_the_log_holds_no_secrets(new_api: Any) -> None:
    new_api.start()
    new_api.stop()
    for line in new_api.log().splitlines():
        assert {"event", "level", "timestamp"} <= set(json.loads(line))


def test_no_command_means_run() -> None:
    options = parse(["--name", "a", "--host-address", "127.0.0.1", "--host-address", "::1"])
    assert (options.command, options.host_address) == ("run", ["127.0.0.1", "::1"])
    assert parse(["stop", "--name", "a", "--state", "/x"]).state == Path("/x")


@pytest.mark.parametrize("arguments", [["--api-port", "x", "--name", "a"], ["run"], ["dance", "--name", "a"]])
def test_commands_that_cannot_be(arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        parse(arguments)
