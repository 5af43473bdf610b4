"""The three patch kinds that merge without owners; the strategic ones after Kubernetes' documentation."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binderops.errors import InvalidError
from binderops.kube.schemas import schema_of
from binderops.node.api.objects.json_patch import MAX_OPERATIONS, json_patch
from binderops.node.api.objects.merge import json_merge
from binderops.node.api.objects.strategic import strategic_merge

POD = schema_of("", "v1", "Pod")
DEPLOYMENT = schema_of("apps", "v1", "Deployment")

NGINX = {"name": "nginx", "image": "nginx:1"}
REDIS = {"name": "redis", "image": "redis:1"}
LOG = {"name": "log", "image": "log:1"}


def spec(**content: Any) -> dict[str, Any]:
    return {"spec": content}


CASES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "a container is added beside the others": (
        spec(containers=[NGINX]),
        spec(containers=[REDIS]),
        spec(containers=[REDIS, NGINX]),
    ),
    "a container is changed by its name": (
        spec(containers=[NGINX, REDIS]),
        spec(containers=[{"name": "redis", "image": "redis:2"}]),
        spec(containers=[NGINX, {"name": "redis", "image": "redis:2"}]),
    ),
    "$patch delete takes an item away": (
        spec(containers=[NGINX, LOG, REDIS]),
        spec(containers=[{"$patch": "delete", "name": "log"}]),
        spec(containers=[NGINX, REDIS]),
    ),
    "deleting what is not there is no error": (
        spec(containers=[NGINX]),
        spec(containers=[{"$patch": "delete", "name": "log"}]),
        spec(containers=[NGINX]),
    ),
    "$patch replace as an item replaces the list": (
        spec(containers=[NGINX, LOG]),
        spec(containers=[REDIS, {"$patch": "replace"}]),
        spec(containers=[REDIS]),
    ),
    "$patch replace in an object replaces it": (
        spec(securityContext={"runAsUser": 1, "fsGroup": 2}),
        spec(securityContext={"$patch": "replace", "runAsUser": 3}),
        spec(securityContext={"runAsUser": 3}),
    ),
    "$patch delete in an object empties it": (
        spec(securityContext={"runAsUser": 1}),
        spec(securityContext={"$patch": "delete"}),
        spec(securityContext={}),
    ),
    "a list without strategy is replaced": (
        spec(tolerations=[{"key": "a"}]),
        spec(tolerations=[{"key": "b"}]),
        spec(tolerations=[{"key": "b"}]),
    ),
    "null removes": (
        spec(nodeName="a", hostNetwork=True),
        spec(nodeName=None),
        spec(hostNetwork=True),
    ),
    "a list of words merges": (
        {"metadata": {"finalizers": ["a", "b"]}},
        {"metadata": {"finalizers": ["b", "c"]}},
        {"metadata": {"finalizers": ["a", "b", "c"]}},
    ),
    "$deleteFromPrimitiveList takes words away": (
        {"metadata": {"finalizers": ["a", "b", "c"]}},
        {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a", "c"]}},
        {"metadata": {"finalizers": ["b"]}},
    ),
    "$setElementOrder sorts, and keeps the server's own": (
        spec(containers=[NGINX, LOG, REDIS]),
        {
            "spec": {
                "$setElementOrder/containers": [{"name": "redis"}, {"name": "nginx"}],
                "containers": [{"name": "redis", "image": "redis:2"}],
            }
        },
        spec(containers=[LOG, {"name": "redis", "image": "redis:2"}, NGINX]),
    ),
    "$setElementOrder alone sorts": (
        spec(containers=[NGINX, REDIS]),
        {"spec": {"$setElementOrder/containers": [{"name": "redis"}, {"name": "nginx"}]}},
        spec(containers=[REDIS, NGINX]),
    ),
    "$retainKeys drops the other source of a volume": (
        spec(volumes=[{"name": "v", "emptyDir": {}}]),
        spec(volumes=[{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/"}}]),
        spec(volumes=[{"name": "v", "hostPath": {"path": "/"}}]),
    ),
    "directives go where there was nothing to merge with": (
        {},
        spec(volumes=[{"name": "v", "$retainKeys": ["name", "emptyDir"], "emptyDir": {"medium": None}}]),
        spec(volumes=[{"name": "v", "emptyDir": {}}]),
    ),
    "ports merge by number": (
        spec(containers=[{"name": "a", "ports": [{"containerPort": 80}, {"containerPort": 81}]}]),
        spec(containers=[{"name": "a", "ports": [{"containerPort": 80, "name": "http"}]}]),
        spec(containers=[{"name": "a", "ports": [{"containerPort": 80, "name": "http"}, {"containerPort": 81}]}]),
    ),
}


@pytest.mark.parametrize(("live", "patch", "after"), CASES.values(), ids=CASES.keys())
def test_strategic_merge(live: dict[str, Any], patch: dict[str, Any], after: dict[str, Any]) -> None:
    before = copy.deepcopy(live)
    assert strategic_merge(live, patch, schema=POD) == after
    assert live == before


def test_a_strategy_changes_its_type_with_retain_keys() -> None:
    """The documentation's example: without the directive, rollingUpdate would stay beside Recreate."""
    live = spec(strategy={"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "30%"}})
    patch = spec(strategy={"$retainKeys": ["type"], "type": "Recreate"})
    assert strategic_merge(live, patch, schema=DEPLOYMENT) == spec(strategy={"type": "Recreate"})


@pytest.mark.parametrize(
    "patch",
    [
        spec(containers=[{"image": "no-name"}]),
        spec(containers=["word"]),
        spec(containers=[{"$patch": "explode", "name": "nginx"}]),
        {"$patch": "explode"},
        spec(strategy={"$retainKeys": ["type"], "rollingUpdate": {}}),
        {"metadata": {"$deleteFromPrimitiveList/finalizers": "a"}},
        {"spec": {"$setElementOrder/containers": "x", "containers": [NGINX]}},
        {"spec": {"$setElementOrder/containers": [{"name": "other"}], "containers": [NGINX]}},
    ],
)
def test_directives_that_cannot_be_followed_are_refused(patch: dict[str, Any]) -> None:
    with pytest.raises(InvalidError) as caught:
        strategic_merge(spec(containers=[NGINX]), patch, schema=POD)
    assert caught.value.code == 400


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from("abc"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.sampled_from("abc"), JSON, max_size=3)


@given(JSON, JSON)
def test_json_merge_patch_is_idempotent(live: Any, patch: Any) -> None:
    once = json_merge(live, patch)
    assert json_merge(once, patch) == once


@pytest.mark.parametrize(
    ("live", "patch", "after"),
    [
        # RFC 7386, appendix A
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_json_merge_patch_as_the_rfc_shows(live: Any, patch: Any, after: Any) -> None:
    assert json_merge(live, patch) == after


def test_json_patch_changes_a_copy() -> None:
    live = {"metadata": {"labels": {"a": "b"}}}
    operations = [
        {"op": "test", "path": "/metadata/labels/a", "value": "b"},
        {"op": "add", "path": "/metadata/labels/c~1d", "value": "e"},
        {"op": "remove", "path": "/metadata/labels/a"},
    ]
    assert json_patch(live, operations) == {"metadata": {"labels": {"c/d": "e"}}}
    assert live == {"metadata": {"labels": {"a": "b"}}}


@pytest.mark.parametrize(
    ("operations", "code"),
    [
        ({"op": "add"}, 400),
        ([{"op": "explode", "path": "/a"}], 400),
        ([{"op": "test", "path": "/metadata/name", "value": "other"}], 422),
        ([{"op": "remove", "path": "/nowhere/below"}], 422),
        ([{"op": "add", "path": "no-slash", "value": 1}], 422),
        ([{"op": "add", "path": "/list/x", "value": 1}], 422),
        ([{"op": "add", "path": "/a"}], 422),
        ([{"op": "replace", "path": "", "value": 1}], 422),
        ([{"op": "add", "path": "/a", "value": 1}] * (MAX_OPERATIONS + 1), 413),
        ([{"op": "copy", "from": "/metadata", "path": "/metadata/x"}] * 40, 413),
    ],
)
def test_json_patches_that_cannot_be_done_are_refused(operations: Any, code: int) -> None:
    with pytest.raises(InvalidError) as caught:
        json_patch({"metadata": {"name": "x"}, "list": []}, operations)
    assert caught.value.code == code
    assert "class" not in str(caught.value), "words of Python"


@given(
    OBJECTS,
    st.lists(
        st.dictionaries(
            st.sampled_from(["op", "path", "value", "from"]),
            JSON | st.sampled_from(["add", "remove", "move", "copy", "test", "/a", "/a/0", "/b/c"]),
            max_size=4,
        ),
        max_size=4,
    ),
)
def test_no_json_patch_crashes(live: dict[str, Any], operations: list[Any]) -> None:
    try:
        assert isinstance(json_patch(live, operations), dict)
    except InvalidError as error:
        assert error.code in (400, 413, 422)


@given(OBJECTS, OBJECTS)
def test_no_strategic_patch_crashes(live: dict[str, Any], patch: dict[str, Any]) -> None:
    pod = {"spec": {"containers": [{"name": "a"}], "volumes": [live]}}
    try:
        assert isinstance(strategic_merge(pod, {"spec": patch, "metadata": patch}, schema=POD), dict)
    except InvalidError as error:
        assert error.code == 400
