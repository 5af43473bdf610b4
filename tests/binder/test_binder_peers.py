"""Whose word is taken for who asks: the ingress controller's pods of this very release."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from tests.binder.cluster import NAMESPACE, Cluster
from tests.binder.conftest import MakeBinder

from binderops.kube.kinds import POD

LABELS = {"app": "nginx-ingress", "component": "controller"}


def a_pod(name: str, labels: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
        "spec": {"containers": [{"name": "a", "image": "a:1"}]},
    }


async def test_only_the_ingress_controllers_pods_of_this_release_speak_for_visitors(
    make_binder: MakeBinder, cluster: Cluster
) -> None:
    values = {"trustedProxies": {"podLabels": LABELS}, "config": {"RateLimiter": {"limit": 1}}}
    asked = {"Accept": "text/event-stream", "X-Real-IP": "203.0.113.9"}
    async with make_binder(values=values) as served, cluster.client() as kube:
        peers, addresses = served.binder.peers, ("127.0.0.1", "127.0.0.2", "127.0.0.3")
        assert not [address for address in addresses if address in peers]
        async with httpx.AsyncClient(trust_env=False) as http:
            # A peer that is not the ingress is limited by its own address, whatever it claims.
            first = await http.get(f"{served.url}build/zz/a/b", headers=asked)
            assert first.headers["x-ratelimit-remaining"] == "0"
            again = await http.get(f"{served.url}build/zz/a/b", headers={**asked, "X-Real-IP": "203.0.113.10"})
            assert '"status_code":429' in again.text
            pods = {
                "ours": {**LABELS, "release": "release"},
                "anothers": {**LABELS, "release": "other"},
                "a-servers": {"app": "jupyterhub", "component": "singleuser-server", "release": "release"},
            }
            for (name, labels), address in zip(pods.items(), addresses, strict=True):
                made = await kube.create(a_pod(name, labels))
                status = {**made.get("status", {}), "podIP": address, "podIPs": [{"ip": address}]}
                await kube.patch(POD, name, NAMESPACE, {"status": status}, subresource="status")
            try:
                async with asyncio.timeout(10):
                    while "127.0.0.1" not in peers:
                        await asyncio.sleep(0.01)
                assert [address for address in addresses if address in peers] == ["127.0.0.1"]
                believed = await http.get(f"{served.url}build/zz/a/b", headers=asked)
                assert believed.headers["x-ratelimit-remaining"] == "0"
            finally:
                for name in pods:
                    await kube.delete(POD, name, NAMESPACE, grace_seconds=0)
