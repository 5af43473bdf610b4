"""Real docker-registries on loopback: one that wants tokens, as the chart's does, or one that wants a password."""

from __future__ import annotations

import datetime
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from tests.programs import program

from binderops.oci.tokens import TokenSigner

OWN_USER, OWN_PASSWORD = "own", "canary-of-an-own-registry"
# bcrypt, the one kind that docker-registry reads, at its lowest cost.
HTPASSWD = f"{OWN_USER}:$2b$04$kQBcUOqhM17sKH35H.BqWeIvUFboolnKHQaAOiauhHulj/MV32Ye6\n"


def make_signing_key(folder: Path) -> Path:
    """tls.key and tls.crt as Helm's genSelfSignedCert makes them."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "binder")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tls.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    (folder / "tls.crt").write_bytes(certificate.public_bytes(Encoding.PEM))
    return folder


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class RunningRegistry:
    host: str
    keys: Path

    @property
    def signer(self) -> TokenSigner:
        return TokenSigner.load(self.keys)


class DockerRegistry:
    """One that can be stopped, and started again at the same port over the same storage."""

    def __init__(self, folder: Path, authentication: dict[str, Any], *, storage: Path | None = None) -> None:
        self._server = program("docker-registry")
        self._port = free_port()
        self._log = folder / "log"
        self._configuration = folder / "config.yml"
        self._process: subprocess.Popen[bytes] | None = None
        self.storage = storage or folder / "data"
        self.running = RunningRegistry(f"127.0.0.1:{self._port}", folder / "keys")
        settings = {
            "version": "0.1",
            "log": {"level": "warn", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(self.storage)}, "delete": {"enabled": True}},
            "http": {"addr": self.running.host},
            "auth": authentication,
        }
        self._configuration.write_text(yaml.safe_dump(settings))

    @classmethod
    def with_tokens(cls, folder: Path, realm: str, *, storage: Path | None = None) -> Self:
        """As the chart's: tokens come from `realm`, signed by the key in its folder `keys`."""
        certificate = make_signing_key(folder / "keys") / "tls.crt"
        token = {"realm": realm, "service": "registry", "issuer": "binder", "rootcertbundle": str(certificate)}
        return cls(folder, {"token": token}, storage=storage)

    @classmethod
    def with_password(cls, folder: Path, *, storage: Path | None = None) -> Self:
        """As an operator's own: it knows `own` with OWN_PASSWORD."""
        (folder / "htpasswd").write_text(HTPASSWD)
        return cls(folder, {"htpasswd": {"realm": "own", "path": str(folder / "htpasswd")}}, storage=storage)

    def start(self) -> None:
        """Returns when it listens."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([self._server, "serve", str(self._configuration)], stdout=log, stderr=log)
        wait_for_port(self._port, self._process, self._log)

    def stop(self) -> None:
        """Returns when it has ended: at once, since nothing here tells it to finish what is under way."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=10)
            self._process = None


@pytest.fixture(scope="session")
def token_realm() -> str:
    """Where the registry sends clients for a token; nothing listens there unless a test does."""
    return f"http://127.0.0.1:{free_port()}/registry/token"


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory, token_realm: str) -> Iterator[RunningRegistry]:
    server = DockerRegistry.with_tokens(tmp_path_factory.mktemp("registry"), token_realm)
    try:
        server.start()
        yield server.running
    finally:
        server.stop()


@pytest.fixture
def replaced_registry(tmp_path: Path, token_realm: str) -> Iterator[DockerRegistry]:
    """A test's own, to stop and start. It runs."""
    (tmp_path / "registry").mkdir()
    server = DockerRegistry.with_tokens(tmp_path / "registry", token_realm)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def own_registry(tmp_path: Path) -> Iterator[DockerRegistry]:
    """An operator's own, that wants a password. It runs."""
    (tmp_path / "own").mkdir()
    server = DockerRegistry.with_password(tmp_path / "own")
    try:
        server.start()
        yield server
    finally:
        server.stop()


def wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError(f"docker-registry did not start: {log.read_text()}")
