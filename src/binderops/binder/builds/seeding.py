"""Keeping the notebook base in the release's registry, so that a build mounts its layers instead of sending them.

Only where a machine's store of the base is mounted into build pods: on a cluster the base lies in a registry already.
Launches never wait for this: a build whose base is not there sends it with its image.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import structlog

from binderops.binder.builds.manifest import CONTAINER, seeding_pod
from binderops.binder.builds.places import Places
from binderops.binder.builds.pods import Pods, ending_of, is_finished
from binderops.binder.metrics import Metrics
from binderops.binder.settings import Settings
from binderops.binder.tokens import BuildCredentials
from binderops.errors import AlreadyExistsError, BinderOpsError, KubernetesError, NotFoundError
from binderops.kube.kinds import POD, Object
from binderops.kube.objects import name_of, uid_of
from binderops.oci.registry import Registry
from binderops.oci.tokens import Grants

log = structlog.get_logger(__name__)

CHECK_SECONDS = 120.0
FIRST_PAUSE = 2.0
LONGEST_PAUSE = 300.0
_POD_SECONDS = 600.0
_TOLD_LINES = 5


class BaseSeeding:
    """One base and one registry. `run` looks after them until it is cancelled."""

    def __init__(
        self,
        settings: Settings,
        pods: Pods,
        registry: Registry,
        places: Places,
        credentials: BuildCredentials | None,
        metrics: Metrics,
        *,
        check_seconds: float = CHECK_SECONDS,
        first_pause: float = FIRST_PAUSE,
    ) -> None:
        self._settings = settings
        self._pods = pods
        self._registry = registry
        self._places = places
        self._credentials = credentials
        self._metrics = metrics
        self._check_seconds = check_seconds
        self._first_pause = first_pause

    async def run(self) -> None:
        """Send the base whenever the registry lacks it; pauses grow while that fails."""
        if not (self._settings.common.machine.build_base_store and self.tag and self._credentials):
            return
        pause = self._first_pause
        while True:
            is_there = await self._try(self._credentials)
            self._metrics.base_present.set(is_there)
            await asyncio.sleep(self._check_seconds if is_there else pause)
            pause = self._first_pause if is_there else min(pause * 2, LONGEST_PAUSE)

    @property
    def tag(self) -> str:
        """The base's tag in the registry: the digits by which its digest is known everywhere."""
        return self._settings.common.images.notebook.tag.removeprefix("sha256:")[:12]

    async def _try(self, credentials: BuildCredentials) -> bool:
        try:
            if await self._is_there():
                await self._keep_where_images_are()
                return True
            told = await self._seed(credentials)
            is_there = await self._is_there()
            if is_there:
                await self._keep_where_images_are()
        except BinderOpsError as error:
            log.warning("the base cannot be looked after in the registry", error=str(error))
            return False
        except Exception:
            log.exception("looking after the base failed")
            return False
        self._metrics.base_seedings.labels("success" if is_there else "failure").inc()
        if is_there:
            log.info("the base is in the registry: builds mount it", repository=self._settings.base_repository)
        else:
            log.warning("the base was not sent to the registry: builds send it themselves", why=told)
        return is_there

    async def _is_there(self) -> bool:
        return await self._registry.head_manifest(self._settings.base_repository, self.tag) is not None

    async def _keep_where_images_are(self) -> None:
        if self._settings.base_image:
            await self._places.store(self._settings.base_repository, self._settings.base_image, tag=self.tag)

    async def _seed(self, credentials: BuildCredentials) -> str:
        """Run the pod to its end and remove it; returns what it said last."""
        repository = self._settings.base_repository
        image = f"{self._settings.build_registry}/{repository}:{self.tag}"
        grants = Grants(push=frozenset({repository}))
        name = f"seed-base-{self.tag}"
        credential = credentials.mint(name, grants, seconds=_POD_SECONDS)
        manifest = seeding_pod(self._settings, name, image, credential)
        manifest["spec"]["activeDeadlineSeconds"] = int(_POD_SECONDS)
        try:
            pod = await self._pods.client.create(manifest)
        except AlreadyExistsError:
            # Another replica's, or that of a binder that was stopped meanwhile.
            pod = await self._pods.client.get(POD, name_of(manifest), self._settings.place.build_namespace)
        uid = self._pods.observe(pod)
        ended: Object | None = pod
        with suppress(TimeoutError):
            ended = await self._pods.wait_for_build(name_of(pod), uid, is_finished, seconds=_POD_SECONDS)
        told = await self._last_lines(name_of(pod)) or ending_of(ended)
        with suppress(NotFoundError):
            await self._pods.client.delete(POD, name_of(pod), self._settings.place.build_namespace, uid=uid_of(pod))
        return told

    async def _last_lines(self, name: str) -> str:
        text = b""
        with suppress(KubernetesError):
            async for piece in self._pods.client.logs(
                name, self._settings.place.build_namespace, container=CONTAINER, tail=_TOLD_LINES
            ):
                text += piece
        return text.decode(errors="replace").strip()
