"""Pebble with its DNS server, on ports of its own: a real ACME server that is awkward on purpose."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from binderops.lego.authority import issue, make_authority
from binderops.lego.pairs import KeyKind, chain_pem, key_pem

ROOT = Path(__file__).parents[2]
PROGRAMS = ROOT / ".tools" / "go" / "bin"
START_SECONDS = 20.0
BUILD_SECONDS = 900


def build_programs() -> None:
    """Build Pebble and its DNS server, once for this clone; fails the test where that is not possible."""
    command = [str(ROOT / "scripts" / "test-programs")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
    if done.returncode != 0:
        pytest.fail(f"the programs for tests cannot be built: {done.stderr.strip()[-2000:]}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Pebble:
    """One Pebble at `address`. Every host resolves to `hosts_at`, and challenges are looked for at its `http_port`.

    `validity`, or of each of `profiles`, is in seconds: where an order names no profile, Pebble takes any of them.
    `within` is what its programs are started by: `ip netns exec NAME` for one on a host of the tests' own.
    """

    def __init__(
        self,
        folder: Path,
        *,
        http_port: int,
        validity: int = 7776000,
        profiles: Mapping[str, int] | None = None,
        external: Mapping[str, str] | None = None,
        address: str = "127.0.0.1",
        hosts_at: str = "127.0.0.1",
        within: Sequence[str] = (),
    ):
        self.folder, self.address, self.hosts_at, self.within = folder, address, hosts_at, within
        self.name = "localhost" if address == "127.0.0.1" else address
        folder.mkdir(parents=True, exist_ok=True)
        self.port, self.management, self.dns, self.dns_management = (free_port() for _ in range(4))
        authority, lives = make_authority(), profiles or {"default": validity}
        pair = issue(authority, [self.name, "127.0.0.1"], KeyKind())
        (folder / "ca.pem").write_text(chain_pem(authority.chain))
        (folder / "cert.pem").write_text(chain_pem(pair.chain))
        (folder / "key.pem").write_text(key_pem(pair.key))
        settings: dict[str, Any] = {
            "listenAddress": f"{address}:{self.port}",
            "managementListenAddress": f"{address}:{self.management}",
            "certificate": str(folder / "cert.pem"),
            "privateKey": str(folder / "key.pem"),
            "httpPort": http_port,
            "tlsPort": free_port(),
            "ocspResponderURL": "",
            "externalAccountBindingRequired": external is not None,
            "externalAccountMACKeys": dict(external or {}),
            "domainBlocklist": ["blocked.example"],
            "retryAfter": {"authz": 1, "order": 1},
            "keyAlgorithm": "ecdsa",
            "profiles": {name: {"description": name, "validityPeriod": life} for name, life in lives.items()},
        }
        (folder / "config.json").write_text(json.dumps({"pebble": settings}))
        self.processes: list[subprocess.Popen[bytes]] = []

    @property
    def directory(self) -> str:
        return f"https://{self.name}:{self.port}/dir"

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    def start(self, **settings: str) -> None:
        """`settings` are PEBBLE_*: WFE_NONCEREJECT, AUTHZREUSE, VA_NOSLEEP, VA_SLEEPTIME, ALTERNATE_ROOTS."""
        environment = os.environ | {"PEBBLE_VA_NOSLEEP": "1"} | {f"PEBBLE_{k}": v for k, v in settings.items()}
        names_at = f"127.0.0.1:{self.dns}"
        unused = [part for server in ("http01", "https01", "tlsalpn01", "doh") for part in (f"-{server}", "")]
        dns = ["-dnsserver", names_at, "-defaultIPv4", self.hosts_at, "-defaultIPv6", "", *unused]
        dns += ["-management", f"127.0.0.1:{self.dns_management}"]
        pebble = ["-config", str(self.folder / "config.json"), "-dnsserver", names_at, "-strict"]
        for program, arguments in (("pebble-challtestsrv", dns), ("pebble", pebble)):
            command = [*self.within, str(PROGRAMS / program), *arguments]
            with (self.folder / f"{program}.log").open("ab") as log:
                self.processes.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.ask("GET", self.directory)
                return
            except OSError as error:
                if time.monotonic() > deadline or any(process.poll() is not None for process in self.processes):
                    raise RuntimeError(f"Pebble did not start: {error}\n{self.log()[-3000:]}") from error
                time.sleep(0.02)

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait(timeout=10)
        self.processes.clear()

    def log(self) -> str:
        return "".join(file.read_text(errors="replace") for file in sorted(self.folder.glob("*.log")))

    def ask(self, method: str, url: str, body: Any = None) -> bytes:
        """A request to Pebble or to its management port."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data=data, method=method)
        with urllib.request.urlopen(
            request, timeout=10, context=ssl.create_default_context(cafile=str(self.ca))
        ) as answer:
            return bytes(answer.read())

    def root(self, number: int = 0) -> x509.Certificate:
        """The root that certificates of this Pebble lead to; others by number, with PEBBLE_ALTERNATE_ROOTS."""
        return x509.load_pem_x509_certificate(self.ask("GET", f"https://{self.name}:{self.management}/roots/{number}"))

    def set_window(self, certificate: x509.Certificate, start: datetime, end: datetime) -> None:
        """Suggest a window for a certificate."""
        pem = chain_pem([certificate])
        window = {"suggestedWindow": {"start": _rfc3339(start), "end": _rfc3339(end)}}
        body = {"certificate": pem, "ariResponse": json.dumps(window)}
        self.ask("POST", f"https://{self.name}:{self.management}/set-renewal-info/", body)

    def status_of(self, serial: int) -> str:
        """`Valid` or `Revoked`, as Pebble's management tells it."""
        answer = self.ask("GET", f"https://{self.name}:{self.management}/cert-status-by-serial/{serial:x}")
        return str(json.loads(answer)["Status"])


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def in_days(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)
