"""Startup, readiness and liveness probes of one running container.

The first try is made at once and, until the first success, repeated quickly within the first period: a periodSeconds of
10 would otherwise report a server ready up to 10 s late, and every launch waits for just that. Quick tries that fail
count for nothing: thresholds mean what they mean to the kubelet.

A probe that had no answer because the node itself was late (its loop held up, a machine that gave it no time) says
nothing of the container: it is asked again at once, some times, so that a node that is always late tells in the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import structlog

from binderops.node.pods.actions import Outcome

log = structlog.get_logger(__name__)

Kind = Literal["startup", "readiness", "liveness"]
Perform = Callable[[Mapping[str, Any], float], Awaitable[Outcome]]
"""(probe, timeout in seconds) -> what came of it."""
Report = Callable[[Kind, bool, str], None]
"""(kind, whether it is good now, the message of the last failure), called when that changes."""
Complain = Callable[[Kind, str], None]
"""Called for each failed try that counts."""

QUICK_SECONDS = 0.1
QUICK_EXEC_SECONDS = 0.5
LATE_SHARE = 0.25
"""Of a probe's time: where the node was late for more than that, the container had no fair chance to answer."""
LATE_TRIES = 3
"""How often a probe is asked again for that."""


@dataclass
class Threshold:
    """Counts results in a row; `good` changes when one kind reaches its threshold."""

    success: int
    failure: int
    good: bool
    run: int = 0
    last: bool | None = None

    def observe(self, ok: bool) -> bool:
        """Note one result; returns whether a threshold was reached by it (then `good` is what it says)."""
        self.run = self.run + 1 if ok is self.last else 1
        self.last = ok
        if self.run < (self.success if ok else self.failure):
            return False
        self.good = ok
        return True


class Prober:
    """Runs the probes of one container, as one task; `started` and `ready` are its present state."""

    def __init__(
        self,
        container: Mapping[str, Any],
        perform: Perform,
        report: Report,
        complain: Complain,
        *,
        started: bool = False,
        ready: bool = False,
        where: str = "",
    ) -> None:
        """`started` and `ready`: what an earlier process of the node had found of the same attempt.

        `where` names the container in the node's log.
        """
        self._where = where
        self._container = container
        self._perform = perform
        self._report = report
        self._complain = complain
        self.started = started or not container.get("startupProbe")
        self.ready = ready or not container.get("readinessProbe")

    @property
    def needed(self) -> bool:
        """Whether there is anything to probe."""
        return any(self._container.get(f"{kind}Probe") for kind in ("startup", "readiness", "liveness"))

    async def run(self) -> None:
        """Probe until cancelled; ends early when a startup or liveness probe has failed for good."""
        if (probe := self._container.get("startupProbe")) and not self.started:
            if not await self._until_started(probe):
                return
            self.started = True
            self._report("startup", True, "")
        loops = []
        if probe := self._container.get("readinessProbe"):
            loops.append(self._watch_readiness(probe))
        if probe := self._container.get("livenessProbe"):
            loops.append(self._watch_liveness(probe))
        await asyncio.gather(*loops)

    async def _until_started(self, probe: Mapping[str, Any]) -> bool:
        threshold = _threshold(probe, good=False)
        await asyncio.sleep(float(probe.get("initialDelaySeconds") or 0))
        if await self._quick_success(probe):
            return True
        while True:
            outcome = await self._try("startup", probe)
            if threshold.observe(outcome.ok):
                if not threshold.good:
                    self._report("startup", False, outcome.message)
                return threshold.good
            await asyncio.sleep(_period(probe))

    async def _watch_readiness(self, probe: Mapping[str, Any]) -> None:
        threshold = _threshold(probe, good=self.ready)
        await asyncio.sleep(float(probe.get("initialDelaySeconds") or 0))
        if threshold.success <= 1 and await self._quick_success(probe):
            threshold.observe(True)
            self._set_ready(True, "")
            await asyncio.sleep(_period(probe))
        while True:
            outcome = await self._try("readiness", probe)
            if threshold.observe(outcome.ok):
                self._set_ready(threshold.good, outcome.message)
            await asyncio.sleep(_period(probe))

    async def _watch_liveness(self, probe: Mapping[str, Any]) -> None:
        threshold = _threshold(probe, good=True)
        await asyncio.sleep(float(probe.get("initialDelaySeconds") or 0))
        while True:
            outcome = await self._try("liveness", probe)
            if threshold.observe(outcome.ok) and not threshold.good:
                self._report("liveness", False, outcome.message)
                return
            await asyncio.sleep(_period(probe))

    async def _quick_success(self, probe: Mapping[str, Any]) -> bool:
        pause = QUICK_EXEC_SECONDS if probe.get("exec") else QUICK_SECONDS
        loop = asyncio.get_running_loop()
        end = loop.time() + _period(probe)
        while loop.time() < end:
            if (await self._perform(probe, _timeout(probe))).ok:
                return True
            await asyncio.sleep(pause)
        return False

    async def _try(self, kind: Kind, probe: Mapping[str, Any]) -> Outcome:
        outcome = await self._perform(probe, _timeout(probe))
        for _ in range(LATE_TRIES):
            if outcome.ok or outcome.late < LATE_SHARE * _timeout(probe):
                break
            log.warning("a probe is asked again", probe=kind, of=self._where, node_late_seconds=round(outcome.late, 3))
            outcome = await self._perform(probe, _timeout(probe))
        if not outcome.ok:
            if outcome.late >= LATE_SHARE * _timeout(probe):
                message = f"{outcome.message} (the node itself was late by {outcome.late:.1f} s)"
                outcome = outcome._replace(message=message)
            self._complain(kind, outcome.message)
        return outcome

    def _set_ready(self, ready: bool, message: str) -> None:
        if ready != self.ready:
            self.ready = ready
            self._report("readiness", ready, message)


def _threshold(probe: Mapping[str, Any], *, good: bool) -> Threshold:
    return Threshold(int(probe.get("successThreshold") or 1), int(probe.get("failureThreshold") or 3), good)


def _period(probe: Mapping[str, Any]) -> float:
    return float(probe.get("periodSeconds") or 10)


def _timeout(probe: Mapping[str, Any]) -> float:
    return float(probe.get("timeoutSeconds") or 1)
