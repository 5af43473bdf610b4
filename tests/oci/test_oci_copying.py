"""Copying between two real registries: the chart's, which wants tokens, and one that wants a password."""

from __future__ import annotations

import hashlib
import tracemalloc
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from tests.binder.conftest import listening
from tests.oci.docker_registry import OWN_PASSWORD, OWN_USER, DockerRegistry, RunningRegistry, free_port

from binderops.errors import RegistryError
from binderops.oci.copying import Copier
from binderops.oci.credentials import ANONYMOUS, Minting, Password
from binderops.oci.insisting import Patience
from binderops.oci.manifests import OCI_LAYER_GZIP, Descriptor
from binderops.oci.registry import Registry
from binderops.oci.scopes import Scope


@pytest.fixture
async def source(registry: RunningRegistry) -> AsyncIterator[Registry]:
    async with Registry(registry.host, Minting(registry.signer), insecure=True) as opened:
        yield opened


@pytest.fixture
async def target(own_registry: DockerRegistry) -> AsyncIterator[Registry]:
    password, patience = Password(OWN_USER, OWN_PASSWORD), Patience(away=0)
    async with Registry(own_registry.running.host, password, insecure=True, patience=patience) as opened:
        yield opened


async def some_blobs(source: Registry, *, size: int = 1000) -> tuple[str, list[Descriptor]]:
    place = f"builds/{uuid.uuid4().hex}"
    return place, [await source.push_blob(place, uuid.uuid4().bytes * (size // 16), OCI_LAYER_GZIP) for _ in range(3)]


@contextmanager
def requests_of(registry: Registry) -> Iterator[list[str]]:
    """What is asked of a registry meanwhile: METHOD and path."""
    asked: list[str] = []

    async def note(request: httpx.Request) -> None:
        asked.append(f"{request.method} {request.url.path}")

    hooks = registry._client.event_hooks
    registry._client.event_hooks = {"request": [note], "response": []}
    yield asked
    registry._client.event_hooks = hooks


async def test_blobs_arrive_and_progress_is_told(source: Registry, target: Registry) -> None:
    place, blobs = await some_blobs(source)
    told: list[tuple[int, int]] = []
    await Copier(source, target).copy(blobs, source=place, target="org/a", progress=lambda *sizes: told.append(sizes))
    for blob in blobs:
        assert await target.get_blob("org/a", blob.digest) == await source.get_blob(place, blob.digest)
    total = sum(blob.size for blob in blobs)
    assert told[-1] == (total, total)


async def test_what_is_there_is_not_sent_again_and_what_lies_beside_is_mounted(
    source: Registry, target: Registry
) -> None:
    copier = Copier(source, target)
    place, blobs = await some_blobs(source)
    await copier.copy(blobs, source=place, target="org/first")
    with requests_of(source) as read, requests_of(target) as asked:
        await copier.copy(blobs, source=place, target="org/first")
        assert {line.split()[0] for line in asked} == {"HEAD"}
        await copier.copy(blobs, source=place, target="org/second")
    assert "PUT" not in {line.split()[0] for line in asked}
    assert read == []
    for blob in blobs:
        assert await target.has_blob("org/second", blob.digest)


async def test_where_nothing_can_be_mounted_the_bytes_are_sent(
    source: Registry, target: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    copier = Copier(source, target)
    place, blobs = await some_blobs(source)
    await copier.copy(blobs, source=place, target="org/gone")
    for blob in blobs:
        await target.delete_blob("org/gone", blob.digest)
    await copier.copy(blobs, source=place, target="org/sent")
    assert all([await target.has_blob("org/sent", blob.digest) for blob in blobs])


async def test_a_copy_that_broke_off_is_taken_up(
    source: Registry, target: Registry, own_registry: DockerRegistry
) -> None:
    copier = Copier(source, target)
    place, blobs = await some_blobs(source)
    await copier.copy(blobs[:2], source=place, target="org/a")
    own_registry.stop()
    with pytest.raises(RegistryError, match="cannot be reached"):
        await copier.copy(blobs, source=place, target="org/a")
    own_registry.start()
    with requests_of(source) as read:
        await Copier(source, target).copy(blobs, source=place, target="org/a")
    assert read == [f"{method} /v2/{place}/blobs/{blobs[2].digest}" for method in ("HEAD", "GET")]
    assert await target.has_blob("org/a", blobs[2].digest)


async def test_a_blob_that_breaks_off_on_its_way_is_sent_again(
    source: Registry, target: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, blobs = await some_blobs(source)
    whole, broken = source.stream_blob, []

    async def once_broken(repository: str, digest: str) -> AsyncIterator[bytes]:
        async for piece in whole(repository, digest):
            if digest not in broken:
                broken.append(digest)
                yield piece[:10]
                try:
                    raise httpx.ReadError("reset")
                except httpx.ReadError as error:
                    raise RegistryError("the registry breaks off what it is asked") from error
            yield piece

    monkeypatch.setattr(source, "stream_blob", once_broken)
    await Copier(source, target).copy(blobs, source=place, target="org/a")
    assert len(broken) == 3
    assert all([await target.has_blob("org/a", blob.digest) for blob in blobs])


async def test_a_registry_that_hands_out_tokens_for_a_password(source: Registry, tmp_path: Path) -> None:
    (tmp_path / "tokens").mkdir()
    port = free_port()
    server = DockerRegistry.with_tokens(tmp_path / "tokens", f"http://127.0.0.1:{port}/token")

    async def token(request: Request) -> Response:
        if request.headers.get("authorization") != Password(OWN_USER, OWN_PASSWORD).basic:
            return Response(status_code=401)
        scopes = [scope for text in request.query_params.getlist("scope") if (scope := Scope.parse(text))]
        return JSONResponse({"token": server.running.signer.mint(scopes)})

    server.start()
    try:
        async with (
            listening(Starlette(routes=[Route("/token", token)]), port),
            Registry(server.running.host, Password(OWN_USER, OWN_PASSWORD), insecure=True) as target,
        ):
            place, blobs = await some_blobs(source)
            copier = Copier(source, target)
            await copier.copy(blobs, source=place, target="org/a")
            await copier.copy(blobs, source=place, target="org/b")
            assert all([await target.has_blob("org/b", blob.digest) for blob in blobs])
            async with Registry(server.running.host, Password(OWN_USER, "wrong"), insecure=True) as refused:
                with pytest.raises(RegistryError, match="the token server refuses"):
                    await Copier(source, refused).copy(blobs, source=place, target="org/c")
    finally:
        server.stop()


async def test_a_wrong_password_is_told(source: Registry, own_registry: DockerRegistry) -> None:
    place, blobs = await some_blobs(source)
    for password in (Password(OWN_USER, "wrong"), ANONYMOUS):
        async with Registry(own_registry.running.host, password, insecure=True) as target:
            with pytest.raises(RegistryError, match="answered 401"):
                await Copier(source, target).copy(blobs, source=place, target="org/a")


async def test_a_blob_that_is_gone_is_told(source: Registry, target: Registry) -> None:
    gone = Descriptor(OCI_LAYER_GZIP, "sha256:" + hashlib.sha256(b"gone").hexdigest(), 4)
    with pytest.raises(RegistryError, match="a blob is not there"):
        await Copier(source, target).copy([gone], source="builds/none", target="org/a")


async def test_nothing_is_held_in_memory(source: Registry, target: Registry, tmp_path: Path) -> None:
    file, size = tmp_path / "large", 64 << 20
    with file.open("wb") as written:
        written.truncate(size)
    blob = await source.push_blob("builds/large", file, OCI_LAYER_GZIP)
    tracemalloc.start()
    try:
        await Copier(source, target).copy([blob], source="builds/large", target="org/large")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert await target.has_blob("org/large", blob.digest)
    assert peak < 16 << 20, f"{peak >> 20} MiB for a blob of {size >> 20}"


async def test_uploads_are_not_followed_to_plain_http() -> None:
    async def answers(request: httpx.Request) -> httpx.Response:
        if request.method == "HEAD":
            return httpx.Response(404)
        return httpx.Response(202, headers={"Location": "http://registry.example/v2/org/a/blobs/uploads/1"})

    async with Registry("registry.example") as registry:
        registry._client = httpx.AsyncClient(transport=httpx.MockTransport(answers))
        with pytest.raises(RegistryError, match="plain http"):
            await registry.push_blob("org/a", b"x", OCI_LAYER_GZIP)
