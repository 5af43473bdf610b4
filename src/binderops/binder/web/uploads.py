"""`PUT /local/NAME`: the operator's folder, kept in the registry as an artifact under its content's digest."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import BinaryIO

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from binderops.binder.application import Binder
from binderops.binder.providers.local import ref_of, repository_of
from binderops.binder.web.build_stream import is_operator
from binderops.errors import RegistryError, SpecError
from binderops.oci.manifests import EMPTY_JSON, OCI_EMPTY, OCI_MANIFEST, Descriptor, Manifest, encode
from binderops.oci.registry import Registry

log = structlog.get_logger(__name__)

LARGEST_UPLOAD = 512 << 20
ARTIFACT_TYPE = "application/vnd.binderops.repository.v1"
LAYER_TYPE = "application/vnd.binderops.repository.v1.tar+gzip"
_GZIP = b"\x1f\x8b"


async def upload(request: Request) -> Response:
    """Store the body (a tar.gz) and move the tag HEAD; wants the release's token."""
    binder: Binder = request.app.state.binder
    if not is_operator(request, binder):
        return _refused(401, "This wants the token of the release.", {"WWW-Authenticate": "token"})
    name = request.path_params["name"]
    try:
        repository = repository_of(name)
    except SpecError as error:
        return _refused(400, error.what)
    if int(request.headers.get("content-length", "0") or 0) > LARGEST_UPLOAD:
        return _refused(413, f"The archive is larger than {LARGEST_UPLOAD >> 20} MiB.")
    with tempfile.NamedTemporaryFile(prefix="upload-") as file:
        problem = await _receive(request, file)  # type: ignore[arg-type]
        if problem:
            return problem
        try:
            layer = await store(binder.registry, repository, Path(file.name))
        except RegistryError as error:
            log.error("an upload cannot be stored", name=name, error=str(error))
            return _refused(502, f"The registry did not take it: {error}")
    ref = ref_of(layer.digest)
    log.info("uploaded", name=name, ref=ref, size=layer.size)
    return JSONResponse({"name": name, "digest": layer.digest, "spec": f"local/{name}/{ref}"}, status_code=201)


async def store(registry: Registry, repository: str, archive: Path) -> Descriptor:
    """Put an archive into the registry; its tags are the short digest, and HEAD."""
    layer = await registry.push_blob(repository, archive, LAYER_TYPE)
    config = await registry.push_blob(repository, EMPTY_JSON, OCI_EMPTY)
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": ARTIFACT_TYPE,
        "config": config.to_json(),
        "layers": [layer.to_json()],
    }
    manifest = Manifest(OCI_MANIFEST, encode(document))
    for tag in (ref_of(layer.digest), "HEAD"):
        await registry.put_manifest(repository, tag, manifest)
    return layer


async def _receive(request: Request, file: BinaryIO) -> Response | None:
    size, start = 0, b""
    try:
        async for piece in request.stream():
            size += len(piece)
            if size > LARGEST_UPLOAD:
                return _refused(413, f"The archive is larger than {LARGEST_UPLOAD >> 20} MiB.")
            start = start or piece[:2]
            await asyncio.to_thread(file.write, piece)
    except ClientDisconnect:
        return _refused(400, "The upload broke off.")
    await asyncio.to_thread(file.flush)
    if start != _GZIP:
        return _refused(415, "The body is not a tar.gz archive.")
    return None


def _refused(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"message": text}, status_code=status, headers=headers)
