"""All pods of the node: a worker for each, found again after a restart, and what no pod owns is removed."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import structlog

from binderops.errors import BinderOpsError, EngineError, EngineNotFoundError
from binderops.kube.informer import EventType, Informer
from binderops.kube.kinds import Object
from binderops.kube.objects import is_deleting, key_of, name_of, namespace_of, spec_of, uid_of
from binderops.node.pods import cgroups, ending, records, registration, sandbox
from binderops.node.pods.binding import Binder
from binderops.node.pods.cleaning import ImageCleaner
from binderops.node.pods.evicting import Evictor
from binderops.node.pods.identity import owner_of
from binderops.node.pods.kit import Kit
from binderops.node.pods.limits import LimitWatch
from binderops.node.pods.logkeeping import LogKeeper
from binderops.node.pods.records import Record, record_of
from binderops.node.pods.sources import objects_of
from binderops.node.pods.tearing import remove_torn_images
from binderops.node.pods.worker import PodWorker

log = structlog.get_logger(__name__)

COMPARE_SECONDS = 30.0
REFRESH_SECONDS = 60.0
RETRY_SECONDS = 1.0
SETTLE_SECONDS = 5.0


class Manager:
    """Workers by pod uid."""

    def __init__(self, kit: Kit, pods: Informer, binder: Binder) -> None:
        self.missed = asyncio.Event()
        self._kit = kit
        self._pods = pods
        self._binder = binder
        self._workers: dict[str, PodWorker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._adopted: dict[str, list[Record]] = {}
        self._unclear: set[str] = set()
        """Pods of which the engine does not tell all: started, they might run twice. The next comparison asks again."""
        self._stale: set[tuple[str, str, str]] = set()
        self._refresh = asyncio.Event()
        self._renew_all = False
        self._ready = asyncio.Event()
        binder.on_bound = self._take

    def worker(self, namespace: str, name: str) -> PodWorker | None:
        """The worker of a pod, for the kubelet's endpoint."""
        pod = self._pods.get(namespace, name)
        return self._workers.get(uid_of(pod)) if pod is not None else None

    def workers(self) -> list[PodWorker]:
        """All workers now."""
        return list(self._workers.values())

    def pods(self) -> list[Object]:
        """The pods that run here."""
        return [worker.pod for worker in self._workers.values()]

    async def run(self, settled: asyncio.Event) -> None:
        """Adopt what runs, then follow the API; until cancelled. Containers run on when this ends.

        `settled` is set once every pod that was here has its status written: before, the API tells what was true when
        the node last ran.
        """
        await self._pods.synced.wait()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._look_after_disk(settled))
                await self._settle()
                group.create_task(self._binder.run())
                group.create_task(self._compare())
                group.create_task(self._keep_volumes())
                await asyncio.gather(*(worker.told.wait() for worker in self.workers()))
                settled.set()
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _settle(self) -> None:
        """Adopt what runs: asked again until the engine tells of it."""
        while True:
            try:
                await self._adopt()
                break
            except BinderOpsError as error:
                log.warning("what runs here cannot be adopted yet", error=str(error), retry_seconds=RETRY_SECONDS)
                await asyncio.sleep(RETRY_SECONDS)
        await remove_torn_images(self._kit)
        self._pods.subscribe(self._changed)
        self.missed.set()  # what no pod owns is removed beside the pods: the engine may take long over it
        self._ready.set()

    async def _look_after_disk(self, settled: asyncio.Event) -> None:
        """Keep the disk from filling up. Not while pods are found, unless that takes long: it may wait for room."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_SECONDS):
                await settled.wait()
        async with asyncio.TaskGroup() as group:
            group.create_task(Evictor(self._kit, self.workers).run())
            group.create_task(LimitWatch(self._kit, self.workers).run())
            group.create_task(ImageCleaner(self._kit).run())
            group.create_task(LogKeeper(self._kit, self.workers, self._known, adopted=self._ready.is_set).run())

    def ended(self, uid: str, engine_id: str) -> None:
        """The engine says that a container ended."""
        worker = self._workers.get(uid)
        if worker is not None:
            worker.look(engine_id)

    def source_changed(self, event_type: EventType, new: Object, old: Object | None) -> None:
        """A ConfigMap or Secret changed: volumes made from it follow."""
        if event_type == "MODIFIED" or (event_type == "ADDED" and self._ready.is_set()):
            self._stale.add((str(new.get("kind")), namespace_of(new), name_of(new)))
            self._refresh.set()

    async def clock_was_set(self, message: str) -> None:
        """The machine's clock is wrong or was set: say so, and give every pod new tokens at once."""
        log.warning(message)
        await self._kit.recorder.event(registration.node_object(self._kit.config), "ClockChanged", message, "Warning")
        self._kit.tokens.forget_all()
        self._renew_all = True
        self._refresh.set()

    # --- pods ---------------------------------------------------------------------------------------------------------

    def _changed(self, event_type: EventType, pod: Object, old: Object | None) -> None:
        self._binder.poke()
        uid = uid_of(pod)
        worker = self._workers.get(uid)
        if event_type == "DELETED":
            self._unclear.discard(uid)
            if worker is not None:
                worker.gone(pod)
        elif spec_of(pod).get("nodeName") == self._kit.config.name:
            self._take(pod)
        elif is_deleting(pod) and not spec_of(pod).get("nodeName") and worker is None:
            self._start(pod)  # never ran here: nobody else can let the API forget it

    def _take(self, pod: Object) -> None:
        worker = self._workers.get(uid_of(pod))
        if worker is not None:
            worker.update(pod)
        elif uid_of(pod) not in self._unclear:
            self._start(pod)

    def _start(self, pod: Object) -> None:
        uid = uid_of(pod)
        worker = self._workers[uid] = PodWorker(self._kit, pod, self._adopted.pop(uid, ()))
        task = self._tasks[uid] = asyncio.create_task(worker.run(), name=f"pod {'/'.join(key_of(pod))}")
        task.add_done_callback(lambda task: self._ended(uid, task))

    def _ended(self, uid: str, task: asyncio.Task[None]) -> None:
        worker = self._workers.pop(uid, None)
        self._tasks.pop(uid, None)
        self._binder.poke()
        if task.cancelled() or task.exception() is None:
            return
        # A mistake of ours about one pod must not end the others; the next comparison takes the pod up again.
        log.error("a pod's worker failed", exc_info=task.exception(), pod=worker.pod["metadata"] if worker else uid)
        self.missed.set()

    # --- what is there beside the API ---------------------------------------------------------------------------------

    async def _adopt(self) -> None:
        """Find the containers that an earlier process of this node started."""
        self._adopted, self._unclear = await self._find(f"{records.NODE}={self._kit.config.name}")

    async def _find(self, label: str) -> tuple[dict[str, list[Record]], set[str]]:
        """The containers with a label, by pod uid, and the uids of pods of which they are not known.

        What cannot go on is removed. EngineError if the engine does not list them.
        """
        by_pod: dict[str, list[Record]] = defaultdict(list)
        unclear: set[str] = set()
        attached = await self._kit.network.attached()

        async def sift(found: Mapping[str, Any]) -> None:
            uid, names = _pod_of(found), found.get("Names")
            try:
                record = await self._record(found)
            except EngineError as error:
                log.warning("a container is not known yet, and its pod waits", container=names, error=str(error))
                unclear.add(uid)
                return
            # Without the network it ran in (the machine was restarted) even an init container's work is lost.
            if record is not None and record.state != "created" and uid in attached:
                by_pod[uid].append(record)
            elif record is not None and not await self._remove(found) and self._runs(found):
                unclear.add(uid)

        found = await self._kit.podman.containers.list_all(labels=(label,))
        await asyncio.gather(*(sift(entry) for entry in found))
        return dict(by_pod), unclear

    async def _record(self, found: Mapping[str, Any]) -> Record | None:
        """What the engine tells of a container; None for one that is torn and was removed.

        What was made just before a power cut may be half on the disk: such a container can never run again, and must
        not keep those of other pods from being found.
        """
        identity = str(found["Id"])
        try:
            return record_of(await self._kit.podman.containers.inspect(identity))
        except EngineNotFoundError:
            return None
        except EngineError as error:
            if found.get("State") == "running" or ending.silent(error):
                raise
            log.warning("a container is torn and removed", container=found.get("Names"), error=str(error))
            await self._remove(found)
            return None

    async def _remove(self, found: Mapping[str, Any]) -> bool:
        """Remove a container; false if the engine cannot do that now, which is no reason to keep others waiting."""
        try:
            await self._kit.podman.containers.remove(str(found["Id"]), force=True)
            return True
        except EngineError as error:
            log.warning("a container could not be removed yet", container=found.get("Names"), error=str(error))
            return False

    async def _remove_orphans(self) -> None:
        """Remove containers, networks and volumes of pods that the API does not know."""
        await self._end_unknown()
        # Looked at first, and the API's view after it: a pod that begins meanwhile is then known.
        found = await self._kit.podman.containers.list_all(labels=(f"{records.NODE}={self._kit.config.name}",))
        left = set(await self._kit.network.attached()) | self._kit.volumes.known()
        # A monitor that was about to end may make its group once more, after its pod's were removed.
        left |= await asyncio.to_thread(cgroups.left, self._kit.config.name)
        known = self._known()
        orphans = [container for container in found if _pod_of(container) not in known]
        for container in orphans:
            log.info("removing a container that no pod owns", container=container.get("Names"))
        removed = await asyncio.gather(*(self._remove(container) for container in orphans))
        lasting = [container for container, gone in zip(orphans, removed, strict=True) if not gone]
        for uid in left - known - {_pod_of(container) for container in lasting if self._runs(container)}:
            log.info("removing what a pod left behind", uid=uid)
            try:
                await sandbox.remove(self._kit, uid)
            except (BinderOpsError, OSError) as error:
                log.warning("what a pod left could not be removed yet", uid=uid, error=str(error))
        self._adopted = {uid: found for uid, found in self._adopted.items() if uid in known}

    async def _end_unknown(self) -> None:
        """End what the engine has forgotten, before the control groups go in which it is found."""
        try:
            for identity in await self._kit.podman.containers.end_unknown(
                self._kit.config.state / "podman" / "storage"
            ):
                log.warning("what ran of a container that the engine does not know was ended", container=identity)
        except EngineError as error:
            log.warning("what the engine does not know could not be ended", error=str(error))

    def _runs(self, found: Mapping[str, Any]) -> bool:
        return bool(cgroups.processes(self._kit.config.name, _pod_of(found), str(found["Id"])))

    def _known(self) -> set[str]:
        return {uid_of(pod) for pod in self._pods.objects.values()} | set(self._workers)

    async def _compare(self) -> None:
        """Now and then, and after the engine was away, compare everything: no event is believed to be seen."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(COMPARE_SECONDS):
                    await self.missed.wait()
            self.missed.clear()
            try:
                await self._compare_once()
            except BinderOpsError as error:
                log.warning("the engine and the API could not be compared", error=str(error))

    async def _compare_once(self) -> None:
        # Looked at first, and the engine's list after it: what starts meanwhile need not be in the list.
        believed = [
            (worker, unit.view.record.id)
            for worker in self._workers.values()
            for unit in worker.units.values()
            if unit.view.record is not None and unit.view.running
        ]
        found = await self._kit.podman.containers.list_all(labels=(f"{records.NODE}={self._kit.config.name}",))
        running = {str(container["Id"]) for container in found if container.get("State") == "running"}
        for worker, identity in believed:
            if identity not in running:
                worker.look(identity)
        for pod in list(self._pods.objects.values()):
            if spec_of(pod).get("nodeName") == self._kit.config.name and uid_of(pod) not in self._workers:
                await self._adopt_pod(pod)
        await self._remove_orphans()

    async def _adopt_pod(self, pod: Object) -> None:
        uid = uid_of(pod)
        self._unclear.add(uid)  # nobody starts it while the engine is asked
        found, unclear = await self._find(f"{records.POD_UID}={uid}")
        if uid in unclear:
            return
        self._unclear.discard(uid)
        current = self._pods.get(*key_of(pod))
        if current is not None and uid_of(current) == uid:
            self._adopted |= found
            self._take(current)

    # --- volumes that follow the API ----------------------------------------------------------------------------------

    async def _keep_volumes(self) -> None:
        """Write changed ConfigMaps and Secrets into volumes at once; renew tokens (and all else) each minute."""
        while True:
            everything = False
            try:
                async with asyncio.timeout(REFRESH_SECONDS):
                    await self._refresh.wait()
            except TimeoutError:
                everything = True
            self._refresh.clear()
            everything, self._renew_all = everything or self._renew_all, False
            stale, self._stale = self._stale, set()
            for worker in list(self._workers.values()):
                if worker.sandbox is not None and (everything or _uses(worker.pod, stale)):
                    await self._refresh_pod(worker)

    async def _refresh_pod(self, worker: PodWorker) -> None:
        assert worker.sandbox is not None
        pod = worker.pod
        if is_deleting(pod):
            return
        owner = owner_of(pod, self._kit.config.user_namespace)
        try:
            await self._kit.volumes.refresh(pod, owner, self._kit.context(worker.sandbox.address))
        except (BinderOpsError, EngineError, OSError) as error:
            log.warning("a volume could not be brought up to date", pod=key_of(pod), error=str(error))


def _pod_of(found: Mapping[str, Any]) -> str:
    """The uid of a listed container's pod."""
    return str((found.get("Labels") or {}).get(records.POD_UID, ""))


def _uses(pod: Object, changed: set[tuple[str, str, str]]) -> bool:
    volumes = spec_of(pod).get("volumes") or []
    return any((kind, namespace_of(pod), name) in changed for volume in volumes for kind, name in objects_of(volume))
