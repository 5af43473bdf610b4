from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from binderops.kube import schemas
from binderops.node.api.resources import BY_PATH, RESOURCES, Resource
from binderops.node.api.selection import SELECTABLE

PAGE = Path(__file__).parents[3] / "docs" / "develop" / "node.md"
RECORDED = {
    (group["metadata"].get("name", ""), version["version"], entry["resource"]): entry
    for root in schemas.discovery().values()
    for group in root["items"]
    for version in group["versions"]
    for entry in version["resources"]
}


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda r: r.id)
def test_the_table_is_a_part_of_a_real_api_servers(resource: Resource) -> None:
    entry = RECORDED[(resource.group, resource.version, resource.plural)]
    assert entry["responseKind"]["kind"] == resource.kind
    assert (entry["scope"] == "Namespaced") == resource.namespaced
    assert set(resource.verbs) == set(entry["verbs"])
    recorded = {below["subresource"]: below for below in entry.get("subresources", ())}
    for name, below in resource.subresources.items():
        kind = recorded[name]["responseKind"]
        assert (kind["kind"], kind["group"], kind["version"]) == (below.kind, below.group, below.version)
        assert set(recorded[name]["verbs"]) == set(below.verbs)


def test_the_page_shows_the_table() -> None:
    """docs/develop/node.md and the code say the same: kind, group, verbs, subresources, notes."""
    rows = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \| ([^|]*) \| ([^|]*) \|$", PAGE.read_text(), re.MULTILINE)
    shown = {(kind, version): (below.strip(), note.strip()) for kind, version, below, note in rows}
    wanted = {
        (r.kind, r.api_version): (", ".join(r.subresources), r.note if r.is_stored else "answered, not stored")
        for r in RESOURCES
    }
    assert shown == wanted


def test_the_page_names_the_selectable_fields() -> None:
    text = PAGE.read_text()
    for fields in SELECTABLE.values():
        for field in fields:
            stem = field.rpartition(".")[0] if field.startswith("involvedObject") else field
            assert f"`{stem}" in text, field


async def test_both_forms_of_discovery_say_the_same(api: Any) -> None:
    accept = {"accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"}
    found = set()
    for root in ("/api", "/apis"):
        answer = await api.session.get(root, headers=accept)
        assert "as=APIGroupDiscoveryList" in answer.headers["content-type"]
        for group in answer.json()["items"]:
            for version in group["versions"]:
                name = group["metadata"].get("name", "")
                found |= {(name, version["version"], entry["resource"]) for entry in version["resources"]}
    assert found == set(BY_PATH)
    plain = set()
    groups = (await api.get("/apis"))["groups"]
    for group, path in [
        ("", "/api/v1"),
        *((g["name"], f"/apis/{v['groupVersion']}") for g in groups for v in g["versions"]),
    ]:
        for entry in (await api.get(path))["resources"]:
            if "/" not in entry["name"]:
                plain.add((group, path.rpartition("/")[2], entry["name"]))
    assert plain == found
    assert (await api.get("/apis/apps"))["preferredVersion"]["groupVersion"] == "apps/v1"


async def test_openapi_documents_are_cached_by_digest(api: Any) -> None:
    index = (await api.get("/openapi/v3"))["paths"]
    assert "apis/apps/v1" in index and "apis/apiextensions.k8s.io/v1" not in index
    for path in index.values():
        answer = await api.session.get(path["serverRelativeURL"])
        assert answer.json()["openapi"].startswith("3.")
    tag = answer.headers["etag"]
    again = await api.session.get(path["serverRelativeURL"], headers={"if-none-match": tag})
    assert (again.status_code, again.content) == (304, b"")


async def test_what_is_not_served_is_refused_by_name(api: Any) -> None:
    code, status = await api.ask("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions")
    assert (code, "CustomResourceDefinitions" in status["message"]) == (404, True)
    code, status = await api.ask("GET", "/api/v1/widgets")
    assert (code, status["message"]) == (404, "the server could not find the requested resource")


async def test_the_issuer_describes_itself(api: Any) -> None:
    document = await api.get("/.well-known/openid-configuration")
    keys = (await api.get("/openid/v1/jwks"))["keys"]
    assert document["issuer"] == "https://kubernetes.default.svc.cluster.local"
    assert keys[0]["alg"] == "ES256"
