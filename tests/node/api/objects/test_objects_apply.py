"""Server-side apply: the scenarios that upstream's structured-merge-diff and field manager tests are about.

Each scenario is a story of writes on one object. Times are the clock's, one minute apart.
"""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binderops.errors import ConflictError, InvalidError
from binderops.kube.schemas import schema_of
from binderops.node.api.objects.apply import apply_patch, track_update, without_managed_fields
from binderops.node.api.objects.fieldset import path_text
from binderops.node.api.objects.managed import MAX_UPDATE_MANAGERS, decode
from binderops.node.api.objects.normal import normal

START = datetime(2026, 1, 1, tzinfo=UTC)


class Story:
    """An object and what happens to it."""

    def __init__(self, kind: str = "ConfigMap", api_version: str = "v1") -> None:
        group, _, version = api_version.rpartition("/")
        self.schema = schema_of(group, version, kind)
        self.head = {"apiVersion": api_version, "kind": kind, "metadata": {"name": "x", "namespace": "d"}}
        self.live: dict[str, Any] | None = None
        self.clock = START

    def whole(self, content: dict[str, Any]) -> dict[str, Any]:
        metadata = {**self.head["metadata"], **content.get("metadata", {})}  # type: ignore[dict-item]
        return {**self.head, **content, "metadata": metadata}

    def apply(self, manager: str, content: dict[str, Any], *, force: bool = False, subresource: str = "") -> None:
        self.clock += timedelta(minutes=1)
        merged = apply_patch(
            self.live,
            self.whole(content),
            manager=manager,
            force=force,
            subresource=subresource,
            schema=self.schema,
            now=self.clock,
        )
        self._store(merged)

    def update(self, manager: str, content: dict[str, Any], *, subresource: str = "") -> None:
        """A PUT of the whole content; metadata that it does not name is kept."""
        self.clock += timedelta(minutes=1)
        new = normal(self.whole(content), self.schema)
        if self.live:
            new["metadata"] = {**self.live["metadata"], **new["metadata"]}
        self._store(
            track_update(self.live, new, manager=manager, subresource=subresource, schema=self.schema, now=self.clock)
        )

    def _store(self, obj: dict[str, Any]) -> None:
        before = copy.deepcopy(self.live)
        self.live = {**obj, "metadata": {**obj["metadata"], "uid": "u"}}
        assert before is None or before["metadata"]["uid"] == "u", "the live object was changed in place"

    @property
    def content(self) -> dict[str, Any]:
        assert self.live
        return {key: value for key, value in self.live.items() if key not in ("apiVersion", "kind", "metadata")}

    def owners(self) -> dict[str, set[str]]:
        assert self.live
        managers = decode(self.live["metadata"].get("managedFields"))
        return {
            f"{manager.name}/{manager.operation}": {path_text(path) for path in owned.fields.paths()}
            for manager, owned in managers.items()
        }


def test_what_is_applied_is_owned() -> None:
    story = Story()
    story.apply("helm", {"metadata": {"labels": {"app": "x"}}, "data": {"a": "1"}})
    assert story.owners() == {"helm/Apply": {".data.a", ".metadata.labels.app"}}
    assert story.content == {"data": {"a": "1"}}


def test_applying_the_same_again_changes_nothing() -> None:
    story = Story()
    story.apply("helm", {"data": {"a": "1"}})
    before = copy.deepcopy(story.live)
    story.apply("helm", {"data": {"a": "1"}})
    assert story.live == before


def test_what_is_no_longer_applied_goes() -> None:
    story = Story()
    story.apply("helm", {"data": {"a": "1", "b": "2"}})
    story.apply("helm", {"data": {"a": "1"}})
    assert story.content == {"data": {"a": "1"}}
    story.apply("helm", {})
    assert story.content == {}
    assert story.owners() == {}


def test_what_another_owns_too_stays() -> None:
    story = Story()
    story.apply("one", {"data": {"a": "1", "b": "2"}})
    story.apply("two", {"data": {"a": "1"}})
    story.apply("one", {"data": {"b": "2"}})
    assert story.content == {"data": {"a": "1", "b": "2"}}
    assert story.owners() == {"one/Apply": {".data.b"}, "two/Apply": {".data.a"}}
    story.apply("two", {})
    assert story.content == {"data": {"b": "2"}}


def test_another_value_is_a_conflict() -> None:
    story = Story()
    story.update("kubectl", {"data": {"a": "1"}})
    with pytest.raises(ConflictError) as caught:
        story.apply("helm", {"data": {"a": "2"}})
    status: dict[str, Any] = caught.value.status
    assert status["message"] == 'Apply failed with 1 conflict: conflict with "kubectl" using v1: .data.a'
    assert (status["code"], status["reason"], status["status"]) == (409, "Conflict", "Failure")
    assert status["details"]["causes"] == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "kubectl" using v1', "field": ".data.a"}
    ]


