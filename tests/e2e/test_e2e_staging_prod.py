"""Staging and prod side by side on one machine: a broken line, its way back, its mending; neither touches the other."""

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
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect

from binderops.delivery.ledger import LABEL
from binderops.kube.client import Client
from binderops.kube.kinds import CONFIG_MAP, POD, SERVICE

pytestmark = [pytest.mark.e2e, pytest.mark.podman, pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(2400)]

ROOT = Path(__file__).parents[2]
STATE, RUN = Path("/var/lib/binderops-sp"), Path("/run/binderops-sp")
NODES = {"staging": ("stg", 16444, 19080), "prod": ("prd", 16445, 19180)}
VALUES = "mybinder/values.yaml"
# Images get a name in a registry that nobody resolves: everything renders and gets ready, and no launch works.
BROKEN = (
    "  config:\n    BinderHub:\n",
    '  config:\n    BinderHub:\n      image_prefix: "registry.invalid:5000/r2d-"\n',
)
MENDED = ("      timeout: 600\n", "      timeout: 660\n")
COUNTING = "import time\nfor i in range(100000):\n    print(i, flush=True)\n    time.sleep(0.2)\n"


@dataclass(frozen=True)
class Pair:
    """A repository with both environments, and the commands on them."""

    root: Path

    def run(self, *arguments: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(Path(sys.executable).parent / "binderops"), *arguments, "--directory", str(self.root)],
            env={**os.environ, "BINDEROPS_STATE": str(STATE), "BINDEROPS_RUN": str(RUN), "COLUMNS": "120"},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def json(self, *arguments: str, code: int = 0, timeout: float = 600) -> Any:
        done = self.run(*arguments, "--output", "json", timeout=timeout)
        assert done.returncode == code, f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)

    def kubeconfig(self, environment: str) -> Path:
        return STATE / "nodes" / NODES[environment][0] / "kubeconfig"

    def change(self, old: str, new: str) -> None:
        path = self.root / VALUES
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    def objects(self, environment: str, kind: Any) -> list[dict[str, Any]]:
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


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both up: staging first, then prod, which takes what staging proved."""
    if os.geteuid() != 0:
        pytest.fail("these tests need root: sudo make e2e")
    found = Pair(make_repository(tmp_path_factory.mktemp("pair")))
    for environment in ("staging", "prod"):  # a run that was killed, or that kept them
        if found.kubeconfig(environment).parent.exists():
            assert found.run("purge", environment).returncode == 0
    try:
        early = found.run("up", "prod", timeout=1500)
        assert early.returncode == 1 and "delivery.promotion" in early.stderr, early.stderr
        for environment in ("staging", "prod"):
            done = found.run("up", environment, timeout=1500)
            assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        yield found
    finally:
        for environment in ("staging", "prod"):
            done = found.run("down" if os.environ.get("BINDEROPS_E2E_KEEP") else "purge", environment)
            assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def counting(pair: Pair) -> Iterator[Counting]:
    """A running server of prod's, whose kernel counts over an open websocket from the first test to the last."""
    launched = pair.json("launch", str(pair.root / "examples/hello"), "-e", "prod")
    opened = urlsplit(launched["url"])
    server = f"http://{opened.netloc}{opened.path.removesuffix('lab')}"
    found = Counting(server, parse_qs(opened.query)["token"][0])
    found.goes_on()
    yield found
    found.close()


