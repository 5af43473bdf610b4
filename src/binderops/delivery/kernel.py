"""A kernel over its websocket, as JupyterLab uses it: start one, run a cell, read what it answers."""

from __future__ import annotations

import asyncio
import json
import ssl
import uuid
from typing import Any
from urllib.parse import urljoin

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from binderops.delivery.public import connect_address, public_client
from binderops.errors import ProofError


async def run_cell(
    server_url: str, token: str, code: str, *, timeout: float = 60, trust: ssl.SSLContext | None = None
) -> str:
    """Runs `code` in a fresh python3 kernel of a Jupyter server and returns the text of its result.

    Protocol: Jupyter's messaging 5.3 over /api/kernels/ID/channels. `trust`: as for `public_client`. Raises ProofError
    when the server refuses, the code raises, or nothing comes within `timeout` seconds.
    """
    headers = {"Authorization": f"token {token}"}
    try:
        async with asyncio.timeout(timeout), public_client(trust=trust, timeout=timeout) as client:
            answer = await client.post(urljoin(server_url, "api/kernels"), headers=headers, json={"name": "python3"})
            answer.raise_for_status()
            kernel = str(answer.json()["id"])
            try:
                return await _execute(server_url, kernel, headers, code, trust)
            finally:
                await client.delete(urljoin(server_url, f"api/kernels/{kernel}"), headers=headers)
    except TimeoutError:
        raise ProofError(f"the kernel did not answer within {timeout:.0f} s", where=server_url) from None
    except (httpx.HTTPError, WebSocketException, OSError) as error:
        raise ProofError(
            "the kernel cannot be reached", where=server_url, why=f"{type(error).__name__}: {error}"
        ) from None


async def _execute(
    server_url: str, kernel: str, headers: dict[str, str], code: str, trust: ssl.SSLContext | None
) -> str:
    session = uuid.uuid4().hex
    url = urljoin(server_url, f"api/kernels/{kernel}/channels?session_id={session}").replace("http", "ws", 1)
    host, port = connect_address(url)
    # Only wss:// may say what it trusts; ws:// with it is an error of the library.
    secure: dict[str, Any] = {"ssl": trust} if trust is not None and url.startswith("wss:") else {}
    # The caller's deadline is the only one: of a library's own nobody would say that it was not that.
    async with connect(
        url, host=host, port=port, additional_headers=headers, max_size=2**22, proxy=None, open_timeout=None, **secure
    ) as socket:
        request = _message("execute_request", session, {"code": code, "silent": False, "store_history": False})
        await socket.send(json.dumps(request))
        async for text in socket:
            message = json.loads(text)
            if message.get("parent_header", {}).get("msg_id") != request["header"]["msg_id"]:
                continue
            match message["header"]["msg_type"]:
                case "execute_result":
                    return str(message["content"]["data"]["text/plain"])
                case "error":
                    raise ProofError("the cell raised", where=server_url, why=str(message["content"].get("evalue")))
    raise ProofError("the kernel closed its channel", where=server_url)


def _message(kind: str, session: str, content: dict[str, Any]) -> dict[str, Any]:
    header = {
        "msg_id": uuid.uuid4().hex,
        "msg_type": kind,
        "username": "binderops",
        "session": session,
        "version": "5.3",
    }
    return {"channel": "shell", "header": header, "parent_header": {}, "metadata": {}, "content": content}
