"""A binder that is replaced: told to end, it is not out of its Service yet, and has requests under way."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from tests.binder.cluster import NAMESPACE, Cluster
from tests.binder.conftest import LOCAL_TOKEN
from tests.ingress.conftest import Front, front, ingress, rule, service
from tests.ingress.echoing import echo_server
from tests.ingress.ports import free_port
from tests.oci.docker_registry import RunningRegistry

__all__ = ["front"]

ENVIRONMENT = {
    **os.environ,
    "BUILD_NAMESPACE": NAMESPACE,
    "POD_NAMESPACE": NAMESPACE,
    "HELM_RELEASE_NAME": "release",
}
LINGERS = 2.5  # seconds in which a Service and nginx surely have let go of it
LONGEST = 28.0  # of the 30 s that a pod has


@dataclass(frozen=True)
class Program:
    """The binder as its pod runs it."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    async def ended(self, seconds: float = LONGEST) -> int:
        return await asyncio.to_thread(self.process.wait, seconds)


@pytest.fixture
def program(secrets_folder: Path, cluster: Cluster, registry: RunningRegistry, token_realm: str) -> Iterator[Program]:
    values = {
        "config": {
            "BinderHub": {
                "hub_url": "http://127.0.0.1:9/",
                "hub_url_local": "http://127.0.0.1:9/",
                "repo_providers": {"git": "GitRepoProvider", "local": "LocalRepoProvider"},
            },
        },
        "global": {
            "domain": "binder.test",
            "images": {
                "build": {"name": "localhost/binderops/build", "tag": "1"},
                "notebook": {"name": "localhost/binderops/notebook", "tag": "1"},
            },
        },
        "registry": {"name": registry.host},
        "trustedProxies": {"cidrs": ["127.0.0.1/32"]},
    }
    (secrets_folder / "config").mkdir()
    (secrets_folder / "config" / "values.yaml").write_text(yaml.safe_dump(values))
    port, log = free_port(), secrets_folder / "log"
    command = [sys.executable, "-m", "binderops.binder", "--config-dir", str(secrets_folder / "config")]
    command += ["--port", str(port), "--token-port", str(httpx.URL(token_realm).port)]
    command += ["--kubeconfig", str(cluster.kubeconfig)]
    with log.open("wb") as stream:
        process = subprocess.Popen(command, env=ENVIRONMENT, stdout=stream, stderr=stream)
    try:
        _until_served(process, port, log)
        yield Program(process, port, log)
    finally:
        process.kill()
        process.wait(10)


def _until_served(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + 60
    with httpx.Client(trust_env=False) as client:
        while time.monotonic() < end and process.poll() is None:
            try:
                if client.get(f"http://127.0.0.1:{port}/versions").status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.05)
    raise AssertionError(log.read_text()[-3000:])


async def status_of(url: str, **more: Any) -> int | str:
    """The status of an answer over a connection of its own, or what went wrong."""
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
            return (await client.get(url, **more)).status_code
    except httpx.TransportError as error:
        return type(error).__name__


def archive() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        content = os.urandom(1 << 18)
        entry = tarfile.TarInfo("data")
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


async def test_new_connections_are_served_and_open_requests_finished(program: Program) -> None:
    body, half = archive(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield body[: len(body) // 2]
        await half.wait()
        yield body[len(body) // 2 :]

    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        headers = {"Authorization": f"token {LOCAL_TOKEN}", "Content-Length": str(len(body))}
        put = asyncio.create_task(client.put(f"{program.url}local/folder", content=slowly(), headers=headers))
        await asyncio.sleep(0.2)
        assert not put.done()
        told = time.monotonic()
        program.end()
        answers = []
        while time.monotonic() - told < LINGERS:
            answers.append(await status_of(f"{program.url}versions"))
            await asyncio.sleep(0.05)
        assert set(answers) == {200}, answers
        async with asyncio.timeout(10):
            while await status_of(f"{program.url}versions") == 200:
                await asyncio.sleep(0.05)
        assert program.process.poll() is None, "it waits for what is under way"
        half.set()
        assert (await put).status_code == 201
    assert await program.ended(5) == 128 + signal.SIGTERM
    assert time.monotonic() - told < 15


@pytest.mark.slow
async def test_a_request_that_never_ends_does_not_keep_the_pod_past_its_time(program: Program) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", program.port)
    head = f"PUT /local/x HTTP/1.1\r\nHost: x\r\nAuthorization: token {LOCAL_TOKEN}\r\nContent-Length: 9\r\n\r\n"
    writer.write(head.encode())
    await writer.drain()
    program.end()
    await asyncio.sleep(0.2)
    program.end(signal.SIGTERM)  # twice is no hurry: an init may repeat it
    assert await program.ended() == 128 + signal.SIGTERM
    writer.close()


def test_a_port_that_is_taken_ends_the_program(program: Program) -> None:
    command = [str(word) for word in program.process.args]  # type: ignore[union-attr]
    again = subprocess.run(command, env=ENVIRONMENT, capture_output=True, timeout=30, check=False)
    assert again.returncode == 3
    assert program.process.poll() is None


async def test_an_interruption_by_hand_ends_at_once(program: Program) -> None:
    program.end(signal.SIGINT)
    assert await program.ended(3) == 128 + signal.SIGINT


async def test_nobody_sees_through_nginx_that_a_binder_is_replaced(program: Program, front: Front) -> None:
    rules = [ingress("binder", rule("binder.test", ("/", "Prefix", "binder")))]
    await front.serve(rules, [service("binder", program.port)])
    address = f"http://127.0.0.1:{front.port}/versions"
    answers: list[int | str] = []
    over = asyncio.Event()

    async def visitors() -> None:
        while not over.is_set():
            answers.append(await status_of(address, headers={"host": "binder.test"}))

    async with echo_server("next") as after:
        tasks = [asyncio.create_task(visitors()) for _ in range(4)]
        await asyncio.sleep(0.3)
        program.end()
        await asyncio.sleep(1.0)  # until the EndpointSlice, the watch and nginx have followed
        await front.serve(rules, [service("binder", after.port)])
        await program.ended()
        await asyncio.sleep(0.3)
        over.set()
        await asyncio.gather(*tasks)
    assert len(answers) > 20 and set(answers) == {200}, {answer: answers.count(answer) for answer in set(answers)}