def test_several_conflicts_are_listed_by_manager() -> None:
    story = Story()
    story.update("kubectl", {"data": {"a": "1", "b": "1"}})
    story.apply("argo", {"data": {"c": "1"}})
    with pytest.raises(ConflictError) as caught:
        story.apply("helm", {"data": {"a": "2", "b": "2", "c": "2"}})
    assert caught.value.status["message"] == (
        'Apply failed with 3 conflicts: conflicts with "argo":\n- .data.c\n'
        'conflicts with "kubectl" using v1:\n- .data.a\n- .data.b'
    )


def test_force_takes_the_fields() -> None:
    story = Story()
    story.update("kubectl", {"data": {"a": "1", "b": "1"}})
    story.apply("helm", {"data": {"a": "2"}}, force=True)
    assert story.content == {"data": {"a": "2", "b": "1"}}
    assert story.owners() == {"helm/Apply": {".data.a"}, "kubectl/Update": {".data", ".data.b"}}


def test_the_same_value_is_shared_without_conflict() -> None:
    story = Story()
    story.update("kubectl", {"data": {"a": "1"}})
    story.apply("helm", {"data": {"a": "1"}})
    assert ".data.a" in story.owners()["kubectl/Update"] & story.owners()["helm/Apply"]


def test_an_update_takes_what_it_changes_from_appliers() -> None:
    story = Story()
    story.apply("helm", {"data": {"a": "1", "b": "1"}})
    story.update("kubectl-edit", {"data": {"a": "2", "b": "1"}})
    assert story.owners() == {"helm/Apply": {".data.b"}, "kubectl-edit/Update": {".data.a"}}
    with pytest.raises(ConflictError):
        story.apply("helm", {"data": {"a": "1", "b": "1"}})


def test_an_update_that_removes_a_field_takes_it_from_all() -> None:
    story = Story()
    story.apply("helm", {"data": {"a": "1", "b": "1"}})
    story.update("kubectl-edit", {"data": {"b": "1"}})
    assert story.owners() == {"helm/Apply": {".data.b"}}
    story.apply("helm", {"data": {"a": "1", "b": "1"}})
    assert story.content == {"data": {"a": "1", "b": "1"}}


def test_an_applier_and_an_updater_of_one_name_are_two_managers() -> None:
    story = Story()
    story.update("helm", {"data": {"a": "1"}})
    with pytest.raises(ConflictError):
        story.apply("helm", {"data": {"a": "2"}})
    story.apply("helm", {"data": {"a": "2"}}, force=True)
    assert story.content == {"data": {"a": "2"}}


def test_what_stood_before_any_tracking_has_an_owner() -> None:
    story = Story()
    story.update("kubectl", {"data": {"a": "1"}})
    assert story.live
    story.live = without_managed_fields(story.live)
    with pytest.raises(ConflictError, match='"before-first-apply" using v1'):
        story.apply("helm", {"data": {"a": "2"}})
    story.apply("helm", {"data": {"b": "2"}})
    assert story.content == {"data": {"a": "1", "b": "2"}}
    assert story.owners()["before-first-apply/Update"] == {".data", ".data.a"}


def test_managed_fields_are_cleared_and_stay_cleared_until_an_apply() -> None:
    story = Story()
    story.apply("helm", {"data": {"a": "1"}})
    story.update("kubectl", {"data": {"a": "1"}, "metadata": {"managedFields": [{}]}})
    assert story.live and "managedFields" not in story.live["metadata"]
    story.update("kubectl", {"data": {"a": "1", "b": "2"}})
    assert "managedFields" not in story.live["metadata"]


def test_a_patch_with_managed_fields_is_refused() -> None:
    story = Story()
    with pytest.raises(InvalidError) as caught:
        story.apply("helm", {"metadata": {"managedFields": [{"manager": "x"}]}})
    assert caught.value.code == 400


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"spec": {"replica": 1}}, ".spec.replica: field not declared in schema"),
        ({"spec": {"replicas": "one"}}, ".spec.replicas: expected numeric (int or float), got 'one'"),
        (
            {"spec": {"template": {"spec": {"containers": [{"name": "a"}, {"name": "a"}]}}}},
            '.spec.template.spec.containers: duplicate entries for key [name="a"]',
        ),
    ],
)
def test_a_patch_that_does_not_fit_its_type_is_refused(content: dict[str, Any], sentence: str) -> None:
    story = Story("Deployment", "apps/v1")
    with pytest.raises(InvalidError) as caught:
        story.apply("helm", content)
    message = f"failed to create typed patch object (d/x; apps/v1, Kind=Deployment): {sentence}"
    assert caught.value.status["message"] == message


def pods_of(*containers: dict[str, Any], **rest: Any) -> dict[str, Any]:
    return {"spec": {"containers": list(containers), **rest}}


