"""Whether what an image build downloads from answers at all: asked before anything is built, and only then."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from binderops.errors import ImageError
from binderops.images.definitions import SUITE
from binderops.images.machine import DEBIAN_MIRROR, MachineSettings, without_password

ANSWER_SECONDS = 5.0
_REFUSES = {401, 403, 407}
"""Statuses that pip, npm and apt give up on; a 404 of an index's root page says nothing."""


@dataclass(frozen=True)
class Source:
    """One place that packages come from: how people call it, a small page of it, and where another is named."""

    name: str
    url: str
    hint: str
    proxy: str = ""


def sources_of(settings: MachineSettings, *, debian: bool, npm: bool) -> list[Source]:
    """The places that a build asks: the Python index always, Debian's mirror and npm's registry where wanted."""
    index = (settings.pip_index or "https://pypi.org/simple").rstrip("/")
    found = [
        Source(
            "the Python package index",
            f"{index}/pip/",
            "check the network, or name an index that answers: PIP_INDEX_URL, or index-url in /etc/pip.conf",
        )
    ]
    if debian:
        mirror = settings.debian_mirror or DEBIAN_MIRROR
        found.append(
            Source(
                "the Debian mirror",
                f"{mirror}/dists/{SUITE}/InRelease",
                "check the network, or name a mirror that answers in /etc/apt/sources.list",
                # apt's own setting is in no variable.
                proxy=settings.http_proxy,
            )
        )
    if npm:
        registry = (settings.npm_registry or "https://registry.npmjs.org").rstrip("/")
        found.append(
            Source(
                "the npm registry",
                f"{registry}/configurable-http-proxy/latest",
                "check the network, or name a registry that answers: NPM_CONFIG_REGISTRY, or registry in ~/.npmrc",
            )
        )
    return found


async def refuse_silent(sources: Iterable[Source], settings: MachineSettings) -> None:
    """Raises ImageError for the first place that does not answer within five seconds; all are asked at once."""
    verify = ssl.create_default_context(cafile=str(settings.ca_bundle) if settings.ca_bundle else None)
    asked = list(sources)
    for source, why in zip(asked, await asyncio.gather(*(_silence(source, verify) for source in asked)), strict=True):
        if why:
            raise ImageError(
                f"{source.name} does not answer, and images must be built",
                where=without_password(source.url),
                why=why,
                hint=source.hint,
            )


async def _silence(source: Source, verify: ssl.SSLContext) -> str | None:
    """Why a place is of no use, or None."""
    proxy = source.proxy if source.proxy and not _exempt(source.url) else None
    try:
        async with (
            asyncio.timeout(ANSWER_SECONDS),
            httpx.AsyncClient(verify=verify, proxy=proxy, follow_redirects=True, timeout=ANSWER_SECONDS) as client,
            client.stream("GET", source.url) as answer,
        ):
            status = answer.status_code
    except TimeoutError:
        return f"no answer within {ANSWER_SECONDS:.0f} s"
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        return _shown(error, source)
    return f"it answers {status}" if status >= 500 or status in _REFUSES else None


def _exempt(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host == "localhost" or host.startswith("127.") or host == "::1"


def _shown(error: Exception, source: Source) -> str:
    """An error's words; a password that stands in the address never does."""
    text = f"{type(error).__name__}: {error}".removesuffix(": ")
    password = urlsplit(source.url).password
    return text.replace(password, "***") if password else text
