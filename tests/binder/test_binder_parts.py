"""The small parts that the big tests only pass through."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.requests import Request

from binderops.binder.builds.manifest import BuildRequest
from binderops.binder.builds.running import RunningBuild
from binderops.binder.events import Event, SharedEvent, event, frame
from binderops.binder.health import CachedCheck
from binderops.binder.peers import Peers
from binderops.binder.ratelimit import RateLimit
from binderops.binder.sharing import Sharing
from binderops.binder.tokens import PageTokens, same
from binderops.binder.values import TrustedProxies
from binderops.binder.web import visitors
from binderops.binder.web.event_stream import EventStream
from binderops.errors import ValuesError
from binderops.kube.client import Client

PEERS = Peers(
    TrustedProxies.model_validate({"cidrs": ["10.0.0.1/32", "fd00::1/128"]}),
    cast(Client, None),  # without labels no pods are asked for
    namespace="ns",
    release="r",
)


async def test_a_stream_is_kept_alive_and_closes_what_it_reads() -> None:
    go_on, closed = asyncio.Event(), asyncio.Event()

    async def events() -> AsyncGenerator[Event, None]:
        try:
            yield event("waiting", "a")
            await go_on.wait()
            yield event("ready", "b")
        finally:
            closed.set()

    found: list[bytes] = []

    async def send(message: Any) -> None:
        found.append(message.get("body"))
        if found.count(b":keepalive\n\n") == 2:
            go_on.set()

    await EventStream(events(), keepalive=0.02)({}, stays, send)
    assert found[1] == b'data: {"phase":"waiting","message":"a\\n"}\n\n'
    assert found[-2:] == [b'data: {"phase":"ready","message":"b\\n"}\n\n', b""]
    assert closed.is_set()


async def test_a_reader_who_leaves_ends_what_is_waited_for() -> None:
    closed, sent = asyncio.Event(), asyncio.Event()

    async def events() -> AsyncGenerator[Event, None]:
        try:
            yield event("waiting", "a")
            await asyncio.Event().wait()
        finally:
            closed.set()

    async def leaves() -> Any:
        await sent.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message.get("body"):
            sent.set()

    async with asyncio.timeout(5):
        await EventStream(events())({}, leaves, send)
    assert closed.is_set()


async def test_being_cancelled_is_not_taken_for_a_reader_who_leaves() -> None:
    async def events() -> AsyncGenerator[Event, None]:
        yield event("waiting", "a")
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        pass

    streaming = asyncio.ensure_future(EventStream(events())({}, stays, send))
    await asyncio.sleep(0)
    streaming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await streaming


async def test_what_breaks_in_a_stream_is_not_hidden() -> None:
    async def events() -> AsyncGenerator[Event, None]:
        yield event("waiting", "a")
        raise RuntimeError("a mistake of ours")

    async def send(message: Any) -> None:
        pass

    with pytest.raises(RuntimeError, match="a mistake of ours"):
        await EventStream(events())({}, stays, send)


async def stays() -> Any:
    """A reader who does not leave."""
    await asyncio.Event().wait()


async def test_what_many_ask_at_once_is_asked_once() -> None:
    asked, answer = [], asyncio.Event()

    async def question() -> str:
        asked.append(1)
        await answer.wait()
        if len(asked) == 2:
            raise ValueError("no answer")
        return "yes"

    sharing = Sharing()
    waiting = [asyncio.create_task(sharing.ask("key", question)) for _ in range(50)]
    await asyncio.sleep(0)
    waiting[0].cancel()  # who asked first leaves: the others wait on
    answer.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError) and found[1:] == ["yes"] * 49
    assert len(asked) == 1
    with pytest.raises(ValueError, match="no answer"):
        await sharing.ask("key", question)  # nothing was kept
    assert await sharing.ask("key", question) == "yes"


def test_an_event_that_many_read_is_encoded_once() -> None:
    item = {"phase": "building", "message": "a\n"}
    shared = SharedEvent(item)
    assert shared == item
    assert frame(shared) is frame(shared)
    assert frame(shared) == frame(item)


def test_a_frame_is_one_line() -> None:
    assert frame({"phase": "x", "message": "a\nb\r\n\u2028"}).count(b"\n") == 2


def test_windows_of_the_rate_limit() -> None:
    now = 1000.0
    limit = RateLimit(limit=2, period=60, clock=lambda: now)
    assert [limit.count("a").remaining for _ in range(3)] == [1, 0, -1]
    assert not limit.count("a").allowed
    assert limit.count("b").allowed
    now = 1061.0
    again = limit.count("a")
    assert (again.allowed, again.remaining, again.reset) == (True, 1, 1121)


def test_an_ipv6_visitor_has_one_limit_for_all_of_its_addresses() -> None:
    limit = RateLimit(limit=1, period=60, clock=lambda: 1000.0)
    assert limit.count("2001:db8:1:2::1").allowed
    assert not limit.count("2001:db8:1:2:ffff::7").allowed
    assert limit.count("2001:db8:1:3::1").allowed, "another subscriber's network"
    assert limit.count("192.0.2.1").allowed
    assert not limit.count("::ffff:192.0.2.1").allowed, "the same host"
    assert limit.count("192.0.2.2").allowed


def test_many_visitors_cost_no_more_each() -> None:
    now = 1000.0
    limit = RateLimit(limit=1, period=1000, clock=lambda: now)
    started, counts = time.perf_counter(), 0
    for number in range(30_000):
        counts += limit.count(f"10.0.{number >> 8}.{number & 255}").allowed
    assert counts == 30_000
    # 20,000 of them came when there were too many to look through at each.
    assert time.perf_counter() - started < 10
    now += 2000
    limit.count("192.0.2.1")
    assert len(limit._windows) < 10, "those whose windows ended are forgotten"


async def test_checks_are_shared_tried_again_and_kept() -> None:
    asked = 0

    async def second_time() -> bool:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise OSError("gone")
        return True

    check = CachedCheck("x", second_time, pause=0.0)
    rows = await asyncio.gather(*(check.result() for _ in range(5)))
    assert rows == [{"service": "x", "ok": True}] * 5
    assert asked == 2

    async def never() -> bool:
        return False

    assert await CachedCheck("y", never, pause=0.0).result() == {"service": "y", "ok": False}


async def test_a_bad_answer_is_kept_for_moments_only() -> None:
    now, well, asked = 1000.0, False, 0

    async def answers() -> bool:
        nonlocal asked
        asked += 1
        return well

    check = CachedCheck("x", answers, pause=0.0, clock=lambda: now)
    rows = await asyncio.gather(*(check.result() for _ in range(5)))
    assert not any(row["ok"] for row in rows)
    assert asked == 3, "many askers share one check, a bad one as well"
    well = True
    now += 0.9
    assert not (await check.result())["ok"]
    now += 0.2
    assert (await check.result())["ok"]
    well = False
    now += 14.9
    assert (await check.result())["ok"], "a good one is kept"
    now += 0.2
    assert not (await check.result())["ok"]


async def test_late_and_slow_watchers() -> None:
    running = RunningBuild(BuildRequest("n", "i", "r", "f"), tail=2)
    for number in range(5):
        running.publish(event("building", str(number)))
    late = running.watch()
    assert [(await anext(late))["message"] for _ in range(2)] == ["3\n", "4\n"]
    slow = asyncio.ensure_future(anext(late))
    await asyncio.sleep(0)
    for number in range(3000):
        running.publish(event("building", f"more {number}"))
    running.finish(True)
    running.finish(False, "only the first counts")
    rest = [await slow, *[item async for item in late]]
    assert 2 <= len(rest) <= 1002
    assert rest[-1]["message"] == "more 2999\n"
    assert (await running.outcome()).built
    assert running.watchers == 0


def request(peer: str, **headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    app = SimpleNamespace(state=SimpleNamespace(binder=SimpleNamespace(peers=PEERS)))
    scope = {"type": "http", "client": (peer, 1), "headers": raw, "scheme": "http", "path": "/", "server": ("x", 1)}
    return Request({**scope, "app": app})


@pytest.mark.parametrize(
    ("peer", "headers", "expected"),
    [
        ("10.0.0.1", {"x_forwarded_for": "6.6.6.6, 203.0.113.9"}, "203.0.113.9"),
        ("10.0.0.1", {"x_real_ip": "203.0.113.9", "x_forwarded_for": "1.2.3.4"}, "203.0.113.9"),
        ("10.0.0.1", {"x_real_ip": "nonsense"}, "10.0.0.1"),
        ("10.0.0.1", {}, "10.0.0.1"),
        ("fd00::1", {"x_real_ip": "2001:db8::1"}, "2001:db8::1"),
        # Who comes by another way than the ingress says nothing about themselves, in a private network or not.
        ("203.0.113.1", {"x_real_ip": "10.0.0.2", "x_forwarded_for": "10.0.0.3"}, "203.0.113.1"),
        ("10.0.0.2", {"x_real_ip": "203.0.113.9"}, "10.0.0.2"),
        ("127.0.0.1", {"x_forwarded_for": "203.0.113.9"}, "127.0.0.1"),
        ("nonsense", {"x_forwarded_for": "203.0.113.9"}, "nonsense"),
    ],
)
def test_whose_address_it_is(peer: str, headers: dict[str, str], expected: str) -> None:
    assert visitors.client_address(request(peer, **headers)) == expected


def test_scheme_and_origin() -> None:
    assert visitors.scheme(request("10.0.0.1", x_forwarded_proto="https")) == "https"
    assert visitors.scheme(request("10.0.0.1", x_scheme="https", x_forwarded_proto="http")) == "https"
    assert visitors.scheme(request("10.0.0.1", x_forwarded_proto="gopher")) == "http"
    assert visitors.scheme(request("10.0.0.2", x_forwarded_proto="https")) == "http"
    assert visitors.origin(request("10.0.0.1", host="a.example:1", origin="https://b.example:2")) == "b.example:2"
    assert visitors.origin(request("10.0.0.1", host="a.example:1")) == "a.example:1"


def test_secrets_are_compared_and_never_empty() -> None:
    assert same("a", "a")
    assert not same("a", "b")
    assert not same("", "")
    assert not same("é", "e")
    with pytest.raises(ValuesError, match="not hexadecimal"):
        PageTokens.from_hex("xyz", seconds=1, check_origin=True)
    one, other = (PageTokens.from_hex("00ff" * 16, seconds=60, check_origin=False) for _ in range(2))
    assert other.is_valid(one.mint("a", "x"), "a", "y")
    assert "00ff" not in repr(one).replace("\\x", "")
