"""The local CA in the machine's store (by the real update-ca-certificates), and what our own requests trust."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from binderops.delivery import certificates_store, certificates_trust
from binderops.delivery.certificates_store import TrustStore
from binderops.delivery.certificates_trust import described, trust_of
from binderops.delivery.public import public_client
from binderops.errors import MachineError
from binderops.images.machine import bundle_text, detect_package_settings
from binderops.lego.authority import issue, make_authority
from binderops.lego.pairs import KeyKind, Pair, chain_pem, key_pem
from binderops.state.public import PublicSettings
from binderops.target.protocol import Access


@pytest.fixture
def store(tmp_path: Path) -> TrustStore:
    """A store of its own, which the real program works on."""
    for folder in ("local/share/ca-certificates", "share/ca-certificates"):
        (tmp_path / "usr" / folder).mkdir(parents=True)
    for folder in ("ssl/certs", "ca-certificates/update.d"):
        (tmp_path / "etc" / folder).mkdir(parents=True)
    (tmp_path / "etc/ca-certificates.conf").write_text("# nothing of the distribution's\n")
    return TrustStore(tmp_path)


async def test_a_ca_is_trusted_once_and_then_no_longer(store: TrustStore) -> None:
    mine, other = (chain_pem(make_authority(["localhost"]).chain) for _ in range(2))
    before = store.bundle.read_text() if store.bundle.exists() else ""
    assert await store.install("staging", mine)
    assert not await store.install("staging", mine), "the second time changes nothing"
    assert await store.install("prod", other)
    assert mine in store.bundle.read_text() and other in store.bundle.read_text()
    assert before == "" or before in store.bundle.read_text()

    renewed = chain_pem(make_authority(["localhost"]).chain)
    assert await store.install("staging", renewed)
    assert renewed in store.bundle.read_text() and mine not in store.bundle.read_text()

    assert await store.remove("staging")
    assert not await store.remove("staging")
    assert renewed not in store.bundle.read_text() and other in store.bundle.read_text()
    links = [link for link in store.bundle.parent.iterdir() if link.is_symlink()]
    assert len(links) == 2 and all(link.exists() for link in links), "the other's by name and by hash, no other"


async def test_a_bundle_that_lost_the_ca_is_made_anew(store: TrustStore) -> None:
    pem = chain_pem(make_authority().chain)
    await store.install("staging", pem)
    store.bundle.write_text("")
    assert await store.install("staging", pem)
    assert pem in store.bundle.read_text()


async def test_what_the_machine_does_not_take_is_told(store: TrustStore, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = store.file("x").parent
    folder.rmdir()
    folder.write_text("a file stands where the folder should")
    with pytest.raises(MachineError, match="cannot be changed"):
        await store.install("staging", "x")
    monkeypatch.setattr(certificates_store, "_PROGRAM", "no-such-program-of-debian")
    with pytest.raises(MachineError, match="not one that is known here"):
        await store.install("staging", "x")
    monkeypatch.setattr(certificates_store, "_PROGRAM", "false")
    folder.unlink()
    with pytest.raises(MachineError, match=r"failed \(1\)"):
        await store.install("staging", "x")


async def test_a_trusted_ca_changes_nothing_of_what_runs(store: TrustStore) -> None:
    """Pods and builds get the machine's own CAs: an environment's local one is none of them."""
    await store.install("staging", chain_pem(make_authority().chain))
    settings = detect_package_settings({}, root=store.root, home=store.root)
    assert settings.ca_bundle is None
    company = chain_pem(make_authority().chain)
    (store.file("staging").parent / "company.crt").write_text(company)
    await store.install("prod", chain_pem(make_authority().chain))
    settings = detect_package_settings({"SSL_CERT_FILE": str(store.bundle)}, root=store.root, home=store.root)
    assert settings.ca_bundle == store.bundle
    told = bundle_text(store.bundle, root=store.root)
    assert company in told
    assert all(store.file(name).read_text() not in told for name in ("staging", "prod"))


def test_a_ca_is_described() -> None:
    authority = make_authority(["localhost", "lab.example"], now=datetime(2026, 11, 24, tzinfo=UTC))
    found = described(chain_pem(authority.chain))
    assert found.subject == "CN=BinderOps local CA 2026-11-24"
    assert found.domains == ("localhost", "lab.example")
    assert len(found.fingerprint.split(":")) == 32
    assert found.not_after.year == 2036
    assert described(chain_pem(make_authority().chain)).domains == ()


class Served:
    """A public name behind a TLS port."""

    namespace, timeout = "binder", 60

    def __init__(self, port: int) -> None:
        self.public = PublicSettings(domain="t.localhost", public_tls_port=port)


@asynccontextmanager
async def serving(pair: Pair, folder: Path) -> AsyncIterator[int]:
    """An https server with a pair; its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        await writer.drain()
        writer.close()

    (folder / "pair.pem").write_text(chain_pem(pair.chain) + key_pem(pair.key))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "pair.pem")
    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1]


async def test_our_requests_trust_the_environments_ca_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, stranger = make_authority(["localhost"]), make_authority(["localhost"])
    told: list[str | None] = []

    async def local_authority(client: object, namespace: str) -> str | None:
        assert namespace == "binder"
        return told[-1]

    monkeypatch.setattr(certificates_trust, "local_authority", local_authority)
    kubeconfig = {
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    async with serving(issue(authority, ["t.localhost"], KeyKind()), tmp_path) as port:
        served, access = Served(port), Access(kubeconfig)
        for pem, good in (
            (chain_pem(authority.chain), True),
            (chain_pem(stranger.chain), False),
            (None, False),
        ):
            told.append(pem)
            async with public_client(trust=await trust_of(served, access)) as client:
                if good:
                    assert (await client.get(served.public.url)).text == "ok"
                    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                        await client.get(f"https://other.localhost:{port}/")
                else:
                    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                        await client.get(served.public.url)
    assert await trust_of(Served(0), access) is None, "without TLS nothing is asked"
