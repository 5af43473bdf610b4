"""2,000 viewers of one build that runs: how late a line of its log is, what a viewer costs, what others wait."""

from __future__ import annotations

import asyncio
import multiprocessing
import re
import resource
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from multiprocessing.connection import Connection

from bench.deployment import memory_of
from bench.launch import notebook_base, open_folder
from bench.place import DIRECTORY, ENVIRONMENT
from bench.report import Report, Series
from binderops.cli.wiring import open_workspace
from binderops.delivery.certificates_trust import trust_of
from binderops.delivery.proving import hand_over, local_token
from binderops.delivery.workspace import Workspace
from binderops.kube.client import Client
from binderops.kube.kinds import SERVICE

VIEWERS = 2000
_PAUSE, _LINES = 0.5, 240  # seconds between the build's lines; two minutes, but nobody stays to their end
_JOINED = 75.0  # seconds until everyone must see the log
_WATCHED = 20.0  # seconds that everyone watches
_LATE = 30.0  # seconds that a line is waited for after the last one that counts
_REQUESTS = 20  # a second
_TICK = re.compile(rb"tick ([0-9]+\.[0-9]+)")
_TICKER = f"""\
import time
for _ in range({_LINES}):
    print(f"tick {{time.time():.6f}}", flush=True)
    time.sleep({_PAUSE})
"""
_BUILD = (
    f"the binder's own program in its pod; a real build whose RUN step prints the time every {_PAUSE} s; viewers are "
    "connections of one other process to the binder's Service, without the ingress"
)


def viewers(count: int = VIEWERS) -> Report:
    """One viewer, then `count` of them, of one build each; other requests (/versions) go on meanwhile."""
    report = Report("viewers", "one viewer, then all, of a build each")
    workspace = open_workspace(DIRECTORY, ENVIRONMENT)
    alone, idle, before = _watched(workspace, 1)
    delays, others, after = _watched(workspace, count)
    report.series = [
        Series("line's delay, 1 viewer", f"{_BUILD}; receipt minus printing", "ms", alone, bar=100),
        Series(
            f"line's delay, {count} viewers",
            f"the same, every line at every viewer; one that never came counts as {_LATE:g} s or more",
            "ms",
            delays,
            bar_p99=250,
        ),
        Series("other requests, 1 viewer", "GET /versions, 20 a second, each from when it was due", "ms", idle),
        Series(f"other requests, {count} viewers", "the same", "ms", others, bar_p99=100),
        Series("memory a viewer", "what the binder's PSS grew by, divided", "KB", [(after - before) / count], bar=30),
    ]
    return report


def _watched(workspace: Workspace, count: int) -> tuple[list[float], list[float], float]:
    """Delays of lines, times of other requests (ms), and the binder's memory in KB meanwhile."""
    address, path, token = asyncio.run(_prepared(workspace))
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=_view, args=(theirs, address, path, token, count), daemon=True)
    child.start()
    try:
        if not ours.poll(180):
            raise TimeoutError("the viewers did not see the build's first lines within 180 s")
        ours.recv()
        others = _asked(address, seconds=_WATCHED)
        memory = memory_of("binder")
        ours.send("enough")
        if not ours.poll(60 + _LATE):
            raise TimeoutError("the viewers did not report")
        delays: list[float] = ours.recv()
    finally:
        child.join(10)
        child.kill()
    return delays, others, memory


async def _prepared(workspace: Workspace) -> tuple[tuple[str, int], str, str]:
    """Uploads a folder that takes long to build; where the binder is, the stream's path, and the token for it."""
    deployment, access = workspace.deployment(), workspace.target.access()
    token = await local_token(deployment, access)
    dockerfile = f"FROM {notebook_base(workspace)}\nCOPY tick.py /tick.py\nRUN python3 /tick.py\n"
    with open_folder({"Dockerfile": dockerfile, "tick.py": _TICKER}) as folder:
        spec = await hand_over(
            deployment, folder=folder, authorization=f"token {token}", trust=await trust_of(deployment, access)
        )
    async with Client.from_kubeconfig(access.kubeconfig, context=access.context) as client:
        service = await client.get(SERVICE, "binder", deployment.namespace)
    return (service["spec"]["clusterIP"], int(service["spec"]["ports"][0]["port"])), f"/build/{spec}", token


def _asked(address: tuple[str, int], *, seconds: float) -> list[float]:
    """How long requests took (ms) that were due at a fixed pace, whether or not those before had been answered."""
    count = int(seconds * _REQUESTS)
    begin = time.monotonic()

    def ask(number: int) -> float:
        due = begin + number / _REQUESTS
        time.sleep(max(0.0, due - time.monotonic()))
        connection = HTTPConnection(*address, timeout=60)
        connection.request("GET", "/versions")
        connection.getresponse().read()
        connection.close()
        return (time.monotonic() - due) * 1000

    with ThreadPoolExecutor(_REQUESTS) as pool:
        return list(pool.map(ask, range(count)))


# --- the viewers' process ---------------------------------------------------------------------------------------------


class _Viewer(asyncio.Protocol):
    """Asks for the stream, and notes when each line came: `found`, by when it was printed."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self.found: dict[float, float] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.time()
        for each in _TICK.findall(data):
            self.found.setdefault(float(each), now)


def _view(pipe: Connection, address: tuple[str, int], path: str, token: str, count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, count + 100)), hard))
    pipe.send(asyncio.run(_viewed(pipe, address, path, token, count)))


async def _viewed(pipe: Connection, address: tuple[str, int], path: str, token: str, count: int) -> list[float]:
    host, port = address
    request = (
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\nAuthorization: token {token}\r\n\r\n"
    ).encode()
    loop = asyncio.get_running_loop()
    viewers: list[_Viewer] = []
    transports = []
    for number in range(count):
        transport, viewer = await loop.create_connection(lambda: _Viewer(request), host, port)
        transports.append(transport)
        viewers.append(viewer)
        if number % 50 == 49:
            await asyncio.sleep(0.2)
    async with asyncio.timeout(_JOINED):  # before the build ends: nobody of them may go on to a launch
        while not all(viewer.found for viewer in viewers):
            await asyncio.sleep(0.1)
    everyone = time.time()
    pipe.send("everyone sees the log")
    while not await asyncio.to_thread(pipe.poll, 60):
        pass
    enough = time.time()
    # Lines come in order: who has a later one has all that count.
    while time.time() < enough + _LATE and not all(max(viewer.found) > enough for viewer in viewers):
        await asyncio.sleep(0.1)
    ended = time.time()
    for transport in transports:
        transport.close()
    counted = sorted({each for viewer in viewers for each in viewer.found if everyone < each <= enough})
    return [(viewer.found.get(each, ended) - each) * 1000 for viewer in viewers for each in counted]
