"""The journey of a person in Chromium: page, form, launch, log, JupyterLab, a cell, 42."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright
from tests.e2e.conftest import ADDRESS, ROOT
from tests.e2e.launches import Binder
from tests.e2e.repositories import Repositories

pytestmark = [pytest.mark.e2e, pytest.mark.podman, pytest.mark.root]

CHROMIUM = "/usr/bin/chromium"
PATIENCE = 60_000  # milliseconds
# Without these the browser asks for its maker's hosts, which a closed network refuses many at a time.
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
PICTURES = ROOT / "build" / "reports"
NOTEBOOK = """{
 "cells": [{"cell_type": "code", "execution_count": null, "id": "a", "metadata": {}, "outputs": [], "source": "6 * 7"}],
 "metadata": {"kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}},
 "nbformat": 4, "nbformat_minor": 5
}"""


@pytest.fixture(scope="module")
def browser_page() -> Iterator[Page]:
    """A page of a browser with a profile of its own."""
    if not Path(CHROMIUM).exists():
        pytest.fail("chromium is not installed: scripts/system-packages --tests")
    PICTURES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        page.set_default_timeout(PATIENCE)
        expect.set_options(timeout=PATIENCE)
        yield page
        browser.close()


def test_from_the_form_to_a_cell_that_answers_42(
    browser_page: Page, binder: Binder, repositories: Repositories
) -> None:
    page = browser_page
    url = repositories.add("journey", {"requirements.txt": "cowsay==6.1\n", "journey.ipynb": NOTEBOOK})
    page.goto(binder.url)
    expect(page.get_by_role("heading", level=1)).to_have_text("Turn a repository into live notebooks")
    page.select_option("#provider", "git")
    page.fill("#repository", url)
    page.fill("#path", "journey.ipynb")
    link = page.get_by_test_id("launch-url").text_content() or ""
    assert link.startswith(f"{binder.url}v2/git/git%3A%2F%2F{ADDRESS}%2Fjourney/HEAD?urlpath=")
    picture(page, "home")
    page.click("#launch")
    page.wait_for_url(link)
    expect(page.locator("#log")).to_contain_text("install-requirements")
    picture(page, "building")
    page.wait_for_url("**/user/**")
    cell = page.locator(".jp-Notebook .jp-Cell").first
    cell.locator(".cm-content").click()
    expect(page.locator(".jp-Notebook-ExecutionIndicator")).to_have_attribute("data-status", "idle")
    page.keyboard.press("Shift+Enter")
    expect(cell.locator(".jp-OutputArea-output").first).to_have_text("42")
    expect(page.get_by_text("Would you like to get notified about official Jupyter news?")).to_have_count(0)
    picture(page, "jupyterlab")


def test_a_launch_that_fails_says_what_its_author_can_do(
    browser_page: Page, binder: Binder, repositories: Repositories
) -> None:
    page = browser_page
    repositories.add("misspelt", {"requirements.txt": "no-such-package-of-binderops\n"})
    page.goto(f"{binder.url}v2/git/git%3A%2F%2F{ADDRESS}%2Fmisspelt/HEAD")
    expect(page.locator("#failure-title")).to_have_text("No package in the index fits no-such-package-of-binderops")
    expect(page.locator("#failure-quote")).to_contain_text("was not found in the package registry")
    expect(page.locator("#log")).to_contain_text("install-requirements")
    picture(page, "failed")


def test_pages_besides(browser_page: Page, binder: Binder) -> None:
    page = browser_page
    for path, heading in (("about", "About"), ("no/such/page", "404: Not Found")):
        page.goto(f"{binder.url}{path}")
        expect(page.get_by_role("heading", level=1)).to_have_text(heading)
        picture(page, heading.split(":")[0].lower())


def picture(page: Page, name: str) -> None:
    """Kept in build/reports/, to be looked at."""
    page.screenshot(path=PICTURES / f"{name}.png", full_page=True)
