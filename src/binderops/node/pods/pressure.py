"""The Node's condition DiskPressure, in the kubelet's words: what it is at a start, and each time that it changes."""

from __future__ import annotations

import time

import structlog

from binderops.errors import KubernetesError
from binderops.kube.client import Client
from binderops.kube.events import EventRecorder
from binderops.kube.kinds import NODE, Object
from binderops.kube.objects import conditions_of, set_condition, timestamp

log = structlog.get_logger(__name__)

RETRY_SECONDS = 5.0
_TYPE = "DiskPressure"


def condition(shortage: str) -> dict[str, str]:
    """The condition; `shortage` says what is low, empty for nothing."""
    return {
        "type": _TYPE,
        "status": "True" if shortage else "False",
        "reason": "KubeletHasDiskPressure" if shortage else "KubeletHasNoDiskPressure",
        "message": shortage.strip() or "kubelet has no disk pressure",
        "lastHeartbeatTime": timestamp(),
    }


class Pressure:
    """Tells the API. A disk that is low may take no write: it is tried again until one is taken."""

    def __init__(self, client: Client, recorder: EventRecorder, node: str) -> None:
        self._client = client
        self._recorder = recorder
        self._node = node
        self._told: bool | None = None
        self._not_before = 0.0

    async def tell(self, shortage: str) -> None:
        """Tell what is low now, if that was not told yet. Never raises for the API's answer."""
        now = time.monotonic()
        if bool(shortage) == self._told or now < self._not_before:
            return
        self._not_before = now + RETRY_SECONDS
        try:
            node = await self._client.get(NODE, self._node)
            wanted = condition(shortage)
            if _status(node) != wanted["status"]:
                await self._change(node, wanted, shortage)
        except KubernetesError as error:
            log.warning("the disk's state cannot be told yet", shortage=shortage, error=str(error))
            return
        self._told, self._not_before = bool(shortage), 0.0

    async def _change(self, node: Object, wanted: dict[str, str], shortage: str) -> None:
        log.warning("the disk is low" if shortage else "the disk is not low any more", why=shortage)
        body = {"status": {"conditions": set_condition(conditions_of(node), wanted)}}
        await self._client.patch(NODE, self._node, None, body, subresource="status")
        reason = "NodeHasDiskPressure" if shortage else "NodeHasNoDiskPressure"
        await self._recorder.event(node, reason, wanted["message"])


def _status(node: Object) -> str:
    return next((str(each.get("status")) for each in conditions_of(node) if each.get("type") == _TYPE), "")
