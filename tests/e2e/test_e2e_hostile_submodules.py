"""Submodules and LFS addresses that point at services inside or at files.

A build's git reaches the services only without the policies; git on the machine itself reaches its loopback, and files
where it may.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.e2e.launches import Binder, Event, git_spec, text_of
from tests.e2e.networks import host, until
from tests.e2e.policies import without_policies
from tests.e2e.repositories import Repositories
from tests.git.git_server import git

from binderops.build.configuration import git_environment

pytestmark = [pytest.mark.e2e, pytest.mark.podman, pytest.mark.root]

Kubectl = Callable[..., str]
# A stand-in for any service inside: keeps a line of every request, and knows nothing.
LISTENER = """\
import http.server, socketserver, sys
address, port, log = sys.argv[1:]
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self):
        with open(log, "a") as file:
            file.write(self.path + "\\n")
        self.send_error(404)
    do_GET = do_POST = answer
    def log_message(self, *arguments):
        pass
socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer((address, int(port)), Handler).serve_forever()
"""
# Prefixes of paths, by which requests are told apart.
PLACES = {"metadata": "169.254.169.254", "private": "10.203.114.2"}


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Services at the metadata address and in a private network; the file that holds what they were asked."""
    asked = tmp_path_factory.mktemp("inside") / "asked"
    asked.touch()
    with host("e2e-meta2", PLACES["metadata"]) as metadata, host("e2e-priv2", PLACES["private"]) as private:
        for place in (metadata, private):
            place.start("/usr/bin/python3", "-c", LISTENER, place.address, "80", str(asked), port=80)
        yield asked


@pytest.fixture
def loopback(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A service on the machine's loopback: its URL, and the file that holds what it was asked."""
    asked = tmp_path / "asked"
    asked.touch()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with subprocess.Popen([sys.executable, "-c", LISTENER, "127.0.0.1", str(port), str(asked)]) as service:

        def listens() -> bool:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return True
            return False

        try:
            until(listens, f"127.0.0.1:{port} to listen", timeout=20)
            yield f"http://127.0.0.1:{port}", asked
        finally:
            service.kill()


def with_submodule(repositories: Repositories, name: str, url: str, commit: str = "1" * 40) -> str:
    """A repository with one submodule, at `commit`, of what lies at `url`; "" is its own first commit."""
    own = repositories.add(name, {".gitmodules": f'[submodule "inner"]\n\tpath = inner\n\turl = {url}\n'})
    folder = repositories.root / name
    commit = commit or git(folder, "rev-parse", "HEAD")
    git(folder, "update-index", "--add", "--cacheinfo", f"160000,{commit},inner")
    git(folder, "commit", "-qm", "a submodule")
    return own


def with_lfs(repositories: Repositories, name: str, url: str) -> str:
    """A repository with one file that lies in LFS, whose server is named in .lfsconfig."""
    digest = hashlib.sha256(b"content").hexdigest()
    files = {
        ".lfsconfig": f"[lfs]\n\turl = {url}\n",
        ".gitattributes": "big filter=lfs diff=lfs merge=lfs -text\n",
        "big": f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize 7\n",
    }
    return repositories.add(name, files)


MAKERS = {"submodule": with_submodule, "lfs": with_lfs}
CASES = [(kind, place) for kind in MAKERS for place in PLACES]


@pytest.mark.parametrize(("kind", "place"), CASES)
def test_services_inside_are_out_of_a_builds_reach_and_the_failure_is_named(
    binder: Binder, repositories: Repositories, inside: Path, kind: str, place: str
) -> None:
    mark = f"/guarded-{kind}-{place}"
    url = MAKERS[kind](repositories, f"inner-{kind}-{place}", f"http://{PLACES[place]}{mark}")
    events = _failed(binder, url)
    named = {"submodule": "submodule", "lfs": "network"}[kind]
    assert events[-1]["explanation"]["id"] == named, text_of(events)[-2000:]
    assert PLACES[place] in text_of(events)
    assert mark not in inside.read_text()


def test_without_the_policies_they_are_reached(
    binder: Binder, repositories: Repositories, inside: Path, kubectl: Kubectl
) -> None:
    marks = [f"/open-{kind}-{place}" for kind, place in CASES]
    urls = [
        MAKERS[kind](repositories, mark.removeprefix("/"), f"http://{PLACES[place]}{mark}")
        for (kind, place), mark in zip(CASES, marks, strict=True)
    ]
    with without_policies(kubectl), ThreadPoolExecutor(len(urls)) as pool:
        for last in pool.map(lambda url: list(binder.stream(git_spec(url)))[-1], urls):
            assert last["phase"] == "failed", last
    assert [mark for mark in marks if mark not in inside.read_text()] == []


def test_a_submodule_on_loopback_is_out_of_a_builds_reach(
    binder: Binder, repositories: Repositories, loopback: tuple[str, Path], tmp_path: Path
) -> None:
    service, asked = loopback
    url = with_submodule(repositories, "inner-loopback", f"{service}/loopback")
    # The network namespace of the pod is the guard: on the machine the same git asks that service.
    updated_here(url, tmp_path / "here")
    before = asked.read_text()
    assert "/loopback" in before
    told = text_of(_failed(binder, url))
    assert f"Failed to connect to {service.removeprefix('http://').replace(':', ' port ')}" in told, told
    assert asked.read_text() == before


def test_a_submodule_in_a_builds_files_is_refused(binder: Binder, repositories: Repositories, tmp_path: Path) -> None:
    # A repository that is there wherever git runs: the checkout itself, by its first commit.
    url = with_submodule(repositories, "inner-file", "file:///proc/self/cwd", commit="")
    updated_here(url, tmp_path / "here", GIT_ALLOW_PROTOCOL="file")
    assert (tmp_path / "here/inner/.gitmodules").exists()
    told = text_of(_failed(binder, url))
    assert "transport 'file' not allowed" in told, told


def updated_here(url: str, folder: Path, **variables: str) -> None:
    """Clones a repository on the machine itself, and updates its submodules as a build does."""
    git(folder.parent, "clone", "-q", url, str(folder))
    environment = {**git_environment(), "PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **variables}
    command = ["git", "submodule", "update", "--init", "--recursive"]
    subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=30, check=False)


def _failed(binder: Binder, url: str) -> list[Event]:
    events = list(binder.stream(git_spec(url)))
    assert events[-1]["phase"] == "failed", events[-1]
    return events
