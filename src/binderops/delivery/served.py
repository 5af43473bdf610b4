"""What is live: an environment's release as its target has it, without any file of the repository.

`verify` and `rollback` work on this, so that they work when the files are broken, gone, or ahead of what runs.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import ValidationError

from binderops.errors import DeliveryError
from binderops.helm.releases import Release, ReleaseDoor
from binderops.state.deployment import Object, parse_manifests
from binderops.state.project import Environment
from binderops.state.public import PublicSettings
from binderops.target.protocol import Access

STATE_LABEL = "binderops.dev/state"
COMMON_LABEL = "binderops.dev/common"
"""On a release's record: which state it is. Helm's history tells labels, but not descriptions."""


class Served(Protocol):
    """What a proof must know: where people reach it, where its release is, and how long (seconds) it may take."""

    @property
    def public(self) -> PublicSettings:
        """Domain and public ports."""

    @property
    def namespace(self) -> str:
        """The release's namespace."""

    @property
    def timeout(self) -> int:
        """Seconds."""


@dataclass(frozen=True)
class Live:
    """One revision of a release: where it is reached, its objects, and the digests of its state ("" if not ours)."""

    release: Release = field(repr=False)
    namespace: str
    timeout: int
    public: PublicSettings
    objects: list[Object] = field(repr=False)

    @property
    def revision(self) -> int:
        """Helm's number."""
        return self.release.revision

    @property
    def digest(self) -> str:
        """Of the whole state."""
        return digest_from(self.release.labels, STATE_LABEL)

    @property
    def common(self) -> str:
        """Of its common part."""
        return digest_from(self.release.labels, COMMON_LABEL)


def door_of(access: Access, environment: Environment) -> ReleaseDoor:
    """Helm's door to an environment's own release."""
    return ReleaseDoor(access.kubeconfig, environment.namespace, access.context)


async def newest_release(door: ReleaseDoor, release: str) -> Release | None:
    """The newest revision, or None."""
    history = await door.history(release)
    return history[-1] if history else None


async def read_live(access: Access, environment: Environment) -> Live:
    """The newest revision; raises DeliveryError where there is none, or none that names where it is reached."""
    door = door_of(access, environment)
    newest = await newest_release(door, environment.release)
    where = f"release {environment.release} in namespace {environment.namespace}"
    if newest is None:
        raise DeliveryError("nothing is deployed there", where=where, hint="binderops up, or binderops deploy")
    values = await door.values(environment.release, revision=newest.revision)
    told = await door.status(environment.release, revision=newest.revision)
    try:
        public = PublicSettings.of(values)
    except ValidationError:
        raise DeliveryError(
            "the release does not say where it is reached", where=where, why="no global.domain"
        ) from None
    return Live(
        # Labels come with the history, not with the status.
        release=newest,
        namespace=environment.namespace,
        timeout=environment.timeout,
        public=public,
        objects=parse_manifests({"manifest": told.manifest}),
    )


def label_of(digest: str) -> str:
    """A digest as a label's value, which holds at most 63 characters: sha256 in base 32, 52 of them."""
    return base64.b32encode(bytes.fromhex(digest.removeprefix("sha256:"))).decode().rstrip("=").lower()


def digest_from(labels: Mapping[str, Any], label: str) -> str:
    """The digest that `label_of` wrote; "" where there is none."""
    text = str(labels.get(label, ""))
    try:
        return "sha256:" + base64.b32decode(text.upper() + "====").hex() if len(text) == 52 else ""
    except ValueError:
        return ""
