"""Semantic validation: a table of objects that are refused, and the field and sentence of the refusal."""

from __future__ import annotations

import base64
import copy
from datetime import UTC, datetime
from typing import Any

import pytest

from binderops.errors import InvalidError
from binderops.kube.schemas import Schema, schema_of
from binderops.node.api.objects.status import Cause
from binderops.node.api.objects.validation import raise_invalid, validate
from binderops.node.api.objects.writes import prepare_create, prepare_replace

NOW = datetime(2026, 1, 1, tzinfo=UTC)
Object = dict[str, Any]


def obj(kind: str, api_version: str = "v1", name: str = "x", **content: Any) -> Object:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": "d"}, **content}


def pod(**spec: Any) -> Object:
    container = {"name": "c", "image": "i"}
    return obj("Pod", spec={"containers": [container], **spec})


def one(**container: Any) -> Object:
    return pod(containers=[{"name": "c", "image": "i", **container}])


TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}


def deployment(**spec: Any) -> Object:
    return obj("Deployment", "apps/v1", spec={"selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE, **spec})


def job(**spec: Any) -> Object:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}
    return obj("Job", "batch/v1", spec={"template": template, **spec})


def service(**spec: Any) -> Object:
    return obj("Service", spec={"ports": [{"port": 80}], "selector": {"a": "b"}, **spec})


def claim(**spec: Any) -> Object:
    requests = {"requests": {"storage": "1Gi"}}
    return obj("PersistentVolumeClaim", spec={"accessModes": ["ReadWriteOnce"], "resources": requests, **spec})


def ingress(path: Object | None = None, **rule: Any) -> Object:
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    paths = [{"path": "/", "pathType": "Prefix", "backend": backend, **(path or {})}]
    return obj("Ingress", "networking.k8s.io/v1", spec={"rules": [{"http": {"paths": paths}, **rule}]})


def policy(**spec: Any) -> Object:
    return obj("NetworkPolicy", "networking.k8s.io/v1", spec={"podSelector": {}, **spec})


def binding(**content: Any) -> Object:
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}
    return obj("RoleBinding", "rbac.authorization.k8s.io/v1", **{"roleRef": reference, **content})


def causes(new: Object) -> list[Cause]:
    """As the server would on a create, with all defaults."""
    schema = schema_for(new)
    return validate(prepare_create(new, schema=schema, manager="t", now=NOW), schema=schema)


def causes_of_change(old: Object, path: str, value: Any) -> list[Cause]:
    """As the server would when a client reads the object, changes one place (None removes it) and writes it back."""
    schema = schema_for(old)
    live = prepare_create(old, schema=schema, manager="t", now=NOW)
    if live["kind"] == "Service":
        live["spec"].setdefault("clusterIP", "10.0.0.1")
    sent = prepare_replace(live, changed(live, path, value), schema=schema, manager="t", now=NOW)
    return validate(sent, live, schema=schema)


def schema_for(obj: Object) -> Schema:
    group, _, version = obj["apiVersion"].rpartition("/")
    return schema_of(group, version, obj["kind"])


GOOD = {
    "pod": pod(),
    "deployment": deployment(),
    "job": job(),
    "service": service(),
    "headless service without ports": obj("Service", spec={"clusterIP": "None"}),
    "external name": obj("Service", spec={"type": "ExternalName", "externalName": "example.org"}),
    "claim": claim(),
    "ingress": ingress(),
    "wildcard ingress": ingress(host="*.example.org"),
    "ingress with a certificate for an address": obj(
        "Ingress",
        "networking.k8s.io/v1",
        spec={**ingress()["spec"], "tls": [{"hosts": ["192.0.2.1"], "secretName": "a"}]},
    ),
    "policy": policy(ingress=[{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]}]),
    "binding": binding(subjects=[{"kind": "ServiceAccount", "name": "a", "namespace": "b"}]),
    "role with a colon": obj("ClusterRole", "rbac.authorization.k8s.io/v1", name="system:x", rules=[]),
    "empty secret": obj("Secret"),
    "secret with text": obj("Secret", stringData={"a": "b"}),
    "container resources": one(resources={"limits": {"cpu": "1", "nvidia.com/gpu": "1"}, "requests": {"cpu": "500m"}}),
    "sidecar with a probe": pod(
        initContainers=[
            {"name": "s", "image": "i", "restartPolicy": "Always", "startupProbe": {"exec": {"command": ["x"]}}}
        ]
    ),
    "user namespace": pod(hostUsers=False),
    "downward api": one(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['x']"}}}]),
    "odd but printable env name": one(env=[{"name": "a.b-c", "value": "1"}]),
}


