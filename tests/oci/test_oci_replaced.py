"""A registry that is replaced while the client asks: the real program, stopped and started again."""

from __future__ import annotations

import asyncio
import hashlib
import os
import ssl
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.oci.docker_registry import DockerRegistry, free_port, make_signing_key
from tests.oci.test_oci_registry import fresh, store

from binderops.errors import RegistryError
from binderops.oci.credentials import Challenge, Minting, Password
from binderops.oci.insisting import Patience
from binderops.oci.manifests import OCI_LAYER_GZIP, OCI_MANIFEST, Manifest, encode
from binderops.oci.registry import Registry
from binderops.oci.scopes import Scope

AWAY_SECONDS = 2.5
"""How long it is away here: on one machine a replacement takes that, when no push is under way."""


@pytest.fixture
async def client(replaced_registry: DockerRegistry) -> AsyncIterator[Registry]:
    running = replaced_registry.running
    async with Registry(running.host, Minting(running.signer), insecure=True) as opened:
        yield opened


async def come_back(registry: DockerRegistry) -> None:
    await asyncio.sleep(AWAY_SECONDS)
    await asyncio.to_thread(registry.start)


async def test_every_request_waits_until_it_is_back(client: Registry, replaced_registry: DockerRegistry) -> None:
    repository, other = fresh(), fresh()
    manifest = await store(client, repository, uuid.uuid4().bytes, "t")
    doomed = await store(client, fresh_doomed := fresh(), uuid.uuid4().bytes, "t")
    digest = manifest.layers[0].digest
    asked: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
        "head": lambda: client.head_manifest(repository, "t"),
        "get": lambda: client.get_manifest(repository, "t"),
        "put": lambda: client.put_manifest(repository, "again", manifest),
        "has": lambda: client.has_blob(repository, digest),
        "blob": lambda: client.get_blob(repository, digest),
        "mount": lambda: client.mount_blob(other, digest, source=repository),
        "push": lambda: client.push_blob(other, b"pushed", OCI_LAYER_GZIP),
        "tags": lambda: client.tags(repository),
        "delete": lambda: client.delete_manifest(fresh_doomed, doomed.digest),
    }
    replaced_registry.stop()
    *answers, _ = await asyncio.gather(*(ask() for ask in asked.values()), come_back(replaced_registry))
    found = dict(zip(asked, answers, strict=True))
    assert found["head"].digest == found["get"].digest == found["put"] == manifest.digest
    assert found["has"] and found["mount"] and len(found["blob"]) == 16
    assert set(found["tags"]) <= {"t", "again"}
    assert await client.get_blob(other, found["push"].digest) == b"pushed"
    assert await client.head_manifest(fresh_doomed, "t") is None


@dataclass
class Replacing:
    """Mints as usual, and has the registry replaced just before the request number `at`."""

    minting: Minting
    registry: DockerRegistry
    at: int
    asked: int = field(default=0)

    async def authorize(self, challenge: Challenge, scopes: tuple[Scope, ...], client: httpx.AsyncClient) -> str | None:
        self.asked += 1
        if self.asked == self.at:
            self.registry.stop()
            await asyncio.to_thread(self.registry.start)
        return await self.minting.authorize(challenge, scopes, client)


@pytest.mark.parametrize("at", [1, 2, 3])
async def test_an_upload_goes_to_the_one_that_began_it(replaced_registry: DockerRegistry, at: int) -> None:
    """Another process does not know the state of the upload that the first one signed: it is begun anew."""
    running, repository = replaced_registry.running, fresh()
    authorizer = Replacing(Minting(running.signer), replaced_registry, at)
    async with Registry(running.host, authorizer, insecure=True) as client:
        pushed = await client.push_blob(repository, b"content", OCI_LAYER_GZIP)
        assert authorizer.asked >= at
        assert await client.get_blob(repository, pushed.digest) == b"content"


