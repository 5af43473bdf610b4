"""Images for containers: found in the engine's stores, or pulled with the pod's own credentials."""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from collections.abc import Callable, Mapping
from typing import Any

from binderops.errors import ContainerImageError, EngineNotFoundError, PullError, RegistryError
from binderops.kube.kinds import SECRET, SERVICE_ACCOUNT, Object
from binderops.kube.objects import namespace_of, spec_of
from binderops.node.pods.environment import Fetch
from binderops.node.pods.rendering import Image
from binderops.node.pods.unpacking import PullRoom
from binderops.oci.credentials import parse_docker_config
from binderops.oci.references import Reference
from binderops.podman import Podman

ANONYMOUS: tuple[str, str] | None = None
PULL_SECONDS = 1800.0
KNOWN_SECONDS = 2.0
"""So long an image that was there counts as there: asking costs the engine 8 ms, and many launches are of one image. An
image that goes meanwhile goes between the question and the container's creation, as it might without this.
"""


class Puller:
    """Finds and pulls images. Pulls of one image with the same credentials at the same time are one pull."""

    def __init__(self, podman: Podman, fetch: Fetch, room: PullRoom) -> None:
        self._podman = podman
        self._room = room
        self._fetch = fetch
        self._pulls: dict[tuple[str, tuple[str, str] | None], asyncio.Task[str]] = {}
        self._known: dict[str, tuple[float, Image]] = {}

    async def image_of(
        self, pod: Object, container: Mapping[str, Any], *, pulling: Callable[[], None] = lambda: None
    ) -> tuple[Image, bool]:
        """The container's image, and whether it was pulled now (`pulling` is called before).

        ContainerImageError says why there is none.
        """
        name = str(container.get("image") or "")
        try:
            reference = Reference.parse(name)
        except RegistryError as error:
            message = f'Failed to apply default image tag "{name}": {error.why}'
            raise ContainerImageError("InvalidImageName", message) from error
        if not reference.tag and not reference.digest:
            reference = reference.with_tag("latest")
        policy = str(container.get("imagePullPolicy") or _default_policy(reference))
        if policy != "Always" and (found := await self._inspect(reference)) is not None:
            return found, False
        if policy == "Never":
            message = f'Container image "{name}" is not present with pull policy of Never'
            raise ContainerImageError("ErrImageNeverPull", message)
        pulling()
        await self._pull(pod, reference)
        self._known.pop(pullable(reference), None)
        found = await self._inspect(reference)
        if found is None:
            raise ContainerImageError("ErrImagePull", f"{name} was pulled, but is not there")
        return found, True

    async def _inspect(self, reference: Reference) -> Image | None:
        now, name = time.monotonic(), pullable(reference)
        self._known = {each: known for each, known in self._known.items() if known[0] > now}
        if name in self._known:
            return self._known[name][1]
        image = await self._ask(reference)
        if image is not None:
            self._known[name] = (now + KNOWN_SECONDS, image)
        return image

    async def _ask(self, reference: Reference) -> Image | None:
        try:
            found = await self._podman.images.inspect(pullable(reference))
        except EngineNotFoundError:
            return None
        config = found.get("Config") or {}
        # One image can have come by several names; the container's own says what was asked for.
        asked = pullable(reference) if reference.digest else f"{reference.name}@"
        digests = sorted(map(str, found.get("RepoDigests") or []), key=lambda name: not name.startswith(asked))
        digest = digests[0] if digests else f"sha256:{found['Id']}"
        return Image(str(found["Id"]), digest, str(config.get("User") or ""), str(config.get("StopSignal") or ""))

    async def _pull(self, pod: Object, reference: Reference) -> None:
        name = pullable(reference)
        error: PullError | None = None
        for credentials in [*await self._credentials(pod, reference), ANONYMOUS]:
            try:
                await self._shared_pull(name, credentials)
                return
            except PullError as problem:
                # The words about the Secret's credentials say more than those about nobody's.
                error = error or problem
        if error is not None:
            raise ContainerImageError("ErrImagePull", error.why or str(error)) from error

    async def _shared_pull(self, name: str, credentials: tuple[str, str] | None) -> None:
        key = (name, credentials)
        task = self._pulls.get(key)
        if task is None:
            pull = self._podman.images.pull(name, credentials=credentials, deadline=PULL_SECONDS)
            task = asyncio.create_task(self._room.bounded(name, pull))
            self._pulls[key] = task
            task.add_done_callback(lambda _: self._pulls.pop(key, None))
        # Shielded: a pod that is deleted while it waits must not end the pull for the others.
        await asyncio.shield(task)

    async def _credentials(self, pod: Object, reference: Reference) -> list[tuple[str, str]]:
        """What the pod's imagePullSecrets (or else its ServiceAccount's) hold for the image's registry."""
        references = spec_of(pod).get("imagePullSecrets") or []
        namespace = namespace_of(pod)
        if not references:
            name = str(spec_of(pod).get("serviceAccountName") or "default")
            account = await self._fetch(SERVICE_ACCOUNT, namespace, name)
            references = (account or {}).get("imagePullSecrets") or []
        secrets = await asyncio.gather(*(self._fetch(SECRET, namespace, str(ref.get("name"))) for ref in references))
        found = []
        for secret in secrets:
            try:
                encoded = ((secret or {}).get("data") or {}).get(".dockerconfigjson") or ""
                password = parse_docker_config(base64.b64decode(encoded) or b"{}").get(reference.registry)
            except (RegistryError, binascii.Error):
                continue  # as the kubelet does: a Secret that cannot be read helps nobody, others may
            if password is not None and password.username:
                found.append((password.username, password.password))
        return found


def pullable(reference: Reference) -> str:
    """A name as Podman takes it: with both a tag and a digest it refuses, and the digest decides."""
    if reference.digest:
        return f"{reference.name}@{reference.digest}"
    return str(reference)


def _default_policy(reference: Reference) -> str:
    latest = reference.tag in ("", "latest") and not reference.digest
    return "Always" if latest else "IfNotPresent"
