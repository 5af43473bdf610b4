"""The node's own program as this machine runs it: its words, its environment, its log."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from binderops.fingerprint import program_digest

_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy")


@dataclass(frozen=True)
class NodeProgram:
    """How one node is run; `folder` is STATE/nodes/NAME, `run` the machine's folder of sockets."""

    name: str
    state: Path
    run: Path
    api_port: int
    host_addresses: tuple[str, ...]
    pod_range: str | None = None
    service_range: str | None = None
    image_budget: str | None = None

    @property
    def folder(self) -> Path:
        """STATE/nodes/NAME."""
        return self.state / "nodes" / self.name

    @property
    def log(self) -> Path:
        """What the process says."""
        return self.folder / "logs" / "node.log"

    @property
    def environment_file(self) -> Path:
        """The variables that a unit gives to it: a proxy's address may hold a password."""
        return self.folder / "environment"

    @property
    def arguments(self) -> list[str]:
        """What it is told on its command line."""
        return [
            *("--state", str(self.state), "--run", str(self.run), "--name", self.name),
            *("--api-port", str(self.api_port)),
            *(part for address in self.host_addresses for part in ("--host-address", address)),
            *(("--pod-range", self.pod_range) if self.pod_range else ()),
            *(("--service-range", self.service_range) if self.service_range else ()),
            *(("--image-budget", self.image_budget) if self.image_budget else ()),
        ]

    @property
    def command(self) -> list[str]:
        """The whole command line; it needs nothing of an environment, so that it can be run as it stands."""
        return [*self._module, *self.arguments]

    @property
    def stop_command(self) -> list[str]:
        """What ends the pods and the network of a node whose process does not run."""
        return [*self._module, "stop", *("--state", str(self.state), "--run", str(self.run), "--name", self.name)]

    @property
    def _module(self) -> list[str]:
        # -P: no module of the folder where somebody happens to be is imported by a program of root's.
        return [sys.executable, "-P", "-m", "binderops.node"]

    def environment(self, inherited: Mapping[str, str] | None = None) -> dict[str, str]:
        """The little of the caller's environment that is the machine's own, not the caller's."""
        given = os.environ if inherited is None else inherited
        wanted = {*_KEPT, *_PROXIES, *(name.upper() for name in _PROXIES)}
        return {name: given[name] for name in sorted(wanted) if given.get(name)} | {"PYTHONUNBUFFERED": "1"}

    def make_folders(self) -> None:
        """The folders and the log that must be there before it starts; nobody but root reads them."""
        for folder in (self.log.parent, self.run / self.name):
            folder.mkdir(parents=True, exist_ok=True)
        self.log.touch(mode=0o600)
        # Roots of user namespaces pass through to what they mount; logs and sockets are nobody else's.
        for folder in (self.folder.parent, self.folder):
            folder.chmod(0o711)
        for folder in (self.log.parent, self.run / self.name):
            folder.chmod(0o700)
        self.log.chmod(0o600)

    def is_current(self) -> bool:
        """Whether what runs is made of today's code, and was told what it would be told today."""
        try:
            told = json.loads((self.run / self.name / "program.json").read_text(encoding="utf-8"))
            return bool(told["code"] == program_digest() and told["arguments"] == self.arguments)
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def log_tail(self) -> str:
        """The last lines of its log."""
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        except OSError:
            return "no log"
        return "\n".join(lines[-8:])
