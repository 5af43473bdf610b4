"""The proof of a deployment: a launch through its public name, and a kernel that adds two random numbers."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import random
import re
import ssl
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote, urljoin

import httpx

from binderops.delivery.certificates_trust import trust_of
from binderops.delivery.kernel import run_cell
from binderops.delivery.launching import Launched, LogLine, launch
from binderops.delivery.public import public_client
from binderops.delivery.results import ProofResult
from binderops.delivery.served import Served
from binderops.errors import NotFoundError, ProofError
from binderops.git.folders import pack_folder
from binderops.kube.client import Client
from binderops.kube.kinds import SECRET
from binderops.target.protocol import Access

LOCAL_OBJECT = "binder-local"  # the chart's Secret; its key `token` may upload and launch folders
_UPLOAD_DEADLINE = 120.0
_PAGES_DEADLINE = 60.0  # seconds until home page and /health must answer
_FIRST_CERTIFICATE = 120.0  # seconds more, with TLS: a CA that validates over the internet takes its time


async def prove(
    served: Served, access: Access, *, folder: Path, on_event: LogLine, timings: dict[str, float] | None = None
) -> ProofResult:
    """Pages, a launch of `folder`, a kernel, a sum. Raises ProofError with the first layer that failed.

    `timings` is filled as stages end (pages, launch, kernel; seconds each), so that a failed proof's are known too.
    """
    started = last = time.monotonic()
    told = {} if timings is None else timings

    def ended(stage: str) -> None:
        nonlocal last
        now = time.monotonic()
        told[stage], last = round(now - last, 3), now

    await check_pages(served, access)
    ended("pages")
    launched = await launch_folder(served, access, folder=folder, on_event=on_event)
    ended("launch")
    first, second = random.SystemRandom().sample(range(10_000, 1_000_000), 2)
    expression = f"{first} + {second}"
    on_event("kernel", f"asking a kernel for {expression}")
    try:
        answer = await run_cell(launched.server_url, launched.token, expression, trust=launched.trust)
    finally:
        await end_server(launched)
    ended("kernel")
    if answer != str(first + second):
        raise ProofError(f"a kernel answered {answer} to {expression}", where=launched.server_url)
    return ProofResult(
        launch=launched.result,
        expression=expression,
        answer=int(answer),
        timings=told,
        seconds=round(time.monotonic() - started, 2),
    )


async def end_server(launched: Launched) -> None:
    """Asks a server to end; one that does not answer is left to the culler."""
    async with public_client(trust=launched.trust, timeout=10) as client:
        with contextlib.suppress(httpx.HTTPError):
            await client.post(
                urljoin(launched.server_url, "api/shutdown"), headers={"Authorization": f"token {launched.token}"}
            )


async def check_pages(served: Served, access: Access) -> None:
    """The home page and /health through the public name, with patience.

    Right after a node's start the objects may still say what was true before it: pods are on their way, and the
    registry, hub and binder that /health asks come one after the other. With TLS the first certificate is waited for,
    and what is trusted is asked again: a local CA is made when it first signs.
    """
    deadline = time.monotonic() + _PAGES_DEADLINE + (_FIRST_CERTIFICATE if served.public.public_tls_port else 0)
    for path in ("", "health"):
        while (problem := await _page_problem(served, access, path)) is not None:
            if time.monotonic() > deadline:
                raise problem
            await asyncio.sleep(0.2)


async def _page_problem(served: Served, access: Access, path: str) -> ProofError | None:
    url = urljoin(served.public.url, path)
    try:
        async with public_client(trust=await trust_of(served, access), timeout=20) as client:
            response = await client.get(url)
    except httpx.HTTPError as error:
        why = f"{type(error).__name__}: {error}"
        untrusted = "CERTIFICATE_VERIFY_FAILED" in why
        hint = "binderops certificates ENV tells what stands behind each name" if untrusted else "binderops status"
        return ProofError(f"{url} cannot be reached", where=url, why=why, hint=hint)
    if response.status_code == 200:
        return None
    return ProofError(f"{url} answered {response.status_code}", where=url, why=response.text[:500])


async def launch_folder(served: Served, access: Access, *, folder: Path, on_event: LogLine) -> Launched:
    """Packs a folder, hands it to the binder with the release's token, and launches what was uploaded."""
    authorization = f"token {await local_token(served, access)}"
    trust = await trust_of(served, access)
    spec = await hand_over(served, folder=folder, authorization=authorization, trust=trust)
    return await launch(
        served.public.url,
        spec,
        on_event=on_event,
        timeout=served.timeout,
        authorization=authorization,
        trust=trust,
    )


async def hand_over(served: Served, *, folder: Path, authorization: str, trust: ssl.SSLContext | None) -> str:
    """Packs a folder and uploads it; returns the spec under which it can be launched. ProofError if it is refused."""
    url = urljoin(served.public.url, f"local/{quote(folder_name(folder), safe='')}")
    with tempfile.TemporaryDirectory(prefix="binderops-") as scratch:
        packed = pack_folder(folder, Path(scratch) / "folder.tar.gz")
        headers = {
            "Authorization": authorization,
            "Content-Type": "application/gzip",
            "Content-Length": str(packed.size),
        }
        async with public_client(trust=trust, timeout=_UPLOAD_DEADLINE) as client:
            try:
                response = await client.put(url, content=_chunks(packed.path), headers=headers)
            except httpx.HTTPError as error:
                why = f"{type(error).__name__}: {error}"
                raise ProofError("the folder could not be handed over", where=url, why=why) from None
    if response.status_code not in {200, 201}:
        raise ProofError(
            f"the binder refused the folder ({response.status_code})", where=url, why=response.text[:500].strip()
        )
    return str(response.json()["spec"])


def folder_name(folder: Path) -> str:
    """The name under which a folder is launched: its own, in lower case, with what a name cannot hold as dashes."""
    name = re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower()).strip("-")
    return name[:40] or "folder"


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(1 << 16):
            yield chunk


async def local_token(served: Served, access: Access) -> str:
    """The release's token for `local`, from its Secret."""
    async with Client.from_kubeconfig(access.kubeconfig, context=access.context) as client:
        try:
            secret = await client.get(SECRET, LOCAL_OBJECT, served.namespace)
        except NotFoundError:
            raise ProofError(
                "the release has no token for uploads",
                where=f"Secret {LOCAL_OBJECT} in namespace {served.namespace}",
                hint="binderops up",
            ) from None
    return base64.b64decode(secret["data"]["token"]).decode()
