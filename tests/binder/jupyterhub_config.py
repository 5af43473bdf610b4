"""A small real hub: no login, no proxy, and servers that are one HTTP handler inside the hub's own process."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from jupyterhub.proxy import Proxy
from jupyterhub.spawner import Spawner
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from binderops.errors import SpawnError

c: Any = get_config()  # type: ignore[name-defined]  # noqa: F821


class Page(RequestHandler):
    def get(self) -> None:
        self.write("a server")


class InProcessSpawner(Spawner):  # type: ignore[misc]
    """Images named `broken` do not start; `ended-N` end by themselves with the exit code N."""

    server_socket: HTTPServer | None = None

    async def start(self) -> tuple[str, int]:
        if not self.user_options.get("token"):
            raise RuntimeError("token required")
        if "broken" in self.user_options["image"]:
            raise RuntimeError("it ended at once")
        if "ended-" in self.user_options["image"]:
            code = self.user_options["image"].rpartition("-")[2]
            why = f"container notebook: Error, exit code {code}"
            raise SpawnError("the server ended before it answered", where=f"pod {self.user.name}", why=why)
        await asyncio.sleep(0.05)
        sockets = bind_sockets(0, "127.0.0.1")
        self.server_socket = HTTPServer(Application([(r"/.*", Page)]))
        self.server_socket.add_sockets(sockets)
        return "127.0.0.1", sockets[0].getsockname()[1]

    async def stop(self, now: bool = False) -> None:
        if self.server_socket:
            self.server_socket.stop()
            self.server_socket = None

    async def poll(self) -> int | None:
        return None if self.server_socket else 0


class NoProxy(Proxy):  # type: ignore[misc]
    """Remembers routes."""

    should_start = False
    routes: dict[str, Any] = {}  # noqa: RUF012

    async def add_route(self, routespec: str, target: str, data: Any) -> None:
        self.routes[routespec] = {"routespec": routespec, "target": target, "data": data}

    async def delete_route(self, routespec: str) -> None:
        self.routes.pop(routespec, None)

    async def get_all_routes(self) -> dict[str, Any]:
        return self.routes


c.JupyterHub.authenticator_class = "null"
c.JupyterHub.spawner_class = InProcessSpawner
c.JupyterHub.proxy_class = NoProxy
c.JupyterHub.db_url = "sqlite:///:memory:"
c.JupyterHub.bind_url = os.environ["TEST_HUB_URL"]
c.JupyterHub.hub_bind_url = os.environ["TEST_HUB_URL"]
c.JupyterHub.services = [{"name": "binder", "api_token": os.environ["TEST_HUB_TOKEN"]}]
c.JupyterHub.load_roles = [{"name": "binder", "services": ["binder"], "scopes": ["servers", "admin:users"]}]
c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 0}
c.JupyterHub.cleanup_servers = False
