"""Paths, queries and hostile requests."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binderops.errors import KubernetesError
from binderops.node.api.requests import Query, request_info

READ = [
    ("GET", "/api/v1/pods", "list", "pods", "", "", ""),
    ("GET", "/api/v1/namespaces/n/pods", "list", "pods", "n", "", ""),
    ("GET", "/api/v1/namespaces/n/pods/p", "get", "pods", "n", "p", ""),
    ("GET", "/api/v1/namespaces/n/pods/p/log", "get", "pods", "n", "p", "log"),
    ("POST", "/api/v1/namespaces/n/pods/p/exec", "create", "pods", "n", "p", "exec"),
    ("DELETE", "/api/v1/namespaces/n/pods", "deletecollection", "pods", "n", "", ""),
    ("DELETE", "/api/v1/namespaces/n/pods/p", "delete", "pods", "n", "p", ""),
    ("PATCH", "/apis/apps/v1/namespaces/n/deployments/d/scale", "patch", "deployments", "n", "d", "scale"),
    ("GET", "/api/v1/namespaces", "list", "namespaces", "", "", ""),
    ("GET", "/api/v1/namespaces/n", "get", "namespaces", "n", "n", ""),
    ("PUT", "/api/v1/namespaces/n/finalize", "update", "namespaces", "n", "n", "finalize"),
    ("GET", "/api/v1/namespaces/n/status", "get", "namespaces", "n", "n", "status"),
    ("GET", "/api/v1/nodes/x%3Ay", "get", "nodes", "", "x:y", ""),
    ("GET", "/api/v1/namespaces/n/pods/", "list", "pods", "n", "", ""),
]


@pytest.mark.parametrize(("method", "path", "verb", "plural", "namespace", "name", "subresource"), READ)
def test_paths(method: str, path: str, verb: str, plural: str, namespace: str, name: str, subresource: str) -> None:
    info = request_info(method, path.encode(), Query(b""))
    assert info.target is not None
    target = info.target
    assert (info.verb, target.resource.plural, target.namespace, target.name, target.subresource) == (
        verb,
        plural,
        namespace,
        name,
        subresource,
    )


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/api/v1/widgets", 404),
        ("/apis/apps/v1beta1/deployments", 404),
        ("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", 404),
        ("/api/v1/namespaces/n/pods/p/ephemeralcontainers", 404),
        ("/api/v1/namespaces/n/pods/p/log/more", 404),
        ("/api/v1/namespaces/n/nodes/x", 404),
        ("/api/v1/pods/p", 404),
        ("/api/v1/namespaces/n/pods/..", 400),
        ("/api/v1/namespaces/n/pods/%2e%2e", 400),
        ("/api/v1/namespaces/n/pods/a%2fb", 400),
        ("/api/v1/namespaces/n/pods/a%00", 400),
        ("/api/v1/namespaces/n/pods/%ff", 400),
        ("/api/v1/namespaces//pods/x", 404),
        ("/" + "a" * 70000, 414),
    ],
)
def test_paths_that_name_nothing(path: str, code: int) -> None:
    with pytest.raises(KubernetesError) as caught:
        request_info("GET", path.encode(), Query(b""))
    assert caught.value.code == code


@given(st.binary(max_size=200), st.binary(max_size=100))
def test_any_request_line_is_read_or_refused(path: bytes, query: bytes) -> None:
    try:
        request_info("GET", b"/" + path, Query(query))
    except KubernetesError as error:
        assert 400 <= error.code < 500


async def raw(api: Any, data: bytes) -> bytes:
    """What the server answers to bytes, until it closes."""
    context: ssl.SSLContext = api.running.tls("admin")
    reader, writer = await asyncio.open_connection("127.0.0.1", api.running.port, ssl=context)
    async with asyncio.timeout(10):
        try:
            writer.write(data)
            await writer.drain()
            return await reader.read()
        except (ConnectionError, ssl.SSLError):
            return b""
        finally:
            writer.transport.abort()


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (b"nonsense\r\n\r\n", b"HTTP/1.1 400"),
        (b"GET / HTTP/1.1\r\nx: " + b"a" * 400_000, b""),
        (b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n" + b"a: b\r\n" * 50_000 + b"\r\n", b""),
        (b"GET /api/v1/pods?a=%zz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", b"HTTP/1.1 200"),
        (b"GET /api/v1/pods?limit=%ff HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", b"HTTP/1.1 400"),
        (b"TRACE /api/v1/pods HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", b"HTTP/1.1 405"),
        (b"PUT /api/v1/pods HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", b"HTTP/1.1 405"),
        (
            b"POST /api/v1/namespaces/default/pods HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n"
            b"connection: close\r\n\r\n",
            b"HTTP/1.1 413",
        ),
    ],
)
async def test_hostile_bytes_get_an_answer(api: Any, data: bytes, answer: bytes) -> None:
    assert (await raw(api, data)).startswith(answer)
    assert (await api.session.get("/healthz")).text == "ok"


async def test_a_body_that_is_too_large_is_refused(api: Any, namespace: str) -> None:
    body = b'{"metadata":{"name":"a"},"data":{"x":"' + b"a" * (3 * 1024 * 1024) + b'"}}'
    code, status = await api.ask("POST", f"/api/v1/namespaces/{namespace}/configmaps", body)
    assert (code, status["reason"]) == (413, "RequestEntityTooLarge")


async def test_large_answers_are_compressed_for_who_asks(api: Any, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    await api.create(path, {"metadata": {"name": "big"}, "data": {"x": "a" * 400_000}})
    answer = await api.session.get(f"{path}/big", headers={"accept-encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert len(answer.json()["data"]["x"]) == 400_000
    answer = await api.session.get(f"{path}/big", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in answer.headers
