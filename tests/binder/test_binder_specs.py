"""Specs are cut from the raw path, also behind a real nginx as the ingress runs it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send
from tests.programs import program

from binderops.binder.specs import cut

TABLE = [
    ("/build/gh/user/repo/HEAD", ("gh", "user/repo/HEAD")),
    ("/build/gl/foo%2Fbar/ref", ("gl", "foo%2Fbar/ref")),
    ("/build/git/https%3A%2F%2Fx.org%2Fb.git/feature%2Fx", ("git", "https%3A%2F%2Fx.org%2Fb.git/feature%2Fx")),
    ("/build/gh/a/b/feature/x", ("gh", "a/b/feature/x")),
    ("/build/gh/a/b/HEAD/", ("gh", "a/b/HEAD/")),
    ("/build/gh/build/gh/c", ("gh", "build/gh/c")),
    ("/build/zenodo/10.5281/zenodo.3242074", ("zenodo", "10.5281/zenodo.3242074")),
    ("/build/gh/a%20b/c/%E2%82%AC", ("gh", "a%20b/c/%E2%82%AC")),
    ("/build/git/x%252Fy/HEAD", ("git", "x%252Fy/HEAD")),
    # Shell, HTML, and what a terminal obeys: kept as it was sent, and never decoded.
    ("/build/gh/a/b/$(id);`id`|id&&'id'", ("gh", "a/b/$(id);`id`|id&&'id'")),
    ("/build/gh/a/b/%22%3E%3Cscript%3E", ("gh", "a/b/%22%3E%3Cscript%3E")),
    ('/build/gh/a/b/"><script>{{7*7}}', ("gh", 'a/b/"><script>{{7*7}}')),
    ("/build/gh/a/b/%1B%5B2J%E2%80%AE", ("gh", "a/b/%1B%5B2J%E2%80%AE")),
    ("/build/gh/a/b/%0D%0ASet-Cookie:a=b", ("gh", "a/b/%0D%0ASet-Cookie:a=b")),
    ("/build/gh/--upload-pack=x/b/-c", ("gh", "--upload-pack=x/b/-c")),
    ("/build/gh/..%2F..%2F/b/HEAD", ("gh", "..%2F..%2F/b/HEAD")),
    ("/build/gh", None),
    ("/build/gh/", None),
    ("/build//a/b", None),
    ("/build%2Fgh/a/b", None),
]  # fmt: skip


@pytest.mark.parametrize(("path", "expected"), TABLE)
def test_cutting(path: str, expected: tuple[str, str] | None) -> None:
    assert cut(path.encode(), "/", "build") == expected
    assert cut(f"/base{path}?build_token=x".encode(), "/base/", "build") == expected


def test_what_is_too_long_or_odd_is_nobodys_spec() -> None:
    assert cut(b"/build/gh/" + b"a" * 3000, "/", "build") is None
    assert cut(b"/build/gh/a\tb", "/", "build") is None
    assert cut(b"/other/gh/a/b/c", "/", "build") is None


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    found = cut(Request(scope).scope["raw_path"], "/", "build")
    await JSONResponse(list(found) if found else None)(scope, receive, send)


@pytest.fixture
async def behind_nginx(tmp_path: Path) -> AsyncIterator[int]:
    nginx = program("nginx")
    server = uvicorn.Server(uvicorn.Config(answer, port=0, log_config=None, lifespan="off"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    upstream = server.servers[0].sockets[0].getsockname()[1]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    config = tmp_path / "nginx.conf"
    config.write_text(
        f"daemon off; error_log stderr; pid {tmp_path}/pid; events {{}}\n"
        f"http {{ access_log off; client_body_temp_path {tmp_path}/b; proxy_temp_path {tmp_path}/p;\n"
        f"fastcgi_temp_path {tmp_path}/f; uwsgi_temp_path {tmp_path}/u; scgi_temp_path {tmp_path}/s;\n"
        f"server {{ listen 127.0.0.1:{port}; merge_slashes off;\n"
        f"location / {{ proxy_http_version 1.1; proxy_pass http://127.0.0.1:{upstream}; }} }} }}\n"
    )
    process = await asyncio.create_subprocess_exec(
        nginx, "-e", "stderr", "-c", str(config), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(10):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                except OSError:
                    await asyncio.sleep(0.02)
        yield port
    finally:
        process.terminate()
        await process.wait()
        server.should_exit = True
        await serving


async def test_cutting_behind_nginx(behind_nginx: int) -> None:
    # A client that normalizes paths would hide what is tested: so the request is written by hand.
    for path, expected in TABLE:
        reader, writer = await asyncio.open_connection("127.0.0.1", behind_nginx)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        async with asyncio.timeout(5):
            text = (await reader.read()).decode()
        writer.close()
        body = json.loads(text.partition("\r\n\r\n")[2])
        assert (tuple(body) if body else None) == expected, path
