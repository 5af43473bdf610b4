"""Submodules and LFS addresses that point at services inside: a build's git reaches them only without the policies."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.e2e.launches import Binder, git_spec, text_of
from tests.e2e.networks import host
from tests.e2e.policies import without_policies
from tests.e2e.repositories import Repositories
from tests.git.git_server import git

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


def with_submodule(repositories: Repositories, name: str, url: str) -> str:
    """A repository with one submodule."""
    own = repositories.add(name, {".gitmodules": f'[submodule "inner"]\n\tpath = inner\n\turl = {url}\n'})
    folder = repositories.root / name
    git(folder, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},inner")
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
    events = list(binder.stream(git_spec(url)))
    assert events[-1]["phase"] == "failed", events[-1]
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


def test_a_submodule_at_the_builds_own_loopback_or_in_its_files_is_refused(
    binder: Binder, repositories: Repositories
) -> None:
    told = {}
    for name, url in {"loopback": "http://127.0.0.1:8001/", "file": "file:///var/lib/containers"}.items():
        events = list(binder.stream(git_spec(with_submodule(repositories, f"inner-{name}", url))))
        assert events[-1]["phase"] == "failed", events[-1]
        told[name] = text_of(events)
    assert "Connection refused" in told["loopback"] or "Failed to connect" in told["loopback"], told
    assert "transport 'file' not allowed" in told["file"], told
