"""Of a machine's certificate authorities only those travel that images lack; programs trust both."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from binderops.authorities import BUNDLE_VARIABLES, SYSTEM_BUNDLE, trust_added_authorities
from binderops.images.authorities import DISTRIBUTIONS, added_authorities

SECONDS = 60
CLIENTS = {
    "openssl": [sys.executable, "-c", "import sys, urllib.request as u; u.urlopen(sys.argv[1] + '/info/refs')"],
    "requests": [sys.executable, "-c", "import sys, requests as r; r.get(sys.argv[1]).raise_for_status()"],
    "git": ["git", "ls-remote"],
}


def own_authority(name: str = "company") -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """A CA that is its own server too, at 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + timedelta(days=1))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    names = [x509.DNSName("localhost")]
    return builder.add_extension(x509.SubjectAlternativeName(names), critical=False).sign(key, hashes.SHA256()), key


def pem(name: str) -> str:
    return own_authority(name)[0].public_bytes(serialization.Encoding.PEM).decode()


def test_only_what_the_distribution_lacks_travels(tmp_path: Path) -> None:
    shipped, also_shipped, company, lab = (pem(name) for name in ("shipped", "also", "company", "lab"))
    (tmp_path / "a.crt").write_text(shipped)
    (tmp_path / "b.crt").write_text(also_shipped)
    bundle = f"# company\n{company}\n{shipped}{lab}# again\n{company}{also_shipped}"
    assert added_authorities(bundle, distributions=tmp_path) == company + lab
    assert added_authorities(shipped + also_shipped, distributions=tmp_path) == ""


def test_all_travel_where_nothing_is_known_of_images(tmp_path: Path) -> None:
    both = pem("shipped") + pem("company")
    assert added_authorities(both, distributions=tmp_path / "missing") == both


@pytest.mark.parametrize(
    "text", ["", "no PEM", *(f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n" for text in "*A")]
)
def test_what_is_no_certificate_is_passed_over(tmp_path: Path, text: str) -> None:
    company = pem("company")
    assert added_authorities(text + company, distributions=tmp_path) == company
    assert added_authorities(text, distributions=tmp_path) == ""


def test_debians_own_bundle_adds_nothing() -> None:
    files = sorted(DISTRIBUTIONS.glob("*.crt"))
    assert len(files) > 100
    company = pem("company")
    shipped = "".join(file.read_text() for file in files)
    assert added_authorities(shipped + company) == company


def test_nothing_changes_where_nothing_was_added(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    for environment in ({}, {"MACHINE_AUTHORITIES": "/missing"}, {"MACHINE_AUTHORITIES": str(tmp_path / "empty")}):
        before = dict(environment)
        trust_added_authorities(environment, tmp_path / "ca.crt")
        assert environment == before
    assert not (tmp_path / "ca.crt").exists()


@pytest.fixture
def company(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of a git repository behind a company's TLS, and the file of its CA."""
    certificate, key = own_authority()
    authority, private = tmp_path / "company.crt", tmp_path / "key.pem"
    authority.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )  # fmt: skip
    repository = tmp_path / "repository.git"
    subprocess.run(["git", "init", "-q", "--bare", str(repository)], check=True, timeout=SECONDS)
    subprocess.run(["git", "-C", str(repository), "update-server-info"], check=True, timeout=SECONDS)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path)))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority, private)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"https://localhost:{server.server_port}/repository.git", authority
    server.shutdown()
    thread.join(SECONDS)
    server.server_close()


@pytest.mark.parametrize("client", CLIENTS)
def test_clients_trust_the_network_and_the_world(client: str, company: tuple[str, Path], tmp_path: Path) -> None:
    url, authority = company
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}

    def ask() -> subprocess.CompletedProcess[str]:
        command = [*CLIENTS[client], url]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)

    refused = ask()
    assert refused.returncode != 0 and "certificate" in refused.stderr, refused.stderr
    environment["MACHINE_AUTHORITIES"] = str(authority)
    trust_added_authorities(environment, tmp_path / "run" / "both.crt")
    assert {environment[name] for name in BUNDLE_VARIABLES} == {str(tmp_path / "run" / "both.crt")}
    trusted = ask()
    assert trusted.returncode == 0, trusted.stderr
    both = (tmp_path / "run" / "both.crt").read_text()
    assert both.startswith(SYSTEM_BUNDLE.read_text().strip()) and both.endswith(authority.read_text())
