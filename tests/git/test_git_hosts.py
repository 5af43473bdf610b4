"""Whom git asks for strangers: no host that is not public, by no spelling, redirect or change of a name."""

from __future__ import annotations

import http.server
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from tests.git.git_server import git

from binderops.errors import GitError
from binderops.git.hosts import InternalHost, addresses_of, is_public
from binderops.git.remote import RemoteUrl, ls_remote


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1",
        "168.63.129.16", "169.254.169.254", "192.0.0.8", "198.18.0.1", "224.0.0.1", "239.1.2.3", "255.255.255.255",
        "240.0.0.1",
        "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "fe80::1", "fec0::1", "fd00::1", "fc00::1",
        "fd00:ec2::254", "ff02::1", "64:ff9b::7f00:1", "64:ff9b:1::a00:1", "2002:7f00:1::", "2001:0:4136:e378::1",
        "100::1", "4000::1",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public(text: str) -> None:
    assert not is_public(ip_address(text))


@pytest.mark.parametrize(
    "text", ["8.8.8.8", "140.82.121.3", "198.51.100.2", "172.32.0.1", "::ffff:8.8.8.8", "2606:4700::1111", "2a01::1"]
)
def test_addresses_that_are(text: str) -> None:
    assert is_public(ip_address(text))


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "::1", "::ffff:7f00:1",
        "169.254.169.254", "nowhere.invalid", "0", "1.2.3.0x4",
    ],
)  # fmt: skip
async def test_hosts_that_are_refused(host: str) -> None:
    with pytest.raises(GitError, match=r"has no public address|is no host's name"):
        await addresses_of(host)


async def test_one_text_whether_an_internal_name_exists_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_to(monkeypatch, {"there.test": ["10.0.0.1"]})
    said = []
    for host in ("there.test", "away.test"):
        with pytest.raises(GitError) as refused:
            await addresses_of(host)
        said.append(refused.value.what.replace(host, "HOST"))
    assert said == ["the host HOST has no public address"] * 2


async def test_of_a_name_with_both_only_public_addresses_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_to(monkeypatch, {"both.test": ["10.0.0.1", "198.51.100.7", "127.0.0.1"]})
    assert await addresses_of("both.test") == (ip_address("198.51.100.7"),)


async def test_a_host_that_the_operator_names(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_to(monkeypatch, {"git.test": ["10.0.0.1"], "moved.test": ["10.0.9.1"], "other.test": ["10.0.0.1"]})
    internal = [InternalHost(host, ip_network("10.0.0.0/24")) for host in ("git.test", "moved.test")]
    assert await addresses_of("GIT.test", internal) == (ip_address("10.0.0.1"),)
    for host in ("moved.test", "other.test"):  # at another address; another name of the same address
        with pytest.raises(GitError, match="has no public address"):
            await addresses_of(host, internal)


async def test_what_only_a_proxy_can_resolve(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_to(monkeypatch, {"private.test": ["10.0.0.1"]})
    assert await addresses_of("outside.test", by_proxy=True) == ()
    with pytest.raises(GitError, match="has no public address"):
        await addresses_of("private.test", by_proxy=True)


async def test_git_connects_to_what_was_judged(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name means something to us alone: git, which cannot resolve it, reaches the server all the same."""
    resolve_to(monkeypatch, {"pinned.test": ["127.0.0.1"]})
    url = RemoteUrl.parse(f"http://pinned.test:{web.port}/repo.git")
    assert await ls_remote(url, "main", internal=at_home("pinned.test")) == web.commit
    assert web.hosts == {f"pinned.test:{web.port}"}


async def test_gits_own_protocol_too(git_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = git_server.make("pinned", {"a": "1"})
    resolve_to(monkeypatch, {"pinned.test": ["127.0.0.1"]})
    url = RemoteUrl.parse(f"git://pinned.test:{git_server.port}/pinned")
    assert await ls_remote(url, "main", internal=at_home("pinned.test")) == git(folder, "rev-parse", "HEAD")


async def test_redirects_are_followed_where_they_may_lead(web: Web) -> None:
    url = RemoteUrl.parse(f"http://127.0.0.1:{web.port}/redirect/repo.git")
    assert await ls_remote(url, "main", internal=at_home("127.0.0.1")) == web.commit


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("inner", "localhost has no public address"),
        ("metadata", "169.254.169.254 has no public address"),
        ("page", "redirects to what is no repository"),
        ("file", "protocol file not in"),
        ("loop", "redirects more than 3 times"),
    ],
)
async def test_redirects_that_are_not(web: Web, path: str, said: str) -> None:
    web.hosts.clear()
    with pytest.raises(GitError, match=said):
        url = RemoteUrl.parse(f"http://127.0.0.1:{web.port}/{path}")
        await ls_remote(url, "main", internal=at_home("127.0.0.1"))
    assert web.hosts == {f"127.0.0.1:{web.port}"}  # `inner` is this very server, by a name that may not be asked


def at_home(host: str) -> tuple[InternalHost, ...]:
    return (InternalHost(host, ip_network("127.0.0.1/32")),)


def resolve_to(monkeypatch: pytest.MonkeyPatch, names: dict[str, list[str]]) -> None:
    """The machine's resolver, for this process alone."""

    def getaddrinfo(host: str, *_: Any, **__: Any) -> list[Any]:
        if host not in names:
            raise socket.gaierror("no such name")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in names[host]]

    monkeypatch.setattr("binderops.git.hosts.socket.getaddrinfo", getaddrinfo)


class Web:
    """A repository over (dumb) http, and addresses that redirect."""

    def __init__(self, port: int, commit: str, hosts: set[str]) -> None:
        self.port, self.commit, self.hosts = port, commit, hosts


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    source = tmp_path / "source"
    source.mkdir()
    git(source, "init", "-q", "-b", "main")
    git(source, "commit", "-q", "--allow-empty", "-m", "first")
    subprocess.run(["git", "clone", "-q", "--bare", str(source), str(tmp_path / "repo.git")], check=True, timeout=30)
    git(tmp_path / "repo.git", "update-server-info")
    with _serving(tmp_path) as (port, hosts):
        yield Web(port, git(source, "rev-parse", "HEAD"), hosts)


@contextmanager
def _serving(root: Path) -> Iterator[tuple[int, set[str]]]:
    hosts: set[str] = set()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            hosts.add(self.headers["Host"])
            refs, port = "/info/refs?service=git-upload-pack", self.headers["Host"].rpartition(":")[2]
            target = {
                f"/redirect/repo.git{refs}": f"/repo.git{refs}",
                f"/inner{refs}": f"http://localhost:{port}/repo.git{refs}",
                f"/metadata{refs}": f"http://169.254.169.254/repo.git{refs}",
                f"/page{refs}": "/login",
                f"/file{refs}": f"file:///repo.git{refs}",
                f"/loop{refs}": f"/loop{refs}",
            }.get(self.path)
            if target is None:
                super().do_GET()
                return
            self.send_response(301)
            self.send_header("Location", target)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    def handler(*arguments: Any) -> Handler:
        return Handler(*arguments, directory=str(root))

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.server_port, hosts
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)
