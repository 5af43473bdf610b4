"""A proxy that was started anew gets its users' routes back by itself."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import ClientResponseError, RequestInfo
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from binderops.hub.route_keeper import RouteKeepingProxy


class Proxy(RouteKeepingProxy):
    """Its API is a dictionary; what is compared is counted."""

    def answer(self, table: set[str]) -> None:
        self.table = table
        self.asked = 0

    async def api_request(self, path: str, method: str = "GET", body: Any = None) -> Any:
        self.asked += 1
        if path not in self.table:
            url = URL("http://proxy/")
            info = RequestInfo(url, method, CIMultiDictProxy(CIMultiDict()), url)
            raise ClientResponseError(info, (), status=404)
        return None


def users(*, ready: bool) -> dict[int, Any]:
    spawner = SimpleNamespace(ready=ready, proxy_spec="/user/one/")
    return {1: SimpleNamespace(spawners={"": spawner})}


@pytest.mark.parametrize(
    ("table", "ready", "compared"),
    [({"/user/one", "/user/one/"}, True, False), (set(), True, True), (set(), False, False)],
)
async def test_routes_are_given_back_to_a_new_proxy_only(
    monkeypatch: pytest.MonkeyPatch, table: set[str], ready: bool, compared: bool
) -> None:
    calls: list[Any] = []

    async def check_routes(self: Any, users: Any, services: Any, routes: Any = None) -> None:
        calls.append(users)

    monkeypatch.setattr("jupyterhub.proxy.ConfigurableHTTPProxy.check_routes", check_routes)
    proxy = Proxy(auth_token="t", route_check_seconds=0.01)
    proxy.answer(table)
    found = users(ready=ready)
    await proxy.check_routes(found, {})
    assert proxy._keeper is not None
    await asyncio.sleep(0.1)
    proxy._keeper.cancel()
    assert (len(calls) > 1) is compared
    assert (proxy.asked > 1) is ready
