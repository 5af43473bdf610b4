"""Pods to libpod's SpecGenerator; admission; resources; names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from binderops.errors import ContainerConfigError
from binderops.node.pods import admission, security
from binderops.node.pods.admission import refusal, unsupported
from binderops.node.pods.hosts import hosts_file, resolv_conf
from binderops.node.pods.identity import owner_of
from binderops.node.pods.records import record_of, signal_number
from binderops.node.pods.rendering import Binding, Image, Machine, specification
from binderops.node.pods.resources import limits, oom_score_adjustment, qos_class
from binderops.podman.hooks import OWN_USERS

MACHINE = Machine("n", (200000, 65536), 8 << 30, 0)
IMAGE = Image("i" * 64, "name@sha256:d", "1000", "SIGINT")


def pod(container: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    metadata = {"name": "p", "namespace": "ns", "uid": "u-1"}
    containers = [{"name": "c", "image": "x", **(container or {})}]
    return {"metadata": metadata, "spec": {"containers": containers, **spec}}


def render(container: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    made = pod(container, **spec)
    return specification(
        made,
        made["spec"]["containers"][0],
        attempt=2,
        image=IMAGE,
        network=Path("/run/netns/x"),
        environment={"A": "1"},
        mounts=[Binding(Path("/s"), "/t", True)],
        log=Path("/l"),
        machine=MACHINE,
    )


def test_the_plain_container() -> None:
    found = render()
    assert found["name"] == "k8s_c_p_ns_u-1_2"
    assert found["image"] == IMAGE.id
    assert found["labels"]["binderops.dev/attempt"] == "2"
    assert found["netns"] == {"nsmode": "path", "value": "/run/netns/x"}
    assert found["cgroup_parent"] == "/binderops/n/u-1"
    assert found["user"] == "1000"
    assert found["stop_signal"] == 2
    assert found["mounts"] == [
        {"type": "bind", "source": "/s", "destination": "/t", "options": ["rbind", "ro", "rprivate"]}
    ]
    assert found["httpproxy"] is False and found["env_host"] is False
    assert not found["privileged"] and "userns" not in found and "command" not in found


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        ({"command": ["run", "$(A)"]}, {"entrypoint": ["run", "1"]}),
        ({"args": ["$(A)", "$$(A)"]}, {"command": ["1", "$(A)"]}),
        ({"workingDir": "/w"}, {"work_dir": "/w"}),
        ({"tty": True, "stdin": True}, {"terminal": True, "stdin": True}),
        ({"securityContext": {"privileged": True}}, {"privileged": True}),
        ({"securityContext": {"allowPrivilegeEscalation": False}}, {"no_new_privileges": True}),
        ({"securityContext": {"readOnlyRootFilesystem": True}}, {"read_only_filesystem": True}),
        (
            {"securityContext": {"capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]}}},
            {"cap_add": ["CAP_NET_ADMIN"], "cap_drop": ["ALL"]},
        ),
        ({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}, {"seccomp_profile_path": "unconfined"}),
        ({"securityContext": {"procMount": "Unmasked"}}, {"unmask": ["ALL"]}),
        ({"securityContext": {"runAsUser": 5, "runAsGroup": 6}}, {"user": "5:6"}),
        ({"securityContext": {"runAsGroup": 6}}, {"user": "1000:6"}),
    ],
)
def test_container_fields(container: dict[str, Any], expected: dict[str, Any]) -> None:
    found = render(container)
    assert {key: found[key] for key in expected} == expected


def test_pod_fields() -> None:
    context = {"runAsUser": 7, "fsGroup": 8, "supplementalGroups": [9]}
    found = render(securityContext=context, hostUsers=False, hostname="h")
    assert found["user"] == "7" and found["groups"] == ["9", "8"] and found["hostname"] == "h"
    assert found["userns"] == {"nsmode": "private"}
    first = owner_of(pod(hostUsers=False), MACHINE.user_namespace).uid
    assert found["idmappings"]["UIDMap"] == [{"container_id": 0, "host_id": first, "size": 65536}]
    assert found["annotations"] == {OWN_USERS: "own"}
    own = render({"securityContext": {"runAsUser": 1}}, securityContext=context)
    assert own["user"] == "1", "the container's own wins"


@pytest.mark.parametrize(
    ("context", "image_user", "message"),
    [
        ({"runAsNonRoot": True, "runAsUser": 0}, "", "runAsUser breaks non-root policy"),
        ({"runAsNonRoot": True}, "", "will run as root"),
        ({"runAsNonRoot": True}, "jovyan", "non-numeric user"),
    ],
)
def test_run_as_non_root(context: dict[str, Any], image_user: str, message: str) -> None:
    with pytest.raises(ContainerConfigError, match=message):
        security.user(context, image_user=image_user)


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, {"cpu": {"shares": 2}, "pids": {"limit": 4096}}),
        (
            {"limits": {"cpu": "1500m", "memory": "1Gi"}, "requests": {"cpu": "250m"}},
            {
                "cpu": {"shares": 256, "quota": 150000, "period": 100000},
                "memory": {"limit": 1 << 30},
                "pids": {"limit": 4096},
            },
        ),
        (
            {"limits": {"cpu": "1m"}},
            {"cpu": {"shares": 2, "quota": 1000, "period": 100000}, "pids": {"limit": 4096}},
        ),
    ],
)
def test_limits(resources: dict[str, Any], expected: dict[str, Any]) -> None:
    assert limits({"resources": resources}) == expected


SAME = {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1024Mi"}}


@pytest.mark.parametrize(
    ("resources", "kind", "score"),
    [
        ({}, "BestEffort", 1000),
        ({"requests": {"memory": "4Gi"}}, "Burstable", 500),
        ({"requests": {"cpu": "1"}}, "Burstable", 999),
        (SAME, "Guaranteed", 0),
        ({"limits": SAME["limits"]}, "Guaranteed", 0),
    ],
)
def test_quality_of_service(resources: dict[str, Any], kind: str, score: int) -> None:
    made = pod({"resources": resources})
    assert qos_class(made) == kind
    assert oom_score_adjustment(made, made["spec"]["containers"][0], capacity=8 << 30, own=0) == score


@pytest.mark.parametrize(
    ("made", "field"),
    [
        (pod(hostNetwork=True), "spec.hostNetwork"),
        (pod(hostPID=True), "spec.hostPID"),
        (pod(shareProcessNamespace=True), "spec.shareProcessNamespace"),
        (pod(runtimeClassName="kata"), "spec.runtimeClassName"),
        (pod(securityContext={"sysctls": [{"name": "a", "value": "b"}]}), "spec.securityContext.sysctls"),
        (pod(volumes=[{"name": "v", "nfs": {}}]), "spec.volumes[v].nfs"),
        (pod(volumes=[{"name": "v", "projected": {"sources": [{"clusterTrustBundle": {}}]}}]), "clusterTrustBundle"),
        (pod({"livenessProbe": {"grpc": {"port": 1}}}), "spec.containers[c].livenessProbe.grpc"),
        (pod({"ports": [{"hostPort": 80, "containerPort": 80}]}), "spec.containers[c].ports.hostPort"),
        (pod({"resources": {"limits": {"nvidia.com/gpu": "1"}}}), "nvidia.com/gpu"),
        (pod({"securityContext": {"seccompProfile": {"type": "Localhost"}}}), "seccompProfile"),
        (pod({"volumeMounts": [{"name": "v", "mountPropagation": "Bidirectional"}]}), "mountPropagation"),
    ],
)
def test_unsupported_fields_are_named(made: dict[str, Any], field: str) -> None:
    named = unsupported(made)
    assert len(named) == 1 and field in named[0], named


def test_a_supported_pod_is_not_refused() -> None:
    volumes = [{"name": "a", "emptyDir": {}}, {"name": "b", "projected": {"sources": [{"serviceAccountToken": {}}]}}]
    assert unsupported(pod({"livenessProbe": {"httpGet": {"port": 1}}}, volumes=volumes)) == []


def test_the_page_for_operators_says_the_same() -> None:
    page = (Path(__file__).parents[3] / "docs" / "operate" / "pods.md").read_text()
    supported, refused = page.split("## Refused")
    for field in (*admission.UNSUPPORTED, *admission.UNSUPPORTED_CONTAINER, *admission.UNSUPPORTED_SECURITY):
        assert f"`{field}`" in refused, field
        assert f"`{field}`" not in supported, field
    for kind in (*admission.VOLUME_KINDS, *admission.PROJECTIONS):
        assert f"`{kind}`" in supported, kind


NODE = {
    "metadata": {"name": "n", "labels": {"zone": "a", "size": "5"}},
    "status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "3"}},
}


def test_selection() -> None:
    assert refusal(pod(nodeSelector={"zone": "a"}), node=NODE, others=[]) is None
    refused = refusal(pod(nodeSelector={"zone": "b"}), node=NODE, others=[])
    assert refused is not None and refused.reason == "Unschedulable"
    assert "It wants zone=b; the only node, n, has size=5, zone=a; it serves " in refused.message
    assert refused.message.endswith("label the node: kubectl label node n KEY=VALUE")


def test_resources_that_are_taken() -> None:
    big = pod({"resources": {"requests": {"cpu": "1500m", "memory": "700Mi"}}})
    other = pod({"resources": {"requests": {"cpu": "1", "memory": "400Mi"}}})
    refused = refusal(big, node=NODE, others=[other])
    assert refused is not None and "Insufficient memory" in refused.message
    light = pod({"resources": {"requests": {"cpu": "1500m", "memory": "600Mi"}}})
    assert refusal(light, node=NODE, others=[other]) is None, "CPU is shared, not reserved"
    crowd = [pod() for _ in range(3)]
    for number, member in enumerate(crowd):
        member["metadata"]["name"] = f"p{number}"
    refused = refusal(pod(), node=NODE, others=crowd)
    assert refused is not None and "Too many pods" in refused.message


def test_names_files() -> None:
    made = pod(subdomain="sub", hostAliases=[{"ip": "1.2.3.4", "hostnames": ["a", "b"]}])
    text = hosts_file(made, "10.0.0.5", "cluster.local")
    assert "10.0.0.5\tp.sub.ns.svc.cluster.local p\n" in text and "1.2.3.4\ta b\n" in text
    first = resolv_conf(pod(), dns_address="10.9.0.1", cluster_domain="cluster.local")
    search = "search ns.svc.cluster.local svc.cluster.local cluster.local"
    assert first == f"nameserver 10.9.0.1\n{search}\noptions ndots:5\n"
    config = {"nameservers": ["9.9.9.9"], "searches": ["x"], "options": [{"name": "ndots", "value": "2"}]}
    own = resolv_conf(pod(dnsPolicy="None", dnsConfig=config), dns_address="", cluster_domain="")
    assert own == "nameserver 9.9.9.9\nsearch x\noptions ndots:2\n"
    host = "nameserver 1.1.1.1\nsearch corp\noptions edns0\n"
    assert resolv_conf(pod(dnsPolicy="Default"), dns_address="", cluster_domain="", host_text=host) == host


@pytest.mark.parametrize(("name", "number"), [("SIGTERM", 15), ("int", 2), ("3", 3), ("nonsense", 15)])
def test_signals(name: str, number: int) -> None:
    assert signal_number(name) == number


def test_records_of_what_podman_says() -> None:
    state = {
        "Status": "exited",
        "ExitCode": 3,
        "OOMKilled": True,
        "StartedAt": "2026-11-24T15:59:58.785697708Z",
        "FinishedAt": "0001-01-01T00:00:00Z",
    }
    labels = {"binderops.dev/attempt": "4", "binderops.dev/container": "c", "binderops.dev/pod-uid": "u"}
    record = record_of({"Id": "x", "State": state, "Config": {"Labels": labels}, "Image": "i"})
    assert (record.state, record.exit_code, record.oom_killed, record.attempt) == ("exited", 3, True, 4)
    assert record.started_at is not None and record.started_at.microsecond == 785697
    assert record.finished_at is None
