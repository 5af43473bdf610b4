"""The distribution protocol: manifests, blobs and tags of one registry.

Every call has a deadline, asks again on what passes (`insisting`), and reads no more than it expects.
Source: https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urljoin

import httpx

from binderops.errors import RegistryError
from binderops.oci.credentials import ANONYMOUS, Authorizer, Challenge
from binderops.oci.faults import codes_of, disk_fault_of, reason_of
from binderops.oci.insisting import ATTEMPTS, TRANSIENT, Patience, insist, is_away, is_cut, is_untrusted, words_of
from binderops.oci.manifests import ACCEPTED, Descriptor, Manifest, digest_of
from binderops.oci.references import DOCKER_HUB, DOCKER_HUB_API
from binderops.oci.scopes import Scope

_LONGEST_MANIFEST = 4 << 20  # the specification's own bound for what registries must accept
_CHUNK = 1 << 20
_CONNECT = 5.0
_UPLOADS = 3
_UPLOAD_PAUSE = 0.5
_PIECE = 256 << 10  # what a socket takes before the other side has read it
_DISK_HINT = "nothing that was pushed is lost: make room on the disk that holds the registry, then try again"
_HINT = "try again in a minute; is it up? For the chart's own: binderops status, binderops logs registry"
# What is answered to an upload that this registry did not begin, or knows another end of.
_STRANGE_UPLOAD = frozenset({"BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN", "RANGE_INVALID"})

Content = Callable[[], AsyncIterator[bytes]]


class Registry:
    """One registry. Used as `async with Registry(host, …)`; `insecure` means plain http."""

    def __init__(
        self,
        host: str,
        authorizer: Authorizer = ANONYMOUS,
        *,
        insecure: bool = False,
        patience: Patience | None = None,
    ) -> None:
        self.host = host
        self._authorizer = authorizer
        self._patience = patience or Patience()
        api = DOCKER_HUB_API if host == DOCKER_HUB else host
        self._base = f"{'http' if insecure else 'https'}://{api}"
        timeout = httpx.Timeout(self._patience.answer, connect=_CONNECT)
        self._client = httpx.AsyncClient(timeout=timeout, trust_env=not insecure)
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

    async def head_manifest(
        self, repository: str, selector: str, *, patience: Patience | None = None
    ) -> Descriptor | None:
        """What is stored at a tag or digest, or None."""
        path = f"{repository}/manifests/{selector}"
        answer = await self._ask("HEAD", path, Scope.pull(repository), accept=ACCEPTED, patience=patience)
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
        answer = await self._ask("GET", path, Scope.pull(repository), limit=limit, patience=self._patience_for(limit))
        self._expect(answer, 200)
        if digest_of(answer.content) != digest:
            raise self._error("a blob does not match its digest", digest)
        return answer.content

    async def stream_blob(self, repository: str, digest: str) -> AsyncGenerator[bytes, None]:
        """A blob's bytes as they come, a megabyte at most at a time; nothing checks them against the digest."""
        if not await self.has_blob(repository, digest):
            raise self._error("a blob is not there", f"{repository}@{digest}")
        headers: dict[str, str] = {}
        if self._challenge:
            await self._add_authorization(headers, (Scope.pull(repository),))
        url = f"{self._base}/v2/{repository}/blobs/{digest}"
        try:
            async with self._client.stream("GET", url, headers=headers, follow_redirects=True) as answer:
                if answer.status_code != 200:
                    raise self._error(f"the registry answered {answer.status_code} to GET {url}", "")
                async for piece in answer.aiter_bytes(_CHUNK):
                    yield piece
        except httpx.TransportError as error:
            raise self._lost(error, self._patience) from error

    async def push_blob(self, repository: str, content: bytes | Path, media_type: str) -> Descriptor:
        """Upload bytes or a file, unless the repository has them already."""
        descriptor, source = await asyncio.to_thread(_described, content, media_type)
        await self.send_blob(repository, descriptor, source)
        return descriptor

    async def send_blob(self, repository: str, descriptor: Descriptor, content: Content) -> None:
        """Upload what `content` yields, from its beginning at each call, unless the repository has it already."""
        cut = False
        for left in reversed(range(_UPLOADS)):
            if await self.has_blob(repository, descriptor.digest):
                return
            try:
                if cut and not left:
                    return await self._upload_in_pieces(repository, descriptor, content)
                if await self._upload(repository, descriptor, content, is_last=not left):
                    return
            except RegistryError as error:
                if not left or not is_cut(error):
                    raise
                cut = True
            await asyncio.sleep(_UPLOAD_PAUSE)

    async def _upload(self, repository: str, descriptor: Descriptor, source: Content, *, is_last: bool) -> bool:
        """False where it must be begun anew: an upload ends with its connection, and with the process that began it."""
        started = await self._ask("POST", f"{repository}/blobs/uploads/", Scope.push(repository))
        self._expect(started, 202)
        answer = await self._ask(
            "PUT",
            self._upload_target(started, descriptor.digest),
            Scope.push(repository),
            headers={"Content-Type": "application/octet-stream", "Content-Length": str(descriptor.size)},
            content=source,
            patience=self._patience_for(descriptor.size),
            attempts=1,
        )
        if is_last or not (answer.status_code in TRANSIENT or codes_of(answer) & _STRANGE_UPLOAD):
            self._expect(answer, 201)
        return answer.status_code == 201

    async def _upload_in_pieces(self, repository: str, descriptor: Descriptor, source: Content) -> None:
        """Upload so that each answer can be heard.

        A registry that fails in the middle of a body says why and hangs up; what it said is lost to who still sends.
        """
        scope = Scope.push(repository)
        answer = await self._ask("POST", f"{repository}/blobs/uploads/", scope)
        self._expect(answer, 202)
        sent = 0
        async for piece in _pieces(source(), _PIECE):
            headers = {
                "Content-Type": "application/octet-stream",
                "Content-Length": str(len(piece)),
                "Content-Range": f"{sent}-{sent + len(piece) - 1}",
            }
            answer = await self._ask(
                "PATCH", self._location(answer), scope, headers=headers, content=_bytes(piece), attempts=1
            )
            self._expect(answer, 202)
            sent += len(piece)
        answer = await self._ask("PUT", self._upload_target(answer, descriptor.digest), scope, attempts=1)
        self._expect(answer, 201)

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
        location = self._location(started)
        return f"{location}{'&' if '?' in location else '?'}digest={digest}"

    def _location(self, started: httpx.Response) -> str:
        location: str = urljoin(self._base, started.headers.get("location", ""))
        if httpx.URL(location).host != httpx.URL(self._base).host:
            raise self._error("the registry sends uploads to another host", location)
        if self._base.startswith("https:") and not location.startswith("https:"):
            raise self._error("the registry sends uploads to plain http", location)
        return location

    async def _ask(
        self,
        method: str,
        target: str,
        *scopes: Scope,
        accept: str = "*/*",
        headers: Mapping[str, str] | None = None,
        content: Content | None = None,
        limit: int = _LONGEST_MANIFEST,
        patience: Patience | None = None,
        attempts: int = ATTEMPTS,
    ) -> httpx.Response:
        url = target if target.startswith("http") else f"{self._base}/v2/{target}"
        wanted, patience = {"Accept": accept, **(headers or {})}, patience or self._patience

        async def exchange() -> httpx.Response:
            return await self._authorized(method, url, scopes, wanted, content=content, limit=limit)

        try:
            return await insist(exchange, patience, attempts=attempts)
        except TimeoutError as error:
            what = f"the registry did not answer within {round(patience.answer, 1):g} s"
            raise self._error(what, f"{method} {url}", hint=_HINT) from error
        except httpx.TransportError as error:
            raise self._lost(error, patience) from error

    def _patience_for(self, size: int) -> Patience:
        return replace(self._patience, answer=self._patience.answer + size / self._patience.slowest)

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
            if fault := disk_fault_of(answer):
                raise self._error(fault, f"it answered {answer.status_code} to {request.method}", hint=_DISK_HINT)
            raise self._error(
                f"the registry answered {answer.status_code} to {request.method} {request.url.path}", reason_of(answer)
            )

    def _lost(self, error: httpx.TransportError, patience: Patience) -> RegistryError:
        asked, what, where = error.request.url, "the registry", self.host
        if asked.netloc != httpx.URL(self._base).netloc:
            realm = self._challenge.parameters.get("realm", "") if self._challenge else ""
            what = "the token server" if asked.host in realm else "the registry's storage"
            where = asked.netloc.decode()
        if is_untrusted(error):
            return RegistryError(f"{what} has no certificate that is trusted here", where=where, why=words_of(error))
        if is_away(error):
            why = words_of(error) + (f", for {patience.away:g} s" if patience.away else "")
            return RegistryError(f"{what} cannot be reached", where=where, why=why, hint=_HINT)
        why = f"{type(error).__name__}: {words_of(error)}"
        return RegistryError(f"{what} breaks off what it is asked", where=where, why=why, hint=_HINT)

    def _error(self, what: str, why: str, *, hint: str | None = None) -> RegistryError:
        return RegistryError(what, where=self.host, why=why, hint=hint)


def _unencoded(headers: httpx.Headers) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers.multi_items() if name.lower() not in _DECODED]


_DECODED = frozenset({"content-encoding", "transfer-encoding"})


def _described(content: bytes | Path, media_type: str) -> tuple[Descriptor, Content]:
    if isinstance(content, bytes):
        return Descriptor.of(content, media_type), _bytes(content)
    with content.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Descriptor(media_type, f"sha256:{digest}", content.stat().st_size), _file(content)


async def _pieces(content: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    async for chunk in content:
        for begin in range(0, len(chunk), size):
            yield chunk[begin : begin + size]


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
