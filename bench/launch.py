"""Launches of a known image beside the bare container; and what other benches launch with."""

from __future__ import annotations

import asyncio
import socket
import ssl
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bench.baseline import bare_container, recipe
from bench.place import DIRECTORY, ENVIRONMENT
from bench.report import Report, Series
from binderops.cli.wiring import open_workspace
from binderops.delivery.launching import Launched, launch
from binderops.delivery.proving import end_server, launch_folder, local_token
from binderops.delivery.workspace import Workspace
from binderops.kube.client import Client
from binderops.kube.kinds import POD
from binderops.kube.objects import status_of

_GONE = 120.0  # seconds until the last servers have ended
_REST_PERCENT, _QUIET_LOOKS, _LOOK, _REST_DEADLINE = 15.0, 3, 0.5, 30.0  # of all processors; then seconds
REQUIREMENTS = "idna\ntoolz\nsortedcontainers\n"


async def known_image(n: int) -> Report:
    """Interleaved: a launch of an image that is there, and the bare container, n times each."""
    workspace = open_workspace(DIRECTORY, ENVIRONMENT)
    first = await launch_example(workspace, DIRECTORY / "examples" / "hello")
    await end_server(first)
    report = Report("launch-known", "launch, bare container, bare container, launch, …")
    told = await recipe(first.result.image)
    visitor = await Visitor.of(workspace)
    launches, bare, phases = [], [], []
    for number in range(2 * n):
        await nobody_runs(workspace)
        if number % 4 in (1, 2):  # launch, bare, bare, launch: what comes first has no advantage
            bare.append(await bare_container(first.result.image, port=free_port()))
            continue
        launched = await visitor.launch(first.result.spec)
        launches.append(launched.result.seconds)
        phases.append(launched.result.phases)
        await end_server(launched)
    report.series = [
        Series(
            "known image",
            "from opening the event stream to the first 200 of the Lab page at its public address",
            "s",
            launches,
        ),
        Series("bare container", told, "s", bare),
        Series.difference("launch minus the bare container beside it", launches, bare, bar=0.3, bar_p95=0.6),
        *where_time_goes(phases, ("built", "ready", "page")),
    ]
    return report


def where_time_goes(phases: list[dict[str, float]], names: tuple[str, ...], of: str = "") -> list[Series]:
    """One series a phase: the seconds from the phase before it to its first event. `of` stands before each name."""
    found = []
    for before, name in zip(("", *names), names, strict=False):
        samples = [told[name] - (told[before] if before else 0) for told in phases]
        found.append(Series(f"  {of}until {name}", f"since {before or 'the request'}", "s", samples))
    return found


async def launch_example(workspace: Workspace, folder: Path) -> Launched:
    return await launch_folder(workspace.deployment(), workspace.target.access(), folder=folder, on_event=_silent)


@dataclass(frozen=True)
class Visitor:
    """Who launches, with all that a launch does not consist of: files read, the token asked for, TLS settings loaded.

    With the release's token, as an operator's own launches: visitors are limited to some an hour.
    """

    url: str
    token: str = field(repr=False)
    trust: ssl.SSLContext = field(repr=False)

    @classmethod
    async def of(cls, workspace: Workspace) -> Visitor:
        deployment = workspace.deployment()
        token = await local_token(deployment, workspace.target.access())
        return cls(deployment.public.url, token, ssl.create_default_context())

    async def launch(self, spec: str) -> Launched:
        """As a page does, until the Lab page has answered."""
        return await launch(self.url, spec, on_event=_silent, authorization=f"token {self.token}", trust=self.trust)


def _silent(phase: str, text: str) -> None:
    """Nobody reads along."""


def notebook_base(workspace: Workspace) -> str:
    """The notebook base as a Dockerfile names it: by the first digits of its digest (binderops.images.buildbase)."""
    image = workspace.deployment().computed["global"]["images"]["notebook"]
    return f"{image['name']}:{image['tag'].removeprefix('sha256:')[:12]}"


@contextmanager
def open_folder(files: dict[str, str]) -> Iterator[Path]:
    """A folder of these files under a name that was never built."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / f"bench-{uuid.uuid4().hex[:8]}"
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
        (folder / "unique.txt").write_text(uuid.uuid4().hex, encoding="utf-8")
        yield folder


async def nobody_runs(workspace: Workspace) -> None:
    """Wait until every server that was ended has ended and the machine rests: no end is in another's figures.

    A machine that does not rest for half a minute has other work, which the table's load tells.
    """
    deployment, access = workspace.deployment(), workspace.target.access()
    async with Client.from_kubeconfig(access.kubeconfig, context=access.context) as client:
        async with asyncio.timeout(_GONE):
            while await _servers(client, deployment.namespace):
                await asyncio.sleep(0.1)
    deadline, quiet = time.monotonic() + _REST_DEADLINE, 0
    while quiet < _QUIET_LOOKS and time.monotonic() < deadline:
        busy = await asyncio.to_thread(psutil.cpu_percent, _LOOK)
        quiet = quiet + 1 if busy <= _REST_PERCENT else 0


async def _servers(client: Client, namespace: str) -> bool:
    pods = (await client.list(POD, namespace, labels="component=singleuser-server")).items
    return any(status_of(pod).get("phase") in (None, "Pending", "Running") for pod in pods)


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """So many of them, no two the same."""
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
