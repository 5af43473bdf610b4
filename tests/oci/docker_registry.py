"""A real docker-registry on loopback that wants tokens, as the chart's does."""

from __future__ import annotations

import datetime
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from tests.programs import program

from binderops.oci.tokens import TokenSigner


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


@pytest.fixture(scope="session")
def token_realm() -> str:
    """Where the registry sends clients for a token; nothing listens there unless a test does."""
    return f"http://127.0.0.1:{free_port()}/registry/token"


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory, token_realm: str) -> Iterator[RunningRegistry]:
    server = program("docker-registry")
    folder = tmp_path_factory.mktemp("registry")
    keys = make_signing_key(folder / "keys")
    port = free_port()
    settings = {
        "version": "0.1",
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{port}"},
        "auth": {
            "token": {
                "realm": token_realm,
                "service": "registry",
                "issuer": "binder",
                "rootcertbundle": str(keys / "tls.crt"),
            }
        },
    }
    (folder / "config.yml").write_text(yaml.safe_dump(settings))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([server, "serve", str(folder / "config.yml")], stdout=log, stderr=log)
    try:
        wait_for_port(port, process, folder / "log")
        yield RunningRegistry(f"127.0.0.1:{port}", keys)
    finally:
        process.terminate()
        process.wait(timeout=10)


def wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError(f"docker-registry did not start: {log.read_text()}")
