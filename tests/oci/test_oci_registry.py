"""The client against Debian's docker-registry with token authentication."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from tests.oci.docker_registry import RunningRegistry

from binderops.errors import RegistryError
from binderops.oci.credentials import ANONYMOUS, Minting, Password, parse_docker_config
from binderops.oci.manifests import EMPTY_JSON, OCI_EMPTY, OCI_LAYER_GZIP, OCI_MANIFEST, Descriptor, Manifest, encode
from binderops.oci.registry import Registry
from binderops.oci.scopes import Scope
from binderops.oci.tokens import Grants


@pytest.fixture
async def client(registry: RunningRegistry) -> AsyncIterator[Registry]:
    async with Registry(registry.host, Minting(registry.signer), insecure=True) as opened:
        yield opened


async def store(client: Registry, repository: str, content: bytes, tag: str) -> Manifest:
    layer = await client.push_blob(repository, content, OCI_LAYER_GZIP)
    config = await client.push_blob(repository, EMPTY_JSON, OCI_EMPTY)
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": config.to_json(),
        "layers": [layer.to_json()],
    }
    manifest = Manifest(OCI_MANIFEST, encode(document))
    await client.put_manifest(repository, tag, manifest)
    return manifest


def fresh() -> str:
    return f"test/{uuid.uuid4().hex}"


async def test_what_is_stored_is_found_again(client: Registry, tmp_path: Path) -> None:
    repository = fresh()
    assert await client.head_manifest(repository, "t") is None
    assert await client.tags(repository) == []
    manifest = await store(client, repository, b"content", "t")
    stored = await client.head_manifest(repository, "t")
    assert stored == Descriptor(OCI_MANIFEST, manifest.digest, len(manifest.body))
    assert await client.get_manifest(repository, manifest.digest) == manifest
    assert await client.get_blob(repository, manifest.layers[0].digest) == b"content"
    assert await client.tags(repository) == ["t"]
    (tmp_path / "big").write_bytes(b"x" * 3_000_000)
    pushed = await client.push_blob(repository, tmp_path / "big", OCI_LAYER_GZIP)
    assert await client.has_blob(repository, pushed.digest)
    with pytest.raises(RegistryError, match="too large"):
        await client.get_blob(repository, pushed.digest, limit=1000)
    await client.delete_manifest(repository, manifest.digest)
    assert await client.get_manifest(repository, "t") is None


async def test_a_blob_is_mounted_without_moving_it(client: Registry) -> None:
    source, target = fresh(), fresh()
    manifest = await store(client, source, uuid.uuid4().bytes, "t")
    digest = manifest.layers[0].digest
    assert not await client.has_blob(target, digest)
    assert await client.mount_blob(target, digest, source=source)
    assert await client.has_blob(target, digest)
    assert not await client.mount_blob(target, "sha256:" + "0" * 64, source=source)


async def test_a_manifest_that_names_what_is_not_there_is_refused(client: Registry) -> None:
    missing = Descriptor.of(b"nowhere", OCI_LAYER_GZIP).to_json()
    body = encode({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": missing, "layers": []})
    with pytest.raises(RegistryError, match="400"):
        await client.put_manifest(fresh(), "t", Manifest(OCI_MANIFEST, body))


async def test_the_token_dance(registry: RunningRegistry, token_realm: str) -> None:
    """Basic credentials reach the realm; the token holds what that password may do."""
    repository = fresh()
    grants = {"reader": Grants(pull_anything=True), "writer": Grants(push=frozenset({repository}))}

    async def token(request: Request) -> Response:
        user = {Password(name, "secret").basic: name for name in grants}.get(request.headers.get("authorization", ""))
        if not user:
            return Response(status_code=401)
        asked = [scope for text in request.query_params.getlist("scope") if (scope := Scope.parse(text))]
        return JSONResponse({"token": registry.signer.mint(grants[user].allowed(asked))})

    app = Starlette(routes=[Route("/registry/token", token)])
    server = uvicorn.Server(uvicorn.Config(app, port=httpx.URL(token_realm).port or 0, log_level="error"))
    serving = asyncio.create_task(server.serve())
    try:
        while not server.started:
            await asyncio.sleep(0.01)
        async with Registry(registry.host, Password("writer", "secret"), insecure=True) as writer:
            await store(writer, repository, b"1", "t")
        async with Registry(registry.host, Password("reader", "secret"), insecure=True) as reader:
            assert await reader.head_manifest(repository, "t")
            with pytest.raises(RegistryError, match="401"):
                await store(reader, repository, b"2", "t")
        async with Registry(registry.host, Password("reader", "wrong"), insecure=True) as wrong:
            with pytest.raises(RegistryError, match="token server refuses"):
                await wrong.head_manifest(repository, "t")
        async with Registry(registry.host, ANONYMOUS, insecure=True) as nobody:
            with pytest.raises(RegistryError, match="token server refuses"):
                await nobody.head_manifest(repository, "t")
    finally:
        server.should_exit = True
        await serving


async def test_transient_answers_are_asked_again() -> None:
    seen: list[str] = []

    async def answer(request: Request) -> Response:
        seen.append(request.url.path)
        return Response(status_code=503 if len(seen) < 3 else 404)

    server = uvicorn.Server(
        uvicorn.Config(Starlette(routes=[Route("/{path:path}", answer)]), port=0, log_level="error")
    )
    serving = asyncio.create_task(server.serve())
    try:
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        async with Registry(f"127.0.0.1:{port}", insecure=True) as client:
            assert await client.head_manifest("a", "t") is None
        assert len(seen) == 3
    finally:
        server.should_exit = True
        await serving


def test_docker_config() -> None:
    auths = {
        "https://index.docker.io/v1/": {"auth": "dTpwOnc="},
        "r.ns.svc:5000": {"username": "pull", "password": "x"},
    }
    text = json.dumps({"auths": auths})
    found = parse_docker_config(text)
    assert found == {"docker.io": Password("u", "p:w"), "r.ns.svc:5000": Password("pull", "x")}
    assert "p:w" not in repr(found)
    with pytest.raises(RegistryError):
        parse_docker_config("[]")
