"""Finds the Ingress for which nginx refuses a whole configuration, so that all others go on being served.

Nothing that the parsers let through should come to this; it is what is left when one of them is wrong.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence

from binderops.ingress.routing import Key
from binderops.kube.kinds import Object
from binderops.kube.objects import key_of, metadata_of

Accepts = Callable[[Sequence[Key]], Awaitable[bool]]
"""Whether nginx accepts the configuration that these Ingresses make, without all others."""


class Quarantine:
    """Ingresses that are left out as they are now; a change of one lets it in again."""

    def __init__(self) -> None:
        self._held: dict[Key, str] = {}  # by Ingress: the resourceVersion that was refused

    def admitted(self, ingresses: Iterable[Object]) -> list[Object]:
        """Those that are not held."""
        return [found for found in ingresses if self._held.get(key_of(found)) != _version(found)]

    async def hold_offenders(self, ingresses: Sequence[Object], accepts: Accepts) -> list[Key]:
        """Holds those that nginx refuses on their own, found by halving; what it holds by now."""
        versions = {key_of(found): _version(found) for found in ingresses}
        offenders = await _offenders(list(versions), accepts)
        self._held = {key: held for key, held in self._held.items() if key in versions}
        self._held |= {key: versions[key] for key in offenders}
        return offenders


async def _offenders(keys: list[Key], accepts: Accepts) -> list[Key]:
    if not keys or await accepts(keys):
        return []
    if len(keys) == 1:
        return keys
    middle = len(keys) // 2
    return await _offenders(keys[:middle], accepts) + await _offenders(keys[middle:], accepts)


def _version(ingress: Object) -> str:
    return str(metadata_of(ingress).get("resourceVersion") or "")
