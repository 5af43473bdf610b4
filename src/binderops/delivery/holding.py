"""One command at a time changes a release: who does holds a Lease beside it, for as long as it is at work.

Helm's own lock is a status that stays when its holder dies. This one ends with its holder: at once where the holder's
process was this machine's, else when its Lease was not renewed for as long as it says.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from binderops.delivery.holder import Holder
from binderops.delivery.progress import Step
from binderops.errors import AlreadyExistsError, ConflictError, DeliveryError, KubernetesError, NotFoundError
from binderops.kube.client import Client
from binderops.kube.kinds import LEASE, Object

LEASE_SECONDS = 40
_RENEW_SECONDS = 5.0
_LOST_SECONDS = 30.0  # without a renewal, after which this command ends: before another may take the Lease
_LOOK_AGAIN_SECONDS = 0.5
_RELEASE_SECONDS = 5.0
_WORK = "binderops.dev/work"


@dataclass(frozen=True)
class Work:
    """What a holder let Helm begin: a revision, and until when (UTC; None: it is the present holder) it was there."""

    revision: int
    until: datetime | None = None


@dataclass
class Hold:
    """A Lease that is held; `left` is the work of a holder before that is not known to have ended."""

    client: Client
    lease: Object
    me: Holder
    left: Work | None
    _writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def begin(self, revision: int) -> None:
        """Notes what Helm is about to be told, so that whoever comes after a sudden end knows whose it was."""
        await self._write(lambda lease: _annotate(lease, Work(revision)))

    async def done(self) -> None:
        """Helm has ended, and left nothing."""
        await self._write(lambda lease: _annotate(lease, None))

    async def keep(self, scope: asyncio.Timeout) -> None:
        """Renews until it is cancelled; `scope` ends the work once the Lease is another's, or cannot be renewed."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            try:
                await self._write(_renew)
            except DeliveryError:
                scope.reschedule(loop.time())
                return
            except KubernetesError:
                continue
            scope.reschedule(loop.time() + _LOST_SECONDS)

    async def release(self) -> None:
        """Gives it up; whatever hinders that, it ends by itself."""
        with contextlib.suppress(KubernetesError, DeliveryError, TimeoutError):
            async with asyncio.timeout(_RELEASE_SECONDS):
                await self._write(_give_up)

    async def _write(self, change: Callable[[Object], None]) -> None:
        async with self._writing:
            while True:
                change(self.lease)
                try:
                    self.lease = await self.client.replace(self.lease)
                    return
                except ConflictError:
                    found = await self.client.get(LEASE, _name(self.lease), _namespace(self.lease))
                if found["spec"].get("holderIdentity") != self.me.text:
                    raise _lost(found)
                self.lease = found


@asynccontextmanager
async def held(
    client: Client, namespace: str, release: str, *, timeout: float, step: Step, make_namespace: bool = False
) -> AsyncIterator[Hold]:
    """Holds a release; waits (seconds, `timeout`) for whoever does, and says who that is.

    Raises DeliveryError where the other does not end, or where the hold is lost; NotFoundError where there is no such
    namespace and none is to be made.
    """
    me = Holder.mine()
    hold = await _acquire(client, namespace, release, me, timeout=timeout, step=step, make_namespace=make_namespace)
    scope = asyncio.timeout(_LOST_SECONDS)
    try:
        async with scope:
            keeper = asyncio.create_task(hold.keep(scope))
            try:
                yield hold
            finally:
                keeper.cancel()
                await asyncio.gather(keeper, return_exceptions=True)
    except TimeoutError:
        if not scope.expired():
            raise
        raise _lost(hold.lease) from None
    finally:
        await hold.release()


async def forget(client: Client, namespace: str, release: str) -> None:
    """Removes the Lease of a release that is gone."""
    with contextlib.suppress(NotFoundError):
        await client.delete(LEASE, lease_name(release), namespace)


def lease_name(release: str) -> str:
    """The Lease's name."""
    return f"binderops-{release}"


