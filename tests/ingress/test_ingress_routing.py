"""Hosts, paths and backends as ingress.md's list has them, through a real nginx."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

PATHS = [
    # path, pathType, request, served
    ("/foo", "Exact", "/foo", True),
    ("/foo", "Exact", "/foo/", False),
    ("/foo", "Exact", "/bar", False),
    ("/foo", "Exact", "/FOO", False),
    ("/foo/", "Exact", "/foo/", True),
    ("/foo/", "Exact", "/foo", False),
    ("/foo", "Prefix", "/foo", True),
    ("/foo", "Prefix", "/foo/", True),
    ("/foo", "Prefix", "/foo/bar", True),
    ("/foo", "Prefix", "/foobar", False),
    ("/foo/", "Prefix", "/foo", True),
    ("/foo/", "Prefix", "/foo/x", True),
    ("/aaa/bb", "Prefix", "/aaa/bbb", False),
    ("/aaa/bbb", "Prefix", "/aaa/bbb/ccc", True),
    ("/", "Prefix", "/anything/at/all", True),
    ("/foo", "ImplementationSpecific", "/foo/x", True),
    ("/foo", "ImplementationSpecific", "/foobar", False),
]


@pytest.mark.parametrize(("path", "kind", "request_path", "served"), PATHS)
async def test_paths(
    front: Any, make: Callable[[str], Any], path: str, kind: str, request_path: str, served: bool
) -> None:
    async with make("echo")("a") as echo:
        ingress = make("ingress")("one", make("rule")("a.example.org", (path, kind, "a")))
        await front.serve([ingress], [make("service")("a", echo.port)])
        assert await front.served_by("a.example.org", request_path) == ("a" if served else 404)


async def test_the_longest_path_wins_and_exact_wins_a_tie_whatever_the_order(front: Any, make: Any) -> None:
    rules = [
        ("/", "Prefix", "root"),
        ("/x", "Prefix", "prefix"),
        ("/x", "Exact", "exact"),
        ("/x/long", "Prefix", "long"),
    ]
    async with AsyncExitStack() as stack:
        names = {service for _, _, service in rules}
        echoes = {name: await stack.enter_async_context(make("echo")(name)) for name in sorted(names)}
        services = [make("service")(name, echo.port) for name, echo in echoes.items()]
        for ordered in (rules, rules[::-1]):
            await front.serve([make("ingress")("one", make("rule")("h.example.org", *ordered))], services)
            seen = [await front.served_by("h.example.org", path) for path in ("/x", "/x/", "/x/y", "/x/long/er", "/z")]
            assert seen == ["exact", "prefix", "prefix", "long", "root"]


async def test_hosts_exact_beats_wildcard_and_a_wildcard_is_one_label(front: Any, make: Any) -> None:
    async with AsyncExitStack() as stack:
        echoes = {name: await stack.enter_async_context(make("echo")(name)) for name in ("exact", "wild", "any")}
        services = [make("service")(name, echo.port) for name, echo in echoes.items()]
        rules = [
            make("rule")("www.example.org", ("/", "Prefix", "exact")),
            make("rule")("*.example.org", ("/", "Prefix", "wild")),
            make("rule")(None, ("/", "Prefix", "any")),
        ]
        await front.serve([make("ingress")("one", *rules)], services)
        table = {
            "www.example.org": "exact",
            "WWW.Example.ORG": "exact",
            "www.example.org:8080": "exact",
            "a.example.org": "wild",
            "a.b.example.org": "any",
            "example.org": "any",
            "other.test": "any",
        }
        assert {host: await front.served_by(host) for host in table} == table


async def test_an_unknown_host_is_404_and_no_endpoints_is_503(front: Any, make: Any) -> None:
    ingress = make("ingress")("one", make("rule")("known.example.org", ("/", "Prefix", "empty")))
    await front.serve([ingress], [make("service")("empty")])
    assert await front.served_by("unknown.example.org") == 404
    assert await front.served_by("known.example.org") == 503


async def test_the_request_reaches_the_backend_unchanged_and_claims_about_the_client_do_not(
    front: Any, make: Any
) -> None:
    async with make("echo")("a") as echo:
        ingress = make("ingress")("one", make("rule")("a.example.org", ("/", "Prefix", "a")))
        await front.serve([ingress], [make("service")("a", echo.port)])
        target = "/v2/git/https%3A%2F%2Fexample.org%2Fr.git/HEAD//x?urlpath=a%2Fb&c=d%20e"
        headers = {"X-Forwarded-For": "6.6.6.6", "X-Real-IP": "6.6.6.6", "X-Forwarded-Proto": "https", "Proxy": "evil"}
        seen = (await front.get("a.example.org:8080", target, headers=headers)).json()
    assert seen["target"] == target
    assert seen["headers"]["host"] == "a.example.org:8080"
    assert seen["headers"]["x-forwarded-for"] == seen["headers"]["x-real-ip"] == "127.0.0.1"
    assert seen["headers"]["x-forwarded-proto"] == "http"
    assert seen["headers"]["x-forwarded-port"] == "8080"
    assert "proxy" not in seen["headers"]


async def test_the_oldest_ingress_wins_a_conflict_and_the_other_is_told(front: Any, make: Any) -> None:
    async with make("echo")("old") as old, make("echo")("new") as new:
        ingresses = [
            make("ingress")("b", make("rule")("h.example.org", ("/", "Prefix", "new")), created="2026-02-01T00:00:00Z"),
            make("ingress")("a", make("rule")("h.example.org", ("/", "Prefix", "old")), created="2026-01-01T00:00:00Z"),
        ]
        routing = await front.serve(ingresses, [make("service")("old", old.port), make("service")("new", new.port)])
        assert await front.served_by("h.example.org") == "old"
    assert [(found.ingress, found.reason) for found in routing.complaints] == [(("test", "b"), "Conflict")]


async def test_websocket_and_event_stream_live_through_a_reload(front: Any, make: Any) -> None:
    async with make("echo")("a") as echo:
        services = [make("service")("a", echo.port)]
        await front.serve([make("ingress")("one", make("rule")("a.example.org", ("/", "Prefix", "a")))], services)
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(
            b"GET /socket HTTP/1.1\r\nHost: a.example.org\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
        )
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
            url, headers = f"http://127.0.0.1:{front.port}/stream", {"host": "a.example.org"}
            async with client.stream("GET", url, headers=headers) as stream:
                lines = stream.aiter_lines()
                assert await anext(lines) == "data: 0"
                more = make("rule")("b.example.org", ("/", "Prefix", "a"))
                await front.serve(
                    [make("ingress")("one", make("rule")("a.example.org", ("/", "Prefix", "a")), more)], services
                )
                assert await front.served_by("b.example.org") == "a"
                for message in (b"one", b"two"):
                    writer.write(message)
                    assert await asyncio.wait_for(reader.readexactly(3), 5) == message
                seen = [line async for line in _first(lines, 10)]
        assert [line for line in seen if line][-1].startswith("data: ")
        assert front.proxy.reloads == 1
        writer.close()


async def _first(lines: Any, count: int) -> Any:
    for _ in range(count):
        yield await anext(lines)


async def test_classes(front: Any, make: Any) -> None:
    async with make("echo")("a") as echo:
        rule = make("rule")
        ingresses = [
            make("ingress")("mine", rule("mine.test", ("/", "Prefix", "a")), ingressClassName="nginx"),
            make("ingress")(
                "old", rule("old.test", ("/", "Prefix", "a")), annotations={"kubernetes.io/ingress.class": "nginx"}
            ),
            make("ingress")("none", rule("none.test", ("/", "Prefix", "a"))),
            make("ingress")("other", rule("other.test", ("/", "Prefix", "a")), ingressClassName="traefik"),
        ]
        await front.serve(ingresses, [make("service")("a", echo.port)])
        table = {"mine.test": "a", "old.test": "a", "none.test": "a", "other.test": 404}
        assert {host: await front.served_by(host) for host in table} == table
        default = {"ingressclass.kubernetes.io/is-default-class": "true"}
        foreign = {"metadata": {"name": "traefik", "annotations": default}, "spec": {"controller": "traefik.io/x"}}
        await front.serve(ingresses, [make("service")("a", echo.port)], classes=[foreign])
        assert await front.served_by("none.test") == 404
