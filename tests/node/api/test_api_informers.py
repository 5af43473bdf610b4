"""Informers that ask for metadata alone, against the real API."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

from binderops.kube.client import Client
from binderops.kube.informer import Informer
from binderops.kube.kinds import SECRET


async def test_metadata_alone_is_asked_for_and_followed(api: Any, namespace: str, running_api: Any) -> None:
    path = f"/api/v1/namespaces/{namespace}/secrets"
    content = {"password": base64.b64encode(b"x" * 10_000).decode()}
    await api.create(path, {"metadata": {"name": "before"}, "data": content})
    received: list[dict[str, Any]] = []

    def keep(obj: dict[str, Any]) -> dict[str, Any]:
        received.append(obj)
        return obj

    async with Client.from_kubeconfig(running_api.kubeconfig) as client:
        informer = Informer(client, SECRET, namespace=namespace, keep=keep, metadata_only=True)
        following = asyncio.create_task(informer.run())
        try:
            async with asyncio.timeout(20):
                await informer.synced.wait()
                await api.create(path, {"metadata": {"name": "after"}, "data": content})
                while (namespace, "after") not in informer.objects:
                    await asyncio.sleep(0.02)
                await api.ask("DELETE", f"{path}/before")
                while (namespace, "before") in informer.objects:
                    await asyncio.sleep(0.02)
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        full = await client.get(SECRET, "after", namespace)
    assert full["data"] == content
    assert {obj["metadata"]["name"] for obj in received} == {"before", "after"}
    # As if whole, but for the content: readers know an object by its kind.
    assert all((obj["apiVersion"], obj["kind"]) == ("v1", "Secret") for obj in received)
    assert all("data" not in obj for obj in received)
