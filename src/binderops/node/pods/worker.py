"""One pod's life on this node, level-triggered: look at what is, do the next thing that is missing, tell the API.

Nothing here waits for long: what takes time (preparing the sandbox, pulling and starting, killing) runs as a task
beside the loop and wakes it when done, so a deletion or another container's exit is always answered at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine, Iterable
from typing import Any

import structlog

from binderops.errors import BinderOpsError, ConflictError, KubernetesError, NotFoundError
from binderops.kube.kinds import POD, Object
from binderops.kube.objects import (
    is_deleting,
    name_of,
    namespace_of,
    parse_timestamp,
    spec_of,
    status_of,
    timestamp,
    uid_of,
)  # fmt: skip
from binderops.node.pods import ending, ephemeral, sandbox
from binderops.node.pods.admission import unsupported
from binderops.node.pods.containers import Containers, Severity
from binderops.node.pods.kit import Kit
from binderops.node.pods.leaving import give_back
from binderops.node.pods.records import Record, full_name
from binderops.node.pods.restarts import BackOff, restarts_after
from binderops.node.pods.sandbox import Sandbox
from binderops.node.pods.status import PodFacts, View, phase, pod_status, roles_of
from binderops.node.pods.units import Unit, recall

log = structlog.get_logger(__name__)

IDLE_SECONDS = 60.0
RETRY_SECONDS = 1.0
ERROR_SHOWN_SECONDS = 1.0  # that ErrImagePull stands before it becomes ImagePullBackOff: readers should see both
TERMINAL = ("Succeeded", "Failed")


class PodWorker:
    """Runs one pod. `update` gives it the pod's newest form, `look` tells it that a container may have changed."""

    def __init__(self, kit: Kit, pod: Object, records: Iterable[Record] = ()) -> None:
        self.pod = pod
        self.units = {str(c["name"]): Unit(View(c, role)) for c, role in roles_of(pod)}
        self.sandbox: Sandbox | None = None
        self._kit = kit
        self._gone = False
        self._wake = asyncio.Event()
        self._next = IDLE_SECONDS
        self._preparing: asyncio.Task[None] | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._sandbox_trouble = BackOff(initial=0.5, longest=15.0)
        self._sandbox_failed_at = 0.0
        self._failure: tuple[str, str] | None = None
        self._evicted = False
        self.told = asyncio.Event()
        """Set once the API has this pod's status from us, or has the pod no longer."""
        self._published: Object | None = None
        self._retired: str | None = None
        self._start_time = str(status_of(pod).get("startTime") or timestamp())
        # By a clock that nobody sets: a deadline must neither strike nor pass when the machine's is put right.
        self._began = time.monotonic() - max(0.0, time.time() - parse_timestamp(self._start_time).timestamp())
        self._containers = Containers(kit, lambda: self.pod, self._wake.set, self._spawn)
        self._background: set[asyncio.Future[Any]] = set()
        for record in sorted(records, key=lambda record: record.attempt):
            self._adopt(record)
        for key in ("initContainerStatuses", "containerStatuses"):
            for entry in status_of(pod).get(key) or []:
                if (unit := self.units.get(str(entry.get("name")))) is not None:
                    recall(unit, pod, entry)

    def update(self, pod: Object) -> None:
        """The pod as the API has it now."""
        self.pod = pod
        self._wake.set()

    def gone(self, pod: Object) -> None:
        """The API has the pod no longer (force deletion): end it."""
        self.pod, self._gone = pod, True
        self._wake.set()

    @property
    def runs(self) -> bool:
        """Whether the pod has something that can still be ended."""
        return (
            self._failure is None and self._retired is None and any(unit.view.running for unit in self.units.values())
        )

    def evict(self, message: str) -> None:
        """End the pod at once, for what it takes from the machine; its status and an Event say why."""
        if not self.runs:
            return
        log.warning("a pod is evicted", pod=full_name(self.pod), why=message.strip())
        self._failure, self._evicted = (ephemeral.REASON, message), True
        self._event(ephemeral.REASON, message, "Warning")
        self._wake.set()

    def look(self, engine_id: str) -> None:
        """A container of this pod may have ended."""
        for unit in self.units.values():
            record = unit.view.record
            if record is not None and record.id == engine_id and record.state == "running":
                self._spawn(self._containers.note_exit(unit, record))

    async def run(self) -> None:
        """Until the pod is gone from the API, or (cancelled) the node's process stops: then containers run on."""
        try:
            while not self._gone and not is_deleting(self.pod):
                self._wake.clear()
                self._next = IDLE_SECONDS
                self._step()
                if await self._publish():
                    self.told.set()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._next):
                        await self._wake.wait()
            self.told.set()  # it is on its way out, and what waits for all pods need not wait for its grace period
            await self._end()
        finally:
            self.told.set()
            await self._cancel()

    # --- deciding -----------------------------------------------------------------------------------------------------

    def _step(self) -> None:
        if self._retired is not None:
            return
        if self._already_over():
            return
        if self._failure is None:
            self._failure = self._failure_of_pod()
        if self._failure is not None:
            self._wind_down()
        elif self.sandbox is None:
            self._prepare()
        else:
            self._advance(self.sandbox)

    def _already_over(self) -> bool:
        """A pod that the API knows as Succeeded or Failed is never run again; what is left of it goes."""
        if (current := str(status_of(self.pod).get("phase") or "")) not in TERMINAL:
            return False
        self._retire(current)
        return True

    def _failure_of_pod(self) -> tuple[str, str] | None:
        if names := unsupported(self.pod):
            return "Unsupported", "this node does not support " + "; ".join(names)
        limit = spec_of(self.pod).get("activeDeadlineSeconds")
        if limit is not None:
            left = self._began + float(limit) - time.monotonic()
            if left <= 0:
                message = "Pod was active on the node longer than the specified deadline"
                self._event("DeadlineExceeded", message)
                return "DeadlineExceeded", message
            self._in(left)
        return None

    def _prepare(self) -> None:
        if self._preparing is not None and not self._preparing.done():
            return
        wait = self._sandbox_trouble.remaining(self._sandbox_failed_at, time.monotonic())
        if wait > 0:
            self._in(wait)
            return
        self._preparing = asyncio.create_task(self._make_sandbox())
        self._preparing.add_done_callback(lambda _: self._wake.set())

    def _advance(self, box: Sandbox) -> None:
        """Start what should run: init containers one after the other, then all others at once."""
        if phase(self.pod, self._views(), self._facts()) in TERMINAL:
            self._wind_down()
            return
        if not self._initialized() and not self._initialize(box):
            return
        for unit in self.units.values():
            if unit.view.role != "init":
                self._keep_running(unit, box)

    def _initialized(self) -> bool:
        if any(unit.view.role == "app" and unit.view.record is not None for unit in self.units.values()):
            return True
        return all(
            unit.view.succeeded if unit.view.role == "init" else unit.view.started
            for unit in self.units.values()
            if unit.view.role != "app"
        )

    def _initialize(self, box: Sandbox) -> bool:
        """Bring the first unfinished init container forward; whether all are done."""
        for unit in self.units.values():
            if unit.view.role == "app":
                return True
            if unit.view.role == "init" and unit.view.succeeded:
                continue
            self._keep_running(unit, box)
            done = unit.view.succeeded if unit.view.role == "init" else unit.view.started
            if not done:
                return False
        return True

    def _keep_running(self, unit: Unit, box: Sandbox) -> None:
        view = unit.view
        if unit.busy or view.running:
            return
        policy = "Always" if view.role == "sidecar" else self._policy
        if view.role == "init" and policy == "Always":
            policy = "OnFailure"
        if view.record is not None and not restarts_after(policy, view.record.exit_code):
            return
        wait = unit.seconds_until_restart()
        if wait > 0:
            self._in(wait)
            self._say_why(unit)
            return
        unit.begin(self._containers.start(unit, box), self._wake.set)

    def _say_why(self, unit: Unit) -> None:
        """The waiting reason while a back-off lasts."""
        view = unit.view
        if unit.trouble.delay:
            shown = unit.troubled_at + ERROR_SHOWN_SECONDS - time.monotonic()
            if view.waiting[0] == "ErrImagePull" and shown <= 0:
                message = f'Back-off pulling image "{view.spec.get("image")}": {view.waiting[1]}'
                view.waiting = ("ImagePullBackOff", message)
            elif shown > 0:
                self._in(shown)
            return
        message = (
            f"back-off {unit.backoff.delay:.0f}s restarting failed container={view.name} pod={full_name(self.pod)}"
        )
        if view.waiting != ("CrashLoopBackOff", message):
            view.waiting = ("CrashLoopBackOff", message)
            self._event("BackOff", message, "Warning")

    def _wind_down(self) -> None:
        """End what still runs (sidecars, or all of a pod that failed); when nothing does, the pod is over."""
        running = [unit for unit in self.units.values() if unit.view.running]
        for unit in self.units.values():
            if unit.view.fetching and unit.action is not None:
                unit.action.cancel()
        grace = 0.0 if self._evicted else ending.grace_seconds(self.pod)
        for unit in running:
            if not unit.busy:
                unit.begin(self._containers.stop(unit, self.sandbox, grace), self._wake.set)
        if not running and not any(unit.busy for unit in self.units.values()):
            self._retire(phase(self.pod, self._views(), self._facts()))

    def _retire(self, final: str) -> None:
        if self._retired is None:
            self._retired = final
            self._leaving = asyncio.create_task(self._give_back(wholly=True))

    # --- doing --------------------------------------------------------------------------------------------------------

    async def _make_sandbox(self) -> None:
        try:
            self.sandbox = await sandbox.prepare(self._kit, self.pod)
        except (BinderOpsError, OSError) as error:
            self._sandbox_failed_at = time.monotonic()
            self._sandbox_trouble.advance(self._sandbox_failed_at)
            reason = "FailedMount" if "MountVolume" in str(error) else "FailedCreatePodSandBox"
            self._event(reason, str(error), "Warning")
            return
        for unit in self.units.values():
            if unit.view.running:
                self._containers.follow(unit, self.sandbox)

    async def _give_back(self, *, wholly: bool) -> None:
        """What a finished pod does not need: probes, network, volumes, containers (their logs stay to be read)."""
        await asyncio.gather(*(unit.cancel() for unit in self.units.values()))
        await give_back(self._kit, self.pod, wholly=wholly)

    async def _end(self) -> None:
        """The pod is deleted: end its containers (sidecars last), give everything back, let the API forget it."""
        await self._cancel()
        grace = 0.0 if self._gone else ending.grace_seconds(self.pod)
        self._event("Killing", f"Stopping pod {name_of(self.pod)}")
        apps = [unit for unit in self.units.values() if unit.view.role != "sidecar"]
        sidecars = [unit for unit in self.units.values() if unit.view.role == "sidecar"]
        hurry = asyncio.create_task(self._hurry())
        await asyncio.gather(*(self._containers.stop(unit, self.sandbox, grace) for unit in apps))
        for unit in reversed(sidecars):
            await self._containers.stop(unit, self.sandbox, grace)
        hurry.cancel()
        if self.sandbox is not None or self.units:
            await self._publish()
        await self._give_back(wholly=False)
        await ending.remove_logs(self._kit, self.pod)
        if not self._gone:
            await self._delete()

    async def _hurry(self) -> None:
        """Kill what still runs when a later deletion has shortened the grace period."""
        began = time.monotonic()
        while True:
            self._wake.clear()
            left = 0.0 if self._gone else began + ending.grace_seconds(self.pod) - time.monotonic()
            try:
                async with asyncio.timeout(max(left, 0.0)):
                    await self._wake.wait()
            except TimeoutError:
                break
        running = [unit.view.record for unit in self.units.values() if unit.view.running and unit.view.record]
        await asyncio.gather(*(ending.kill(self._kit, record) for record in running))

    async def _delete(self) -> None:
        while True:
            try:
                await self._kit.client.delete(
                    POD, name_of(self.pod), namespace_of(self.pod), grace_seconds=0, uid=uid_of(self.pod)
                )
                return
            except (NotFoundError, ConflictError):
                return
            except KubernetesError as error:
                log.warning("a pod that ended could not be deleted", pod=full_name(self.pod), error=str(error))
                await asyncio.sleep(RETRY_SECONDS)

    # --- telling ------------------------------------------------------------------------------------------------------

    async def _publish(self) -> bool:
        """Write the status if it differs from what was written last; whether the API has it, or the pod no longer."""
        if self._retired is not None and status_of(self.pod).get("phase") == self._retired:
            return True
        status = pod_status(self.pod, self._views(), self._facts(), before=self._published)
        if status == self._published:
            return True
        body = {"metadata": {"uid": uid_of(self.pod)}, "status": status}
        try:
            await self._kit.client.patch(
                POD, name_of(self.pod), namespace_of(self.pod), body, how="merge", subresource="status"
            )
        except (NotFoundError, ConflictError):
            return True
        except KubernetesError as error:
            log.warning("a pod's status could not be written", pod=full_name(self.pod), error=str(error))
            self._in(RETRY_SECONDS)
            return False
        self._published = status
        return True

    def _facts(self) -> PodFacts:
        return PodFacts(
            host_address=self._kit.config.bridge_address,
            address=self.sandbox.address if self.sandbox else status_of(self.pod).get("podIP"),
            start_time=self._start_time,
            network_ready=self.sandbox is not None,
            initialized=self._initialized(),
            failure=self._failure,
            ending=any(unit.busy or unit.view.running for unit in self.units.values()),
            phase=self._retired,
        )

    def _event(self, reason: str, message: str, kind: Severity = "Normal") -> None:
        self._spawn(self._kit.recorder.event(self.pod, reason, message, kind))

    # --- helpers ------------------------------------------------------------------------------------------------------

    def _adopt(self, record: Record) -> None:
        unit = self.units.get(record.container)
        if unit is None:
            return
        if unit.view.record is not None:
            unit.view.previous, unit.view.previous_message = unit.view.record, unit.view.message
        unit.view.record = record
        unit.next_attempt = record.attempt + 1
        unit.view.message = self._containers.last_words(unit.view, record) if record.state == "exited" else ""

    def _views(self) -> list[View]:
        return [unit.view for unit in self.units.values()]

    def _in(self, seconds: float) -> None:
        self._next = max(0.0, min(self._next, seconds))

    @property
    def _policy(self) -> str:
        return str(spec_of(self.pod).get("restartPolicy") or "Always")

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _cancel(self) -> None:
        for task in (self._preparing, self._leaving):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        await asyncio.gather(*(unit.cancel() for unit in self.units.values()))
