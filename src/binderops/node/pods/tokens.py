"""ServiceAccount tokens for pods, by TokenRequest: bound to the pod, renewed before they expire."""

from __future__ import annotations

import time
from typing import NamedTuple

from binderops.kube.client import Client
from binderops.kube.kinds import Object
from binderops.kube.objects import name_of, namespace_of, parse_timestamp, spec_of, uid_of

LONGEST_KEPT_SECONDS = 24 * 3600.0
RENEW_AFTER = 0.8
"""The share of a token's life after which it is renewed (the kubelet's)."""


class _Token(NamedTuple):
    text: str
    renew_at: float
    """Seconds of the monotonic clock: one that was set back must not keep a token beyond its life."""


class Tokens:
    """Mints tokens and keeps them until they should be renewed."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._kept: dict[tuple[str, str, int], _Token] = {}

    async def token(self, pod: Object, audience: str, seconds: int) -> str:
        """A token of the pod's ServiceAccount for `audience` ("" is the API's own), valid for about `seconds`."""
        key = (uid_of(pod), audience, seconds)
        kept = self._kept.get(key)
        if kept is not None and time.monotonic() < kept.renew_at:
            return kept.text
        account = str(spec_of(pod).get("serviceAccountName") or "default")
        bound = {"kind": "Pod", "apiVersion": "v1", "name": name_of(pod), "uid": uid_of(pod)}
        spec = {"expirationSeconds": seconds, "boundObjectRef": bound}
        answer = await self._client.request(
            "POST",
            f"/api/v1/namespaces/{namespace_of(pod)}/serviceaccounts/{account}/token",
            json={
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenRequest",
                "spec": spec | ({"audiences": [audience]} if audience else {}),
            },
        )
        status = answer["status"]
        life = parse_timestamp(str(status["expirationTimestamp"])).timestamp() - time.time()
        token = _Token(str(status["token"]), time.monotonic() + min(life * RENEW_AFTER, LONGEST_KEPT_SECONDS))
        self._kept[key] = token
        return token.text

    def forget_all(self) -> None:
        """Drop them all: the clock was set, and what they hold may have expired by it."""
        self._kept.clear()

    def forget(self, uid: str) -> None:
        """Drop a pod's tokens."""
        for key in [key for key in self._kept if key[0] == uid]:
            del self._kept[key]
