"""A kernel that counts aloud over one websocket, as a user's open notebook hears it."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from types import TracebackType
from typing import Any, Self

import httpx
from tests.e2e.launches import Server
from tests.e2e.networks import until
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

_COUNT = "import itertools, time\nfor number in itertools.count():\n    print(number, flush=True); time.sleep(0.05)"
_SESSION = "beats"  # the server keeps what a session missed for the socket that comes back with its name


class Beats:
    """Counts from `with` on. Lost connections are taken up again, as JupyterLab does."""

    def __init__(self, server: Server, port: int) -> None:
        self.connections = 0
        self._server = server
        self._port = port
        self._seen: list[tuple[float, int]] = []
        self._ended = threading.Event()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="beats", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.wait_for_next()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(30)

    @property
    def heard(self) -> list[tuple[float, int]]:
        """Each number with the time (monotonic, seconds) at which it arrived."""
        return list(self._seen)

    def wait_for_next(self, *, timeout: float = 30) -> float:
        """Waits until one more number has come; the seconds that it took."""
        began, count = time.monotonic(), len(self._seen)

        def came() -> bool:
            assert self._failed is None, f"the kernel cannot be heard: {self._failed!r}"
            return len(self._seen) > count

        until(came, "the kernel's next number", timeout=timeout)
        return time.monotonic() - began

    def _run(self) -> None:
        try:
            asyncio.run(self._listen())
        except BaseException as error:
            self._failed = error

    async def _listen(self) -> None:
        kernel = await self._kernel()
        url = f"{self._server.url}api/kernels/{kernel}/channels?session_id={_SESSION}".replace("http", "ws", 1)
        headers = {"Authorization": f"token {self._server.token}"}
        while not self._ended.is_set():
            try:
                async with connect(
                    url, host="127.0.0.1", port=self._port, additional_headers=headers, proxy=None, open_timeout=5
                ) as websocket:
                    self.connections += 1
                    if not self._seen:
                        await websocket.send(json.dumps(_execute(_COUNT)))
                    await self._hear(websocket)
            except (OSError, WebSocketException, TimeoutError):
                await asyncio.sleep(0.1)  # the path is away for now; JupyterLab asks again, too

    async def _kernel(self) -> str:
        base = httpx.URL(self._server.url)
        headers = {"Authorization": f"token {self._server.token}", "Host": base.netloc.decode()}
        url = f"{base.copy_with(host='127.0.0.1')}api/kernels"
        async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
            made = await client.post(url, headers=headers, json={"name": "python3"})
            return str(made.raise_for_status().json()["id"])

    async def _hear(self, websocket: Any) -> None:
        while not self._ended.is_set():
            try:
                async with asyncio.timeout(1):
                    told = json.loads(await websocket.recv())
            except TimeoutError:
                continue
            if told["header"]["msg_type"] == "stream":
                now = time.monotonic()
                self._seen += [(now, int(word)) for word in told["content"]["text"].split() if word.isdigit()]


def _execute(code: str) -> dict[str, Any]:
    header = {"msg_id": "count", "msg_type": "execute_request", "session": _SESSION, "username": "u", "version": "5.3"}
    content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
    return {"channel": "shell", "header": header, "parent_header": {}, "metadata": {}, "content": content}
