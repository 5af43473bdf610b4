"""What revisions that never finished had made, and the live one does not have.

Helm compares with the revision that was deployed last: what came after it, and is gone from the files again, would run
for ever, in no revision and out of `helm uninstall`'s reach.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence

from binderops.errors import ConflictError, NotFoundError
from binderops.helm.releases import Release
from binderops.kube.client import Client
from binderops.kube.kinds import NAMESPACE, PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, Kind, Object, kind_of
from binderops.kube.objects import name_of, uid_of
from binderops.state.deployment import parse_manifests

_HOLDS_DATA = {PERSISTENT_VOLUME_CLAIM, PERSISTENT_VOLUME, NAMESPACE}
_Key = tuple[Kind, str, str]


def never_finished(history: Sequence[Release]) -> list[Release]:
    """The failed revisions that came after the last one which Helm deployed."""
    deployed = max((found.revision for found in history if found.status != "failed"), default=0)
    return [found for found in history if found.revision > deployed]


async def remove_surplus(client: Client, live: Release, before: Iterable[Release]) -> str | None:
    """Removes what `before` had made and `live` has not; all come with their manifests. Answers with words about it.

    Stays: what holds data, what another release or nobody owns, what its chart keeps, kinds that are unknown here.
    """
    wanted = set(_keys(live))
    removed = []
    for key in dict.fromkeys(key for release in before for key in _keys(release)):
        if key not in wanted and await _remove(client, live, key):
            removed.append(f"{key[0].kind} {key[2]}")
    return f"what it had made and is not wanted any more was removed: {', '.join(removed)}" if removed else None


def _keys(release: Release) -> Iterable[_Key]:
    for obj in parse_manifests({"manifest": release.manifest}):
        with contextlib.suppress(KeyError):
            kind = kind_of(obj)
            namespace = str(obj["metadata"].get("namespace") or release.namespace) if kind.namespaced else ""
            yield kind, namespace, name_of(obj)


async def _remove(client: Client, live: Release, key: _Key) -> bool:
    kind, namespace, name = key
    if kind in _HOLDS_DATA:
        return False
    try:
        found = await client.get(kind, name, namespace or None)
        if not _is_its_own(found, live):
            return False
        await client.delete(kind, name, namespace or None, propagation="Background", uid=uid_of(found))
    except (NotFoundError, ConflictError):
        return False
    return True


def _is_its_own(obj: Object, live: Release) -> bool:
    annotations = obj["metadata"].get("annotations") or {}
    owner = annotations.get("meta.helm.sh/release-name"), annotations.get("meta.helm.sh/release-namespace")
    return owner == (live.name, live.namespace) and annotations.get("helm.sh/resource-policy") != "keep"