def test_a_broken_line_stops_at_staging_and_prod_never_notices(pair: Pair, counting: Counting) -> None:
    good = pair.json("state", "prod")["common"]
    assert pair.json("state", "staging")["common"] == good

    pair.change(*BROKEN)
    failed = pair.json("deploy", "staging", code=1)["error"]
    assert failed["id"] == "delivery.proof", failed
    newest = pair.json("ledger", "staging")["records"][-1]
    assert (newest["verdict"], newest["action"]) == ("fail", "deploy")
    assert newest["common"] == pair.json("state", "staging")["common"] != good
    counting.goes_on()

    refused = pair.json("deploy", "prod", code=1)["error"]
    assert refused["id"] == "delivery.promotion" and "is a fail at" in refused["why"], refused
    assert pair.json("ledger", "prod")["records"][-1]["common"] == good

    back = pair.json("rollback", "staging")
    assert back["record"]["verdict"] == "pass" and back["record"]["common"] == good
    assert back["back_to"] < back["left"] < back["revision"]
    status = pair.json("status", "staging")["environments"][0]
    assert status["live"] == back["record"]["digest"] != status["wanted"]
    assert status["proven"]["action"] == "rollback"

    pair.change(BROKEN[1], BROKEN[0])
    pair.change(*MENDED)
    assert pair.json("deploy", "staging")["record"]["verdict"] == "pass"
    taken = pair.json("deploy", "prod")
    assert taken["deploy"]["changed"] and taken["record"]["common"] == pair.json("state", "staging")["common"]
    counting.goes_on()


def test_what_is_live_can_be_proven_again(pair: Pair) -> None:
    proven = pair.json("verify", "prod")
    assert proven["record"]["verdict"] == "pass"
    assert set(proven["record"]["seconds"]) == {"pages", "launch", "kernel", "total"}
    environments = {found["environment"]: found for found in pair.json("env")["environments"]}
    assert environments["prod"]["waits_for"] == ["staging"] and environments["prod"]["running"]
    assert environments["local"]["running"] is False


def test_a_pod_reaches_no_address_of_the_other_node(pair: Pair) -> None:
    targets = [
        (pod["status"]["podIP"], 8081) for pod in pair.objects("prod", POD) if pod["metadata"]["name"][:4] == "hub-"
    ]
    targets += [
        (service["spec"]["clusterIP"], port["port"])
        for service in pair.objects("prod", SERVICE)
        for port in service["spec"]["ports"]
    ]
    bridge = subprocess.run(
        ["ip", "-j", "-4", "address", "show", "bo-prd"], capture_output=True, check=True, timeout=20
    )
    host = json.loads(bridge.stdout)[0]["addr_info"][0]["local"]
    targets += [(host, 53), (host, NODES["prod"][1]), (host, 10250)]
    namespaces = sorted(path.name for path in Path("/run/netns").iterdir())
    foreign = next(name for name in namespaces if name.startswith("bo-stg-"))
    assert reached(foreign, targets) == []
    own = [name for name in namespaces if name.startswith("bo-prd-")]
    assert any(reached(name, targets[:1]) for name in own), "the addresses must be good ones"


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


def test_a_changed_record_is_seen(pair: Pair) -> None:
    async def tamper() -> None:
        async with Client.from_kubeconfig(pair.kubeconfig("staging")) as client:
            found = (await client.list(CONFIG_MAP, "staging", labels=f"{LABEL}=record")).items
            failed = next(obj for obj in found if '"fail"' in obj["data"]["record"])
            await client.delete(CONFIG_MAP, failed["metadata"]["name"], "staging")
            forged = {**failed, "data": {"record": failed["data"]["record"].replace('"fail"', '"pass"')}}
            forged["metadata"] = {key: failed["metadata"][key] for key in ("name", "namespace", "labels")}
            await client.create(forged)

    asyncio.run(tamper())
    told = pair.json("ledger", "staging", code=1)["error"]
    assert told["id"] == "ledger.broken", told
    assert any("ledger.broken" in note for note in pair.json("status", "staging")["environments"][0]["notes"])
    assert pair.json("ledger", "staging", "--begin-anew")["removed"] > 0
    assert pair.json("ledger", "staging")["records"] == []


def test_stopping_and_purging_staging_leaves_prods_server_alone(pair: Pair, counting: Counting) -> None:
    for verb in ("down", "purge"):
        done = pair.run(verb, "staging")
        assert done.returncode == 0, done.stderr
        counting.goes_on()
    assert not (STATE / "nodes" / "stg").exists()
    assert (STATE / "nodes" / "prd").exists()
    assert pair.json("verify", "prod")["record"]["verdict"] == "pass"
