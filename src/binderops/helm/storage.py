"""Helm's own records of a release: Secrets of its namespace, one a revision, whose status is Helm's only lock.

Helm's library has no call for what is done here: to end what it began and can never finish.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from binderops.errors import ConflictError, HelmError, NotFoundError
from binderops.kube.client import Client
from binderops.kube.kinds import SECRET, Object
from binderops.kube.objects import labels_of, name_of

CUT_LABEL = "binderops.dev/cut"
"""On a record that `mark_failed` ended: the status that it was left with."""
_ACTIONS = {
    "pending-install": "an install",
    "pending-upgrade": "an upgrade",
    "pending-rollback": "a rollback",
    "uninstalling": "an uninstall",
}


@dataclass(frozen=True)
class Unfinished:
    """The newest revision of a release, where Helm has not finished it; times are of Helm and of the API (UTC)."""

    release: str
    namespace: str
    revision: int
    status: str
    created: datetime
    touched: datetime
    """When Helm last wrote the record: it does so at its beginning and at each hook."""

    @property
    def action(self) -> str:
        """What it is, for people: "an upgrade"."""
        return _ACTIONS[self.status]


async def unfinished(client: Client, namespace: str, release: str) -> Unfinished | None:
    """The newest revision, if it is one that Helm has not finished."""
    newest = await _newest(client, namespace, release)
    if newest is None or labels_of(newest).get("status") not in _ACTIONS:
        return None
    return Unfinished(
        release=release,
        namespace=namespace,
        revision=_version(newest),
        status=labels_of(newest)["status"],
        created=_created(newest),
        touched=_touched(newest),
    )


async def mark_failed(client: Client, found: Unfinished) -> bool:
    """Says in Helm's record that the revision failed; False where somebody wrote it meanwhile, and nothing was done.

    A failed revision is what Helm upgrades from: objects that are there are adopted, none is removed.
    """
    name = f"sh.helm.release.v1.{found.release}.v{found.revision}"
    try:
        secret = await client.get(SECRET, name, found.namespace)
        if labels_of(secret).get("status") != found.status or _touched(secret) > found.touched:
            return False
        await client.replace(_failed(secret, found))
    except (ConflictError, NotFoundError):
        return False
    return True


async def forget_failed(client: Client, namespace: str, release: str) -> bool:
    """Removes Helm's records of a release that was never deployed: it can be installed again, and adopts what is there.

    False, and nothing is done, where some revision was deployed once.
    """
    records = await _records(client, namespace, release)
    if any(labels_of(record).get("status") != "failed" for record in records):
        return False
    for record in records:
        with contextlib.suppress(NotFoundError):
            await client.delete(SECRET, name_of(record), namespace)
    return True


def _failed(secret: Object, found: Unfinished) -> Object:
    record = _decoded(secret)
    info = record.setdefault("info", {})
    said = str(info.get("description") or "")
    info |= {"status": "failed", "description": f"{said}: cut off, marked failed by binderops".lstrip(": ")}
    labels = {**labels_of(secret), "status": "failed", CUT_LABEL: found.status}
    metadata = {**secret["metadata"], "labels": labels}
    return {**secret, "metadata": metadata, "data": {**secret["data"], "release": _encoded(record)}}


def _decoded(secret: Object) -> dict[str, Any]:
    try:
        packed = base64.b64decode(base64.b64decode(secret["data"]["release"]))
        return dict(json.loads(gzip.decompress(packed)))
    except (KeyError, ValueError, OSError, EOFError) as error:
        raise HelmError(
            "Helm's record of a release cannot be read",
            where=f"Secret {secret['metadata']['namespace']}/{name_of(secret)}",
            why=f"{type(error).__name__}: it is not what Helm 4 writes",
            hint="`helm history` and `helm rollback` of the helm program that wrote it",
        ) from None


def _encoded(record: Mapping[str, Any]) -> str:
    packed = gzip.compress(json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode())
    return base64.b64encode(base64.b64encode(packed)).decode()


async def _newest(client: Client, namespace: str, release: str) -> Object | None:
    return max(await _records(client, namespace, release), key=_version, default=None)


async def _records(client: Client, namespace: str, release: str) -> list[Object]:
    labels = f"owner=helm,name={release}"
    return (await client.list(SECRET, namespace, labels=labels, metadata_only=True)).items


def _version(secret: Object) -> int:
    return int(labels_of(secret).get("version", 0))


def _created(secret: Object) -> datetime:
    return datetime.fromisoformat(str(secret["metadata"]["creationTimestamp"]))


def _touched(secret: Object) -> datetime:
    stamps = [stamp for label in ("createdAt", "modifiedAt") if (stamp := labels_of(secret).get(label))]
    return max([_created(secret), *(datetime.fromtimestamp(int(stamp), UTC) for stamp in stamps)])
