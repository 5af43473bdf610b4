"""A registry, a git server, and build pods as the node runs them."""

from __future__ import annotations

import base64
import functools
import http.server
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from binderops.authorities import ADDED_VARIABLE
from binderops.images import ImageLock, MachineSettings, build_images, detect_package_settings
from binderops.images.authorities import added_authorities

GIT_PASSWORD = "canary-of-the-git-host"
SOURCES = Path(__file__).resolve().parents[2] / "src/binderops/build"
_PYTHON = f"python{sys.version_info[0]}.{sys.version_info[1]}"
INSTALLED = f"/opt/binderops/lib/{_PYTHON}/site-packages/binderops/build"
# A module of `binderops.build`, a text in it, and what stands there instead.
Guard = tuple[str, str, str]
_START_SECONDS = 20.0
_USER_IDS = "0:200000:65536"


def _free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Debian's docker-registry on loopback; its host and port."""
    folder = tmp_path_factory.mktemp("registry")
    address = f"127.0.0.1:{_free_port()}"
    configuration = {
        "version": "0.1",
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": address},
    }
    (folder / "config.yml").write_text(json.dumps(configuration))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", str(folder / "config.yml")], stdout=log, stderr=log)
    try:
        transport = httpx.HTTPTransport(retries=20)
        with httpx.Client(transport=transport, timeout=_START_SECONDS) as client:
            assert client.get(f"http://{address}/v2/").status_code == 200
        yield address
    finally:
        process.terminate()
        process.wait(timeout=20)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer; repositories whose names begin with `private` only to who knows the password."""
        login = base64.b64encode(f"u:{GIT_PASSWORD}".encode()).decode()
        if self.path.startswith("/private") and self.headers.get("Authorization") != f"Basic {login}":
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="private"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        super().do_GET()


@dataclass(frozen=True)
class GitServer:
    """Repositories over git's dumb HTTP protocol."""

    root: Path
    address: str

    def add(self, name: str, files: dict[str, str] | Path, links: Mapping[str, str] | None = None) -> tuple[str, str]:
        """Make a repository; returns its address and its commit. `links` are what they lead to, by their paths."""
        work, bare = self.root / f"{name}.work", self.root / f"{name}.git"
        if isinstance(files, Path):
            files = {str(p.relative_to(files)): p.read_text() for p in files.rglob("*") if p.is_file()}
        work.mkdir()
        for path, text in files.items():
            (work / path).parent.mkdir(parents=True, exist_ok=True)
            (work / path).write_text(text)
        for path, target in (links or {}).items():
            (work / path).symlink_to(target)
        identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
        for arguments in (
            ["init", "-q", "-b", "main"],
            ["add", "--all", "--force"],
            ["commit", "-q", "--allow-empty", "-m", "x"],
        ):
            subprocess.run(["git", *identity, *arguments], cwd=work, check=True, timeout=60, capture_output=True)
        subprocess.run(
            ["git", "clone", "-q", "--bare", str(work), str(bare)], check=True, timeout=60, capture_output=True
        )
        subprocess.run(["git", "update-server-info"], cwd=bare, check=True, timeout=60)
        head = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=bare, check=True, timeout=60, capture_output=True, text=True
        )
        return f"{self.address}/{name}.git", head.stdout.strip()


