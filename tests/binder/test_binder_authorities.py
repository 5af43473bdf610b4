"""Repositories behind TLS of the machine's own network: the binder's git trusts the authority that its values name."""

from __future__ import annotations

import os
import ssl
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.git.git_server import git

from binderops.authorities import BUNDLE_VARIABLES
from binderops.binder.__main__ import trust_machine
from binderops.errors import GitError
from binderops.git.hosts import InternalHost
from binderops.git.remote import RemoteUrl, ls_remote

OURS = [InternalHost("localhost", ip_network("127.0.0.0/8")), InternalHost("localhost", ip_network("::1/128"))]


def authority(folder: Path) -> tuple[Path, Path]:
    """A certificate for localhost that nobody else signed, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "company")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "ca.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )  # fmt: skip
    return folder / "ca.crt", folder / "key.pem"


@pytest.fixture
def company(tmp_path: Path) -> Iterator[str]:
    """The address of a repository; its authority lies where the chart mounts it, below `etc`."""
    work, bare, machine = tmp_path / "work", tmp_path / "served" / "repository.git", tmp_path / "etc" / "machine"
    work.mkdir()
    machine.mkdir(parents=True)
    git(work, "init", "-q", "-b", "main")
    git(work, "commit", "-q", "--allow-empty", "-m", "first")
    subprocess.run(["git", "clone", "-q", "--bare", str(work), str(bare)], check=True, timeout=30)
    git(bare, "update-server-info")
    certificate, key = authority(machine)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(bare.parent)))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"https://localhost:{server.server_port}/repository.git"
    server.shutdown()
    thread.join(10)
    server.server_close()


async def test_git_and_https_trust_what_the_machine_adds(
    company: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in BUNDLE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    url = RemoteUrl.parse(company)
    with pytest.raises(GitError, match="certificate"):
        await ls_remote(url, "HEAD", internal=OURS)
    environment = dict(os.environ)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    trust_machine(environment, tmp_path / "etc")
    for name in BUNDLE_VARIABLES:
        monkeypatch.setenv(name, environment[name])
    assert await ls_remote(url, "main", internal=OURS) == git(tmp_path / "work", "rev-parse", "HEAD")
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{company}/HEAD")).status_code == 200


def test_nothing_changes_on_a_machine_that_adds_none(tmp_path: Path) -> None:
    environment = {"PATH": "/bin"}
    trust_machine(environment, tmp_path)
    assert not set(environment) & set(BUNDLE_VARIABLES)
