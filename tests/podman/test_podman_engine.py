"""The client against a real engine."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from tests.podman.forgotten import forget, made_unnoticed, processes_of, until_nothing_runs
from tests.podman.tiny import TINY

from binderops.errors import EngineNotFoundError, EngineUnavailableError, PullError
from binderops.podman import STDERR, STDOUT, EngineSettings, Podman, find_service, start_service
from binderops.podman.commands import run
from binderops.podman.mounts import entering, mount_memory, mounted_at, unmount

pytestmark = pytest.mark.podman


async def running(podman: Podman, *argv: str, **more: object) -> str:
    identity = await podman.containers.create(
        {"image": TINY, "command": list(argv), "netns": {"nsmode": "host"}, "cgroup_parent": "/test-podman", **more}
    )
    await podman.containers.start(identity)
    return identity


async def test_ping_says_the_version(podman: Podman) -> None:
    assert (await podman.ping())[0].isdigit()


async def test_a_silent_socket_is_unavailable(tmp_path: Path) -> None:
    async with Podman(tmp_path / "none.sock") as nobody:
        with pytest.raises(EngineUnavailableError, match="does not answer"):
            await nobody.ping()


async def test_images(podman: Podman) -> None:
    assert await podman.images.exists(TINY)
    assert not await podman.images.exists("localhost/none:1")
    assert TINY in (await podman.images.inspect(TINY))["RepoTags"]
    await podman.images.tag(TINY, repository="localhost/other", tag="2")
    assert any("localhost/other:2" in image["Names"] for image in await podman.images.list_all())
    await podman.images.remove("localhost/other:2")
    await podman.images.remove("localhost/other:2")
    assert await podman.images.exists(TINY)


async def test_a_failed_pull_is_an_error_though_podman_answers_200(podman: Podman) -> None:
    with pytest.raises(PullError, match="connection refused"):
        await podman.images.pull("127.0.0.1:9/nothing:1", credentials=("a", "b"))


async def test_exit_code_is_seen_by_events_and_by_wait(podman: Podman) -> None:
    seen = asyncio.get_running_loop().create_future()

    async def watch(started: asyncio.Event) -> None:
        async for event in podman.events(filters={"event": ["died", "create"]}):
            started.set()
            if event.action == "died" and event.attributes.get("name") == "test-exit":
                seen.set_result(event)
                return

    started = asyncio.Event()
    watcher = asyncio.create_task(watch(started))
    async with asyncio.timeout(60):
        while not started.is_set():  # the engine tells what comes after it began to, whenever that is
            await podman.containers.remove(await podman.containers.create({"image": TINY, "command": ["true"]}))
            await asyncio.sleep(0.05)
    identity = await running(podman, "sh", "-c", "sleep 0.3; exit 7", name="test-exit")
    event = await asyncio.wait_for(seen, 60)
    assert event.id == identity
    assert await podman.containers.wait(identity, deadline=60) == 7
    assert (await podman.containers.inspect(identity))["State"]["ExitCode"] == 7
    await watcher
    await podman.containers.remove(identity)


async def test_exec_keeps_output_and_error_apart(podman: Podman) -> None:
    identity = await running(podman, "sleep", "60")
    session = await podman.containers.exec_create(identity, ["sh", "-c", "cat; echo bad >&2; exit 3"], stdin=True)
    stream = await podman.containers.exec_start(session)
    await stream.write(b"hello\n")
    stream.end_input()
    pieces = {STDOUT: b"", STDERR: b""}
    async for channel, data in stream.output():
        pieces[channel] += data
    await stream.close()
    assert pieces == {STDOUT: b"hello\n", STDERR: b"bad\n"}
    assert await podman.containers.exec_exit_code(session) == 3
    await podman.containers.remove(identity, force=True)


async def test_what_is_not_there(podman: Podman) -> None:
    with pytest.raises(EngineNotFoundError):
        await podman.containers.inspect("nobody")
    await podman.containers.remove("nobody")


async def test_logs_and_labels(podman: Podman) -> None:
    identity = await running(podman, "echo", "word", labels={"room": "podman"})
    await podman.containers.wait(identity, deadline=60)
    assert b"".join([piece async for piece in podman.containers.logs(identity)]) == b"word\n"
    assert [item["Id"] for item in await podman.containers.list_all(labels=("room=podman",))] == [identity]
    await podman.containers.remove(identity)


async def test_a_killed_service_is_started_again_and_containers_run_on(engine: EngineSettings) -> None:
    async with Podman(engine.socket) as podman:
        identity = await running(podman, "sleep", "60")
        before = find_service(engine)
        assert before is not None
        assert await start_service(engine) == before, "a running service is found, not doubled"
        os.kill(before, signal.SIGKILL)
        after = await start_service(engine)
        assert after != before
        assert (await podman.containers.inspect(identity))["State"]["Status"] == "running"
        session = await podman.containers.exec_create(identity, ["echo", "on"])
        output = [data async for _, data in (await podman.containers.exec_start(session)).output()]
        assert b"".join(output) == b"on\n"
        await podman.containers.remove(identity, force=True)
        with pytest.raises(EngineNotFoundError):
            await podman.containers.inspect(identity)


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
async def test_a_service_killed_while_a_container_starts_leaves_no_process(engine: EngineSettings, known: bool) -> None:
    """The runtime has made it, and nobody was left to note so."""
    async with Podman(engine.socket) as podman:
        identity = await made_unnoticed(engine, podman)
        if not known:
            await forget(engine, identity)
        await podman.containers.remove(identity, force=True)
        await until_nothing_runs(engine, identity)


async def test_what_an_engine_has_forgotten_is_found_and_ended(engine: EngineSettings, tmp_path: Path) -> None:
    async with Podman(engine.socket) as podman:
        beside = await running(podman, "sleep", "60")
        identity = await made_unnoticed(engine, podman)
        assert await podman.containers.end_unknown(engine.storage) == [], "this engine knows both"
        await forget(engine, identity)
        assert await podman.containers.end_unknown(tmp_path) == [], "another engine's are left alone"
        assert processes_of(identity) and processes_of(beside)
        assert await podman.containers.end_unknown(engine.storage) == [identity]
        await until_nothing_runs(engine, identity)
        assert (await podman.containers.inspect(beside))["State"]["Running"]
        await podman.containers.remove(beside, force=True)


async def test_the_service_has_hosts_of_its_own(engine: EngineSettings) -> None:
    assert mounted_at(engine.namespace) is not None
    engine.hosts.write_text(engine.hosts.read_text() + "127.0.0.1 registry.test.svc\n")
    async with Podman(engine.socket) as podman:
        with pytest.raises(PullError, match=r"127\.0\.0\.1:9: connect: connection refused") as refused:
            await podman.images.pull("registry.test.svc:9/app:1")
    assert "http:" in str(refused.value), "Services are plain http"
    assert "registry.test.svc" not in Path("/etc/hosts").read_text()


async def test_later_mounts_in_shared_folders_are_seen(engine: EngineSettings) -> None:
    folder = engine.shared_folders[0] / "memory"
    await mount_memory(folder, size=1 << 20)
    try:
        (folder / "file").write_text("seen")
        assert await run([*entering(engine.namespace), "cat", str(folder / "file")]) == "seen"
    finally:
        await unmount(folder)
    assert mounted_at(folder) is None
