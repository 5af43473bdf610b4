"""Repositories of a git server outside become servers: each kind, broken ones, and several viewers of one build."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.e2e.conftest import NAME, Deployed
from tests.e2e.launches import Binder, Event, Server, git_spec, phases_of, text_of
from tests.e2e.networks import until
from tests.e2e.repositories import EMPTY_NOTEBOOK, Repositories

pytestmark = [pytest.mark.e2e, pytest.mark.podman, pytest.mark.root]

DOCKERFILE = """\
FROM localhost/binderops/notebook
RUN echo made by a Dockerfile > /home/jovyan/origin.txt
COPY --chown=1000:1000 . /home/jovyan/
"""
COWSAY = "import cowsay\ncowsay.get_output_string('cow', 'moo').count('moo')"


@pytest.mark.parametrize(
    ("name", "files", "cell", "answer"),
    [
        ("requirements", {"requirements.txt": "cowsay==6.1\n"}, COWSAY, "1"),
        ("notebooks", {"index.ipynb": EMPTY_NOTEBOOK}, "import os\nos.path.exists('index.ipynb')", "True"),
        ("dockerfile", {"Dockerfile": DOCKERFILE}, "open('origin.txt').read()", r"'made by a Dockerfile\n'"),
    ],
)
def test_each_kind_of_repository_launches_and_its_kernel_answers(
    binder: Binder, repositories: Repositories, name: str, files: dict[str, str], cell: str, answer: str
) -> None:
    server = binder.launch(git_spec(repositories.add(name, files)))
    assert {"waiting", "fetching", "built", "launching", "ready"} <= set(phases_of(server.events))
    assert server.run(cell) == answer


def test_a_known_commit_is_launched_without_a_build(binder: Binder, repositories: Repositories) -> None:
    url = repositories.add("twice", {"requirements.txt": "cowsay==6.1\n"})
    first = binder.launch(git_spec(url, "main"))
    again = binder.launch(git_spec(url, "main"))
    assert "Found built image" in text_of(again.events)
    assert "building" not in phases_of(again.events)
    assert again.events[-1]["image"] == first.events[-1]["image"]
    assert again.user != first.user
    commit = repositories.commit("twice", {"requirements.txt": "cowsay==6.0\n"})
    moved = binder.launch(git_spec(url, "main"))
    assert moved.events[-1]["image"].endswith(commit)
    assert moved.run("import cowsay\ncowsay.__version__") == "'6.0'"


def test_the_command_launches_a_git_url(deployed: Deployed, repositories: Repositories) -> None:
    url = repositories.add("by-command", {"requirements.txt": "cowsay==6.1\n"})
    first = repositories.commit("by-command", {"said.txt": "the first"})
    head = repositories.commit("by-command", {"said.txt": "the second"})
    launched = deployed.json("launch", url, "-e", NAME)
    assert launched["spec"] == git_spec(url)
    assert launched["image"].endswith(head)
    assert {"fetching", "built", "launching", "ready", "page"} <= set(launched["phases"])
    assert opened_by(launched).run("open('said.txt').read(), __import__('cowsay').__version__") == (
        "('the second', '6.1')"
    )

    older = deployed.json("launch", url, "-e", NAME, "--ref", first)
    assert older["image"].endswith(first)
    assert opened_by(older).run("open('said.txt').read()") == "'the first'"

    missing = deployed.run("launch", repositories.url("no-such-repository"), "-e", NAME)
    assert missing.returncode == 1
    assert "Error resolving ref for git:" in missing.stderr


def opened_by(launched: Any) -> Server:
    """The server of the page that the command answers with: its address, and the token in its query."""
    address = urlsplit(launched["url"])
    path = address.path.removesuffix("lab")
    return Server(f"{address.scheme}://{address.netloc}{path}", parse_qs(address.query)["token"][0])


def test_a_package_that_does_not_exist_fails_with_the_installers_reason(
    binder: Binder, repositories: Repositories
) -> None:
    url = repositories.add("broken", {"requirements.txt": "no-such-package-of-binderops==1.0\n"})
    events = list(binder.stream(git_spec(url)))
    last = events[-1]
    assert last["phase"] == "failed"
    assert "no-such-package-of-binderops was not found in the package registry" in last["message"]
    assert last["explanation"]["title"] == "No package in the index fits no-such-package-of-binderops"
    assert "ready" not in phases_of(events)


def test_an_unknown_ref_and_an_unknown_repository_are_answered_in_the_contracts_shape(
    binder: Binder, repositories: Repositories
) -> None:
    spec = git_spec(repositories.add("known", {"index.ipynb": EMPTY_NOTEBOOK}), "no-such-branch")
    last = list(binder.stream(spec))[-1]
    told = (
        f"Could not resolve ref for {spec.replace('/', ':', 1)}. Double check your URL and that your repo is public.\n"
    )
    assert (last["phase"], last["message"], "status_code" in last) == ("failed", told, False)
    spec = git_spec(repositories.url("no-such-repository"))
    last = list(binder.stream(spec))[-1]
    assert last["phase"] == "failed" and "status_code" not in last
    assert last["message"].startswith(f"Error resolving ref for {spec.replace('/', ':', 1)}: ")


def test_two_viewers_share_one_build_which_outlives_the_one_who_leaves(
    binder: Binder, repositories: Repositories, kubectl: Callable[..., Any]
) -> None:
    files = {"Dockerfile": DOCKERFILE + "RUN for i in 1 2 3 4 5; do echo step $i; sleep 1; done\n"}
    spec = git_spec(repositories.add("shared", files))
    watched: list[Event] = []
    other = threading.Thread(target=lambda: watched.extend(binder.stream(spec)), daemon=True)
    stream = binder.stream(spec)
    for event in stream:
        if "step 1" in str(event.get("message")):
            break
    other.start()
    until(lambda: bool(watched) or not other.is_alive(), "the second viewer's first event", timeout=20)
    pods = json.loads(kubectl("get", "pods", "-l", "component=binderhub-build", "-o", "json"))["items"]
    running = [pod for pod in pods if pod["status"]["phase"] in {"Pending", "Running"}]
    assert len(running) == 1, [pod["metadata"]["name"] for pod in pods]
    stream.close()
    other.join(90)
    assert phases_of(watched)[-1] == "ready", text_of(watched)
    assert "step 5" in text_of(watched)


def test_pins_that_conflict_with_the_server_get_a_kernel_of_their_own(
    binder: Binder, repositories: Repositories
) -> None:
    pins = "tornado==6.2\nipykernel==6.29.5\njupyter-client==7.4.9\n"
    server = binder.launch(git_spec(repositories.add("pins", {"requirements.txt": pins})))
    assert "an environment of their own" in text_of(server.events)
    assert (
        server.run("import jupyter_client, tornado\njupyter_client.__version__, tornado.version") == "('7.4.9', '6.2')"
    )


def test_an_extension_named_in_requirements_is_there(binder: Binder, repositories: Repositories) -> None:
    files = {"requirements.txt": "jupyter-resource-usage==1.1.1\njupyterlab-execute-time==3.2.0\n"}
    server = binder.launch(git_spec(repositories.add("extensions", files)))
    assert "an environment of their own" not in text_of(server.events)
    extensions = {extension["name"] for extension in server.get("lab/api/extensions")}
    assert "jupyterlab-execute-time" in extensions
    assert "rss" in server.get("api/metrics/v1")  # jupyter-resource-usage, inside the server
