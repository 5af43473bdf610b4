from __future__ import annotations

import secrets
from typing import Any

import pytest

from binderops.node.api.authorization import Attributes, Rule, uncovered

RBAC = "/apis/rbac.authorization.k8s.io/v1"
READ_PODS = {"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get", "list"]}


def rule(**keys: list[str]) -> Rule:
    return Rule(*(tuple(keys.get(key, ())) for key in ("verbs", "groups", "resources", "names", "paths")))


ALLOWS = [
    (rule(verbs=["get"], groups=[""], resources=["pods"]), Attributes("get", "", "pods"), True),
    (rule(verbs=["get"], groups=[""], resources=["pods"]), Attributes("list", "", "pods"), False),
    (rule(verbs=["get"], groups=[""], resources=["pods"]), Attributes("get", "apps", "pods"), False),
    (rule(verbs=["get"], groups=[""], resources=["pods"]), Attributes("get", "", "pods", "log"), False),
    (rule(verbs=["get"], groups=[""], resources=["pods/log"]), Attributes("get", "", "pods", "log"), True),
    (rule(verbs=["get"], groups=[""], resources=["*/log"]), Attributes("get", "", "pods", "log"), True),
    (rule(verbs=["get"], groups=[""], resources=["*/log"]), Attributes("get", "", "pods"), False),
    (rule(verbs=["*"], groups=["*"], resources=["*"]), Attributes("bind", "x", "y", "z"), True),
    (rule(verbs=["*"], groups=["*"], resources=["*"]), Attributes("get", path="/version"), False),
    (rule(verbs=["get"], groups=[""], resources=["pods"], names=["a"]), Attributes("get", "", "pods", name="a"), True),
    (rule(verbs=["get"], groups=[""], resources=["pods"], names=["a"]), Attributes("get", "", "pods", name="b"), False),
    (rule(verbs=["list"], groups=[""], resources=["pods"], names=["a"]), Attributes("list", "", "pods"), False),
    (rule(verbs=["get"], paths=["/healthz"]), Attributes("get", path="/healthz"), True),
    (rule(verbs=["get"], paths=["/healthz/*"]), Attributes("get", path="/healthz/ping"), True),
    (rule(verbs=["get"], paths=["/healthz/*"]), Attributes("get", path="/healthz"), False),
]


@pytest.mark.parametrize(("given", "wanted", "allowed"), ALLOWS)
def test_what_a_rule_allows(given: Rule, wanted: Attributes, allowed: bool) -> None:
    assert given.allows(wanted) is allowed


COVERED = [
    ([rule(verbs=["*"], groups=["*"], resources=["*"])], rule(verbs=["get"], groups=["x"], resources=["y"]), True),
    ([rule(verbs=["get"], groups=[""], resources=["pods"])], rule(verbs=["*"], groups=[""], resources=["pods"]), False),
    (
        [rule(verbs=["get"], groups=[""], resources=["a"]), rule(verbs=["list"], groups=[""], resources=["a"])],
        rule(verbs=["get", "list"], groups=[""], resources=["a"]),
        True,
    ),
    (
        [rule(verbs=["get"], groups=[""], resources=["a"], names=["n"])],
        rule(verbs=["get"], groups=[""], resources=["a"]),
        False,
    ),
    (
        [rule(verbs=["get"], groups=[""], resources=["a"])],
        rule(verbs=["get"], groups=[""], resources=["a"], names=["n"]),
        True,
    ),
    ([rule(verbs=["get"], paths=["*"])], rule(verbs=["get"], paths=["/x"]), True),
    ([rule(verbs=["get"], paths=["/x"])], rule(verbs=["get"], paths=["*"]), False),
]


@pytest.mark.parametrize(("held", "wanted", "covered"), COVERED)
def test_what_would_be_an_escalation(held: list[Rule], wanted: Rule, covered: bool) -> None:
    assert (uncovered([wanted], held) == []) is covered


@pytest.fixture
async def account(api: Any, namespace: str) -> Any:
    """A ServiceAccount that may read pods of its namespace; returns a session as it."""
    await api.create(f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": "reader"}})
    roles = f"{RBAC}/namespaces/{namespace}"
    await api.create(f"{roles}/roles", {"metadata": {"name": "read"}, "rules": [READ_PODS]})
    binding = {
        "metadata": {"name": "read"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "read"},
        "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": namespace}],
    }
    await api.create(f"{roles}/rolebindings", binding)
    request = await api.create(f"/api/v1/namespaces/{namespace}/serviceaccounts/reader/token", {"spec": {}})
    async with api.running.session(token=request["status"]["token"]) as session:
        yield type(api)(api.running, session)


