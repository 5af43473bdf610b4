"""A newcomer adds extra software by docs/operate/extra-software.md: its blocks become files, and then they run."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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

# Of the folder that the page names, and of its templates, each seen by a mount.
FILES = {"/etc/jupyter/own.txt": "{{ not rendered }}\n", "/etc/jupyter/templates/page.html": "<p>own</p>\n"}
STORAGE = {
    "extraVolumes": [
        {"name": "etc-jupyter", "configMap": {"name": "user-etc-jupyter"}},
        {"name": "etc-jupyter-templates", "configMap": {"name": "user-etc-jupyter-templates"}},
    ],
    "extraVolumeMounts": [
        {"name": "etc-jupyter", "mountPath": "/etc/jupyter"},
        {"name": "etc-jupyter-templates", "mountPath": "/etc/jupyter/templates"},
    ],
}


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


def console_of_the_page() -> list[tuple[str, str]]:
    """The commands of its console block, each with what the page shows of its output."""
    (block,) = re.findall(r"^```console\n(.*?)^```", PAGE.read_text(), flags=re.M | re.S)
    return [
        (command, shown)
        for command, _, shown in (part.partition("\n") for part in re.split(r"^\$ ", block, flags=re.M) if part)
    ]


def commands_in_the_text() -> dict[str, str]:
    """What it names in its sentences, by the word after `binderops`."""
    return {
        words.split()[1]: words for words in re.findall(r"`(binderops (?:explain|logs|up) [^`]+)`", PAGE.read_text())
    }


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


def test_the_page_names_its_commands() -> None:
    assert commands_in_the_text() == {
        "explain": "binderops explain local extra.watch",
        "up": "binderops up local",
        "logs": "binderops logs watch",
    }
    assert [command.split()[0] for command, _ in console_of_the_page()] == ["binderops", *["kubectl"] * 3]


def test_the_page_names_its_files() -> None:
    assert set(files_of_the_page()) == {
        "images/watch/Containerfile",
        "images/watch/watch.py",
        "binderops.yaml",
        "mybinder/templates/watch/cronjob.yaml",
        "mybinder/values.yaml",
        "config/local.yaml",
    }


@dataclass(frozen=True)
class Extended:
    """The newcomer's repository, and what its commands answered before and after it was deployed."""

    root: Path
    explained: str
    up: dict[str, Any]


@dataclass(frozen=True)
class Shell:
    """Where the newcomer types: their repository, with `binderops` and a kubectl on the path."""

    environment: dict[str, str]

    def type(self, root: Path, *commands: str) -> list[str]:
        """What each command prints, all in one shell. The page's environment is the test's."""
        mine = [re.sub(r"(?<=binderops )(\w+) local\b", rf"\1 {NAME}", command) for command in commands]
        between = "---- the next command"
        script = f"\necho '{between}'\n".join(mine)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=root,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=UP_DEADLINE,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout.split(f"{between}\n")


@pytest.fixture(scope="module")
def shell(deployed: Deployed, stock_programs: Any) -> Shell:
    folders = [str(Path(sys.executable).parent), str(stock_programs.kubectl.parent), deployed.environment["PATH"]]
    # The kubectl of the block must not find another cluster, should the block not name one.
    return Shell({**deployed.environment, "PATH": ":".join(folders), "KUBECONFIG": "/nonexistent"})


@pytest.fixture(scope="module")
def extended(
    deployed: Deployed, shell: Shell, kubectl: Callable[..., str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Extended]:
    """The deployment with the page's files, in a copy of the repository; it is put back at the end."""
    root = tmp_path_factory.mktemp("newcomer") / "repository"
    shutil.copytree(deployed.root, root)
    for name, texts in files_of_the_page().items():
        for text in texts:
            write(root, name, text)
    shorter = {"cull_idle_timeout": CULLED_AFTER, "cull_interval": 1}
    write(root, "config/local.yaml", json.dumps({"etcJupyter": {CONFIG: {"MappingKernelManager": shorter}}}))
    for name, text in FILES.items():
        write(root, f"mybinder/files{name}", text)
    write(root, "config/local.yaml", json.dumps({"binderhub": {"jupyterhub": {"singleuser": {"storage": STORAGE}}}}))
    before = objects(kubectl)
    commands = commands_in_the_text()
    (explained,) = shell.type(root, commands["explain"])
    try:
        (up,) = shell.type(root, f"{commands['up']} --output json")
        yield Extended(root, explained, json.loads(up))
    finally:
        again = deployed.run("deploy", NAME, timeout=UP_DEADLINE)
        assert again.returncode == 0, f"{again.stdout}\n{again.stderr}"
    assert objects(kubectl) == before


def objects(kubectl: Callable[..., str]) -> set[str]:
    """The names of what the page adds kinds of; each deployment adds one to the record of proofs."""
    names = kubectl("get", "cronjob,configmap", "-o", "name").split()
    return {name for name in names if not name.startswith("configmap/proof")}


def test_values_are_explained_before_anything_runs(extended: Extended) -> None:
    assert "*/10 * * * *" in extended.explained
    assert "mybinder/values.yaml" in extended.explained


def test_a_cronjob_runs_its_own_image(
    extended: Extended, deployed: Deployed, kubectl: Callable[..., str], shell: Shell
) -> None:
    assert "watch" in extended.up["images"]
    cronjob = json.loads(kubectl("get", "cronjob", "watch", "-o", "json"))
    image = cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["image"]
    built = deployed.environment["BINDEROPS_STATE"] + "/images/images.lock.yaml"
    pinned = YAML(typ="safe").load(Path(built).read_text())["global"]["images"]["watch"]
    assert image == f"localhost/binderops/watch@{pinned['tag']}"

    console = console_of_the_page()
    printed = shell.type(extended.root, *(command for command, _ in console))
    for (command, shown), said in zip(console, printed, strict=True):
        assert not shown or said == shown, command
    (pod,) = json.loads(kubectl("get", "pods", "-l", "job-name=watch-now", "-o", "json"))["items"]
    assert pod["status"]["containerStatuses"][0]["image"] == image
    (said,) = shell.type(extended.root, f"{commands_in_the_text()['logs']} -e {NAME}")
    assert "200 http://static/badge_logo.svg" in said


def test_a_file_is_in_every_notebook_and_culls_inside_the_server(extended: Extended, binder: Binder) -> None:
    server = binder.launch("local/hello/HEAD")
    try:
        said = json.loads(ast.literal_eval(server.run(f"open('/etc/jupyter/{CONFIG}').read()")))
        assert said["ServerApp"] == {"shutdown_no_activity_timeout": 600}
        assert said["MappingKernelManager"]["cull_idle_timeout"] == CULLED_AFTER
        for path, text in FILES.items():
            assert ast.literal_eval(server.run(f"open('{path}').read()")) == text

        kernel = ask(server, "POST", "api/kernels").json()["id"]
        started = time.monotonic()
        until(lambda: kernel not in {found["id"] for found in server.get("api/kernels")}, "the kernel to be culled")
        assert time.monotonic() > started + CULLED_AFTER / 2, "it went away, but not for being idle"
    finally:
        ask(server, "POST", "api/shutdown")


def test_pages_carry_the_operators_words_templates_and_files(extended: Extended, binder: Binder) -> None:
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
