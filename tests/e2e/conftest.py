"""A whole deployment for the journeys: this repository's own, on other ports and in a state folder of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.launches import Binder
from tests.e2e.networks import Host, host, until
from tests.e2e.repositories import Repositories

ROOT = Path(__file__).parents[2]
# The long targets (`make kills`) can be given a deployment of their own beside that of the tests.
NAME = os.environ.get("BINDEROPS_E2E_NAME", "e2e")
PORT, API_PORT = (
    int(os.environ.get(f"BINDEROPS_E2E_{name}", port)) for name, port in (("PORT", 18080), ("API", 16443))
)
ADDRESS = os.environ.get("BINDEROPS_E2E_ADDRESS", "198.51.100.2")
STATE, RUN, DOMAIN = Path(f"/var/lib/binderops-{NAME}"), Path(f"/run/binderops-{NAME}"), f"{NAME}.localhost"
NAMESPACE, RELEASE = "binder", "mybinder"  # what binderops.yaml leaves unsaid
UP_DEADLINE = 1500  # seconds; the images are built from nothing on a new machine

PROJECT = f"""\
chart: mybinder
images: {{platform: [global.images.platform], build: [global.images.build], notebook: [global.images.notebook]}}
environments:
  {NAME}:
    target: {{node: {{name: {NAME}, apiPort: {API_PORT}}}}}
    layers: [config/local.yaml, config/e2e.yaml]
"""

# Small, so that reaching them takes the tests little time and the machine little room. A hundred thousand files of
# `make hostile` are in the checkout, the context and the layer: 4 KiB each time.
BUILD_DISK = "2Gi" if os.environ.get("BINDEROPS_HOSTILE") else "1Gi"

LAYER = f"""\
global:
  domain: {DOMAIN}
  publicPort: {PORT}
binderhub:
  config:
    RateLimiter: {{limit: 0}}  # every test comes from the same address
    KubernetesBuildExecutor: {{resources: {{limits: {{memory: 2Gi, ephemeral-storage: {BUILD_DISK}}}}}}}
  jupyterhub:
    singleuser:
      memory: {{limit: 1G}}
      extraResource: {{limits: {{ephemeral-storage: 512Mi}}}}
redirector:
  enabled: true
  redirects:
    - {{type: host, host: {{from: old, to: {DOMAIN}:{PORT}}}, scheme: http}}
    - {{type: url, host: {{from: docs, to: example.org/somewhere}}, permanent: true, scheme: https}}
"""


@dataclass(frozen=True)
class Deployed:
    """A running deployment and the commands that act on it."""

    root: Path

    @property
    def url(self) -> str:
        """The binder's public address."""
        return f"http://{DOMAIN}:{PORT}/"

    @property
    def kubeconfig(self) -> Path:
        """The node's admin kubeconfig."""
        return STATE / "nodes" / NAME / "kubeconfig"

    def run(self, *arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Runs `binderops ARGUMENTS` in the repository; the output is kept for the assertion's message."""
        return subprocess.run(
            [str(Path(sys.executable).parent / "binderops"), *arguments, "--directory", str(self.root)],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def interrupted(self, log: Path, begun: Callable[[str], bool], number: signal.Signals) -> tuple[int, str]:
        """Ends `up` by a signal once `begun` holds of what it has said; its exit code, and all that it said."""
        with log.open("w") as told:
            process = subprocess.Popen(
                [str(Path(sys.executable).parent / "binderops"), "up", NAME, "--directory", str(self.root)],
                env=self.environment,
                stdout=subprocess.DEVNULL,
                stderr=told,
            )
        until(lambda: begun(log.read_text()) or process.poll() is not None, "the step to begin", timeout=120)
        process.send_signal(number)
        return process.wait(60), log.read_text()

    def json(self, *arguments: str, timeout: float = 300) -> Any:
        """Runs a command that must succeed and returns its JSON."""
        done = self.run(*arguments, "--output", "json", timeout=timeout)
        assert done.returncode == 0, f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}\n{_node_log()}"
        return json.loads(done.stdout)

    @property
    def environment(self) -> dict[str, str]:
        """The caller's environment, pointed at the test's folders."""
        return {**os.environ, "BINDEROPS_STATE": str(STATE), "BINDEROPS_RUN": str(RUN), "COLUMNS": "120"}


def make_repository(folder: Path) -> Path:
    """A copy of the deployment's files, with an environment of the test's own."""
    for part in ("mybinder", "charts", "config", "examples"):
        shutil.copytree(ROOT / part, folder / part)
    (folder / "binderops.yaml").write_text(PROJECT)
    (folder / "config/e2e.yaml").write_text(LAYER)
    return folder


@pytest.fixture(scope="session")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """The deployment, up and proven once for all journeys; removed at the end."""
    if os.geteuid() != 0:
        pytest.fail("these tests need root: sudo make e2e")
    found = Deployed(make_repository(tmp_path_factory.mktemp("repository")))
    try:
        if not os.environ.get("BINDEROPS_E2E_AS_IT_STANDS"):
            up = found.run("up", NAME, timeout=UP_DEADLINE)
            assert up.returncode == 0, f"up failed\n{up.stdout}\n{up.stderr}\n{_node_log()}"
        yield found
    finally:
        _remove(found)


@pytest.fixture(scope="session")
def binder(deployed: Deployed) -> Binder:
    """The deployment's public service."""
    return Binder(deployed.url)


@pytest.fixture(scope="session")
def kubectl(deployed: Deployed, stock_programs: Any) -> Callable[..., str]:
    """The stock kubectl in the release's namespace; answers with what it prints."""

    def run(*arguments: str, given: str | None = None, timeout: float = 60) -> str:
        command = [str(stock_programs.kubectl), "--kubeconfig", str(deployed.kubeconfig), "-n", NAMESPACE, *arguments]
        done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=timeout, check=False)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}\n{done.stdout}"
        return done.stdout

    return run


@pytest.fixture(scope="session")
def public_host() -> Iterator[Host]:
    """A host at a public address (TEST-NET-2, RFC 5737): what lies outside, as policies see it."""
    with host(f"{NAME}-public", ADDRESS) as made:
        yield made


@pytest.fixture(scope="session")
def repositories(public_host: Host, tmp_path_factory: pytest.TempPathFactory) -> Repositories:
    """A git server on the public host."""
    served = Repositories(public_host, tmp_path_factory.mktemp("git"))
    served.start()
    return served


def _remove(found: Deployed) -> None:
    if os.environ.get("BINDEROPS_E2E_KEEP"):
        return
    done = found.run("purge", NAME)
    assert done.returncode == 0, done.stderr


def _node_log() -> str:
    log = STATE / "nodes" / NAME / "logs" / "node.log"
    return "\n".join(log.read_text(errors="replace").splitlines()[-60:]) if log.exists() else "no node log"
