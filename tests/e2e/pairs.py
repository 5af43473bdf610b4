"""Staging and prod for the journeys: their repository, the commands on it, a kernel that counts, what a pod reaches."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from tests.e2e.canaries import Canaries
from websockets.sync.client import ClientConnection, connect

from binderops.kube.client import Client

ROOT = Path(__file__).parents[2]
STATE, RUN = Path("/var/lib/binderops-sp"), Path("/run/binderops-sp")
NODES = {"staging": ("stg", 16444, 19080), "prod": ("prd", 16445, 19180)}
VALUES = "mybinder/values.yaml"
APPS = ("binder", "registry", "hub", "ingress")
COUNTING = "import time\nfor i in range(100000):\n    print(i, flush=True)\n    time.sleep(0.2)\n"
_GUARD = "another node's pods"


@dataclass(frozen=True)
class Pair:
    """A repository with both environments, and the commands on them, each of which is searched for sealed values."""

    root: Path
    canaries: Canaries
    key: str | None = None  # an age identity, as sops takes it

    def run(self, *arguments: str, give: str = "", timeout: float = 600) -> subprocess.CompletedProcess[str]:
        """One command; fails the test where its output, or a process that it starts, holds a sealed value."""
        within = () if arguments[:2] == ("secrets", "seal") else ("--directory", str(self.root))  # it names its file
        program = [str(Path(sys.executable).parent / "binderops"), *arguments, *within]
        own = {"BINDEROPS_STATE": str(STATE), "BINDEROPS_RUN": str(RUN), "COLUMNS": "120"}
        with subprocess.Popen(
            program,
            env={**os.environ, **own, **({"SOPS_AGE_KEY": self.key} if self.key else {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                with self.canaries.watching(process.pid):
                    output, errors = process.communicate(give, timeout=timeout)
            except BaseException:
                process.kill()
                raise
        assert self.canaries.found_in(output + errors) == [], f"{arguments} shows a sealed value"
        return subprocess.CompletedProcess(program, process.returncode, output, errors)

    def json(self, *arguments: str, code: int = 0, timeout: float = 600) -> Any:
        """What a command that must end with this code answers."""
        done = self.run(*arguments, "--output", "json", timeout=timeout)
        assert done.returncode == code, (
            f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}\n{self._evidence()}"
        )
        return json.loads(done.stdout)

    def _evidence(self) -> str:
        """What runs and what it wrote, for a failed assertion."""
        told = []
        for environment in NODES:
            asked = [("status", environment), *(("logs", app, "-e", environment, "--tail", "30") for app in APPS)]
            for arguments in asked:
                done = self.run(*arguments, timeout=60)
                told.append(f"--- {' '.join(arguments)}\n{done.stdout}{done.stderr}")
            log = self.kubeconfig(environment).parent / "logs/node.log"
            lines = log.read_text(errors="replace").splitlines()[-60:] if log.exists() else ["none"]
            told.append("\n".join([f"--- the log of {environment}'s node", *lines]))
        return "\n".join(told)

    def kubeconfig(self, environment: str) -> Path:
        """The node's own."""
        return STATE / "nodes" / NODES[environment][0] / "kubeconfig"

    def change(self, old: str, new: str) -> None:
        """Changes a line of the values that both have."""
        path = self.root / VALUES
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    def objects(self, environment: str, kind: Any) -> list[dict[str, Any]]:
        """Every object of a kind in the environment's namespace."""

        async def read() -> list[dict[str, Any]]:
            async with Client.from_kubeconfig(self.kubeconfig(environment)) as client:
                return list((await client.list(kind, environment)).items)

        return asyncio.run(read())


