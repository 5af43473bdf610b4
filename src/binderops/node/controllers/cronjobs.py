"""The CronJob controller: a Job at each scheduled time, named by it, so that none is made twice."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from datetime import datetime, timedelta

from binderops.errors import AlreadyExistsError
from binderops.kube.kinds import CRON_JOB, JOB, Object
from binderops.kube.objects import (
    Key,
    annotations_of,
    is_deleting,
    labels_of,
    metadata_of,
    name_of,
    namespace_of,
    owner_reference,
    parse_timestamp,
    spec_of,
    status_of,
    timestamp,
    uid_of,
)
from binderops.node.controllers import jobplan
from binderops.node.controllers.machinery import Context, Controller
from binderops.node.controllers.schedules import Schedule, parse_schedule
from binderops.node.controllers.workloads import created

SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"
LONGEST_TIMER_SECONDS = 3600.0  # the wall clock may be set meanwhile


class CronJobController(Controller):
    """Starts Jobs on time and keeps the history short."""

    name = "cronjob-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._cron_jobs = self.watch(CRON_JOB)
        self._owned = self.watch_owned(JOB, self._cron_jobs)

    async def sync(self, key: Key) -> float | None:
        """Start what is due, then the status; the seconds until the next time."""
        cron_job = self._cron_jobs.objects.get(key)
        if cron_job is None:
            return None
        jobs = self._owned.get(uid_of(cron_job))
        if not is_deleting(cron_job):
            await self._forget(cron_job, jobs)
        delay = None
        try:
            schedule = parse_schedule(str(spec_of(cron_job).get("schedule")), spec_of(cron_job).get("timeZone"))
        except ValueError as error:
            await self.recorder.event(cron_job, "UnparseableSchedule", str(error), "Warning")
            schedule = None
        last = None
        if schedule is not None and not is_deleting(cron_job) and not spec_of(cron_job).get("suspend"):
            now = self.context.now()
            last = await self._start_due(cron_job, schedule, jobs, now)
            upcoming = schedule.after(now)
            if upcoming is not None:
                delay = min(max((upcoming - now).total_seconds(), 0.0) + 0.01, LONGEST_TIMER_SECONDS)
        await self._tell(cron_job, self._owned.get(uid_of(cron_job)), last)
        return delay

    async def _start_due(
        self, cron_job: Object, schedule: Schedule, jobs: Sequence[Object], now: datetime
    ) -> datetime | None:
        """Start the latest time that is due; that time if it was dealt with, so that it counts as seen."""
        due, missed = latest_due(cron_job, schedule, now)
        if due is None:
            return None
        if missed:
            await self.recorder.event(cron_job, "TooManyMissedTimes", "missed more than 100 scheduled times", "Warning")
        limit = spec_of(cron_job).get("startingDeadlineSeconds")
        if limit is not None and due + timedelta(seconds=int(limit)) < now:
            await self.recorder.event(cron_job, "MissSchedule", f"Missed scheduled time: {timestamp(due)}", "Warning")
            return None
        active = [job for job in jobs if not jobplan.is_finished(job) and not is_deleting(job)]
        policy = spec_of(cron_job).get("concurrencyPolicy") or "Allow"
        if active and policy == "Forbid":
            text = "Not starting job because prior execution is running and concurrency policy is Forbid"
            await self.recorder.event(cron_job, "JobAlreadyActive", text)
            return None
        if policy == "Replace":
            for job in active:
                await self.context.delete(job)
                await self.recorder.event(cron_job, "SuccessfulDelete", f"Deleted job {name_of(job)}")
        try:
            job = await self.context.create(job_for(cron_job, due))
        except AlreadyExistsError:
            return due
        await self.recorder.event(cron_job, "SuccessfulCreate", f"Created job {name_of(job)}")
        return due

    async def _tell(self, cron_job: Object, jobs: Sequence[Object], last: datetime | None) -> None:
        active = [
            {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "name": name_of(job),
                "namespace": namespace_of(job),
                "uid": uid_of(job),
            }
            for job in sorted(jobs, key=created)
            if not jobplan.is_finished(job)
        ]
        status: Object = {}
        if active or status_of(cron_job).get("active"):
            status["active"] = active
        ends = [str(status_of(job)["completionTime"]) for job in jobs if status_of(job).get("completionTime")] + [
            str(status_of(cron_job).get("lastSuccessfulTime") or "")
        ]
        if max(ends):
            status["lastSuccessfulTime"] = max(ends)
        if last is not None:
            status["lastScheduleTime"] = timestamp(last)
        await self.context.update_status(cron_job, status)

    async def _forget(self, cron_job: Object, jobs: Sequence[Object]) -> None:
        for field, kind, default in (
            ("successfulJobsHistoryLimit", "Complete", 3),
            ("failedJobsHistoryLimit", "Failed", 1),
        ):
            limit = spec_of(cron_job).get(field)
            ended = [job for job in jobs if (jobplan.finish_condition(job) or {}).get("type") == kind]
            surplus = len(ended) - (default if limit is None else int(limit))
            for job in sorted(ended, key=created)[: max(0, surplus)]:
                await self.context.delete(job)


def latest_due(cron_job: Object, schedule: Schedule, now: datetime) -> tuple[datetime | None, bool]:
    """The latest scheduled time that has not been dealt with, or None; and whether more than 100 were missed."""
    begin = parse_timestamp(status_of(cron_job).get("lastScheduleTime") or metadata_of(cron_job)["creationTimestamp"])
    if begin > now + timedelta(minutes=1):  # the clock was set back since: what is due from now on is due
        begin = now - timedelta(minutes=1)
    limit = spec_of(cron_job).get("startingDeadlineSeconds")
    if limit is not None:
        begin = max(begin, now - timedelta(seconds=int(limit)))
    latest = schedule.at_or_before(now)
    if latest is None or latest <= begin:
        return None, False
    moment: datetime | None = begin
    for _ in range(101):
        moment = schedule.after(moment) if moment is not None else None
        if moment is None or moment > now:
            return latest, False
    return latest, limit is None


def job_for(cron_job: Object, scheduled: datetime) -> Object:
    """The Job of one scheduled time."""
    template = spec_of(cron_job).get("jobTemplate") or {}
    annotations = {**annotations_of(template), SCHEDULED: scheduled.isoformat()}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": f"{name_of(cron_job)}-{int(scheduled.timestamp()) // 60}",
            "namespace": namespace_of(cron_job),
            "labels": dict(labels_of(template)),
            "annotations": annotations,
            "ownerReferences": [owner_reference(cron_job)],
        },
        "spec": copy.deepcopy(template.get("spec") or {}),
    }