async def test_an_upload_that_is_cut_is_sent_again(
    client: Registry, replaced_registry: DockerRegistry, tmp_path: Path
) -> None:
    repository, size = fresh(), 200_000_000
    with (tmp_path / "big").open("wb") as file:
        file.truncate(size)
        file.write(os.urandom(16))
    pushing = asyncio.create_task(client.push_blob(repository, tmp_path / "big", OCI_LAYER_GZIP))
    async with asyncio.timeout(30):
        while not any(part.stat().st_size for part in replaced_registry.storage.glob("**/_uploads/*/data")):
            assert not pushing.done()
            await asyncio.sleep(0.001)
    replaced_registry.stop()
    assert not pushing.done()
    await asyncio.to_thread(replaced_registry.start)
    pushed = await pushing
    assert await client.has_blob(repository, pushed.digest)
    stored = (
        replaced_registry.storage / f"docker/registry/v2/blobs/sha256/{pushed.digest[7:9]}/{pushed.digest[7:]}/data"
    )
    with stored.open("rb") as file:
        assert f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}" == pushed.digest


async def test_what_the_registry_refuses_is_not_sent_again(client: Registry) -> None:
    body = encode({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": {}, "layers": []})
    started = time.monotonic()
    with pytest.raises(RegistryError, match="answered 400"):
        await client.put_manifest(fresh(), "t", Manifest(OCI_MANIFEST, body))
    assert time.monotonic() - started < 1


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_one_that_stays_away_is_an_error_in_words(scheme: str) -> None:
    host, started = f"127.0.0.1:{free_port()}", time.monotonic()
    async with Registry(host, insecure=scheme == "http", patience=Patience(away=1.0)) as gone:
        with pytest.raises(RegistryError, match="cannot be reached") as caught:
            await gone.push_blob("a", b"content", OCI_LAYER_GZIP)
        assert 0.9 < time.monotonic() - started < 2
        assert caught.value.where == host
        assert "Connection refused" in (caught.value.why or "")
        assert "binderops status" in (caught.value.hint or "")
        started = time.monotonic()
        with pytest.raises(RegistryError, match="cannot be reached"):
            await gone.head_manifest("a", "t", patience=Patience(away=0))
        assert time.monotonic() - started < 0.2


async def test_a_silent_one_has_no_more_than_its_time() -> None:
    silent = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    async with silent:
        host, started = f"127.0.0.1:{silent.sockets[0].getsockname()[1]}", time.monotonic()
        async with Registry(host, insecure=True) as client:
            with pytest.raises(RegistryError, match=r"did not answer within 0\.3 s"):
                await client.head_manifest("a", "t", patience=Patience(answer=0.3))
        assert time.monotonic() - started < 2


async def test_one_that_breaks_off_every_answer_is_asked_four_times() -> None:
    asked = 0

    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        await reader.readuntil(b"\r\n\r\n")
        asked += 1
        writer.close()

    server = await asyncio.start_server(break_off, "127.0.0.1", 0)
    async with server:
        host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with Registry(host, insecure=True) as client:
            with pytest.raises(RegistryError, match="breaks off") as caught:
                await client.head_manifest("a", "t")
    assert asked == 4
    assert caught.value.where == host
    assert caught.value.hint


async def test_waiting_mends_no_certificate(tmp_path: Path) -> None:
    keys = make_signing_key(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keys / "tls.crt", keys / "tls.key")
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with server:
        started = time.monotonic()
        async with Registry(f"127.0.0.1:{server.sockets[0].getsockname()[1]}") as client:
            with pytest.raises(RegistryError, match="certificate") as caught:
                await client.head_manifest("a", "t")
    assert time.monotonic() - started < 2
    assert "CERTIFICATE_VERIFY_FAILED" in (caught.value.why or "")


async def test_a_token_server_that_is_away_is_the_one_that_is_named(
    replaced_registry: DockerRegistry, token_realm: str
) -> None:
    password, patience = Password("reader", "secret"), Patience(away=0.5)
    async with Registry(replaced_registry.running.host, password, insecure=True, patience=patience) as client:
        with pytest.raises(RegistryError, match="token server cannot be reached") as caught:
            await client.head_manifest("a", "t")
    assert caught.value.where == httpx.URL(token_realm).netloc.decode()
