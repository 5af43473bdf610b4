"""The path to the solver where orders follow one another at once: none leans on what another one leaves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from tests.lego.late_proxy import LateProxy
from tests.lego.pebble import Pebble, free_port
from tests.lego.world import World, ingress

from binderops.errors import SelfCheckError
from binderops.kube.client import Client
from binderops.kube.kinds import ENDPOINT_SLICE, INGRESS, SERVICE, Object
from binderops.lego.challenges import SELECTOR, Challenges
from binderops.lego.settings import Issuer, Settings
from binderops.lego.solver import PREFIX, Solver
from binderops.lego.wanted import Wanted, plan

SECONDS = 20.0


class HeldClient(Client):
    """A client whose removals of Ingresses go on when the test says so."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.removing, self.let_go, self.removed = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.let_go.set()

    async def request(self, method: str, path: str, **options: Any) -> Object:
        if method == "DELETE" and "/ingresses/" in path:
            self.removing.set()
            await self.let_go.wait()
            try:
                return await super().request(method, path, **options)
            finally:
                self.removed.set()
        return await super().request(method, path, **options)


class PrefixOnly(Solver):
    """The solver as it is seen through a proxy that passes on the prefix alone."""

    def answer(self, host: str, path: str) -> str | None:
        return super().answer(host, path) if path.startswith(PREFIX) else None


@dataclass
class Made:
    """Challenges in this process, and a certificate that an Ingress asks for; its host leads straight to the solver."""

    client: HeldClient
    challenges: Challenges
    wanted: Wanted
    owner: Object


@asynccontextmanager
async def making(world: World, solver: Solver, *, self_check_seconds: float = SECONDS) -> AsyncIterator[Made]:
    owner = await world.client.create(ingress("web", world.namespace, ("web-tls", ["a.example.org"])))
    with solver.serving(0, "127.0.0.1") as port:
        settings = Settings(
            issuers={"default": Issuer(server="https://ca", name="default")},
            namespace=world.namespace,
            identity="kube-lego-0",
            port=port,
            self_check_address=f"127.0.0.1:{port}",
            self_check_passes=1,
            self_check_seconds=self_check_seconds,
        )
        wanted = plan([owner], settings)[0][world.namespace, "web-tls"]
        async with HeldClient.from_kubeconfig(world.kubeconfig) as client, asyncio.timeout(2 * SECONDS):
            challenges = Challenges(client, settings, solver)
            yield Made(client, challenges, wanted, owner)
            await challenges.close()


@pytest.mark.parametrize("late", [LateProxy.late_with_everything, LateProxy.late_with_services])
async def test_the_path_of_the_order_before_proves_nothing(
    world: World, new_pebble: Callable[..., Pebble], late: Callable[[LateProxy], Any]
) -> None:
    proxy = LateProxy(world.client, world.namespace, free_port())
    solver, world.port = world.port, proxy.port  # where the CA comes to
    new_pebble(AUTHZREUSE="0")
    world.port, world.solver_address, world.self_check_port = solver, "127.0.0.1", proxy.port
    async with proxy.serving():
        world.start()
        await world.client.create(ingress("web", world.namespace, ("web-tls", ["a.example.org"])))
        first = await world.issued("web-tls")
        await late(proxy)
        await world.annotate_secret("web-tls", RENEW_AT="2000-01-01T00:00:00Z")
        await world.issued("web-tls", besides=first.leaf.serial_number)
    assert proxy.behind == [], "the proxy was never late"
    assert await world.events("Failed") == []
    for kind in (INGRESS, SERVICE, ENDPOINT_SLICE):
        assert (await world.client.list(kind, world.namespace, labels=SELECTOR)).items == []


async def test_where_a_proxy_in_front_passes_on_the_prefix_alone_the_prefix_is_enough(world: World) -> None:
    async with (
        making(world, PrefixOnly(), self_check_seconds=2) as made,
        made.challenges.path(made.wanted, made.owner),
    ):
        assert len(await world.leftovers()) == 1


async def test_an_order_given_up_twice_leaves_the_path_of_the_next(world: World) -> None:
    async with making(world, Solver()) as made:
        entered = asyncio.Event()

        async def order() -> None:
            async with made.challenges.path(made.wanted, made.owner):
                entered.set()
                await asyncio.Event().wait()

        made.client.let_go.clear()
        first = asyncio.create_task(order())
        await entered.wait()
        first.cancel()
        await made.client.removing.wait()
        first.cancel()  # what is asked for has changed once more
        await asyncio.wait([first])
        entered.clear()
        second = asyncio.create_task(order())
        with contextlib.suppress(TimeoutError):  # it waits for the end of the first; else it is there by then
            await asyncio.wait_for(entered.wait(), 1)
        made.client.let_go.set()
        await made.client.removed.wait()
        await entered.wait()
        assert len(await world.leftovers()) == 1
        second.cancel()
        await asyncio.wait([second])
        assert await world.leftovers() == []


async def test_an_ingress_of_somebody_else_s_is_left_alone(world: World) -> None:
    async with making(world, Solver()) as made:
        async with made.challenges.path(made.wanted, made.owner):
            name = (await world.leftovers())[0]["metadata"]["name"]
        await world.client.create(ingress(name, world.namespace, ("other-tls", ["a.example.org"])))
        with pytest.raises(SelfCheckError) as error:
            async with made.challenges.path(made.wanted, made.owner):
                pytest.fail("a path through somebody else's Ingress")
        assert error.value.reason == "notOurs"
        await world.client.get(INGRESS, name, world.namespace)