class ListCase(NamedTuple):
    """Two appliers' lists, and what stands after the second one."""

    first: dict[str, Any]
    second: dict[str, Any]
    after: list[Any]
    field: str = "containers"


LISTS = {
    "items of others stay, by key": ListCase(
        pods_of({"name": "a", "image": "1"}), pods_of({"name": "b", "image": "2"}), ["a", "b"]
    ),
    "the applied order holds among shared items": ListCase(
        pods_of({"name": "a"}, {"name": "b"}, {"name": "c"}), pods_of({"name": "c"}, {"name": "a"}), ["b", "c", "a"]
    ),
    "new items stand behind what they follow": ListCase(
        pods_of({"name": "a"}, {"name": "z"}), pods_of({"name": "a"}, {"name": "n"}), ["a", "z", "n"]
    ),
}


@pytest.mark.parametrize("case", LISTS.values(), ids=LISTS.keys())
def test_associative_lists_merge(case: ListCase) -> None:
    story = Story("Pod")
    story.apply("one", case.first)
    story.apply("two", case.second)
    assert [each["name"] for each in story.content["spec"][case.field]] == case.after


def test_the_key_s_default_stands_for_an_absent_key() -> None:
    story = Story("Pod")
    story.apply("one", pods_of({"name": "a", "ports": [{"containerPort": 53, "protocol": "UDP"}]}))
    story.apply("two", pods_of({"name": "a", "ports": [{"containerPort": 53}]}))
    ports = story.content["spec"]["containers"][0]["ports"]
    assert ports == [{"containerPort": 53, "protocol": "UDP"}, {"containerPort": 53}]
    base = '.spec.containers[name="a"].ports[containerPort=53,protocol="TCP"]'
    assert {base, f"{base}.containerPort"} <= story.owners()["two/Apply"]
    with pytest.raises(ConflictError) as caught:
        story.apply("three", pods_of({"name": "a", "ports": [{"containerPort": 53, "protocol": "UDP", "name": "x"}]}))
        story.apply("four", pods_of({"name": "a", "ports": [{"containerPort": 53, "protocol": "UDP", "name": "y"}]}))
    assert 'conflict with "three"' in str(caught.value)


def test_an_item_that_is_no_longer_applied_goes_whole() -> None:
    story = Story("Pod")
    story.apply("one", pods_of({"name": "a", "image": "1"}, {"name": "b", "image": "1"}))
    story.apply("one", pods_of({"name": "a", "image": "1"}))
    assert [each["name"] for each in story.content["spec"]["containers"]] == ["a"]


def test_an_item_stays_while_another_owns_something_in_it() -> None:
    story = Story("Pod")
    story.apply("one", pods_of({"name": "a", "image": "1"}, {"name": "b", "image": "1"}))
    story.apply("two", pods_of({"name": "b", "workingDir": "/"}))
    story.apply("one", pods_of({"name": "a", "image": "1"}))
    assert story.content["spec"]["containers"][1] == {"name": "b", "workingDir": "/"}


def test_sets_merge_by_value() -> None:
    story = Story()
    story.apply("one", {"metadata": {"finalizers": ["a", "b"]}})
    story.apply("two", {"metadata": {"finalizers": ["c"]}})
    assert story.live and story.live["metadata"]["finalizers"] == ["a", "b", "c"]
    story.apply("one", {"metadata": {"finalizers": ["b"]}})
    assert story.live["metadata"]["finalizers"] == ["b", "c"]
    assert story.owners()["one/Apply"] == {'.metadata.finalizers[="b"]'}


def test_atomic_lists_and_maps_are_owned_whole() -> None:
    story = Story("Pod")
    story.apply("one", pods_of({"name": "a", "args": ["x"]}, nodeSelector={"disk": "ssd"}))
    assert {'.spec.containers[name="a"].args', ".spec.nodeSelector"} <= story.owners()["one/Apply"]
    with pytest.raises(ConflictError) as caught:
        story.apply("two", pods_of({"name": "a", "args": ["x", "y"]}, nodeSelector={"zone": "1"}))
    assert len(caught.value.status["details"]["causes"]) == 2  # type: ignore[index]
    story.apply("two", pods_of({"name": "a", "args": ["y"]}, nodeSelector={"zone": "1"}), force=True)
    assert story.content["spec"]["nodeSelector"] == {"zone": "1"}
    assert story.content["spec"]["containers"][0]["args"] == ["y"]


def test_giving_up_a_field_leaves_it_to_the_other_manager() -> None:
    """The documentation's handover: an autoscaler takes over replicas."""
    story = Story("Deployment", "apps/v1")
    spec = {"selector": {"matchLabels": {"a": "b"}}}
    story.apply("user", {"spec": {"replicas": 3, **spec}})
    story.apply("autoscaler", {"spec": {"replicas": 3}})
    story.apply("user", {"spec": spec})
    assert story.content["spec"]["replicas"] == 3
    assert story.owners()["autoscaler/Apply"] == {".spec.replicas"}


