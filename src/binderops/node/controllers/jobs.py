"""The Job controller: pods until enough have succeeded, or too many have failed, or it has taken too long."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

from binderops.errors import KubernetesError
from binderops.kube.kinds import JOB, POD, Object
from binderops.kube.objects import (
    Key,
    conditions_of,
    controller_of,
    is_deleting,
    name_of,
    set_condition,
    spec_of,
    status_of,
    timestamp,
    uid_of,
)
from binderops.kube.selectors import LabelSelector, from_labels
from binderops.node.controllers import jobplan
from binderops.node.controllers.machinery import Context, Controller, is_namespace_ending, selector_of
from binderops.node.controllers.workloads import claim, earliest, in_namespace, pod_from_template


class JobController(Controller):
    """Runs Jobs; `jobplan` decides."""

    name = "job-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._jobs = self.watch(JOB)
        self._pods = context.informers.of(POD)
        self._owned = self.watch_owned(POD, self._jobs)

    async def sync(self, key: Key) -> float | None:
        """One step, then the status; a finished Job is only waited for until its time to live is over."""
        job = self._jobs.objects.get(key)
        if job is None or is_deleting(job):
            return None
        if jobplan.is_finished(job):
            return await self._expire(job)
        refused = jobplan.unsupported(job)
        if refused:
            await self.recorder.event(
                job, "Unsupported", f"not supported here, so no pod is started: {refused}", "Warning"
            )
            return None
        candidates = [pod for pod in in_namespace(self._pods.objects, key[0]) if _may_claim(job, pod)]
        pods = await claim(self.context, job, _selector(job), candidates)
        now = self.context.now()
        if not status_of(job).get("startTime") and not spec_of(job).get("suspend"):
            await self.context.update_status(job, {"startTime": timestamp(now)})
            return 0.0
        plan = jobplan.plan(job, pods, now)
        failure = await self._carry_out(job, plan)
        pods = self._owned.get(uid_of(job))
        await self._tell(job, pods, plan, now)
        if failure is not None:
            raise failure
        return earliest([plan.look_again])

    async def _carry_out(self, job: Object, plan: jobplan.Plan) -> KubernetesError | None:
        for pod in plan.delete:
            await self.context.delete(pod)
            await self.recorder.event(job, "SuccessfulDelete", f"Deleted pod: {name_of(pod)}")
        results = await asyncio.gather(*(self._create(job) for _ in range(plan.create)), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, KubernetesError):
                raise result
        return next((result for result in results if isinstance(result, KubernetesError)), None)

    async def _create(self, job: Object) -> None:
        labels = {
            "batch.kubernetes.io/controller-uid": uid_of(job),
            "batch.kubernetes.io/job-name": name_of(job),
            "controller-uid": uid_of(job),
            "job-name": name_of(job),
        }
        try:
            pod = await self.context.create(pod_from_template(job, spec_of(job).get("template") or {}, labels=labels))
        except KubernetesError as error:
            if is_namespace_ending(error):
                return
            await self.recorder.event(job, "FailedCreate", f"Error creating: {error.what}", "Warning")
            raise
        await self.recorder.event(job, "SuccessfulCreate", f"Created pod: {name_of(pod)}")

    async def _tell(self, job: Object, pods: Sequence[Object], plan: jobplan.Plan, now: datetime) -> None:
        status = {**jobplan.counts(pods), "uncountedTerminatedPods": {}}
        conditions = conditions_of(job)
        for entry in plan.conditions:
            conditions = set_condition(conditions, {**entry, "lastProbeTime": timestamp(now)}, now=now)
        known = {(entry.get("type"), entry.get("status")) for entry in conditions_of(job)}
        if any((entry["type"], entry["status"]) not in known for entry in plan.conditions):
            status["conditions"] = conditions
            if any(entry["type"] == "Complete" for entry in plan.conditions):
                status["completionTime"] = timestamp(now)
        await self.context.update_status(job, status)
        for entry in plan.conditions:
            if (entry["type"], entry["status"]) in known:
                continue
            if entry["type"] == "Complete":
                await self.recorder.event(job, "Completed", "Job completed")
            elif entry["type"] == "Failed":
                await self.recorder.event(job, entry["reason"], entry["message"], "Warning")
            elif entry["type"] == "Suspended":
                verb = "Suspended" if entry["status"] == "True" else "Resumed"
                await self.recorder.event(job, verb, f"Job {verb.lower()}")

    async def _expire(self, job: Object) -> float | None:
        limit = spec_of(job).get("ttlSecondsAfterFinished")
        ended = jobplan.finished_at(job)
        if limit is None or ended is None:
            return None
        left = (ended + timedelta(seconds=int(limit)) - self.context.now()).total_seconds()
        if left > 0:
            return left + 0.05
        await self.context.delete(job, propagation="Foreground")
        return None


def _selector(job: Object) -> LabelSelector:
    selector = selector_of(job)
    return selector if selector.requirements else from_labels({"batch.kubernetes.io/controller-uid": uid_of(job)})


def _may_claim(job: Object, pod: Object) -> bool:
    """A Job's own pods, and orphans: since every Job selects by its own uid, others never match."""
    controller = controller_of(pod)
    return controller is None or controller.get("uid") == uid_of(job)
