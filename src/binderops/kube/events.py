"""Events: what a part has to say about an object, for `kubectl describe` and for whoever waits on it.

Repeats are counted, and an object about which there is too much to say falls silent, as client-go's correlator has it.
"""

from __future__ import annotations

import time
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Literal

import structlog

from binderops.errors import KubernetesError, NotFoundError
from binderops.kube.client import Client
from binderops.kube.kinds import EVENT, Object
from binderops.kube.objects import metadata_of, name_of, namespace_of, timestamp, uid_of

log = structlog.get_logger(__name__)

REMEMBERED = 512
BURST = 25
"""How many Events one object may have at once; after them one each REFILL_SECONDS."""
REFILL_SECONDS = 300.0
LONGEST_MESSAGE = 1024  # the API's own limit for an Event's note


class EventRecorder:
    """Writes Events as `component`; a repeat raises the count of the first instead of making another."""

    def __init__(self, client: Client, component: str) -> None:
        self._client = client
        self._component = component
        self._seen: OrderedDict[tuple[str, ...], tuple[str, str, int]] = OrderedDict()
        self._spent: OrderedDict[str, tuple[float, float]] = OrderedDict()  # by uid: Events spent, and as of when

    async def event(
        self, obj: Mapping[str, Any], reason: str, message: str, type: Literal["Normal", "Warning"] = "Normal"
    ) -> None:
        """Record one. Never raises for the API's answer: an Event that is lost must not stop the work it tells of."""
        message = message if len(message) <= LONGEST_MESSAGE else message[: LONGEST_MESSAGE - 1] + "…"
        key = (uid_of(obj), str(obj.get("kind")), name_of(obj), reason, message, type)
        if not self._may_speak(f"{namespace_of(obj)}/{name_of(obj)}/{uid_of(obj)}"):
            return
        try:
            if not await self._count_up(key):
                await self._create(obj, key)
        except KubernetesError as error:
            log.debug("an Event was lost", reason=reason, object=name_of(obj), error=str(error))

    def _may_speak(self, about: str) -> bool:
        now = time.monotonic()
        spent, since = self._spent.pop(about, (0.0, now))
        spent = max(0.0, spent - (now - since) / REFILL_SECONDS)
        allowed = spent + 1 <= BURST
        self._spent[about] = (spent + 1 if allowed else spent, now)
        while len(self._spent) > REMEMBERED:
            self._spent.popitem(last=False)
        return allowed

    async def _count_up(self, key: tuple[str, ...]) -> bool:
        seen = self._seen.pop(key, None)
        if seen is None:
            return False
        namespace, name, count = seen
        try:
            await self._client.patch(
                EVENT, name, namespace, {"count": count + 1, "lastTimestamp": timestamp()}, how="merge"
            )
        except NotFoundError:  # expired: begin again
            return False
        self._seen[key] = (namespace, name, count + 1)
        return True

    async def _create(self, obj: Mapping[str, Any], key: tuple[str, ...]) -> None:
        _, _, _, reason, message, kind = key
        namespace = namespace_of(obj) or "default"
        now = timestamp()
        event: Object = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{name_of(obj)[:220]}.{uuid.uuid4().hex[:16]}", "namespace": namespace},
            "involvedObject": {
                "apiVersion": obj.get("apiVersion"),
                "kind": obj.get("kind"),
                "name": name_of(obj),
                "namespace": namespace_of(obj) or None,
                "uid": uid_of(obj),
                "resourceVersion": metadata_of(obj).get("resourceVersion"),
            },
            "reason": reason,
            "message": message,
            "type": kind,
            "count": 1,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "source": {"component": self._component},
            "reportingComponent": self._component,
            "reportingInstance": "",
        }
        event["involvedObject"] = {field: value for field, value in event["involvedObject"].items() if value}
        made = await self._client.create(event)
        self._seen[key] = (namespace, name_of(made), 1)
        while len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
