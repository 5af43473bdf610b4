"""The hub's proxy keeps its routes in memory: after a crash of it they are given back within seconds, not a minute."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import ClientResponseError
from jupyterhub.proxy import ConfigurableHTTPProxy
from traitlets import Float


class RouteKeepingProxy(ConfigurableHTTPProxy):  # type: ignore[misc]
    """Asks for one user's route now and then; where it is gone the proxy is a new one, and gets all of them.

    JupyterHub itself compares routes with each update of activities only (last_activity_interval).
    """

    route_check_seconds = Float(2.0, config=True, help="Seconds between two looks for one route; a GET of a few bytes.")
    _keeper: asyncio.Task[None] | None = None

    async def check_routes(self, user_dict: Any, service_dict: Any, routes: Any = None) -> None:
        """As JupyterHub's; the first call, at its start, begins the looking."""
        await super().check_routes(user_dict, service_dict, routes)
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep(user_dict, service_dict))

    async def _keep(self, users: Any, services: Any) -> None:
        while True:
            await asyncio.sleep(self.route_check_seconds)
            try:
                if await self._is_new(users):
                    self.log.warning("The proxy lost its routes: giving them back")
                    await super().check_routes(users, services)
            except Exception as error:  # the hub must not stop looking, whatever the proxy answers
                self.log.warning("The proxy's routes could not be looked at: %s", error)

    async def _is_new(self, users: Any) -> bool:
        spec = next(
            (spawner.proxy_spec for user in users.values() for spawner in user.spawners.values() if spawner.ready), None
        )
        if spec is None:
            return False
        try:
            await self.api_request(self._routespec_to_chp_path(spec))
        except ClientResponseError as error:
            return bool(error.status == 404)
        return False
