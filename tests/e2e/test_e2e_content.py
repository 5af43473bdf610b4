"""A commit that changes a notebook alone: no build, the new content is served, and what was deleted is gone."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.e2e.launches import Binder, git_spec, phases_of, text_of
from tests.e2e.networks import until
from tests.e2e.repositories import EMPTY_NOTEBOOK, Repositories

pytestmark = [pytest.mark.e2e, pytest.mark.podman, pytest.mark.root]

FILES = {
    "requirements.txt": "cowsay==6.1\n",
    "index.ipynb": EMPTY_NOTEBOOK,
    "data/old.csv": "1\n",
    "kept.txt": "kept\n",
}
LOOK = """\
import cowsay, os, subprocess
# A home has dot files of its own, also after a build: they are no change of the repository's.
def git(*arguments):
    return subprocess.run(["git", *arguments], capture_output=True, text=True).stdout.strip()
[
    sorted(name for name in os.listdir() if not name.startswith(".")),
    open("index.ipynb").read() == {notebook!r},
    oct(os.stat("run.sh").st_mode & 0o777), os.stat("sub").st_uid, os.access(".", os.W_OK),
    git("rev-parse", "HEAD") == {commit!r},
    [line for line in git("status", "--porcelain").splitlines() if not line.startswith("?? .")],
    git("branch", "--show-current"), cowsay.__version__,
]"""


def test_a_notebooks_new_text_is_launched_without_a_build(
    binder: Binder, repositories: Repositories, kubectl: Callable[..., Any]
) -> None:
    url = repositories.add("content", FILES)
    first = binder.launch(git_spec(url))
    assert "building" in phases_of(first.events)

    folder = repositories.root / "content"
    (folder / "data/old.csv").unlink()
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    notebook = EMPTY_NOTEBOOK.replace("{}", '{"now": "another"}')
    commit = repositories.commit("content", {"index.ipynb": notebook, "sub/new.txt": "new\n"})

    def recorded() -> bool:
        # On record shortly after the first launch, which does not wait for it.
        return "an environment is recorded" in kubectl("logs", "deployment/binder", "--tail=300")

    until(recorded, "the environment to be recorded", timeout=20)
    before = build_pods(kubectl)
    server = binder.launch(git_spec(url))
    assert "nothing is built" in text_of(server.events), text_of(server.events)
    assert build_pods(kubectl) <= before
    assert server.events[-1]["image"] == f"{first.events[-1]['image'].rpartition(':')[0]}:{commit}"
    names = "['index.ipynb', 'kept.txt', 'requirements.txt', 'run.sh', 'sub']"
    told = server.run(LOOK.format(notebook=notebook, commit=commit))
    assert told.replace("\n", "") == f"[{names}, True, '0o755', 1000, True, True, [], 'main', '6.1']"


def build_pods(kubectl: Callable[..., Any]) -> set[str]:
    """The build pods that there are."""
    items = json.loads(kubectl("get", "pods", "-l", "component=binderhub-build", "-o", "json"))["items"]
    return {pod["metadata"]["name"] for pod in items}