@pytest.fixture(scope="session")
def git_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    """A git server on loopback."""
    root = tmp_path_factory.mktemp("git")
    handler = functools.partial(_Quiet, directory=str(root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield GitServer(root, f"http://127.0.0.1:{server.server_address[1]}")
        server.shutdown()


@dataclass(frozen=True)
class Built:
    """How a build pod ended."""

    code: int
    events: list[dict[str, Any]]

    @property
    def text(self) -> str:
        """All messages."""
        return "".join(str(event.get("message", "")) for event in self.events)

    @property
    def failure(self) -> str:
        """The message of the last line, which must be the failed one."""
        assert self.code != 0
        assert self.events[-1]["phase"] == "failed", self.events[-1]
        return str(self.events[-1]["message"])


@dataclass(frozen=True)
class Pods:
    """Runs build pods, and what they built, by Podman with a store like a node's."""

    lock: ImageLock
    state: Path
    folder: Path
    settings: MachineSettings

    @property
    def authorities(self) -> str:
        """What this machine's network adds to an image's certificate authorities."""
        bundle = self.settings.ca_bundle
        return added_authorities(bundle.read_text(errors="replace")) if bundle else ""

    def podman(self, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run `podman` with the node-like store."""
        environment = {
            **os.environ,
            "CONTAINERS_CONF": str(self.folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.folder / "storage.conf"),
        }
        return subprocess.run(
            ["podman", *arguments], env=environment, capture_output=True, text=True, timeout=timeout, check=False
        )

    def build(
        self,
        url: str,
        ref: str,
        image: str,
        *extra: str,
        environment: dict[str, str] | None = None,
        place: Path | None = None,
        without: Sequence[Guard] = (),
    ) -> Built:
        """Build as a node would: a user namespace of its own, SYS_ADMIN only inside it; its store lies in `place`.

        `without` takes guards away.
        """
        containers = Path(
            subprocess.run(
                ["mktemp", "-d", "-p", place or self.folder], capture_output=True, text=True, check=True
            ).stdout.strip()
        )
        os.chown(containers, 200000, 200000)
        variables = {"BASE_IMAGE": self.lock.images["notebook"].reference, **(environment or {})}
        mounts = [f"{self.state}/images/build-base/storage:/base/storage:ro", f"{containers}:/var/lib/containers"]
        mounts += self._changed_modules(without)
        if self.authorities:
            (self.folder / "ca.crt").write_text(self.authorities)
            mounts.append(f"{self.folder}/ca.crt:/etc/binderhub/machine/ca.crt:ro")
            variables[ADDED_VARIABLE] = "/etc/binderhub/machine/ca.crt"
        if self.settings.pip_index:
            variables["PIP_INDEX_URL"] = variables["UV_DEFAULT_INDEX"] = self.settings.pip_index
        ran = self.podman(
            "run", "--rm", "--pull=never", "--network=host",
            "--uidmap", _USER_IDS, "--gidmap", _USER_IDS, "--cap-add=SYS_ADMIN",
            # As a registry inside a cluster is named: without TLS.
            "--add-host=registry.tests.svc:127.0.0.1",
            "--security-opt=seccomp=unconfined", "--security-opt=apparmor=unconfined",
            *(f"--volume={mount}" for mount in mounts),
            *(f"--env={name}={value}" for name, value in variables.items()),
            # A pod's command stands in place of the image's entry point.
            "--entrypoint=python", self.lock.images["build"].reference, "-m", "binderops.build",
            f"--ref={ref}", f"--image={image}", "--no-clean", "--no-run", "--json-logs",
            "--user-name=jovyan", "--user-id=1000", "--push", *extra, url,
            timeout=240,
        )  # fmt: skip
        # What Podman says of a pod that it cannot start is no line of a build.
        assert ran.returncode < 125, ran.stderr
        lines = [line for line in (ran.stdout + ran.stderr).splitlines() if line.startswith("{")]
        return Built(ran.returncode, [json.loads(line) for line in lines])

    def _changed_modules(self, without: Sequence[Guard]) -> list[str]:
        texts: dict[str, str] = {}
        for module, line, instead in without:
            text = texts.setdefault(module, (SOURCES / module).read_text())
            assert text.count(line) == 1, f"{module} has no such guard any more"
            texts[module] = text.replace(line, instead)
        changed = Path(tempfile.mkdtemp(dir=self.folder))
        changed.chmod(0o755)
        for module, text in texts.items():
            (changed / module).write_text(text)
        return [f"{changed}/{module}:{INSTALLED}/{module}:ro" for module in texts]

    def seed(self, image: str) -> subprocess.CompletedProcess[str]:
        """Send the base to a registry, as the binder's pod for that does."""
        return self.podman(
            "run", "--rm", "--pull=never", "--network=host", "--uidmap", _USER_IDS, "--gidmap", _USER_IDS,
            "--cap-drop=ALL", f"--volume={self.state}/images/build-base/storage:/base/storage:ro",
            self.lock.images["build"].reference, "python", "-m", "binderops.build.seeding", image,
        )  # fmt: skip

    def run(self, image: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Pull an image that was built, and run a command in it."""
        return self.podman("run", "--rm", "--network=host", "--tls-verify=false", image, *command)


@pytest.fixture(scope="session")
def pods(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pods]:
    """Build pods, from this machine's images: built first where they are missing or old."""
    import asyncio

    state = Path(os.environ.get("BINDEROPS_STATE", "/var/lib/binderops"))
    settings = detect_package_settings()
    lock = asyncio.run(build_images(state, progress=lambda _: None, settings=settings))
    folder = tmp_path_factory.mktemp("pods")
    folder.chmod(0o711)
    (folder / "containers.conf").write_text(
        (state / "images/configuration/containers.conf").read_text().replace("volumes =", "#")
    )
    (folder / "storage.conf").write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/storage"\nrunroot = "{folder}/run"\n'
        f'[storage.options]\nadditionalimagestores = ["{state}/images/storage"]\n'
    )
    yield Pods(lock, state, folder, settings)
    subprocess.run(["umount", f"{folder}/storage/overlay"], capture_output=True, timeout=60, check=False)


Build = Callable[..., Built]
