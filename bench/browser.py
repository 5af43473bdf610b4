"""A launch in Chromium, from the link to JupyterLab on the screen, beside the bare container opened directly."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from playwright.async_api import Browser, Page, async_playwright

from bench.baseline import bare_server, recipe
from bench.launch import free_port, launch_example, nobody_runs
from bench.place import DIRECTORY, ENVIRONMENT
from bench.report import Report, Series
from binderops.cli.wiring import open_workspace
from binderops.delivery.launching import Launched
from binderops.delivery.proving import end_server

CHROMIUM = "/usr/bin/chromium"
_PATIENCE = 120_000  # milliseconds; a busy machine takes long, and says so
_USABLE = ".jp-LauncherCard >> nth=0"
# Without these the browser asks for its maker's hosts, which a closed network refuses many at a time.
_FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


async def in_chromium(n: int) -> Report:
    """In turn, n times: the launch link, then the bare container and its Lab page; each with an empty cache."""
    if not Path(CHROMIUM).exists():
        raise FileNotFoundError(f"{CHROMIUM} is not installed: scripts/system-packages --tests")
    workspace = open_workspace(DIRECTORY, ENVIRONMENT)
    first = await launch_example(workspace, DIRECTORY / "examples" / "hello")
    await end_server(first)
    link = f"{workspace.deployment().public.url}v2/{first.result.spec}"
    report = Report("browser", "launch link, bare container, bare container, launch link, …, each in a fresh profile")
    told = await recipe(first.result.image)
    launches, moved, bare, opened = [], [], [], []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(_FLAGS))
        # The first page of a browser starts processes that later ones find there.
        await _launched(browser, link, first)
        for number in range(2 * n):
            await nobody_runs(workspace)
            if number % 4 in (1, 2):  # launch, bare, bare, launch: what comes first has no advantage
                whole, only_page = await _bare(browser, first.result.image)
                bare.append(whole)
                opened.append(only_page)
                continue
            whole, until_moved = await _launched(browser, link, first)
            launches.append(whole)
            moved.append(until_moved)
        await browser.close()
    report.series = [
        Series("launch link", "from opening the link until Lab's launcher is on the screen", "s", launches),
        Series("  until the page moves on", "from opening the link to the request of the server's page", "s", moved),
        Series("the server opened directly", f"{told}; then its page in the same browser until the same", "s", bare),
        Series("  of it the page", "from opening the page of the server that runs", "s", opened),
        Series.difference("launch minus the server opened directly beside it", launches, bare, bar=0.5),
    ]
    return report


async def _launched(browser: Browser, link: str, like: Launched) -> tuple[float, float]:
    """Seconds until Lab is there, and until the page moved on to the server; the server is ended."""
    async with _page(browser) as page:
        addresses: list[tuple[str, float]] = []
        page.on(
            "request",
            lambda request: addresses.append((request.url, time.monotonic())) if "/user/" in request.url else None,
        )
        started = time.monotonic()
        await page.goto(link)
        await page.wait_for_selector(_USABLE)
        ended = time.monotonic()
    address, at = addresses[0]
    parts = urlsplit(address)
    server_url = f"{parts.scheme}://{parts.netloc}/{'/'.join(parts.path.split('/')[1:3])}/"
    await end_server(Launched(like.result, server_url, parse_qs(parts.query)["token"][0], like.trust))
    return ended - started, at - started


async def _bare(browser: Browser, image: str) -> tuple[float, float]:
    """Seconds from the container's creation until Lab is there, and of these since its page was opened."""
    async with _page(browser) as page:
        started = time.monotonic()
        async with bare_server(image, port=free_port()) as url:
            answered = time.monotonic()
            await page.goto(url)
            await page.wait_for_selector(_USABLE)
            ended = time.monotonic()
    return ended - started, ended - answered


@asynccontextmanager
async def _page(browser: Browser) -> AsyncIterator[Page]:
    context = await browser.new_context(viewport={"width": 1280, "height": 860})
    context.set_default_timeout(_PATIENCE)
    try:
        yield await context.new_page()
    finally:
        await context.close()
