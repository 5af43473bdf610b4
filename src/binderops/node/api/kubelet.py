"""Logs, exec and attach: passed through to the kubelet endpoint that the pod's Node names, over mutual TLS."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator, MutableMapping
from typing import Any
from urllib.parse import quote, urlencode

import httpx2
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from binderops.errors import KubernetesError
from binderops.node.api import refusals
from binderops.node.api.context import Api, Call
from binderops.node.api.http import Answer, Receive, Send, Stream
from binderops.node.api.objects.status import bad_request
from binderops.node.config import NodeConfig

Object = dict[str, Any]
PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_CONNECT = 5.0  # seconds until a kubelet endpoint counts as unreachable
_FIRST_ANSWER = 30.0  # seconds until a log request must have been answered
_NEXT_PIECE = 30.0  # seconds until the next piece of a log that is there already
_QUIET_LOG = (
    4 * 3600.0
)  # seconds that a followed container may write nothing: a kubelet's streamingConnectionIdleTimeout
_LOG_OPTIONS = ("follow", "previous", "sinceSeconds", "sinceTime", "timestamps", "tailLines", "limitBytes", "stream")
_EXEC_OPTIONS = ("command", "stdin", "stdout", "stderr", "tty")


class Kubelet:
    """The way to the node's kubelet endpoint; one TLS context for all requests."""

    def __init__(self, config: NodeConfig) -> None:
        self._tls = ssl.create_default_context(cafile=str(config.pki / "ca.crt"))
        client = config.pki / "apiserver-kubelet-client.crt"
        self._tls.load_cert_chain(client, config.pki / "apiserver-kubelet-client.key")
        timeout = httpx2.Timeout(_FIRST_ANSWER, connect=_CONNECT, read=None)
        self._http = httpx2.AsyncClient(verify=self._tls, timeout=timeout, trust_env=False)

    async def close(self) -> None:
        """Close kept connections."""
        await self._http.aclose()

    async def logs(self, api: Api, call: Call) -> Answer | Stream:
        """GET pods/NAME/log."""
        pod = api.latest(call.resource, call.namespace, call.name).object()
        container = _container(pod, call)
        query: list[tuple[str, str | int | float | bool | None]] = []
        query += [(key, value) for key in _LOG_OPTIONS for value in call.query.all(key)]
        if not pod["spec"].get("nodeName"):
            return Answer(b"", media_type="text/plain")
        host = _endpoint(api, pod)
        path = "/".join(quote(part, safe="") for part in ("containerLogs", call.namespace, call.name, container))
        request = self._http.build_request("GET", f"https://{host}/{path}", params=query)
        try:
            async with asyncio.timeout(_FIRST_ANSWER):
                response = await self._http.send(request, stream=True)
        except (httpx2.HTTPError, OSError, TimeoutError) as error:
            raise _unreachable(host, error) from None
        if response.status_code != 200:
            text = (await response.aread()).decode("utf-8", "replace").strip()
            await response.aclose()
            raise _refused(response.status_code, text)
        silence = _QUIET_LOG if call.query.flag("follow") else _NEXT_PIECE
        return Stream(pieces(response, silence=silence), media_type="text/plain")

    async def stream(self, api: Api, call: Call, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Exec and attach: the client's WebSocket and the kubelet's, joined message by message."""
        pod = api.latest(call.resource, call.namespace, call.name).object()
        container = _container(pod, call)
        if not pod["spec"].get("nodeName"):
            raise bad_request(f"pod {call.name} does not have a host assigned")
        offered = [protocol for protocol in scope.get("subprotocols", ()) if protocol in PROTOCOLS]
        if not offered:
            raise bad_request(f"unable to upgrade: the subprotocols served are {', '.join(PROTOCOLS)}")
        host = _endpoint(api, pod)
        path = "/".join(quote(part, safe="") for part in (call.subresource, call.namespace, call.name, container))
        query = urlencode([(key, value) for key in _EXEC_OPTIONS for value in call.query.all(key)])
        try:
            upstream = await connect(
                f"wss://{host}/{path}?{query}",
                ssl=self._tls,
                subprotocols=[Subprotocol(protocol) for protocol in offered],
                compression=None,
                max_size=None,
                open_timeout=_FIRST_ANSWER,
                proxy=None,
            )
        except InvalidStatus as error:
            body = (error.response.body or b"").decode("utf-8", "replace").strip()
            raise _refused(error.response.status_code, body) from None
        except (OSError, TimeoutError, InvalidHandshake) as error:
            raise _unreachable(host, error) from None
        async with upstream:
            await receive()  # websocket.connect
            await send({"type": "websocket.accept", "subprotocol": upstream.subprotocol})
            await _join(upstream, receive, send)


async def _join(upstream: ClientConnection, receive: Receive, send: Send) -> None:
    """Pass messages both ways until either side has closed."""

    async def up() -> None:
        while (message := await receive())["type"] == "websocket.receive":
            data = message.get("bytes")
            await upstream.send(data if data is not None else message.get("text") or "")

    async def down() -> None:
        async for data in upstream:
            key = "bytes" if isinstance(data, bytes) else "text"
            await send({"type": "websocket.send", key: data})
        await send({"type": "websocket.close", "code": upstream.close_code or 1000})

    tasks = [asyncio.create_task(up()), asyncio.create_task(down())]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            with contextlib.suppress(ConnectionClosed, OSError, RuntimeError):
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def pieces(response: httpx2.Response, *, silence: float) -> AsyncGenerator[bytes]:
    """A log as it comes; it ends where the kubelet goes away, or says nothing for `silence` seconds."""
    incoming = response.aiter_raw()
    try:
        while True:
            async with asyncio.timeout(silence):
                piece = await anext(incoming)
            yield piece
    except (StopAsyncIteration, TimeoutError, httpx2.HTTPError):
        return  # what was sent stands
    finally:
        await response.aclose()


def _container(pod: Object, call: Call) -> str:
    spec = pod["spec"]
    names = [c["name"] for key in ("containers", "initContainers") for c in spec.get(key) or ()]
    wanted = call.query.get("container")
    if wanted:
        if wanted not in names:
            raise bad_request(f"container {wanted} is not valid for pod {call.name}")
        return wanted
    main = [c["name"] for c in spec.get("containers") or ()]
    if len(main) == 1:
        return str(main[0])
    default = (pod["metadata"].get("annotations") or {}).get("kubectl.kubernetes.io/default-container")
    if default in main:
        return str(default)
    raise bad_request(f"a container name must be specified for pod {call.name}, choose one of: [{' '.join(main)}]")


def _endpoint(api: Api, pod: Object) -> str:
    """host:port of the kubelet endpoint, from the Node's status."""
    name = pod["spec"]["nodeName"]
    record = api.store.get("nodes", "", name)
    if record is None:
        raise refusals.unavailable(f'the pod runs on node "{name}", which is not known')
    status = record.object().get("status") or {}
    addresses = {a.get("type"): a.get("address") for a in status.get("addresses") or ()}
    host = addresses.get("InternalIP") or addresses.get("Hostname")
    port = ((status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port")
    if not host or not port:
        raise refusals.unavailable(f'node "{name}" has not said yet where its kubelet endpoint is')
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _unreachable(host: str, error: Exception) -> KubernetesError:
    reason = str(error) or type(error).__name__
    return refusals.unavailable(f"the kubelet endpoint {host} cannot be reached: {reason}")


def _refused(code: int, text: str) -> KubernetesError:
    """The kubelet's refusal, in its own words."""
    reasons = {400: "BadRequest", 403: "Forbidden", 404: "NotFound", 422: "Invalid", 503: "ServiceUnavailable"}
    known = code if code in reasons else 500
    return refusals.refusal(known, reasons.get(known, "InternalError"), text or f"the kubelet endpoint answered {code}")
