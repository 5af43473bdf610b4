"""A newcomer adds extra software by docs/operate/extra-software.md: its blocks become files, and then they run."""

from __future__ import annotations

import ast
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
import pytest
from playwright.sync_api import expect, sync_playwright
from ruamel.yaml import YAML
from tests.e2e.conftest import NAME, ROOT, UP_DEADLINE, Deployed
from tests.e2e.launches import Binder, Server
from tests.e2e.networks import until
from tests.e2e.test_e2e_browser import CHROMIUM, FLAGS, PICTURES, picture

pytestmark = [pytest.mark.e2e, pytest.mark.podman, pytest.mark.root]

PAGE = ROOT / "docs/operate/extra-software.md"
CONFIG = "jupyter_server_config.json"
CULLED_AFTER = 6  # seconds, for the page's five minutes


def files_of_the_page() -> dict[str, list[str]]:
    """What the page says to write: file → its blocks, for each block whose last sentence before it names a file."""
    found: dict[str, list[str]] = {}
    introduction = ""
    for number, part in enumerate(re.split(r"^```.*\n", PAGE.read_text(), flags=re.M)):
        if number % 2 == 0:
            introduction = re.split(r"\.\s|\n\n", part.strip())[-1]
        elif named := re.search(r"`([\w./-]+)`", introduction):
            found.setdefault(named[1], []).append(part)
    return found


def write(root: Path, name: str, text: str) -> None:
    """A new file; or, in one that is there, new keys in its maps."""
    path = root / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return
    yaml = YAML()
    document = yaml.load(path.read_text())
    merge(document, yaml.load(text))
    with path.open("w") as file:
        yaml.dump(document, file)


def merge(into: Any, more: Any) -> None:
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = value


def test_the_page_names_its_files() -> None:
    assert set(files_of_the_page()) == {
        "images/watch/Containerfile",
        "images/watch/watch.py",
        "binderops.yaml",
        "mybinder/templates/watch/cronjob.yaml",
        "mybinder/values.yaml",
        "config/local.yaml",
    }


@pytest.fixture(scope="module")
def extended(
    deployed: Deployed, kubectl: Callable[..., str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    """What `up` answers with the page's files in a copy of the repository; the deployment is put back at the end."""
    root = tmp_path_factory.mktemp("newcomer") / "repository"
    shutil.copytree(deployed.root, root)
    for name, texts in files_of_the_page().items():
        for text in texts:
            write(root, name, text)
    shorter = {"cull_idle_timeout": CULLED_AFTER, "cull_interval": 1}
    write(root, "config/local.yaml", json.dumps({"etcJupyter": {CONFIG: {"MappingKernelManager": shorter}}}))
    before = objects(kubectl)
    try:
        yield Deployed(root).json("up", NAME, timeout=UP_DEADLINE)
    finally:
        again = deployed.run("deploy", NAME, timeout=UP_DEADLINE)
        assert again.returncode == 0, f"{again.stdout}\n{again.stderr}"
    assert objects(kubectl) == before


def objects(kubectl: Callable[..., str]) -> set[str]:
    """The names of what the page adds kinds of; each deployment adds one to the record of proofs."""
    names = kubectl("get", "cronjob,configmap", "-o", "name").split()
    return {name for name in names if not name.startswith("configmap/proof")}


def test_a_cronjob_runs_its_own_image(
    extended: dict[str, Any], deployed: Deployed, kubectl: Callable[..., str]
) -> None:
    assert "watch" in extended["images"]
    cronjob = json.loads(kubectl("get", "cronjob", "watch", "-o", "json"))
    image = cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["image"]
    built = deployed.environment["BINDEROPS_STATE"] + "/images/images.lock.yaml"
    pinned = YAML(typ="safe").load(Path(built).read_text())["global"]["images"]["watch"]
    assert image == f"localhost/binderops/watch@{pinned['tag']}"

    kubectl("create", "job", "watch-now", "--from=cronjob/watch")
    kubectl("wait", "--for=condition=complete", "job/watch-now", "--timeout=60s", timeout=90)
    assert kubectl("logs", "job/watch-now").strip() == "200 http://static/badge_logo.svg"
    (pod,) = json.loads(kubectl("get", "pods", "-l", "job-name=watch-now", "-o", "json"))["items"]
    assert pod["status"]["containerStatuses"][0]["image"] == image


def test_a_file_is_in_every_notebook_and_culls_inside_the_server(extended: dict[str, Any], binder: Binder) -> None:
    server = binder.launch("local/hello/HEAD")
    try:
        said = json.loads(ast.literal_eval(server.run(f"open('/etc/jupyter/{CONFIG}').read()")))
        assert said["ServerApp"] == {"shutdown_no_activity_timeout": 600}
        assert said["MappingKernelManager"]["cull_idle_timeout"] == CULLED_AFTER

        kernel = ask(server, "POST", "api/kernels").json()["id"]
        started = time.monotonic()
        until(lambda: kernel not in {found["id"] for found in server.get("api/kernels")}, "the kernel to be culled")
        assert time.monotonic() > started + CULLED_AFTER / 2, "it went away, but not for being idle"
    finally:
        ask(server, "POST", "api/shutdown")


def test_pages_carry_the_operators_words_templates_and_files(extended: dict[str, Any], binder: Binder) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS)) as chromium,
    ):
        page = chromium.new_page(viewport={"width": 1280, "height": 860})
        page.goto(binder.url)
        expect(page.locator(".banner")).to_have_text("Maintenance on Monday: what stops, and when")
        picture(page, "own-banner")
        page.goto(f"{binder.url}about")
        expect(page.get_by_text("Run by the library of Example University.")).to_be_visible()
        expect(page.locator(".contact")).to_have_text("Questions: binder@example.org")
        expect(page.locator(".contact")).to_have_css("border-left-width", "4px")
        expect(page.get_by_role("link", name="what stops, and when")).to_be_visible()
        picture(page, "own-about")


def ask(server: Server, method: str, path: str) -> httpx.Response:
    """One request to a server's API."""
    public = urlsplit(urljoin(server.url, path))
    headers = {"Host": public.netloc, "Authorization": f"token {server.token}"}
    url = f"http://127.0.0.1:{public.port}{public.path}"
    return httpx.request(method, url, headers=headers, timeout=30, trust_env=False).raise_for_status()