async def test_a_service_account_may_what_its_role_says_and_no_more(account: Any, namespace: str) -> None:
    await account.get(f"/api/v1/namespaces/{namespace}/pods")
    code, status = await account.ask("GET", "/api/v1/namespaces/default/pods")
    user = f"system:serviceaccount:{namespace}:reader"
    assert (code, status["reason"]) == (403, "Forbidden")
    assert status["message"] == (
        f'pods is forbidden: User "{user}" cannot list resource "pods" in API group "" in the namespace "default"'
    )
    code, status = await account.ask("GET", f"/api/v1/namespaces/{namespace}/secrets/x")
    assert (code, status["details"]) == (403, {"name": "x", "kind": "secrets"})
    review = {"spec": {"resourceAttributes": {"verb": "list", "resource": "pods", "namespace": namespace}}}
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    assert (await account.create(path, review))["status"] == {"allowed": True}
    review["spec"]["resourceAttributes"]["verb"] = "delete"
    assert (await account.create(path, review))["status"] == {"allowed": False}
    who = await account.create("/apis/authentication.k8s.io/v1/selfsubjectreviews", {})
    assert who["status"]["userInfo"]["username"] == user


async def test_taking_the_binding_away_takes_the_rights_away(api: Any, account: Any, namespace: str) -> None:
    await account.get(f"/api/v1/namespaces/{namespace}/pods")
    await api.ask("DELETE", f"{RBAC}/namespaces/{namespace}/rolebindings/read")
    assert (await account.ask("GET", f"/api/v1/namespaces/{namespace}/pods"))[0] == 403


async def test_nobody_gives_what_they_do_not_hold(api: Any, account: Any, namespace: str) -> None:
    manage = {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"], "verbs": ["*"]}
    roles = f"{RBAC}/namespaces/{namespace}"
    limited = {**manage, "verbs": ["create", "update"]}
    merge = "application/merge-patch+json"
    await api.ask("PATCH", f"{roles}/roles/read", {"rules": [READ_PODS, limited]}, media=merge)
    code, _ = await account.ask("POST", f"{roles}/roles", {"metadata": {"name": "same"}, "rules": [READ_PODS]})
    assert code == 201
    more = [{**READ_PODS, "verbs": ["get", "delete"]}]
    code, status = await account.ask("POST", f"{roles}/roles", {"metadata": {"name": "more"}, "rules": more})
    assert code == 403
    assert "attempting to grant RBAC permissions not currently held" in status["message"]
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"}
    subjects = [{"kind": "ServiceAccount", "name": "reader", "namespace": namespace}]
    binding = {"metadata": {"name": "b"}, "roleRef": reference, "subjects": subjects}
    assert (await account.ask("POST", f"{roles}/rolebindings", binding))[0] == 403
    bind = {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"], "verbs": ["bind"]}
    await api.ask("PATCH", f"{roles}/roles/read", {"rules": [READ_PODS, limited, bind]}, media=merge)
    assert (await account.ask("POST", f"{roles}/rolebindings", binding))[0] == 201


async def test_cluster_roles_aggregate(api: Any) -> None:
    label = f"example.org/{secrets.token_hex(4)}"
    name = "sum-" + secrets.token_hex(4)
    selectors = [{"matchLabels": {label: "true"}}]
    await api.create(
        f"{RBAC}/clusterroles", {"metadata": {"name": name}, "aggregationRule": {"clusterRoleSelectors": selectors}}
    )
    events = api.watch(f"{RBAC}/clusterroles", fieldSelector=f"metadata.name={name}")
    await anext(events)
    part = {"metadata": {"name": f"{name}-part", "labels": {label: "true"}}, "rules": [READ_PODS]}
    await api.create(f"{RBAC}/clusterroles", part)
    assert (await anext(events))["object"]["rules"] == [READ_PODS]
    admin = await api.get(f"{RBAC}/clusterroles/admin")
    assert {"secrets"} <= {r for each in admin["rules"] for r in each["resources"]}


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/healthz", 200),
        ("/livez?verbose", 200),
        ("/readyz", 200),
        ("/version", 200),
        ("/api", 403),
        ("/api/v1/pods", 403),
    ],
)
async def test_what_nobody_in_particular_may(api: Any, path: str, code: int) -> None:
    async with api.running.session(None) as session:
        assert (await session.get(path)).status_code == code


