"""A proxy that was started anew gets its users' routes back by itself; a hub learns from it who was active."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import ClientResponseError, RequestInfo
from jupyterhub import orm
from jupyterhub.utils import utcnow
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from binderops.hub.route_keeper import RouteKeepingProxy, take_activities


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
    assert proxy._keeper is not None and proxy._shrinking is not None
    await asyncio.sleep(0.1)
    proxy._keeper.cancel()
    proxy._shrinking.cancel()
    assert (len(calls) > 1) is compared
    assert (proxy.asked > 1) is ready


def session() -> Any:
    """JupyterHub's database, in memory."""
    return orm.new_session_factory("sqlite:///:memory:")()


def test_a_hub_that_returns_knows_who_was_active_meanwhile() -> None:
    """Before its culler looks: it was away for an hour, and `busy` has worked on."""
    database, now = session(), utcnow(with_tz=False)
    before = now - timedelta(hours=1)
    for name in ("busy", "idle", "unreachable", "ahead", "stopped"):
        user = orm.User(name=name, last_activity=before)
        server = orm.Spawner(user=user, name="", last_activity=before)
        if name != "stopped":
            server.server = orm.Server()
        database.add_all([user, server])
    database.query(orm.User).filter_by(name="ahead").one().last_activity = now
    database.commit()
    half_an_hour = timedelta(minutes=30)
    seen = {"busy": now - timedelta(seconds=5), "idle": now - half_an_hour, "ahead": now - half_an_hour}
    routes = {
        f"/user/{name}/": {"data": {"user": name, "server_name": "", "last_activity": f"{moment.isoformat()}Z"}}
        for name, moment in seen.items()
    }
    routes["/"] = {"data": {}}  # the hub's own
    take_activities(database, routes)
    database.expire_all()
    found = {each.user.name: each.last_activity for each in database.query(orm.Spawner)}
    assert found.pop("unreachable") >= now
    assert found == seen | {"stopped": before}
    users = {user.name: user.last_activity for user in database.query(orm.User)}
    assert users["busy"] == seen["busy"] and users["idle"] == seen["idle"]
    assert users["ahead"] == now, "nobody's activity goes back"
    assert users["stopped"] == before


async def test_it_asks_the_proxy_at_its_first_look_only(monkeypatch: pytest.MonkeyPatch) -> None:
    database = session()
    user = orm.User(name="one", last_activity=utcnow(with_tz=False) - timedelta(hours=1))
    database.add_all([user, orm.Spawner(user=user, name="", server=orm.Server())])
    database.commit()

    async def get_all_routes(self: Any) -> dict[str, Any]:
        return {}

    monkeypatch.setattr("jupyterhub.proxy.ConfigurableHTTPProxy.get_all_routes", get_all_routes)
    proxy = Proxy(auth_token="t", db_factory=lambda: database)
    await proxy.get_all_routes()
    first = user.last_activity
    assert utcnow(with_tz=False) - first < timedelta(minutes=1)
    await proxy.get_all_routes()
    assert user.last_activity == first
