"""Builds, keyed by name: whoever asks for one that runs watches it; it runs on when they leave."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import suppress
from typing import NamedTuple

import structlog

from binderops.binder.builds.content import Content, Look
from binderops.binder.builds.loglines import parse_line, split_lines
from binderops.binder.builds.manifest import (
    CONTAINER,
    IMAGE_ANNOTATION,
    PLACE_ANNOTATION,
    BuildRequest,
    build_pod,
)
from binderops.binder.builds.places import Places
from binderops.binder.builds.pods import (
    Pods,
    age_of,
    ending_of,
    is_finished,
    is_usable,
    phase_of,
    waiting_reason,
)
from binderops.binder.builds.queue import Queue
from binderops.binder.builds.running import RunningBuild
from binderops.binder.events import Event, event
from binderops.binder.metrics import Metrics
from binderops.binder.settings import Settings
from binderops.binder.tokens import BuildCredentials
from binderops.errors import (
    AlreadyExistsError,
    BinderOpsError,
    BuildError,
    KubernetesError,
    NotFoundError,
    RegistryError,
)
from binderops.kube.kinds import POD, Object
from binderops.kube.objects import annotations_of, is_deleting, name_of, uid_of
from binderops.kube.patience import when_back
from binderops.oci.references import Reference
from binderops.oci.tokens import Grants

log = structlog.get_logger(__name__)

START_SECONDS = 300.0
_GONE_SECONDS = 60.0
_SETTLE_SECONDS = 30.0
_LOG_PAUSE = 1.0
_LEFT_SECONDS = 1800.0  # a pod that is left has its files on its machine's disk
# Waiting cannot mend these; everything else (an image that is being pulled) has START_SECONDS.
_HOPELESS = frozenset({"InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError"})
# This may be an engine that is slow on a busy disk, which the node asks again; or an error that stays.
_SLOW, SLOW_SECONDS = "CreateContainerError", 90.0


class Stores(NamedTuple):
    """Where images come to lie: from what builds push, and from content alone."""

    places: Places
    content: Content


class Builds:
    """All builds of this binder. They are this process's tasks; their pods outlive it, and are attached to again."""

    def __init__(
        self,
        settings: Settings,
        pods: Pods,
        stores: Stores,
        credentials: BuildCredentials | None,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._pods = pods
        self._places = stores.places
        self._content = stores.content
        self._credentials = credentials
        self._metrics = metrics
        self._running: dict[str, RunningBuild] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._queue = Queue(settings.binder.concurrent_build_limit)

    def build(self, request: BuildRequest, *, visitor: str = "") -> RunningBuild:
        """The running build of this name, or a new one, which counts for a visitor ("": for none)."""
        running = self._running.get(request.name)
        if running is None:
            running = self._running[request.name] = RunningBuild(request, tail=self._settings.build.log_tail_lines)
            task = asyncio.create_task(self._run(running, visitor), name=request.name)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return running

    def runs(self, name: str) -> bool:
        """Whether a build of this name is under way: then there is no image yet."""
        running = self._running.get(name)
        return running is not None and not running.is_over

    def watchers_of(self, repo_url: str) -> int:
        """How many watch builds of a repository."""
        return sum(each.watchers for each in self._running.values() if each.request.repo_url == repo_url)

    async def clean_up(self) -> None:
        """Until cancelled: remove build pods that ended and that nobody watches, or that are older than `max_age`.

        What one of them built is kept: its binder may have been stopped before it could.
        """
        while True:
            await asyncio.sleep(self._settings.binder.build_cleanup_interval)
            for pod in self._pods.builds:
                watched, is_old = name_of(pod) in self._running, age_of(pod) > self._settings.cleaner.max_age
                if is_old or (is_finished(pod) and not watched and await self._keep(pod)):
                    await self._places.clean(annotations_of(pod).get(PLACE_ANNOTATION, ""))
                    await self._delete(name_of(pod), uid=uid_of(pod))

    async def _keep(self, pod: Object) -> bool:
        """Whether nothing is left to keep; False while a registry takes nothing."""
        image, place = (annotations_of(pod).get(name, "") for name in (IMAGE_ANNOTATION, PLACE_ANNOTATION))
        if not (image and place and phase_of(pod) == "Succeeded"):
            return True
        try:
            await self._places.store(place, image)
        except BinderOpsError as error:
            log.warning("what a build left is not kept", build=name_of(pod), error=str(error))
            return not isinstance(error, RegistryError) or age_of(pod) > _LEFT_SECONDS
        return True

    async def close(self) -> None:
        """Stop watching; build pods run on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, running: RunningBuild, visitor: str) -> None:
        name, started = running.request.name, time.monotonic()
        longest = self._settings.cleaner.max_age
        look = self._content.look(running.request)
        try:
            if await look.append(running.publish):
                running.finish(True)
                return
            turn = self._queue.turn(
                lambda place: running.publish(_waits(place)), visitor=visitor, is_wanted=lambda: running.watchers > 0
            )
            async with turn, asyncio.timeout(longest):
                with self._metrics.inprogress_builds.track_inprogress():
                    await self._follow(running)
        except TimeoutError:
            running.finish(False, f"The build took longer than {longest / 60:.0f} minutes.")
        except BuildError as error:
            running.finish(False, error.what)
        except KubernetesError as error:
            log.warning("a build cannot be watched", build=name, error=str(error))
            running.finish(False, f"The build did not start: {error.what}")
        except RegistryError as error:
            log.error("an image cannot be stored", build=name, error=str(error))
            running.is_left = True
            running.finish(False, f"The image could not be stored: {error.what}")
        except Exception:
            log.exception("watching a build failed", build=name)
            running.finish(False, "Unhandled error watching for build events. Please try again.")
        finally:
            # Only a cancelled task comes here without an outcome: the pod runs on, for the next binder to attach to.
            stopped = not running.is_over
            running.finish(False, "The binder was stopped. Please try again.")
            if not stopped:
                await self._conclude(running, look, time.monotonic() - started)
            look.close()
            self._running.pop(name, None)

    async def _conclude(self, running: RunningBuild, look: Look, seconds: float) -> None:
        outcome = await running.outcome()
        status = "success" if outcome.built else "failure"
        self._metrics.build_time.labels(status).observe(seconds)
        log.info(
            "build ended", build=running.request.name, status=status, why=outcome.message, seconds=round(seconds, 1)
        )
        if not running.is_left:
            await self._places.clean(running.place)
            if running.pod_uid:
                await self._delete(running.request.name, uid=running.pod_uid)
        if running.digest:
            await look.remember(running.digest)

    async def _follow(self, running: RunningBuild) -> None:
        attached = await self._submit(running)
        pod = await self._wait_for_start(running)
        await self._stream_log(running, tail=self._settings.build.log_tail_lines if attached else None)
        ended: Object | None = pod
        with suppress(TimeoutError):
            ended = await self._pods.wait_for_build(
                running.request.name, running.pod_uid, is_finished, seconds=_SETTLE_SECONDS
            )
        if ended is None or phase_of(ended) != "Succeeded":
            running.finish(False, f"The build failed: {ending_of(ended)}.")
            return
        stored = await self._places.store(
            running.place, running.request.image, tell=lambda text: running.publish(event("pushing", text))
        )
        if stored.is_other:
            running.publish(
                event("building", "This commit's image was there before this build ended: that one is used.")
            )
        running.digest = "" if stored.is_other else stored.digest
        running.finish(True)

    async def _submit(self, running: RunningBuild) -> bool:
        """Create the pod; True if it is there already."""
        request = running.request
        if self._credentials is None:
            raise BuildError("Nothing can be built here: the release has no registry that builds push to.")
        place = self._places.new(request.name)
        seconds = self._settings.cleaner.max_age + 600
        credential = self._credentials.mint(request.name, self._grants(request, place), seconds=seconds)
        manifest = build_pod(self._settings, request, credential, place=place)
        for _ in range(3):
            try:
                created = await when_back(lambda: self._pods.client.create(manifest))
            except AlreadyExistsError:
                found = await when_back(lambda: self._find(request.name))
                if found is not None and self._is_for(found, request):
                    self._follow_pod(running, found)
                    return True
                await self._remove(request.name, found)
            else:
                self._follow_pod(running, created)
                return False
        raise BuildError("An earlier build of this repository is still being removed. Please try again.")

    def _follow_pod(self, running: RunningBuild, pod: Object) -> None:
        running.pod_uid = self._pods.observe(pod)
        running.place = annotations_of(pod).get(PLACE_ANNOTATION, "")

    def _is_for(self, pod: Object, request: BuildRequest) -> bool:
        """Whether a pod of the same name builds this very image, or has, and what it left is not kept yet."""
        has_built = phase_of(pod) == "Succeeded" and not is_deleting(pod)
        return annotations_of(pod).get(IMAGE_ANNOTATION) == request.image and (is_usable(pod) or has_built)

    def _grants(self, request: BuildRequest, place: str) -> Grants:
        """What a build starts from is pulled; what it pushes to is its own place, and nothing else."""
        pull = {self._settings.base_repository} if self._settings.base_repository else set()
        if request.artifact:
            pull.add(Reference.parse(request.artifact).repository)
        return Grants(pull=frozenset(pull), push=frozenset({place}))

    async def _wait_for_start(self, running: RunningBuild) -> Object:
        name, told, message = running.request.name, "", ""
        deadline = time.monotonic() + START_SECONDS
        hopeless = math.inf

        def is_news(pod: Object | None) -> bool:
            if pod is None or phase_of(pod) != "Pending":
                return True
            return waiting_reason(pod)[0] not in {"", "ContainerCreating", "PodInitializing", told}

        while True:
            seconds = max(min(deadline, hopeless) - time.monotonic(), 0.1)
            try:
                pod = await self._pods.wait_for_build(name, running.pod_uid, is_news, seconds=seconds)
            except TimeoutError:
                if time.monotonic() >= hopeless:
                    raise BuildError(f"The build cannot start: {told}: {message}".rstrip(": ")) from None
                reason = ": ".join(filter(None, waiting_reason(self._pods.build(name) or {})))
                text = f"The build did not start within {START_SECONDS / 60:.0f} minutes. {reason}"
                raise BuildError(text.rstrip()) from None
            if pod is None:
                raise BuildError("The build pod was removed before it started. Please try again.")
            if phase_of(pod) != "Pending":
                return pod
            told, message = waiting_reason(pod)
            if told in _HOPELESS:
                raise BuildError(f"The build cannot start: {told}: {message}".rstrip(": "))
            hopeless = time.monotonic() + SLOW_SECONDS if told == _SLOW else math.inf
            running.publish(event("waiting", f"Waiting for the builder: {told} {message}".rstrip()))

    async def _stream_log(self, running: RunningBuild, *, tail: int | None) -> None:
        name, seen = running.request.name, 0
        while True:
            skipped = seen if tail is None else 0
            try:
                chunks = self._pods.client.logs(
                    name, self._pods.build_namespace, container=CONTAINER, follow=True, tail=tail
                )
                async for line in split_lines(chunks):
                    if skipped:
                        skipped -= 1
                        continue
                    seen += 1
                    running.publish(parse_line(line))
            except KubernetesError as error:
                log.warning("a build's log broke off", build=name, error=str(error))
                if isinstance(error, NotFoundError):
                    return
            try:
                # A log that ends before its pod does has broken off: read on where it did.
                await self._pods.wait_for_build(name, running.pod_uid, is_finished, seconds=_LOG_PAUSE)
                return
            except TimeoutError:
                tail = None if tail is None else 0

    async def _find(self, name: str) -> Object | None:
        with suppress(NotFoundError):
            return await self._pods.client.get(POD, name, self._pods.build_namespace)
        return None

    async def _remove(self, name: str, found: Object | None) -> None:
        if found is not None:
            await self._places.clean(annotations_of(found).get(PLACE_ANNOTATION, ""))
            await self._delete(name, uid=uid_of(found))
            with suppress(TimeoutError):
                await self._pods.wait_for_build(name, uid_of(found), lambda pod: pod is None, seconds=_GONE_SECONDS)

    async def _delete(self, name: str, *, uid: str | None = None) -> None:
        try:
            await self._pods.client.delete(POD, name, self._pods.build_namespace, uid=uid)
        except NotFoundError:
            pass
        except KubernetesError as error:
            log.warning("a build pod cannot be removed", build=name, error=str(error))


def _waits(place: int) -> Event:
    ahead = "it is the next" if place == 1 else f"{place - 1} wait before it"
    return event("waiting", f"Waiting for other builds to end: place {place} in the queue, {ahead}...")
