"""A running node's API for tests: the real program, serving the API alone, with a state folder of its own."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx2

from binderops.node.config import NodeConfig, read_config

START_SECONDS = 20.0


class RunningApi:
    """One node's process, and requests to it."""

    def __init__(self, root: Path, *, aside: Path | None = None) -> None:
        """`aside` holds what is no state: the log, and what lies below /run on a machine."""
        self.root = root
        self._aside = aside or root
        self.name = "t" + secrets.token_hex(3)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None
        self.environment = os.environ | {"BINDEROPS_RUN": str(self._aside / "run")}

    def start(self) -> None:
        command = [sys.executable, "-m", "binderops.node", "--state", str(self.root), "--name", self.name]
        self.kubeconfig.unlink(missing_ok=True)  # of a process that was killed: it is what is waited for
        with (self._aside / "node.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--api-port", str(self.port), "--api-only"],
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self.kubeconfig.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                self.process.wait(timeout=15)
                raise RuntimeError(f"the API did not start:\n{self.log()}")
            time.sleep(0.01)

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(timeout=15)

    def log(self) -> str:
        return (self._aside / "node.log").read_text(errors="replace")

    @property
    def config(self) -> NodeConfig:
        return read_config(self.name, state_root=self.root, run_root=self._aside / "run")

    @property
    def kubeconfig(self) -> Path:
        return self.root / "nodes" / self.name / "kubeconfig"

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def tls(self, user: str | None) -> ssl.SSLContext:
        pki = self.root / "nodes" / self.name / "pki"
        context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        if user:
            context.load_cert_chain(pki / f"{user}.crt", pki / f"{user}.key")
        return context

    def session(self, user: str | None = "admin", *, token: str | None = None) -> httpx2.AsyncClient:
        """A session as the holder of one of the node's certificates, with a token, or as nobody."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        tls = self.tls(None if token else user)
        return httpx2.AsyncClient(base_url=self.url, verify=tls, headers=headers, timeout=20, trust_env=False)


class Api:
    """Requests as one user, with what tests say most often."""

    def __init__(self, running: RunningApi, session: httpx2.AsyncClient) -> None:
        self.running = running
        self.session = session

    async def ask(
        self, method: str, path: str, body: Any = None, *, media: str = "application/json", **headers: str
    ) -> tuple[int, dict[str, Any]]:
        """A request; the status code and the JSON of the answer."""
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        sent: Mapping[str, str] = {"content-type": media} | {k.replace("_", "-"): v for k, v in headers.items()}
        answer = await self.session.request(
            method, path, content=content, headers=sent if content is not None else headers
        )
        return answer.status_code, answer.json()

    async def get(self, path: str) -> dict[str, Any]:
        code, obj = await self.ask("GET", path)
        assert code == 200, obj
        return obj

    async def create(self, path: str, obj: dict[str, Any]) -> dict[str, Any]:
        code, made = await self.ask("POST", path, obj)
        assert code == 201, made
        return made

    async def watch(self, path: str, **parameters: str) -> AsyncIterator[dict[str, Any]]:
        """The events of a watch."""
        query = {"watch": "1", "timeoutSeconds": "15"} | parameters
        async with self.session.stream("GET", path, params=query) as answer:
            assert answer.status_code == 200, await answer.aread()
            async for line in answer.aiter_lines():
                yield json.loads(line)
