from __future__ import annotations

import asyncio
from ipaddress import ip_network

import pytest
from tests.git.git_server import GitServer, git

from binderops.errors import GitError
from binderops.git import remote
from binderops.git.hosts import InternalHost
from binderops.git.remote import RemoteUrl, check_ref, ls_remote

OURS = (InternalHost("127.0.0.1", ip_network("127.0.0.1/32")),)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://example.org/a/b.git", "https://example.org/a/b.git"),
        ("https://user:word@example.org:8443/a", "https://user:word@example.org:8443/a"),
        ("git://127.0.0.1:9418/x", "git://127.0.0.1:9418/x"),
    ],
)
def test_addresses(text: str, expected: str) -> None:
    assert RemoteUrl.parse(text).text == expected


@pytest.mark.parametrize(
    "text",
    [
        "file:///etc", "ext::sh -c id", "/etc", "-oProxyCommand=id", "--upload-pack=id", "ssh://-oProxyCommand=id/x",
        "ssh://git@-oProxyCommand=id/x", "https://", "https://a b", "https://a\nb", "", "ftp://x/y", "https:///x",
        "ssh://git@example.org/x", "git@example.org:a/b.git", "https://a", "https://a\\@b/c", "https://a?@b/c",
        "https://a#@b/c", "https://a@b@c/d", "https://a%2eb/c", "https://[::1/x", "https://a:70000/x", "https://a:0/x",
        "https://\u0430.example/x", "git://a/b\\c",
    ],
)  # fmt: skip
def test_hostile_addresses_are_refused(text: str) -> None:
    with pytest.raises(GitError, match="Unsupported git url"):
        RemoteUrl.parse(text)


@pytest.mark.parametrize(
    "ref", ["", "--upload-pack=id", "-x", "a..b", "a b", "a\nb", "a^{}", "a:b", "x.lock", "/a", "a*"]
)
def test_names_that_git_could_not_have_made_are_refused(ref: str) -> None:
    with pytest.raises(GitError):
        check_ref(ref)


async def test_references(git_server: GitServer) -> None:
    folder = git_server.make("references", {"a": "1"})
    first = git(folder, "rev-parse", "HEAD")
    git(folder, "tag", "plain")
    git(folder, "tag", "-a", "noted", "-m", "words")
    # Sorts before refs/heads/main, and ends with it.
    git(folder, "branch", "a/main")
    git(folder, "commit", "-q", "--allow-empty", "-m", "second")
    second = git(folder, "rev-parse", "HEAD")
    git(folder, "branch", "only/nested", first)
    url = RemoteUrl.parse(git_server.url("references"))
    assert await ls_remote(url, "main", internal=OURS) == second
    assert await ls_remote(url, "HEAD", internal=OURS) == second
    assert await ls_remote(url, "refs/heads/main", internal=OURS) == second
    assert await ls_remote(url, "plain", internal=OURS) == first
    assert await ls_remote(url, "noted", internal=OURS) == git(folder, "rev-parse", "refs/tags/noted")
    assert await ls_remote(url, "nested", internal=OURS) is None
    assert await ls_remote(url, "nowhere", internal=OURS) is None


async def test_a_repository_that_is_not_there(git_server: GitServer) -> None:
    with pytest.raises(GitError, match=r"not exported|does not exist|access denied|Could not read"):
        await ls_remote(RemoteUrl.parse(git_server.url("missing")), "HEAD", internal=OURS)


async def test_a_silent_server_is_left_in_time() -> None:
    silent = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    async with silent:
        port = silent.sockets[0].getsockname()[1]
        with pytest.raises(GitError, match="did not answer within"):
            await ls_remote(RemoteUrl.parse(f"git://127.0.0.1:{port}/x"), "HEAD", internal=OURS, deadline=0.5)


async def test_more_references_than_are_read(git_server: GitServer, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = git_server.make("many", {"a": "1"})
    for number in range(20):
        git(folder, "branch", f"{number}/main")
    monkeypatch.setattr(remote, "MOST_OUTPUT", 1000)
    with pytest.raises(GitError, match="answers with more than 0 MiB of references"):
        await ls_remote(RemoteUrl.parse(git_server.url("many")), "main", internal=OURS)
