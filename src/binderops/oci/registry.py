"""The distribution protocol: manifests, blobs and tags of one registry.

Every call has a deadline, asks again on what passes (connection lost, 429, 5xx), and reads no more than it expects.
Source: https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urljoin

import httpx

from binderops.errors import RegistryError
from binderops.oci.credentials import ANONYMOUS, Authorizer, Challenge
from binderops.oci.manifests import ACCEPTED, Descriptor, Manifest, digest_of
from binderops.oci.references import DOCKER_HUB, DOCKER_HUB_API
from binderops.oci.tokens import Scope

_LONGEST_MANIFEST = 4 << 20  # the specification's own bound for what registries must accept
_CHUNK = 1 << 20
_SLOWEST = 10e6  # bytes a second: slower than any disk that holds a registry
_ATTEMPTS = 4
_FIRST_PAUSE = 0.25
_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})

Content = Callable[[], AsyncIterator[bytes]]


class Registry:
    """One registry. Used as `async with Registry(host, …)`; `insecure` means plain http."""

    def __init__(
        self, host: str, authorizer: Authorizer = ANONYMOUS, *, insecure: bool = False, deadline: float = 30.0
    ) -> None:
        self.host = host
        self._authorizer = authorizer
        self._deadline = deadline
        api = DOCKER_HUB_API if host == DOCKER_HUB else host
        self._base = f"{'http' if insecure else 'https'}://{api}"
        self._client = httpx.AsyncClient(timeout=httpx.Timeout(deadline, connect=5.0), trust_env=not insecure)
        self._challenge: Challenge | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def head_manifest(self, repository: str, selector: str) -> Descriptor | None:
        """What is stored at a tag or digest, or None."""
        answer = await self._ask("HEAD", f"{repository}/manifests/{selector}", Scope.pull(repository), accept=ACCEPTED)
        if answer.status_code == 404:
            return None
        self._expect(answer, 200)
        headers = answer.headers
        return Descriptor(
            headers.get("content-type", ""),
            headers.get("docker-content-digest", ""),
            int(headers.get("content-length", "0")),
        )

    async def get_manifest(self, repository: str, selector: str) -> Manifest | None:
        """The manifest at a tag or digest, or None. One asked for by digest is checked against it."""
        answer = await self._ask("GET", f"{repository}/manifests/{selector}", Scope.pull(repository), accept=ACCEPTED)
        if answer.status_code == 404:
            return None
        self._expect(answer, 200)
        manifest = Manifest(answer.headers.get("content-type", "").partition(";")[0], answer.content)
        if selector.startswith("sha256:") and manifest.digest != selector:
            raise self._error("the registry sent another manifest than asked for", f"{manifest.digest}, not {selector}")
        return manifest

    async def put_manifest(self, repository: str, selector: str, manifest: Manifest) -> str:
        """Store a manifest under a tag (or its digest); returns its digest. All it names must be there already."""
        path = f"{repository}/manifests/{selector}"
        answer = await self._ask(
            "PUT",
            path,
            Scope.push(repository),
            headers={"Content-Type": manifest.media_type},
            content=_bytes(manifest.body),
        )
        self._expect(answer, 201)
        return manifest.digest

    async def has_blob(self, repository: str, digest: str) -> bool:
        """Whether a blob can be read from this repository."""
        answer = await self._ask("HEAD", f"{repository}/blobs/{digest}", Scope.pull(repository))
        if answer.status_code != 404:
            self._expect(answer, 200)
        return answer.status_code == 200

    async def get_blob(self, repository: str, digest: str, *, limit: int = _LONGEST_MANIFEST) -> bytes:
        """A blob that fits into memory, at most `limit` bytes, checked against its digest."""
        path = f"{repository}/blobs/{digest}"
        deadline = self._deadline + limit / _SLOWEST
        answer = await self._ask("GET", path, Scope.pull(repository), limit=limit, deadline=deadline)
        self._expect(answer, 200)
        if digest_of(answer.content) != digest:
            raise self._error("a blob does not match its digest", digest)
        return answer.content

    async def push_blob(self, repository: str, content: bytes | Path, media_type: str) -> Descriptor:
        """Upload bytes or a file, unless the repository has them already."""
        descriptor, source = await asyncio.to_thread(_described, content, media_type)
        if await self.has_blob(repository, descriptor.digest):
            return descriptor
        started = await self._ask("POST", f"{repository}/blobs/uploads/", Scope.push(repository))
        self._expect(started, 202)
        answer = await self._ask(
            "PUT",
            self._upload_target(started, descriptor.digest),
            Scope.push(repository),
            headers={"Content-Type": "application/octet-stream", "Content-Length": str(descriptor.size)},
            content=source,
            deadline=self._deadline + descriptor.size / _SLOWEST,
        )
        self._expect(answer, 201)
        return descriptor

    async def mount_blob(self, repository: str, digest: str, *, source: str) -> bool:
        """Make a blob of another repository readable here without moving bytes; False if the registry would not."""
        scopes = (Scope.push(repository), Scope.pull(source))
        target = f"{repository}/blobs/uploads/?mount={digest}&from={source}"
        answer = await self._ask("POST", target, *scopes)
        if answer.status_code == 202:
            # The registry opened an upload instead: give it back.
            await self._ask("DELETE", urljoin(self._base, answer.headers.get("location", "")), *scopes)
            return False
        self._expect(answer, 201)
        return True

    async def tags(self, repository: str) -> list[str]:
        """All tags of a repository; empty if there is none."""
        found: list[str] = []
        target: str | None = f"{repository}/tags/list?n=1000"
        while target:
            answer = await self._ask("GET", target, Scope.pull(repository))
            if answer.status_code == 404:
                return found
            self._expect(answer, 200)
            found += json.loads(answer.content).get("tags") or []
            following = answer.links.get("next", {}).get("url")
            target = urljoin(self._base, following) if following else None
        return found

    async def delete_manifest(self, repository: str, digest: str) -> None:
        """Remove a manifest with all its tags (by digest only: by tag is refused by distribution)."""
        scope = Scope(repository, frozenset({"delete", "pull"}))
        answer = await self._ask("DELETE", f"{repository}/manifests/{digest}", scope)
        if answer.status_code != 404:
            self._expect(answer, 202)

    async def delete_blob(self, repository: str, digest: str) -> None:
        """Make a blob unreadable from one repository; its bytes stay while another one has it."""
        scope = Scope(repository, frozenset({"delete", "pull"}))
        answer = await self._ask("DELETE", f"{repository}/blobs/{digest}", scope)
        if answer.status_code != 404:
            self._expect(answer, 202)

    def _upload_target(self, started: httpx.Response, digest: str) -> str:
        location = urljoin(self._base, started.headers.get("location", ""))
        if httpx.URL(location).host != httpx.URL(self._base).host:
            raise self._error("the registry sends uploads to another host", location)
        return f"{location}{'&' if '?' in location else '?'}digest={digest}"

    async def _ask(
        self,
        method: str,
        target: str,
        *scopes: Scope,
        accept: str = "*/*",
        headers: Mapping[str, str] | None = None,
        content: Content | None = None,
        limit: int = _LONGEST_MANIFEST,
        deadline: float | None = None,
    ) -> httpx.Response:
        url = target if target.startswith("http") else f"{self._base}/v2/{target}"
        wanted = {"Accept": accept, **(headers or {})}
        allowed = deadline or self._deadline
        try:
            async with asyncio.timeout(allowed):
                return await self._insist(method, url, scopes, wanted, content=content, limit=limit)
        except TimeoutError as error:
            raise self._error(f"the registry did not answer within {allowed:.0f} s", f"{method} {url}") from error

    async def _insist(
        self,
        method: str,
        url: str,
        scopes: tuple[Scope, ...],
        headers: dict[str, str],
        *,
        content: Content | None,
        limit: int,
    ) -> httpx.Response:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                answer = await self._authorized(method, url, scopes, headers, content=content, limit=limit)
            except httpx.TransportError as error:
                if attempt == _ATTEMPTS:
                    raise self._error("the registry cannot be reached", f"{type(error).__name__}: {error}") from error
            else:
                if answer.status_code not in _TRANSIENT or attempt == _ATTEMPTS:
                    return answer
            await asyncio.sleep(_FIRST_PAUSE * 2 ** (attempt - 1))
        raise AssertionError("the last attempt returns or raises")

    async def _authorized(
        self,
        method: str,
        url: str,
        scopes: tuple[Scope, ...],
        headers: dict[str, str],
        *,
        content: Content | None,
        limit: int,
    ) -> httpx.Response:
        # A body can be sent only once a token is at hand: the challenge of the first answer is kept.
        if self._challenge:
            await self._add_authorization(headers, scopes)
        answer = await self._send(method, url, headers, content, limit=limit)
        if answer.status_code == 401 and (challenge := answer.headers.get("www-authenticate")):
            self._challenge = Challenge.parse(challenge)
            await self._add_authorization(headers, scopes)
            answer = await self._send(method, url, headers, content, limit=limit)
        return answer

    async def _add_authorization(self, headers: dict[str, str], scopes: tuple[Scope, ...]) -> None:
        assert self._challenge is not None
        value = await self._authorizer.authorize(self._challenge, scopes, self._client)
        if value:
            headers["Authorization"] = value

    async def _send(
        self, method: str, url: str, headers: Mapping[str, str], content: Content | None, *, limit: int
    ) -> httpx.Response:
        request = self._client.build_request(method, url, headers=headers, content=content() if content else None)
        answer = await self._client.send(request, stream=True, follow_redirects=method == "GET")
        try:
            body = bytearray()
            async for piece in answer.aiter_bytes(_CHUNK):
                body += piece
                if len(body) > limit:
                    raise self._error("the registry's answer is too large", f"more than {limit} bytes: {method} {url}")
        finally:
            await answer.aclose()
        return httpx.Response(
            answer.status_code, headers=_unencoded(answer.headers), content=bytes(body), request=request
        )

    def _expect(self, answer: httpx.Response, status: int) -> None:
        if answer.status_code != status:
            request = answer.request
            raise self._error(
                f"the registry answered {answer.status_code} to {request.method} {request.url.path}", _reason(answer)
            )

    def _error(self, what: str, why: str) -> RegistryError:
        return RegistryError(what, where=self.host, why=why)


def _unencoded(headers: httpx.Headers) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers.multi_items() if name.lower() not in _DECODED]


_DECODED = frozenset({"content-encoding", "transfer-encoding"})


def _reason(answer: httpx.Response) -> str:
    try:
        errors: list[dict[str, Any]] = json.loads(answer.content)["errors"]
        return "; ".join(f"{error.get('code')}: {error.get('message')}" for error in errors)[:500]
    except (ValueError, KeyError, TypeError, AttributeError):
        return answer.text[:200]


def _described(content: bytes | Path, media_type: str) -> tuple[Descriptor, Content]:
    if isinstance(content, bytes):
        return Descriptor.of(content, media_type), _bytes(content)
    with content.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Descriptor(media_type, f"sha256:{digest}", content.stat().st_size), _file(content)


def _bytes(content: bytes) -> Content:
    async def pieces() -> AsyncIterator[bytes]:
        yield content

    return pieces


def _file(path: Path) -> Content:
    async def pieces() -> AsyncIterator[bytes]:
        with path.open("rb") as file:
            while piece := await asyncio.to_thread(file.read, _CHUNK):
                yield piece

    return pieces
