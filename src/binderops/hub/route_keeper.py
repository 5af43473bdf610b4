"""What only the proxy knows while the hub is away, and only the hub while the proxy is: activities, and routes.

The proxy keeps its routes in memory: after a crash of it they are given back within seconds, not a minute. The hub asks
the proxy once a minute who was active, and its culler looks at what it knew before it went: after ten minutes without a
hub (or some crashes, each within a minute) all servers would be culled at its return, also those that people work on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from aiohttp import ClientResponseError
from jupyterhub import orm
from jupyterhub.proxy import ConfigurableHTTPProxy
from jupyterhub.utils import utcnow
from traitlets import Float

from binderops.memory import give_back

GIVE_BACK_SECONDS = 60.0
"""Between two looks at the hub's memory: a whole collection keeps its users waiting for a moment."""


class RouteKeepingProxy(ConfigurableHTTPProxy):  # type: ignore[misc]
    """Asks for one user's route now and then; where it is gone the proxy is a new one, and gets all of them.

    JupyterHub itself compares routes with each update of activities only (last_activity_interval), and first updates
    these when it has run for so long.
    """

    route_check_seconds = Float(2.0, config=True, help="Seconds between two looks for one route; a GET of a few bytes.")
    _keeper: asyncio.Task[None] | None = None
    _shrinking: asyncio.Task[None] | None = None
    _was_asked = False

    async def get_all_routes(self) -> dict[str, Any]:
        """As JupyterHub's. It first asks before it listens and starts its services, the culler being one of them."""
        routes: dict[str, Any] = await super().get_all_routes()
        if not self._was_asked:
            self._was_asked = True
            take_activities(self.db, routes)
        return routes

    async def check_routes(self, user_dict: Any, service_dict: Any, routes: Any = None) -> None:
        """As JupyterHub's; the first call, at its start, begins the looking, and what keeps the process small."""
        await super().check_routes(user_dict, service_dict, routes)
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep(user_dict, service_dict))
            # Here, since nothing else of ours is called by the hub at its start.
            self._shrinking = asyncio.create_task(give_back(every=GIVE_BACK_SECONDS), name="memory")

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


def take_activities(database: Any, routes: Mapping[str, Any]) -> None:
    """Note when each server was last active by the proxy's `routes`; one without a route nobody could reach: as now.

    `database` is JupyterHub's ORM session. Moments there are UTC without saying so.
    """
    told = {
        (route["data"].get("user"), route["data"].get("server_name")): route["data"].get("last_activity")
        for route in routes.values()
    }
    for server in database.query(orm.Spawner).filter(orm.Spawner.server_id.is_not(None)):
        moment = told.get((server.user.name, server.name))
        seen = _without_zone(moment) if moment else utcnow(with_tz=False)
        for each in (server, server.user):
            each.last_activity = max(each.last_activity or seen, seen)
    database.commit()


def _without_zone(moment: str) -> datetime:
    return datetime.fromisoformat(moment).astimezone(UTC).replace(tzinfo=None)