@pytest.mark.parametrize("header", ["Bearer x", "Bearer a.b.c", "Basic YTpi"])
async def test_bad_credentials_are_unauthorized(api: Any, header: str) -> None:
    async with api.running.session(None) as session:
        answer = await session.get("/version", headers={"authorization": header})
    assert (answer.status_code, answer.json()["reason"]) == (401, "Unauthorized")


async def test_a_token_dies_with_its_pod(api: Any, namespace: str) -> None:
    pods = f"/api/v1/namespaces/{namespace}/pods"
    pod = await api.create(pods, {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}})
    reference = {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": pod["metadata"]["uid"]}
    token_path = f"/api/v1/namespaces/{namespace}/serviceaccounts/default/token"
    made = await api.create(token_path, {"spec": {"boundObjectRef": reference, "expirationSeconds": 3607}})
    token = made["status"]["token"]
    review = {"spec": {"token": token}}
    path = "/apis/authentication.k8s.io/v1/tokenreviews"
    status = (await api.create(path, review))["status"]
    assert status["authenticated"] is True
    assert status["user"]["username"] == f"system:serviceaccount:{namespace}:default"
    assert status["user"]["extra"]["authentication.kubernetes.io/pod-name"] == ["p"]
    await api.ask("DELETE", f"{pods}/p")
    assert (await api.create(path, review))["status"]["authenticated"] is False
    async with api.running.session(token=token) as session:
        assert (await session.get("/version")).status_code == 401
    code, _ = await api.ask("POST", token_path, {"spec": {"boundObjectRef": reference}})
    assert code == 404


async def test_tokens_are_for_their_audience_and_their_time(api: Any, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/default/token"
    token = (await api.create(path, {"spec": {"audiences": ["vault"]}}))["status"]["token"]
    async with api.running.session(token=token) as session:
        assert (await session.get("/version")).status_code == 401
    review = {"spec": {"token": token, "audiences": ["vault", "other"]}}
    status = (await api.create("/apis/authentication.k8s.io/v1/tokenreviews", review))["status"]
    assert (status["authenticated"], status["audiences"]) == (True, ["vault"])
    assert (await api.ask("POST", path, {"spec": {"expirationSeconds": 10}}))[0] in {400, 422}


async def test_impersonation_wants_its_right(api: Any, account: Any, namespace: str) -> None:
    headers = {"impersonate-user": f"system:serviceaccount:{namespace}:reader"}
    answer = await api.session.get(f"/api/v1/namespaces/{namespace}/secrets", headers=headers)
    assert answer.status_code == 403
    assert (await api.session.get(f"/api/v1/namespaces/{namespace}/pods", headers=headers)).status_code == 200
    answer = await account.session.get("/version", headers={"impersonate-user": "kubernetes-admin"})
    assert (answer.status_code, "cannot impersonate" in answer.json()["message"]) == (403, True)


async def test_who_may_impersonate_an_account_gains_no_group_by_it(api: Any, account: Any, namespace: str) -> None:
    impersonate = {"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["impersonate"]}
    merge = "application/merge-patch+json"
    path = f"{RBAC}/namespaces/{namespace}/roles/read"
    await api.ask("PATCH", path, {"rules": [READ_PODS, impersonate]}, media=merge)
    headers = {"impersonate-user": f"system:serviceaccount:{namespace}:default"}
    assert (await account.session.get("/version", headers=headers)).status_code == 200
    for more in (
        {"impersonate-group": "system:masters"},
        {"impersonate-group": "system:authx"},
        {"impersonate-uid": "1"},
    ):
        assert (await account.session.get("/version", headers=headers | more)).status_code == 403
    other = {"impersonate-user": "system:serviceaccount:kube-system:default"}
    assert (await account.session.get("/version", headers=other)).status_code == 403
    assert (await api.session.get("/version", headers={"impersonate-group": "a"})).status_code == 400
