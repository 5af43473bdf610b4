"""The pages in a real browser: the form's links, a launch to its server, and a failure that is explained."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest
from playwright.async_api import Page, Route, ViewportSize, async_playwright, expect
from tests.binder.cluster import Cluster, Run, line
from tests.binder.conftest import RunningHub, Served
from tests.binder.test_binder_stream import push
from tests.git.git_server import GitServer
from tests.programs import program

from binderops.binder.web.pages import STATIC

SIZES: dict[str, ViewportSize] = {"wide": {"width": 1200, "height": 900}, "narrow": {"width": 390, "height": 844}}


@pytest.fixture(params=["wide-light", "narrow-dark"])
async def page(request: pytest.FixtureRequest) -> AsyncIterator[Page]:
    size, scheme = request.param.split("-")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=program("chromium"), args=["--no-sandbox", "--disable-gpu", "--disable-quic"]
        )
        opened = await browser.new_page(viewport=SIZES[size], color_scheme=scheme)
        problems: list[str] = []
        opened.on("pageerror", lambda error: problems.append(str(error)))
        opened.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        yield opened
        await browser.close()
        # Also what the content security policy stopped would stand here.
        assert problems == []


def width_of(page: Page) -> int:
    return page.viewport_size["width"] if page.viewport_size else 0


async def keep(page: Page, name: str) -> None:
    """A picture to look at, where somebody asks for them."""
    if folder := os.environ.get("BINDEROPS_SCREENSHOTS"):
        await page.screenshot(path=f"{folder}/{name}-{width_of(page)}.png", full_page=True)


async def test_the_form_makes_links_and_badges(served: Served, page: Page) -> None:
    await page.goto(served.url)
    await keep(page, "home-empty")
    await page.fill("#repository", "https://github.com/binder-examples/requirements")
    url = page.get_by_test_id("launch-url")
    await expect(url).to_have_text(f"{served.url}v2/gh/binder-examples/requirements/HEAD")
    await page.fill("#ref", "feature/x")
    await page.fill("#path", "a folder/index.ipynb")
    expected = (
        f"{served.url}v2/gh/binder-examples/requirements/feature/x?urlpath=%2Fdoc%2Ftree%2Fa%20folder%2Findex.ipynb"
    )
    assert await url.text_content() == expected
    assert await page.text_content("#badge-md") == f"[![Binder]({served.url}badge_logo.svg)]({expected})"
    assert await page.text_content("#badge-rst") == f".. image:: {served.url}badge_logo.svg\n :target: {expected}"
    await keep(page, "home")
    await page.select_option("#provider", "git")
    await page.fill("#repository", "https://git.example.org/a/b.git")
    await page.fill("#ref", "")
    await page.fill("#path", "")
    assert await url.text_content() == f"{served.url}v2/git/https%3A%2F%2Fgit.example.org%2Fa%2Fb.git/HEAD"
    await page.fill("#repository", "")
    await page.click("#launch")
    assert await page.is_visible("#repository-problem")
    await keep(page, "home-problem")


async def test_a_launch_ends_at_the_server(
    served: Served, cluster: Cluster, git_server: GitServer, hub: RunningHub, page: Page
) -> None:
    name = f"page{width_of(page)}"
    go_on = asyncio.Event()
    git_server.make(name, {"a": ""})
    url = git_server.url(name)

    async def script(run: Run) -> int:
        await run.write(line("fetching", "Cloning into the pod\n"))
        await run.write(line("building", "\x1b[1;32mStep 1/3\x1b[0m <script>document.title = 'taken'</script>\n"))
        for number in range(30):
            await run.write(line("building", f"Collecting package-{number}\n"))
        while not go_on.is_set():  # another loop's event: looked at, not awaited
            await asyncio.sleep(0.01)
        await push(run)
        return 0

    cluster.on_build(url, script)
    await page.route(f"{hub.url}**", lambda route: route.fulfill(body="the server", content_type="text/html"))
    await page.goto(f"{served.url}v2/git/{quote(url, safe='')}/HEAD?labpath=a%20b.ipynb")
    await expect(page.locator("#log")).to_contain_text("package-29")
    assert await page.get_attribute("#step-build", "data-state") == "now"
    assert await page.text_content("#status") == "Building the environment…"
    await keep(page, "building")
    go_on.set()
    await page.wait_for_url(f"{hub.url}user/**", timeout=20_000)
    assert "/doc/tree/a%20b.ipynb?token=" in page.url


async def test_a_failure_is_explained(served: Served, cluster: Cluster, git_server: GitServer, page: Page) -> None:
    name = f"fail{width_of(page)}"
    git_server.make(name, {"a": ""})
    url = git_server.url(name)

    async def script(run: Run) -> int:
        await run.write(line("fetching", "Cloning into the pod\n"))
        await run.write(line("building", "\x1b[1;32mStep 1/3\x1b[0m <script>document.title = 'taken'</script>\n"))
        for number in range(30):
            await run.write(line("building", f"Collecting package-{number}\n"))
        await run.write(line("building", "\x1b[31mERROR: No matching distribution found for numpyy==1.0\x1b[0m\n"))
        await run.write(line("failed", "The step `uv pip install -r requirements.txt` ended with exit code 1\n"))
        return 1

    cluster.on_build(url, script)
    await page.goto(f"{served.url}v2/git/{quote(url, safe='')}/HEAD")
    await page.wait_for_selector("#failure", state="visible", timeout=20_000)
    assert await page.text_content("#failure-title") == "No package in the index fits numpyy==1.0"
    assert "<script>document.title = 'taken'</script>" in (await page.text_content("#log") or "")
    assert await page.title() == f"Failed: Launching {quote(url, safe='')}/HEAD"
    assert await page.locator("#log .ansi-1").text_content() == "ERROR: No matching distribution found for numpyy==1.0"
    assert await page.get_attribute("#step-build", "data-state") == "failed"
    assert await page.get_attribute("#step-start", "data-state") == "never"
    await keep(page, "failure")


async def test_other_pages(served: Served, page: Page) -> None:
    await page.goto(f"{served.url}about")
    assert "powered by BinderHub v" in (await page.text_content("#root") or "")
    await page.click("nav >> text=Which files are understood")
    await expect(page.locator("h1")).to_have_text("Which files are understood")
    await keep(page, "files")
    assert await page.evaluate("document.documentElement.scrollWidth") <= width_of(page)
    await page.goto(f"{served.url}v2/nobody/a/b")
    assert "404: Not Found" in (await page.text_content("#root") or "")
    await keep(page, "missing")


async def test_a_launch_begins_before_its_scripts_are_there_and_nothing_of_it_is_lost(
    served: Served, page: Page, cluster: Cluster, git_server: GitServer
) -> None:
    name = f"early-{width_of(page)}"
    git_server.make(name, {"a": ""})
    url = git_server.url(name)

    async def script(run: Run) -> int:
        await run.write(line("building", "said early\n"))
        return 1

    cluster.on_build(url, script)
    streams: list[str] = []
    ended = asyncio.Event()

    async def hold(route: Route) -> None:
        async with asyncio.timeout(20):
            await ended.wait()
        await route.continue_()

    page.on("request", lambda request: streams.append(request.url) if "/build/" in request.url else None)
    page.on("requestfinished", lambda request: ended.set() if "/build/" in request.url else None)
    page.on("requestfailed", lambda request: ended.set() if "/build/" in request.url else None)
    await page.route("**/js/launch.js*", hold)
    await page.goto(f"{served.url}v2/git/{quote(url, safe='')}/HEAD")
    await expect(page.locator("#failure-title")).to_be_visible()
    assert "said early" in (await page.text_content("#log") or "")
    assert len(streams) == 1 and "build_token=" in streams[0]


async def test_what_the_launch_script_imports_is_fetched_beside_it(
    served: Served, page: Page, cluster: Cluster, git_server: GitServer
) -> None:
    name = f"beside-{width_of(page)}"
    git_server.make(name, {"a": ""})
    url = git_server.url(name)

    async def script(run: Run) -> int:
        return 1

    cluster.on_build(url, script)
    asked: list[str] = []
    everything = asyncio.Event()
    wanted = {path.name for path in (STATIC / "js").glob("*.js")} - {"home.js", "launch.js"}

    def note(address: str) -> None:
        if "/static/js/" in address:
            asked.append(address.rpartition("/")[2].partition("?")[0])
        if wanted <= set(asked):
            everything.set()

    async def hold(route: Route) -> None:
        # The script that names its imports does not arrive before they were asked for.
        async with asyncio.timeout(10):
            await everything.wait()
        await route.continue_()

    page.on("request", lambda request: note(request.url))
    await page.route("**/js/launch.js*", hold)
    await page.goto(f"{served.url}v2/git/{quote(url, safe='')}/HEAD")
    await expect(page.locator("#failure-title")).to_be_visible()
    assert sorted(asked) == sorted({*wanted, "launch.js"}), "each once"
