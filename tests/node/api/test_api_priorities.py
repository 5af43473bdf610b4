"""A pod's importance: by the class that it names, else by the class that is everybody's."""

from __future__ import annotations

from typing import Any

import pytest

CLASSES = "/apis/scheduling.k8s.io/v1/priorityclasses"


def pod(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i:1"}], **spec}}


@pytest.fixture
async def classes(api: Any) -> Any:
    made = {"everybody": {"value": 7, "globalDefault": True}, "less": {"value": -5}}
    for name, body in made.items():
        await api.create(CLASSES, {"metadata": {"name": name}, **body})
    yield made
    for name in made:
        await api.ask("DELETE", f"{CLASSES}/{name}")


async def test_priorities_of_pods(api: Any, namespace: str, classes: Any) -> None:
    pods = f"/api/v1/namespaces/{namespace}/pods"
    named = (await api.create(pods, pod("named", priorityClassName="less")))["spec"]
    assert (named["priority"], named["priorityClassName"]) == (-5, "less")
    other = (await api.create(pods, pod("other")))["spec"]
    assert (other["priority"], other["priorityClassName"]) == (7, "everybody")
    code, status = await api.ask("POST", pods, pod("unknown", priorityClassName="nosuch"))
    assert (code, "no PriorityClass with name nosuch was found" in status["message"]) == (403, True)


async def test_without_a_class_a_pod_is_as_important_as_most(api: Any, namespace: str) -> None:
    spec = (await api.create(f"/api/v1/namespaces/{namespace}/pods", pod("plain")))["spec"]
    assert (spec["priority"], "priorityClassName" in spec) == (0, False)
