"""Public names below .localhost are reached on this machine without asking any resolver."""

from __future__ import annotations

import asyncio

import pytest

from binderops.delivery.launch_action import spec_of
from binderops.delivery.proving import folder_name
from binderops.delivery.public import connect_address, is_loopback_name, public_client
from binderops.errors import UsageError


@pytest.mark.parametrize(
    ("name", "ours"),
    [("localhost", True), ("a.b.localhost", True), ("localhost.org", False), ("mylocalhost", False), ("", False)],
)
def test_loopback_names(name: str, ours: bool) -> None:
    assert is_loopback_name(name) is ours


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://hub.binder.localhost:8080/x", ("127.0.0.1", 8080)),
        ("wss://hub.binder.localhost/x", ("127.0.0.1", 443)),
        ("ws://binder.example.org/x", ("binder.example.org", 80)),
    ],
)
def test_where_a_socket_goes(url: str, address: tuple[str, int]) -> None:
    assert connect_address(url) == address


async def test_the_host_header_is_the_urls_own() -> None:
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, public_client() as client:
        answer = await client.get(f"http://never.resolved.localhost:{port}/a%2Fb?c=d")
    assert answer.status_code == 200
    assert seen[0].startswith(b"GET /a%2Fb?c=d HTTP/1.1\r\n")
    assert f"host: never.resolved.localhost:{port}\r\n".encode() in seen[0].lower()


@pytest.mark.parametrize(
    ("what", "spec"),
    [
        ("https://github.com/user/repo", "gh/user/repo/HEAD"),
        ("https://github.com/user/repo.git", "gh/user/repo/HEAD"),
        ("https://git.example.org/a/b.git", "git/https%3A%2F%2Fgit.example.org%2Fa%2Fb.git/HEAD"),
        ("git@git.example.org:a/b", "git/git%40git.example.org%3Aa%2Fb/HEAD"),
        ("gh/user/repo/some/branch", "gh/user/repo/some/branch"),
    ],
)
def test_specs_of_urls(what: str, spec: str) -> None:
    assert spec_of(what, "HEAD") == spec


@pytest.mark.parametrize("what", ["nothing", "a/b", "--help", "ftp:/x"])
def test_what_is_no_repository_is_told(what: str) -> None:
    with pytest.raises(UsageError, match="neither a folder nor a repository"):
        spec_of(what, "HEAD")


@pytest.mark.parametrize(("folder", "name"), [("My Notebooks!", "my-notebooks"), ("hello", "hello"), ("---", "folder")])
def test_a_folder_is_launched_under_a_name_of_its_own(
    tmp_path_factory: pytest.TempPathFactory, folder: str, name: str
) -> None:
    assert folder_name(tmp_path_factory.mktemp("x") / folder) == name
