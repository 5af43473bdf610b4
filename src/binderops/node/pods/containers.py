"""What is done to one container of a pod: started, followed by probes until it ends, stopped; how it ended is noted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Literal

from binderops.errors import BinderOpsError
from binderops.kube.kinds import Object
from binderops.kube.objects import uid_of
from binderops.node.pods import cgroups, ending, starting
from binderops.node.pods.actions import Outcome
from binderops.node.pods.exits import ended
from binderops.node.pods.kit import Kit
from binderops.node.pods.monitors import outlived
from binderops.node.pods.probes import Kind, Prober
from binderops.node.pods.records import Record, full_name
from binderops.node.pods.restarts import BackOff
from binderops.node.pods.sandbox import Sandbox
from binderops.node.pods.status import View
from binderops.node.pods.units import Unit, last_words

Severity = Literal["Normal", "Warning"]

ENGINE_AWAY_SECONDS = 4.0
"""The back-off from which on it is said that the engine does not answer: one that was killed is back before."""


class Containers:
    """The containers of one pod. `wake` is called whenever something changed; `spawn` runs work in the background."""

    def __init__(
        self,
        kit: Kit,
        pod: Callable[[], Object],
        wake: Callable[[], None],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._kit = kit
        self._pod = pod
        self._wake = wake
        self._spawn = spawn

    async def start(self, unit: Unit, sandbox: Sandbox) -> None:
        """Make the next attempt; what keeps it from being made stands in `waiting`, and the unit's back-off grows."""
        view = unit.view
        attempt = unit.next_attempt
        try:
            record = await starting.start(self._kit, self._pod(), view, sandbox, attempt=attempt, tell=self._event)
        except (BinderOpsError, OSError) as error:
            if starting.engine_is_away(error) and unit.trouble.delay < ENGINE_AWAY_SECONDS:
                unit.failed_to_start(pulling=False)
                return
            view.waiting = starting.waiting_reason(error)
            unit.failed_to_start(pulling=view.waiting[0].startswith("ErrImage"))
            self._event("Failed", f"Error: {view.waiting[0]}: {view.waiting[1]}", "Warning")
            return
        message = await self._message_of(view, record)
        unit.trouble = BackOff()
        if view.record is not None:
            unit.backoff.advance(time.monotonic(), ended=unit.ended_at())
            view.previous, view.previous_message = view.record, view.message
        view.record, view.message = record, message
        view.started = view.ready = unit.ended_by_probe = False
        unit.next_attempt = attempt + 1
        if record.state == "running":
            self.follow(unit, sandbox)
        self._wake()
        if attempt > 1:
            self._spawn(ending.prune(self._kit, self._pod(), view, keep=attempt - 1))

    async def stop(self, unit: Unit, sandbox: Sandbox | None, grace: float) -> None:
        """End it within `grace` seconds."""
        await unit.stop_probing()
        address = sandbox.address if sandbox else ""
        record = await ending.stop_container(self._kit, self._pod(), unit.view, address=address, grace=grace)
        if record is not None and record.state != "running":
            await self._note_end(unit, record)

    def follow(self, unit: Unit, sandbox: Sandbox) -> None:
        """Watch a running container: its end, and its probes."""
        record = unit.view.record
        assert record is not None
        unit.watch = asyncio.create_task(self._await_exit(unit, record, sandbox))

        async def perform(probe: Mapping[str, Any], timeout: float) -> Outcome:
            return await self._kit.actions.perform(
                probe, unit.view.spec, engine_id=record.id, address=sandbox.address, timeout=timeout
            )

        def report(kind: Kind, good: bool, message: str) -> None:
            self._probed(unit, sandbox, kind, good)

        def complain(kind: Kind, message: str) -> None:
            self._event("Unhealthy", f"{kind.capitalize()} probe failed: {message}", "Warning")

        unit.prober = Prober(
            unit.view.spec,
            perform,
            report,
            complain,
            started=unit.view.started,
            ready=unit.view.ready,
            where=f"{full_name(self._pod())}/{unit.view.name}",
        )
        _show_probes(unit)
        if unit.prober.needed:
            unit.probing = asyncio.create_task(unit.prober.run())

    async def note_exit(self, unit: Unit, record: Record) -> None:
        """The process of `record` may have ended: take over how. While it lives nothing changes."""
        killed = cgroups.oom_kills(self._kit.config.name, uid_of(self._pod()), record.id) > 0
        current = await ending.final_record(self._kit, record)
        if killed and current.exit_code != 0:
            current = current._replace(oom_killed=True)
        if current.state != "running" and unit.view.record is not None and unit.view.record.id == record.id:
            await self._note_end(unit, current)

    def last_words(self, view: View, record: Record) -> str:
        """The termination message of an attempt."""
        folder = self._kit.volumes.folder(uid_of(self._pod()))
        return last_words(view.spec, record, starting.termination_path(folder, view.name, record.attempt))

    def _probed(self, unit: Unit, sandbox: Sandbox, kind: Kind, good: bool) -> None:
        _show_probes(unit)
        if not good and kind != "readiness" and not unit.busy:
            self._event("Killing", f"Container {unit.view.name} failed {kind} probe, will be restarted")
            unit.ended_by_probe = True
            unit.begin(self.stop(unit, sandbox, self._grace_of(unit, kind)), self._wake)
        self._wake()

    async def _await_exit(self, unit: Unit, record: Record, sandbox: Sandbox) -> None:
        if await outlived(record):
            self._end_unwatched(unit, sandbox)
            await ended(record.pid)
        await self.note_exit(unit, record)

    def _end_unwatched(self, unit: Unit, sandbox: Sandbox) -> None:
        self._event(
            "MonitorLost",
            f"The monitor (conmon) of container {unit.view.name} ended: output is lost and its end would not be seen, "
            "so it is ended now, and the pod's restartPolicy decides",
            "Warning",
        )
        if not unit.busy:
            unit.begin(self.stop(unit, sandbox, ending.grace_seconds(self._pod())), self._wake)

    async def _note_end(self, unit: Unit, record: Record) -> None:
        """Take over how a container ended; its exit is seen in several ways, an older attempt's changes nothing."""
        view = unit.view
        if _is_newer(view.record, record):
            return
        if record.state == "exited":
            await unit.stop_probing()
        message = await self._message_of(view, record)
        if _is_newer(view.record, record):
            return
        # Its end and its last words at once: a status may be told between any two awaits.
        view.record, view.message = record, message
        self._wake()

    async def _message_of(self, view: View, record: Record) -> str:
        return await asyncio.to_thread(self.last_words, view, record) if record.state == "exited" else ""

    def _grace_of(self, unit: Unit, kind: Kind) -> float:
        own = (unit.view.spec.get(f"{kind}Probe") or {}).get("terminationGracePeriodSeconds")
        return float(own) if own is not None else ending.grace_seconds(self._pod())

    def _event(self, reason: str, message: str, kind: Severity = "Normal") -> None:
        self._spawn(self._kit.recorder.event(self._pod(), reason, message, kind))


def _is_newer(known: Record | None, record: Record) -> bool:
    return known is not None and known.attempt > record.attempt


def _show_probes(unit: Unit) -> None:
    if unit.prober is not None:
        unit.view.started = unit.prober.started
        unit.view.ready = unit.prober.started and unit.prober.ready
