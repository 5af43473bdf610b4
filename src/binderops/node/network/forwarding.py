"""The node's side of the forwarder: start it where it does not run, tell it what to listen on, stop it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from binderops.errors import NetworkError
from binderops.node import lasting
from binderops.node.config import NodeConfig
from binderops.node.network import forwarder

ANSWER_SECONDS = 5.0
START_SECONDS = 10.0

Route = tuple[str, int, str, int]


class Listening(NamedTuple):
    """What the forwarder listens on, and what it could not (address and port to the reason)."""

    routes: frozenset[Route]
    failed: dict[tuple[str, int], str]
    pid: int


async def set_routes(config: NodeConfig, routes: set[Route]) -> Listening:
    """Make the forwarder listen on exactly these; it is started when it does not run and there is something to do.

    NetworkError when it cannot be started or does not answer within 5 seconds.
    """
    try:
        return await _ask(config, {"listen": sorted(routes)})
    except (FileNotFoundError, ConnectionRefusedError):
        if not routes:
            return Listening(frozenset(), {}, 0)
    await _start(config)
    return await _ask(config, {"listen": sorted(routes)})


async def stop_forwarder(config: NodeConfig) -> None:
    """Stop it, if it runs; open connections are closed."""
    with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
        await _ask(config, {"stop": True})
        deadline = asyncio.get_running_loop().time() + ANSWER_SECONDS
        while _socket(config).exists():
            if asyncio.get_running_loop().time() > deadline:
                raise NetworkError("the forwarder does not stop", where=str(_socket(config)))
            await asyncio.sleep(0.02)


def _socket(config: NodeConfig) -> Path:
    return config.run / "forwarder.sock"


async def _ask(config: NodeConfig, request: dict[str, object]) -> Listening:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_unix_connection(str(_socket(config)))
            try:
                writer.write(json.dumps(request).encode() + b"\n")
                await writer.drain()
                answer = json.loads(await reader.read())
            finally:
                writer.close()
    except TimeoutError:
        raise NetworkError(
            f"the forwarder did not answer within {ANSWER_SECONDS:.0f} s", where=str(_socket(config))
        ) from None
    except (BrokenPipeError, ConnectionResetError) as error:
        raise NetworkError("the forwarder went away", where=str(_socket(config)), why=str(error)) from None
    except ValueError as error:
        raise NetworkError("the forwarder's answer is not understood", why=str(error)) from None
    if "error" in answer:
        raise NetworkError("the forwarder refused", where=str(_socket(config)), why=str(answer["error"]))
    return Listening(
        routes=frozenset((str(a), int(p), str(b), int(q)) for a, p, b, q in answer["listening"]),
        failed={(str(address), int(port)): str(reason) for address, port, reason in answer["failed"]},
        pid=int(answer["pid"]),
    )


async def _start(config: NodeConfig) -> None:
    """Start it in a session of its own, and wait for its socket."""
    config.run.mkdir(parents=True, exist_ok=True)
    _socket(config).unlink(missing_ok=True)
    (config.state / "logs").mkdir(parents=True, exist_ok=True)
    with (config.state / "logs" / "forwarder.log").open("ab") as log:
        process = await asyncio.to_thread(
            subprocess.Popen,
            # Isolated and without site: no package of this environment is loaded, nor can one change what it does.
            [sys.executable, "-I", "-S", str(forwarder.__file__), str(_socket(config))],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
            env={"PATH": "/usr/bin:/bin", "MALLOC_ARENA_MAX": "1"},
        )
    await asyncio.to_thread(lasting.keep, config.name, process.pid)
    deadline = asyncio.get_running_loop().time() + START_SECONDS
    while not _socket(config).exists():
        if process.poll() is not None or asyncio.get_running_loop().time() > deadline:
            raise NetworkError(
                "the forwarder did not start",
                where=str(config.state / "logs" / "forwarder.log"),
                why=f"exit code {process.returncode}" if process.poll() is not None else "no socket in time",
            )
        await asyncio.sleep(0.01)
