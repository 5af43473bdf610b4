"""The recorded schemas: discovery, documents, types, and what does not fit them."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from binderops.kube.kinds import KINDS
from binderops.kube.schemas import (
    discovery,
    document,
    openapi_index,
    schema_of,
    validate,
    version,
)

DEPLOYMENT = schema_of("apps", "v1", "Deployment")
POD = schema_of("", "v1", "Pod")


def test_every_kind_that_is_spoken_of_is_recorded() -> None:
    missing = []
    for kind in KINDS.values():
        try:
            schema_of(kind.group, kind.version, kind.kind)
        except KeyError:
            missing.append(kind.kind)
    assert missing == []


def test_an_unknown_kind_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        schema_of("example.org", "v1", "Toaster")


def test_references_are_followed_and_their_place_has_its_say() -> None:
    strategy = DEPLOYMENT.field("spec").field("strategy")  # type: ignore[union-attr]
    assert strategy is not None
    assert strategy.definition == "io.k8s.api.apps.v1.DeploymentStrategy"
    assert strategy.patch_strategy == ["retainKeys"]
    assert strategy.filled
    assert strategy.field("type") is not None


def test_merge_rules_of_lists_and_maps() -> None:
    spec = POD.field("spec")
    assert spec is not None
    containers = spec.field("containers")
    assert containers is not None
    assert (containers.list_type, containers.map_keys, containers.merge_key) == ("map", ["name"], "name")
    ports = containers.items.field("ports")
    assert ports is not None
    assert ports.map_keys == ["containerPort", "protocol"]
    assert ports.items.field("protocol").default == "TCP"  # type: ignore[union-attr]
    assert spec.field("nodeSelector").atomic  # type: ignore[union-attr]
    assert spec.field("tolerations").atomic  # type: ignore[union-attr]
    finalizers = POD.field("metadata").field("finalizers")  # type: ignore[union-attr]
    assert finalizers is not None
    assert finalizers.list_type == "set"


def test_types_of_values() -> None:
    limits = schema_of("", "v1", "Pod").field("spec").field("containers").items.field("resources").field("limits")  # type: ignore[union-attr]
    assert limits is not None
    assert (limits.type, limits.values.type) == ("map", "quantity")
    target = schema_of("", "v1", "Service").field("spec").field("ports").items.field("targetPort")  # type: ignore[union-attr]
    assert target is not None
    assert target.type == "int-or-string"
    data = schema_of("apps", "v1", "ControllerRevision").field("data")
    assert data is not None
    assert (data.type, data.field("anything").type) == ("any", "any")  # type: ignore[union-attr]


def test_discovery_is_cut_to_what_is_supported() -> None:
    supported = {("", "v1", "pods"), ("", "v1", "pods/log"), ("apps", "v1", "deployments")}
    found = discovery(supported)
    (core,) = found["api"]["items"]
    (resource,) = core["versions"][0]["resources"]
    assert resource["resource"] == "pods"
    assert resource["shortNames"] == ["po"]
    assert [each["subresource"] for each in resource["subresources"]] == ["log"]
    (apps,) = found["apis"]["items"]
    assert apps["metadata"]["name"] == "apps"
    assert "subresources" not in apps["versions"][0]["resources"][0]
    assert len(discovery()["apis"]["items"]) > 10


def test_documents_are_served_as_recorded() -> None:
    index = openapi_index({("apps", "v1", "deployments")})["paths"]
    assert "apis/apps/v1" in index
    assert "apis/batch/v1" not in index
    assert index["apis/apps/v1"]["serverRelativeURL"].startswith("/openapi/v3/apis/apps/v1?hash=")
    content = json.loads(document("apis/apps/v1"))
    assert content["openapi"].startswith("3.")
    assert "/apis/apps/v1/namespaces/{namespace}/deployments/{name}" in content["paths"]
    with pytest.raises(KeyError):
        document("apis/example.org/v1")
    assert version().startswith("v1.")


def deployment(**spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    content = {"selector": {"matchLabels": {"a": "b"}}, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}, "spec": content}


def container(**content: Any) -> dict[str, Any]:
    return deployment(template={"spec": {"containers": [{"name": "c", **content}]}})


FINDINGS: dict[str, tuple[dict[str, Any], tuple[str, str, str]]] = {
    "unknown field": (deployment(replica=1), ("unknown-field", "spec.replica", "replicas")),
    "unknown field in a list": (
        container(Image="i"),
        ("unknown-field", "spec.template.spec.containers[0].Image", "image"),
    ),
    "number as text": (deployment(replicas="1"), ("type", "spec.replicas", "")),
    "truth as number": (deployment(replicas=True), ("type", "spec.replicas", "")),
    "too large a number": (deployment(replicas=2**31), ("type", "spec.replicas", "")),
    "text as number": (container(image=1), ("type", "spec.template.spec.containers[0].image", "")),
    "no quantity": (
        container(resources={"limits": {"memory": "1 GB"}}),
        ("type", "spec.template.spec.containers[0].resources.limits.memory", ""),
    ),
    "list instead of object": (deployment(selector=[]), ("type", "spec.selector", "")),
    "object instead of list": (
        deployment(template={"spec": {"containers": {}}}),
        ("type", "spec.template.spec.containers", ""),
    ),
    "enumeration": (
        container(imagePullPolicy="always"),
        ("enum", "spec.template.spec.containers[0].imagePullPolicy", "Always"),
    ),
    "required": (deployment(selector=None), ("required", "spec.selector", "")),
    "no base64": (
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}, "data": {"a": "not base64!"}},
        ("type", "data.a", ""),
    ),
    "unknown kind": ({"apiVersion": "apps/v2", "kind": "Deployment"}, ("unknown-kind", "", "")),
    "no kind": ({}, ("unknown-kind", "", "")),
}


@pytest.mark.parametrize(("obj", "wanted"), FINDINGS.values(), ids=FINDINGS.keys())
def test_findings(obj: dict[str, Any], wanted: tuple[str, str, str]) -> None:
    assert wanted in [(each.rule, each.path, each.suggestion) for each in validate(obj)]


def test_a_good_object_has_none() -> None:
    assert validate(deployment(replicas=1)) == []
    assert validate(container(ports=[{"containerPort": 80}], resources={"limits": {"cpu": 1}})) == []


def test_it_stays_small() -> None:
    """The types of a pod and a deployment cost less than 32 MB; all documents, parsed, would cost more."""
    program = (
        "import resource\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "from binderops.kube import schemas\n"
        "schemas.schema_of('apps', 'v1', 'Deployment').field('spec').field('template')\n"
        "schemas.schema_of('', 'v1', 'Pod').field('spec')\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert int(done.stdout) < 32 * 1024
