"""The loop: what Ingresses ask for, a step for each certificate that is due, and what there is to tell."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import structlog

from binderops.kube import certificates as names
from binderops.kube.client import Client
from binderops.kube.events import EventRecorder
from binderops.kube.informer import Informer
from binderops.kube.kinds import INGRESS, SECRET, Object
from binderops.kube.objects import Key, annotations_of, key_of
from binderops.lego import metrics
from binderops.lego.accounts import Accounts
from binderops.lego.challenges import Challenges
from binderops.lego.leader import Leader
from binderops.lego.ordering import Ordering
from binderops.lego.orders import Orders
from binderops.lego.settings import Settings
from binderops.lego.solver import Solver
from binderops.lego.targets import Targets
from binderops.lego.wanted import Complaint, Wanted, plan
from binderops.lego.work import Work

log = structlog.get_logger(__name__)

_SETTLE = 0.05  # seconds: Ingresses come in groups
_LONGEST_SLEEP = 60.0  # seconds: a clock that was set is noticed
_OURS = f"{names.MANAGED_BY}={names.KUBE_LEGO},{names.COMPONENT}=certificate"


async def run(client: Client, settings: Settings) -> None:
    """Serve challenges, and look after certificates while this replica leads; until cancelled."""
    solver = Solver()
    leader = Leader(client, namespace=settings.namespace, identity=settings.identity, seconds=settings.lease_seconds)

    async def work() -> None:
        metrics.LEADING.set(1)
        try:
            await Controller(client, settings, solver).run()
        finally:
            metrics.LEADING.set(0)

    with solver.serving(settings.port):
        try:
            await leader.run(work)
        finally:
            await asyncio.shield(leader.release())


class Controller:
    """One leader's work."""

    def __init__(self, client: Client, settings: Settings, solver: Solver) -> None:
        self._settings = settings
        self._events = EventRecorder(client, "kube-lego")
        self._accounts = Accounts(client, settings)
        self._challenges = Challenges(client, settings, solver)
        self._orders = Orders(client)
        ordering = Ordering(self._accounts, self._orders, self._challenges)
        targets = Targets(client, namespace=settings.namespace)
        self._work = Work(targets, ordering, self._accounts, self._events)
        self._ingresses = Informer(client, INGRESS, namespace=settings.watch_namespace)
        self._secrets = Informer(client, SECRET, namespace=settings.watch_namespace, labels=_OURS)
        self._changed = asyncio.Event()
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._wanted: dict[Key, Wanted] = {}
        self._due: dict[Key, datetime] = {}
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._told: set[Complaint] = set()

    async def run(self) -> None:
        """Until cancelled."""
        async with AsyncExitStack() as stack:
            stack.callback(self._accounts.close)
            stack.push_async_callback(self._challenges.close)
            stack.push_async_callback(self._stop)
            await self._challenges.sweep()
            await self._orders.sweep(self._settings.watch_namespace)
            self._ingresses.subscribe(self._ingress_changed)
            self._secrets.subscribe(self._secret_changed)
            for informer in (self._ingresses, self._secrets):
                stack.callback(asyncio.create_task(informer.run()).cancel)
            await asyncio.gather(self._ingresses.synced.wait(), self._secrets.synced.wait())
            while True:
                await self._look()
                await self._next()

    async def _look(self) -> None:
        """Plan, and start a step for each certificate that is due."""
        wanted, complaints = plan(self._ingresses.objects.values(), self._settings)
        for key in self._wanted.keys() - wanted.keys():
            self._drop(key)
        now = datetime.now(UTC)
        for key, each in wanted.items():
            if self._wanted.get(key) != each:
                self._due[key] = now
                if key in self._tasks and self._wanted[key].specification != each.specification:
                    self._tasks[key].cancel()  # what is being ordered is not what is asked for now
        self._wanted = wanted
        for key, at in list(self._due.items()):
            if at <= now and key not in self._tasks:
                del self._due[key]
                self._tasks[key] = asyncio.create_task(self._step(key))
        await self._complain(complaints)

    async def _step(self, key: Key) -> None:
        again = datetime.now(UTC) + timedelta(seconds=10)  # should the step end by a mistake of ours
        try:
            wanted = self._wanted[key]
            ingress = self._ingresses.objects.get((wanted.namespace, wanted.ingress))
            if ingress is not None:
                described = {"apiVersion": INGRESS.api_version, "kind": INGRESS.kind, **ingress}
                async with self._slots:
                    again = await self._work.step(wanted, described)
        except asyncio.CancelledError:
            again = datetime.now(UTC)
            raise
        except Exception:  # one certificate's surprise must not stop the others
            log.exception("a step failed", secret="/".join(key))
        finally:
            self._tasks.pop(key, None)
            if key in self._wanted:
                self._due[key] = min(again, self._due.get(key, again))
            self._changed.set()

    async def _next(self) -> None:
        """Wait for a change, or for the next certificate that is due."""
        waiting = [at for key, at in self._due.items() if key not in self._tasks]
        seconds = (min(waiting) - datetime.now(UTC)).total_seconds() if waiting else _LONGEST_SLEEP
        try:
            async with asyncio.timeout(min(max(seconds, 0), _LONGEST_SLEEP)):
                await self._changed.wait()
                await asyncio.sleep(_SETTLE)
        except TimeoutError:
            return
        finally:
            self._changed.clear()

    def _drop(self, key: Key) -> None:
        """Asked for no longer: the Secret stays, nobody renews it."""
        self._due.pop(key, None)
        if key in self._tasks:
            self._tasks[key].cancel()
        self._work.forget(key)
        log.info("asked for no longer", secret="/".join(key))

    async def _complain(self, complaints: list[Complaint]) -> None:
        for complaint in dict.fromkeys(complaints):
            ingress = self._ingresses.objects.get(complaint.ingress)
            if complaint not in self._told and ingress is not None:
                described = {"apiVersion": INGRESS.api_version, "kind": INGRESS.kind, **ingress}
                await self._events.event(described, complaint.reason, complaint.message, "Warning")
        self._told = set(complaints)

    async def _stop(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ingress_changed(self, *_: object) -> None:
        self._changed.set()

    def _secret_changed(self, event: str, new: Object, old: Object | None) -> None:
        """Somebody changed, made or removed a Secret of ours, or asked for something by its annotations."""
        # What is removed is told as it was last.
        is_same = old is not None and old.get("data") == new.get("data") and _request(old) == _request(new)
        if event == "DELETED" or not is_same:
            key = key_of(new)
            if key in self._wanted:
                self._due[key] = datetime.now(UTC)
                self._changed.set()


def _request(secret: Object) -> tuple[str | None, ...]:
    """What an operator may write: to revoke, to renew now, to ask the CA now, to try again now."""
    annotations = annotations_of(secret)
    return tuple(annotations.get(each) for each in (names.REVOKE, names.RENEW_AT, names.ARI_NEXT, names.NEXT_ATTEMPT))