def test_status_is_owned_through_its_endpoint_only() -> None:
    story = Story("Deployment", "apps/v1")
    content = {"spec": {"replicas": 1}, "status": {"replicas": 1}}
    story.apply("user", content)
    assert story.owners() == {"user/Apply": {".spec.replicas"}}
    story.update("controller", {"spec": {"replicas": 1}, "status": {"replicas": 2}}, subresource="status")
    assert story.owners()["controller/Update"] == {".status.replicas"}
    assert story.live
    entry = story.live["metadata"]["managedFields"][-1]
    assert (entry["manager"], entry["subresource"]) == ("controller", "status")
    with pytest.raises(ConflictError, match='"controller" with subresource "status" using apps/v1'):
        story.apply("other", {"status": {"replicas": 9}}, subresource="status")


def test_creates_own_what_go_would_not_write_by_itself() -> None:
    story = Story("Pod")
    story.update("kubectl-run", pods_of({"name": "a", "image": "i"}))
    assert story.owners()["kubectl-run/Update"] == {
        '.spec.containers[name="a"]',
        '.spec.containers[name="a"].name',
        '.spec.containers[name="a"].image',
        '.spec.containers[name="a"].resources',
    }


def test_identity_is_never_owned() -> None:
    story = Story()
    metadata = {"generation": 3, "resourceVersion": "7", "creationTimestamp": "2026-01-01T00:00:00Z", "uid": "u"}
    story.update("kubectl", {"metadata": {**metadata, "annotations": {"a": "b"}}})
    assert story.owners() == {"kubectl/Update": {".metadata.annotations", ".metadata.annotations.a"}}


def test_old_updaters_are_merged_into_one() -> None:
    story = Story()
    data: dict[str, str] = {}
    for index in range(MAX_UPDATE_MANAGERS + 5):
        data = {**data, f"k{index:02}": "1"}
        story.update(f"manager-{index:02}", {"data": data})
    owners = story.owners()
    assert len(owners) == MAX_UPDATE_MANAGERS
    assert {".data.k00", ".data.k01", ".data.k05"} <= owners["ancient-changes/Update"]
    assert set().union(*owners.values()) >= {f".data.{key}" for key in data}


def test_only_a_change_moves_the_time() -> None:
    story = Story()
    story.apply("helm", {"data": {"a": "1"}})
    story.update("kubectl", {"data": {"a": "1", "b": "1"}})
    story.update("kubectl", {"data": {"a": "1", "b": "1"}})
    assert story.live
    times = {each["manager"]: each["time"] for each in story.live["metadata"]["managedFields"]}
    assert times == {"helm": "2026-01-01T00:01:00Z", "kubectl": "2026-01-01T00:02:00Z"}
    assert [each["operation"] for each in story.live["metadata"]["managedFields"]] == ["Apply", "Update"]


DATA = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from("123"), max_size=5)


@given(DATA, DATA)
def test_apply_is_idempotent(live: dict[str, str], applied: dict[str, str]) -> None:
    story = Story()
    story.update("kubectl", {"data": live})
    story.apply("helm", {"data": applied}, force=True)
    once = copy.deepcopy(story.live)
    story.apply("helm", {"data": applied})
    assert story.live == once


@given(DATA, DATA)
def test_applying_nothing_restores_what_others_own(live: dict[str, str], applied: dict[str, str]) -> None:
    story = Story()
    story.apply("other", {"data": live})
    before = story.content.get("data") or {}
    story.apply("helm", {"data": {key: live.get(key, value) for key, value in applied.items()}})
    story.apply("helm", {})
    assert (story.content.get("data") or {}) == before


# An apply that owns nothing is no first apply: order would then matter, as it does in a real server.
CONTAINERS = st.lists(st.sampled_from("abcd"), unique=True, min_size=1, max_size=4)
KEYS = st.sets(st.sampled_from("abcdef"), min_size=1)


@given(KEYS, CONTAINERS)
def test_two_managers_of_disjoint_fields_may_come_in_any_order(keys: set[str], names: list[str]) -> None:
    first = {"metadata": {"labels": dict.fromkeys(keys, "1")}}
    second = pods_of(*({"name": name, "image": "i"} for name in names))
    results = []
    for order in ((first, second), (second, first)):
        story = Story("Pod")
        for content in order:
            story.apply("labels" if content is first else "pods", content)
        assert story.live
        metadata = {key: value for key, value in story.live["metadata"].items() if key != "managedFields"}
        results.append(({**story.live, "metadata": metadata}, story.owners()))
    assert results[0] == results[1]