@pytest.mark.parametrize("new", GOOD.values(), ids=GOOD.keys())
def test_what_is_right_passes(new: Object) -> None:
    assert causes(new) == []


BAD: dict[str, tuple[Object, str, str]] = {
    "name in capitals": (obj("ConfigMap", name="Web"), "metadata.name", "a lowercase RFC 1123 subdomain must consist"),
    "service name with a digit first": (
        {**service(), "metadata": {"name": "1web"}},
        "metadata.name",
        "a DNS-1035 label must consist",
    ),
    "namespace with a dot": (obj("Namespace", name="a.b"), "metadata.name", "a lowercase RFC 1123 label must consist"),
    "no name": (obj("ConfigMap", name=""), "metadata.name", "Required value: name or generateName is required"),
    "label value": (
        obj("ConfigMap") | {"metadata": {"name": "x", "labels": {"a": "b c"}}},
        "metadata.labels",
        'Invalid value: "b c": a valid label must be an empty string',
    ),
    "annotations too large": (
        obj("ConfigMap") | {"metadata": {"name": "x", "annotations": {"a": "x" * 262144}}},
        "metadata.annotations",
        "Too long: may not be more than 262144 bytes",
    ),
    "two controllers": (
        obj("ConfigMap")
        | {
            "metadata": {
                "name": "x",
                "ownerReferences": [
                    {"apiVersion": "v1", "kind": "Pod", "name": n, "uid": n, "controller": True} for n in "ab"
                ],
            }
        },
        "metadata.ownerReferences",
        "Only one reference can have Controller set to true",
    ),
    "no containers": (pod(containers=[]), "spec.containers", "Required value"),
    "container without image": (pod(containers=[{"name": "c"}]), "spec.containers[0].image", "Required value"),
    "container without name": (pod(containers=[{"image": "c"}]), "spec.containers[0].name", "Required value"),
    "two containers of a name": (
        pod(containers=[{"name": "c", "image": "i"}, {"name": "c", "image": "i"}]),
        "spec.containers[1].name",
        'Duplicate value: "c"',
    ),
    "pull policy": (
        one(imagePullPolicy="Maybe"),
        "spec.containers[0].imagePullPolicy",
        'Unsupported value: "Maybe": supported values: "Always", "IfNotPresent", "Never"',
    ),
    "mount of no volume": (
        one(volumeMounts=[{"name": "v", "mountPath": "/v"}]),
        "spec.containers[0].volumeMounts[0].name",
        'Not found: "v"',
    ),
    "port out of range": (
        one(ports=[{"containerPort": 70000}]),
        "spec.containers[0].ports[0].containerPort",
        "Invalid value: 70000: must be between 1 and 65535, inclusive",
    ),
    "requests above limits": (
        one(resources={"limits": {"memory": "1Gi"}, "requests": {"memory": "2Gi"}}),
        "spec.containers[0].resources.requests",
        'Invalid value: "2Gi": must be less than or equal to memory limit of 1Gi',
    ),
    "unknown resource": (
        one(resources={"limits": {"gpus": "1"}}),
        "spec.containers[0].resources.limits[gpus]",
        "must be a standard resource type or fully qualified",
    ),
    "env name": (one(env=[{"name": "a=b"}]), "spec.containers[0].env[0].name", "printable ASCII characters"),
    "env value twice": (
        one(env=[{"name": "A", "value": "1", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]),
        "spec.containers[0].env[0].valueFrom",
        "may not be specified when `value` is not empty",
    ),
    "env from nothing": (
        one(env=[{"name": "A", "valueFrom": {}}]),
        "spec.containers[0].env[0].valueFrom",
        "must specify one of",
    ),
    "field of no kind": (
        one(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.foo"}}}]),
        "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath",
        'Unsupported value: "spec.foo"',
    ),
    "probe without handler": (
        one(readinessProbe={"periodSeconds": 1}),
        "spec.containers[0].readinessProbe",
        "Required value: must specify a handler type",
    ),
    "probe with two handlers": (
        one(readinessProbe={"exec": {"command": ["a"]}, "tcpSocket": {"port": 1}}),
        "spec.containers[0].readinessProbe.tcpSocket",
        "may not specify more than 1 handler type",
    ),
    "liveness twice": (
        one(livenessProbe={"exec": {"command": ["a"]}, "successThreshold": 2}),
        "spec.containers[0].livenessProbe.successThreshold",
        "Invalid value: 2: must be 1",
    ),
    "probe of an init container": (
        pod(initContainers=[{"name": "i", "image": "i", "livenessProbe": {"exec": {"command": ["a"]}}}]),
        "spec.initContainers[0].livenessProbe",
        "may not be set for init containers without restartPolicy=Always",
    ),
    "two volumes of a name": (
        pod(volumes=[{"name": "v"}, {"name": "v"}]),
        "spec.volumes[1].name",
        'Duplicate value: "v"',
    ),
    "volume of two sources": (
        pod(volumes=[{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}]),
        "spec.volumes[0].hostPath",
        "may not specify more than 1 volume type",
    ),
    "mode": (
        pod(volumes=[{"name": "v", "secret": {"secretName": "s", "defaultMode": 644}}]),
        "spec.volumes[0].secret.defaultMode",
        "must be a number between 0 and 0777 (octal)",
    ),
    "path upwards": (
        pod(volumes=[{"name": "v", "configMap": {"name": "c", "items": [{"key": "k", "path": "../x"}]}}]),
        "spec.volumes[0].configMap.items[0].path",
        "must not contain '..'",
    ),
    "privileged without escalation": (
        one(securityContext={"privileged": True, "allowPrivilegeEscalation": False}),
        "spec.containers[0].securityContext",
        "cannot set `allowPrivilegeEscalation` to false",
    ),
    "restart policy": (pod(restartPolicy="Sometimes"), "spec.restartPolicy", 'Unsupported value: "Sometimes"'),
    "no selector": (deployment(selector=None), "spec.selector", "Required value"),
    "empty selector": (deployment(selector={}), "spec.selector", "empty selector is invalid for deployment"),
    "selector that does not match": (
        deployment(selector={"matchLabels": {"a": "c"}}),
        "spec.template.metadata.labels",
        'Invalid value: {"a":"b"}: `selector` does not match template `labels`',
    ),
    "negative replicas": (deployment(replicas=-1), "spec.replicas", "must be greater than or equal to 0"),
    "recreate and rolling": (
        deployment(strategy={"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}),
        "spec.strategy.rollingUpdate",
        "may not be specified when strategy `type` is 'Recreate'",
    ),
    "nothing may move": (
        deployment(strategy={"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}),
        "spec.strategy.rollingUpdate.maxUnavailable",
        "may not be 0 when `maxSurge` is 0",
    ),
    "job that restarts for ever": (
        job(template={"spec": {"containers": [{"name": "c", "image": "i"}]}}),
        "spec.template.spec.restartPolicy",
        'Required value: valid values: "OnFailure", "Never"',
    ),
    "cron schedule": (
        obj("CronJob", "batch/v1", spec={"schedule": "* * *", "jobTemplate": {"spec": job()["spec"]}}),
        "spec.schedule",
        "expected exactly 5 fields, found 3",
    ),
    "service without ports": (service(ports=None), "spec.ports", "Required value"),
    "nameless ports": (service(ports=[{"port": 1}, {"port": 2}]), "spec.ports[0].name", "Required value"),
    "same port twice": (
        service(ports=[{"port": 1, "name": "a"}, {"port": 1, "name": "b"}]),
        "spec.ports[1]",
        "Duplicate value",
    ),
    "external name without one": (obj("Service", spec={"type": "ExternalName"}), "spec.externalName", "Required value"),
    "service type": (service(type="Cluster"), "spec.type", 'Unsupported value: "Cluster"'),
    "config key": (obj("ConfigMap", data={"a b": "c"}), "data[a b]", "a valid config key must consist"),
    "config map too large": (obj("ConfigMap", data={"a": "x" * 1048577}), "", "Too long: may not be more than 1048576"),
    "tls secret": (obj("Secret", type="kubernetes.io/tls", data={"tls.crt": ""}), "data[tls.key]", "Required value"),
    "docker secret": (
        obj(
            "Secret",
            type="kubernetes.io/dockerconfigjson",
            data={".dockerconfigjson": base64.b64encode(b"x").decode()},
        ),
        "data[.dockerconfigjson]",
        "<secret contents redacted>",
    ),
    "claim without modes": (claim(accessModes=None), "spec.accessModes", "at least 1 access mode is required"),
    "claim of nothing": (
        claim(resources={"requests": {"storage": "0"}}),
        "spec.resources[storage]",
        "must be greater than zero",
    ),
    "rule without verbs": (
        obj("Role", "rbac.authorization.k8s.io/v1", rules=[{"apiGroups": [""], "resources": ["pods"]}]),
        "rules[0].verbs",
        "verbs must contain at least one value",
    ),
    "subject without namespace": (
        binding(subjects=[{"kind": "ServiceAccount", "name": "a"}]),
        "subjects[0].namespace",
        "Required value",
    ),
    "subject kind": (
        binding(subjects=[{"kind": "Robot", "name": "a"}]),
        "subjects[0].kind",
        'Unsupported value: "Robot"',
    ),
    "ingress without rules": (
        obj("Ingress", "networking.k8s.io/v1", spec={}),
        "spec",
        "either `defaultBackend` or `rules`",
    ),
    "ingress path": (ingress({"path": "a"}), "spec.rules[0].http.paths[0].path", "must be an absolute path"),
    "ingress path type": (
        ingress({"pathType": None}),
        "spec.rules[0].http.paths[0].pathType",
        "pathType must be specified",
    ),
    "ingress host": (ingress(host="10.0.0.1"), "spec.rules[0].host", "must be a DNS name, not an IP address"),
    "ingress wildcard": (ingress(host="*x.org"), "spec.rules[0].host", "a wildcard DNS-1123 subdomain must start with"),
    "ingress backend": (
        ingress({"backend": {"service": {"name": "web"}}}),
        "spec.rules[0].http.paths[0].backend",
        "port name or number is required",
    ),
    "policy peer": (
        policy(ingress=[{"from": [{"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}}]}]),
        "spec.ingress[0].from[0]",
        "may not specify both ipBlock and another peer",
    ),
    "policy except": (
        policy(egress=[{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/8"]}}]}]),
        "spec.egress[0].to[0].ipBlock.except[0]",
        "must be a strict subset of `cidr`",
    ),
    "policy types": (policy(policyTypes=["Sideways"]), "spec.policyTypes[0]", 'Unsupported value: "Sideways"'),
    "selector operator": (
        policy(podSelector={"matchExpressions": [{"key": "a", "operator": "Is", "values": ["b"]}]}),
        "spec.podSelector.matchExpressions[0].operator",
        "not a valid selector operator",
    ),
    "budget of both": (
        obj("PodDisruptionBudget", "policy/v1", spec={"minAvailable": 1, "maxUnavailable": 1}),
        "spec",
        "minAvailable and maxUnavailable cannot be both set",
    ),
}


@pytest.mark.parametrize(("new", "field", "sentence"), BAD.values(), ids=BAD.keys())
def test_what_is_wrong_is_named(new: Object, field: str, sentence: str) -> None:
    found = causes(new)
    assert [cause for cause in found if cause.field == field and sentence in cause.message], found


def changed(old: Object, path: str, value: Any) -> Object:
    new = copy.deepcopy(old)
    at: Any = new
    *parents, last = path.split("/")
    for part in parents:
        at = at[int(part)] if part.isdigit() else at[part]
    if value is None:
        at.pop(last)
    else:
        at[last] = value
    return new


SEALED = obj("ConfigMap", data={"a": "b"}, immutable=True)

FIXED: dict[str, tuple[Object, str, Any, str, str]] = {
    "selector": (
        deployment(template={**TEMPLATE, "metadata": {"labels": {"a": "b", "c": "d"}}}),
        "spec/selector",
        {"matchLabels": {"c": "d"}},
        "spec.selector",
        "field is immutable",
    ),
    "job template": (job(), "spec/template/spec/containers/0/image", "j", "spec.template", "field is immutable"),
    "secret type": (obj("Secret"), "type", "other", "type", "field is immutable"),
    "role reference": (binding(), "roleRef/name", "other", "roleRef", "cannot change roleRef"),
    "cluster address": (service(), "spec/clusterIP", "10.0.0.2", "spec.clusterIPs[0]", "may not change once set"),
    "sealed data": (SEALED, "data/a", "c", "data", "field is immutable when `immutable` is set"),
    "the seal": (SEALED, "immutable", None, "immutable", "field is immutable when `immutable` is set"),
    "claim's mode": (claim(), "spec/accessModes", ["ReadWriteMany"], "spec", "spec is immutable after creation"),
    "pod command": (pod(), "spec/containers/0/command", ["x"], "spec", "pod updates may not change fields other than"),
    "pod containers": (
        pod(),
        "spec/containers",
        [{"name": "c", "image": "i"}, {"name": "d", "image": "i"}],
        "spec.containers",
        "pod updates may not add or remove containers",
    ),
    "stateful set's claims": (
        obj("StatefulSet", "apps/v1", spec={"serviceName": "s", **deployment()["spec"]}),
        "spec/serviceName",
        "t",
        "spec",
        "updates to statefulset spec for fields other than",
    ),
}


@pytest.mark.parametrize(("old", "path", "value", "field", "sentence"), FIXED.values(), ids=FIXED.keys())
def test_what_is_fixed_cannot_change(old: Object, path: str, value: Any, field: str, sentence: str) -> None:
    found = causes_of_change(old, path, value)
    assert [cause for cause in found if cause.field == field and sentence in cause.message], found


MAY_CHANGE: dict[str, tuple[Object, str, Any]] = {
    "pod image": (pod(), "spec/containers/0/image", "j"),
    "pod deadline": (pod(), "spec/activeDeadlineSeconds", 5),
    "pod tolerations": (pod(), "spec/tolerations", [{"operator": "Exists"}]),
    "deployment template": (deployment(), "spec/template/spec/containers/0/image", "j"),
    "job parallelism": (job(), "spec/parallelism", 3),
    "claim's size": (claim(), "spec/resources/requests/storage", "2Gi"),
    "claim's volume": (claim(), "spec/volumeName", "pv"),
    "service port": (service(), "spec/ports/0/port", 81),
    "service without its address": (service(clusterIP="10.0.0.1"), "spec/clusterIP", None),
    "stateful replicas": (
        obj("StatefulSet", "apps/v1", spec={"serviceName": "s", **deployment()["spec"]}),
        "spec/replicas",
        2,
    ),
    "sealed labels": (SEALED, "metadata/labels", {"a": "b"}),
}


@pytest.mark.parametrize(("old", "path", "value"), MAY_CHANGE.values(), ids=MAY_CHANGE.keys())
def test_what_may_change_may(old: Object, path: str, value: Any) -> None:
    assert causes_of_change(old, path, value) == []


def test_a_refusal_is_a_422_with_causes() -> None:
    with pytest.raises(InvalidError) as caught:
        new = deployment(replicas=-1)
        raise_invalid(causes(new), new)
    sentence = "Invalid value: -1: must be greater than or equal to 0"
    assert caught.value.status == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": f'Deployment.apps "x" is invalid: spec.replicas: {sentence}',
        "reason": "Invalid",
        "details": {
            "name": "x",
            "group": "apps",
            "kind": "Deployment",
            "causes": [{"reason": "FieldValueInvalid", "message": sentence, "field": "spec.replicas"}],
        },
        "code": 422,
    }


def test_several_causes_stand_in_brackets() -> None:
    with pytest.raises(InvalidError) as caught:
        new = pod(containers=[{"name": "c"}, {"image": "i"}])
        raise_invalid(causes(new), new)
    message = str(caught.value.status["message"])
    assert message.startswith('Pod "x" is invalid: [spec.containers[0].image: Required value, ')
    assert message.endswith("]")