@dataclass
class Counting:
    """A kernel that counts, followed over one websocket: `numbers` grows while nothing comes between."""

    url: str
    token: str
    numbers: list[int] = field(default_factory=list)
    error: str = ""

    def __post_init__(self) -> None:
        public = urlsplit(self.url)
        headers = {"Host": public.netloc, "Authorization": f"token {self.token}"}
        kernels = f"http://127.0.0.1:{public.port}{public.path}api/kernels"
        made = httpx.post(kernels, headers=headers, json={"name": "python3"}, timeout=60, trust_env=False)
        kernel = made.raise_for_status().json()["id"]
        session = uuid.uuid4().hex
        self._socket: ClientConnection = connect(
            f"ws://{public.netloc}{public.path}api/kernels/{kernel}/channels?session_id={session}",
            additional_headers={"Authorization": headers["Authorization"]},
            sock=socket.create_connection(("127.0.0.1", public.port or 80), timeout=20),
            proxy=None,
        )
        header = {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "username": "t", "version": "5.3"}
        content = {"code": COUNTING, "silent": False, "store_history": False}
        message = {"channel": "shell", "header": {**header, "session": session}, "parent_header": {}, "metadata": {}}
        self._socket.send(json.dumps({**message, "content": content}))
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        try:
            for text in self._socket:
                message = json.loads(text)
                if message["header"]["msg_type"] == "stream":
                    self.numbers += [int(word) for word in message["content"]["text"].split()]
        except Exception as error:  # whatever ends the connection is what the test must see
            self.error = f"{type(error).__name__}: {error}"

    def goes_on(self) -> None:
        """Fails unless the same connection counts further, without a number missing."""
        before = len(self.numbers)
        deadline = time.monotonic() + 30
        while len(self.numbers) <= before + 3:
            assert not self.error, self.error
            assert time.monotonic() < deadline, f"it stopped at {self.numbers[-1:]}"
            time.sleep(0.05)
        assert self.numbers == list(range(len(self.numbers)))

    def close(self) -> None:
        self._socket.close()


def make_repository(folder: Path) -> Path:
    """This repository's deployment, whole with its sealed files; only nodes and ports are the test's own."""
    for part in ("mybinder", "charts", "config", "examples", "secret"):
        shutil.copytree(ROOT / part, folder / part)
    shutil.copy(ROOT / ".sops.yaml", folder / ".sops.yaml")
    project = (ROOT / "binderops.yaml").read_text()
    for environment, (node, api_port, public_port) in NODES.items():
        old = next(line for line in project.splitlines() if f"name: {environment}," in line)
        project = project.replace(old, f"      node: {{name: {node}, apiPort: {api_port}}}")
        (folder / f"config/{environment}.yaml").write_text(
            f"global:\n  domain: {node}.localhost\n  publicPort: {public_port}\n"
        )
    (folder / "binderops.yaml").write_text(project)
    return folder


@contextmanager
def without_guards() -> Iterator[None]:
    """Takes the rule that keeps nodes apart out of both nodes' tables; they are as before afterwards."""
    tables = [f"binderops-{node}" for node, _, _ in NODES.values()]
    taken: list[tuple[str, str]] = []
    for table in tables:
        for line in _nft("-a", "list", "chain", "ip", table, "genuine").splitlines():
            if _GUARD in line:
                rule, _, handle = line.strip().rpartition(" # handle ")
                taken.append((table, rule))
                _nft("delete", "rule", "ip", table, "genuine", "handle", handle)
    assert len(taken) == len(tables), "each node has its guard"
    try:
        yield
    finally:
        for table, rule in taken:
            _nft("-f", "-", give=f"add rule ip {table} genuine {rule}\n")


def reached_from(namespaces: Sequence[str], targets: list[tuple[str, int]]) -> set[str]:
    """What any of the network namespaces reaches, all asked side by side."""
    with ThreadPoolExecutor(len(namespaces)) as pool:
        return {address for found in pool.map(lambda name: reached(name, targets), namespaces) for address in found}


def _nft(*arguments: str, give: str = "") -> str:
    return subprocess.run(
        ["nft", *arguments], input=give, capture_output=True, text=True, timeout=20, check=True
    ).stdout


def reached(namespace: str, targets: list[tuple[str, int]]) -> list[str]:
    """Which of the targets accept a connection from inside a network namespace; all are tried side by side."""
    program = (
        "import json,socket,sys\nfrom concurrent.futures import ThreadPoolExecutor\n"
        "def t(a):\n"
        "  try:\n    socket.create_connection(tuple(a),3).close(); return a[0]\n"
        "  except OSError:\n    return None\n"
        "print(json.dumps([r for r in ThreadPoolExecutor(32).map(t, json.load(sys.stdin)) if r]))"
    )
    done = subprocess.run(
        ["ip", "netns", "exec", namespace, sys.executable, "-I", "-S", "-c", program],
        input=json.dumps(targets),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return list(json.loads(done.stdout))
