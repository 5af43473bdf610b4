"""The rights that the chart gives are enough: the program runs with its account's own token."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml
from tests.lego.pebble import Pebble
from tests.lego.world import World, ingress

from binderops.kube import certificates as names

CHART = Path(__file__).parents[2] / "charts" / "kube-lego"
ACCOUNT = "binder-kube-lego"


def rendered(namespace: str, *, one: bool) -> list[dict[str, Any]]:
    values = {
        "enabled": True,
        "config": {"LEGO_EMAIL": "admin@example.org"},
        "global": {"images": {"platform": {"name": "platform", "tag": "latest"}}},
        "rbac": {"create": True},
        "scope": {"enabled": one},
    }
    with helm_python.Chart.load(CHART) as chart:
        files = chart.render(values, name="binder", namespace=namespace)
    return [obj for name, text in files.items() if name.endswith(".yaml") for obj in yaml.safe_load_all(text) if obj]


@pytest.mark.parametrize("one", [True, False])
async def test_a_certificate_is_had_with_the_chart_s_own_rights(
    world: World, new_pebble: Callable[..., Pebble], one: bool
) -> None:
    new_pebble()
    kinds = {"ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}
    made = [obj for obj in rendered(world.namespace, one=one) if obj["kind"] in kinds]
    assert {obj["kind"] for obj in made} == (kinds - {"ClusterRole", "ClusterRoleBinding"} if one else kinds)
    for obj in made:
        if not obj["kind"].startswith("Cluster"):
            obj["metadata"]["namespace"] = world.namespace
        else:
            obj["metadata"]["name"] = world.namespace
            if "roleRef" in obj:
                obj["roleRef"]["name"] = world.namespace
        await world.client.create(obj)
    path = f"/api/v1/namespaces/{world.namespace}/serviceaccounts/{ACCOUNT}/token"
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    token = (await world.client.request("POST", path, json=asked))["status"]["token"]
    admin = yaml.safe_load(world.kubeconfig.read_text())
    for user in admin["users"]:
        user["user"] = {"token": token}
    world.kubeconfig = world.folder / "kubeconfig"
    world.kubeconfig.write_text(json.dumps(admin))
    world.everywhere, world.warm = not one, None
    world.start()
    await world.client.create(ingress("web", world.namespace, ("web-tls", ["a.example.org"])))
    first = await world.issued("web-tls")
    await world.event("Issued")
    await world.annotate_secret("web-tls", REVOKE="superseded")
    await world.issued("web-tls", besides=first.leaf.serial_number)
    assert names.REVOKED in await world.annotations("web-tls")
    assert await world.leftovers() == [] and await world.secrets("order") == []
    assert "forbidden" not in world.log().lower()
