"""A container that a runtime has made and whose engine does not know so, or does not know it at all."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest
from tests.podman.tiny import TINY

from binderops.errors import EngineUnavailableError
from binderops.podman import EngineSettings, Podman, command, find_service, start_service
from binderops.podman.commands import run
from binderops.podman.unknown import STATES

KILLED_AT_CREATION = """#!/bin/sh
verb=
for word do [ "$word" != create ] || verb=create; done
[ -n "$verb" ] || exec {runtime} "$@"
{runtime} "$@"
code=$?
kill -9 {service}
exit $code
"""


async def made_unnoticed(engine: EngineSettings, podman: Podman, **more: Any) -> str:
    """Kill the service just when the runtime has made a container, and start it anew; the container's id."""
    runtime = engine.configuration / engine.runtime
    if not runtime.exists():
        pytest.skip(f"{engine.runtime} is started by its own path here: nothing can stand between")
    service = find_service(engine)
    assert service is not None
    script, kept = runtime.read_text(), runtime.with_suffix(".kept")
    kept.write_text(script)
    kept.chmod(0o700)
    body = {"image": TINY, "command": ["sleep", "600"], "netns": {"nsmode": "host"}, "cgroup_parent": "/test-podman"}
    identity = await podman.containers.create({**body, **more})
    try:
        runtime.write_text(KILLED_AT_CREATION.format(runtime=kept, service=service))
        with pytest.raises(EngineUnavailableError):
            await podman.containers.start(identity)
    finally:
        runtime.write_text(script)
        kept.unlink()
    await start_service(engine)
    assert processes_of(identity), "it waits to be started"
    return identity


async def forget(engine: EngineSettings, identity: str) -> None:
    """Have the engine remove a container of whose process it does not know."""
    await run(command(engine, "rm", "--force", identity), environment=engine.environment())
    async with Podman(engine.socket) as podman:
        assert identity not in {found["Id"] for found in await podman.containers.list_all()}
    assert processes_of(identity), "the engine alone leaves it"


async def until_nothing_runs(engine: EngineSettings, identity: str, *, seconds: float = 10.0) -> None:
    """Until neither process nor state is left of a container."""
    async with asyncio.timeout(seconds):
        while processes_of(identity) or (STATES[engine.runtime] / identity).exists():
            await asyncio.sleep(0.05)


def processes_of(identity: str) -> list[str]:
    """The processes that run for a container: its own, by their control group, and its monitor."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes()
            if identity.encode() in words + (process / "cgroup").read_bytes() and words:
                found.append(words.replace(b"\0", b" ").decode(errors="replace")[:80])
    return found
