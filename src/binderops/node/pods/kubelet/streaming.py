"""exec and attach over WebSocket, by the protocols v4 and v5.channel.k8s.io.

Each binary message is one byte of channel and its data: 0 stdin, 1 stdout, 2 stderr, 3 error (a Status, at the end),
4 resize (`{"Width":…,"Height":…}`). v5 adds 255: the channel named by the next byte is closed, which is how a client
ends stdin. Source: KEP-4006, kubernetes/apimachinery/pkg/util/remotecommand.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from binderops.errors import EngineError
from binderops.podman import RawStream

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
Resize = Callable[[int, int], Awaitable[None]]


async def accept(socket: WebSocket) -> bool:
    """Agree on the best protocol that both speak; False (and the socket refused) if there is none."""
    offered = socket.scope.get("subprotocols") or []
    chosen = next((protocol for protocol in PROTOCOLS if protocol in offered), None)
    if chosen is None:
        await socket.close(1002, f"one of {', '.join(PROTOCOLS)} is needed")
        return False
    await socket.accept(subprotocol=chosen)
    return True


async def bridge(
    socket: WebSocket,
    stream: RawStream,
    *,
    wanted: frozenset[int],
    resize: Resize,
    finish: Callable[[], Awaitable[Any]],
) -> None:
    """Carry data both ways until the process ends; then send the Status that `finish` gives, and close.

    `wanted` are the output channels the client asked for. A client that leaves ends only the connection.
    """
    for channel in sorted(wanted):
        # Clients take an empty message on each stream as its beginning.
        await socket.send_bytes(bytes([channel]))
    incoming = asyncio.create_task(_incoming(socket, stream, resize))
    outgoing = asyncio.create_task(_outgoing(socket, stream, wanted))
    try:
        await asyncio.wait({incoming, outgoing}, return_when=asyncio.FIRST_COMPLETED)
        if not outgoing.done():
            return  # the client left
        await outgoing
        status = await finish()
        await socket.send_bytes(bytes([ERROR]) + json.dumps(status).encode())
        await socket.close(1000)
    except (WebSocketDisconnect, RuntimeError):
        return
    finally:
        for task in (incoming, outgoing):
            task.cancel()
        await asyncio.gather(incoming, outgoing, return_exceptions=True)
        await stream.close()


async def _outgoing(socket: WebSocket, stream: RawStream, wanted: frozenset[int]) -> None:
    async for channel, data in stream.output():
        if channel in wanted:
            await socket.send_bytes(bytes([channel]) + data)


async def _incoming(socket: WebSocket, stream: RawStream, resize: Resize) -> None:
    """Until the client leaves."""
    while True:
        try:
            message = await socket.receive()
        except (WebSocketDisconnect, RuntimeError):
            return
        if message["type"] == "websocket.disconnect":
            return
        data = message.get("bytes") or (message.get("text") or "").encode()
        if not data:
            continue
        channel, content = data[0], data[1:]
        if channel == STDIN and content:
            with contextlib.suppress(OSError):
                await stream.write(content)
        elif channel == CLOSE and content[:1] == bytes([STDIN]):
            stream.end_input()
        elif channel == RESIZE:
            await _resize(content, resize)


async def _resize(content: bytes, resize: Resize) -> None:
    try:
        size = json.loads(content)
        width, height = int(size["Width"]), int(size["Height"])
    except (ValueError, KeyError, TypeError):
        return  # a client's bad size is no reason to end its session
    with contextlib.suppress(EngineError):
        await resize(width, height)


def success() -> dict[str, Any]:
    """The Status of a command that ended with 0."""
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}


def nonzero(code: int) -> dict[str, Any]:
    """The Status of a command that ended with another code, from which clients take their own."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def failure(message: str) -> dict[str, Any]:
    """The Status of a command that could not be run."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": "InternalError",
        "code": 500,
    }