async def _acquire(
    client: Client, namespace: str, release: str, me: Holder, *, timeout: float, step: Step, make_namespace: bool
) -> Hold:
    name, deadline = lease_name(release), time.monotonic() + timeout
    seen, since = None, time.monotonic()
    while True:
        try:
            found = await client.get(LEASE, name, namespace)
        except NotFoundError:
            if lease := await _create(client, namespace, name, me, make_namespace=make_namespace):
                return Hold(client, lease, me, None)
            continue
        spec = found.setdefault("spec", {})
        holder = Holder.parse(str(spec.get("holderIdentity") or ""))
        # Another's clock says nothing here: what counts is that a Lease stays as it is for as long as it may.
        if seen != (seen := (spec.get("holderIdentity"), spec.get("renewTime"))):
            since = time.monotonic()
        lasting = time.monotonic() - since <= float(spec.get("leaseDurationSeconds") or LEASE_SECONDS)
        if holder is None or holder.has_ended() or not lasting:
            if hold := await _take(client, found, me):
                return hold
            continue
        if time.monotonic() > deadline:
            raise DeliveryError(
                f"another command is at work on release {release}: {holder.words}",
                where=f"Lease {name} in namespace {namespace}",
                why=f"it did not end within {timeout:.0f} s",
                hint="wait for it, or stop it; it holds the release no longer than it runs",
            )
        step.say(f"waiting for another command that is at work on {release}: {holder.words}")
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)


async def _create(client: Client, namespace: str, name: str, me: Holder, *, make_namespace: bool) -> Object | None:
    """The Lease, made; None where it is to be looked for again."""
    lease: Object = {
        "apiVersion": LEASE.api_version,
        "kind": LEASE.kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {},
    }
    _hand_to(lease, me)
    try:
        return await client.create(lease)
    except AlreadyExistsError:
        return None
    except NotFoundError:
        if not make_namespace:
            raise
    with contextlib.suppress(AlreadyExistsError):
        await client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    return None


async def _take(client: Client, found: Object, me: Holder) -> Hold | None:
    left = _left(found)
    _annotate(found, left)
    _hand_to(found, me)
    try:
        return Hold(client, await client.replace(found), me, left)
    except (ConflictError, NotFoundError):
        return None


def _left(lease: Object) -> Work | None:
    """What the holder before left undone, with the last time that it was seen."""
    try:
        noted = json.loads(lease["metadata"]["annotations"][_WORK])
        until = noted.get("until") or lease["spec"]["renewTime"]
        return Work(int(noted["revision"]), datetime.fromisoformat(until))
    except (KeyError, ValueError, TypeError, AttributeError):
        return None


def _annotate(lease: Object, work: Work | None) -> None:
    annotations: dict[str, Any] = lease["metadata"].setdefault("annotations", {})
    annotations.pop(_WORK, None)
    if work is not None:
        until = {"until": work.until.isoformat()} if work.until else {}
        annotations[_WORK] = json.dumps({"revision": work.revision, **until})


def _hand_to(lease: Object, me: Holder) -> None:
    transitions = int(lease["spec"].get("leaseTransitions") or 0)
    lease["spec"] |= {
        "holderIdentity": me.text,
        "leaseDurationSeconds": LEASE_SECONDS,
        "acquireTime": _now(),
        "leaseTransitions": transitions + 1,
    }
    _renew(lease)


def _renew(lease: Object) -> None:
    lease["spec"]["renewTime"] = _now()


def _give_up(lease: Object) -> None:
    _renew(lease)
    lease["spec"].pop("holderIdentity", None)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _lost(lease: Object) -> DeliveryError:
    return DeliveryError(
        "this command no longer holds the release",
        where=f"Lease {_name(lease)} in namespace {_namespace(lease)}",
        why=f"it could not be renewed for {_LOST_SECONDS:.0f} s, or somebody took it",
        hint="is the Kubernetes API in reach? Run the command again: it goes on from here",
    )


def _name(lease: Object) -> str:
    return str(lease["metadata"]["name"])


def _namespace(lease: Object) -> str:
    return str(lease["metadata"]["namespace"])
