"""Rows of the shapes that many components have: images, probes, budgets, policies, pods, Services."""

from __future__ import annotations

from typing import Any

from tests.charts.keys.rows import ABSENT, AMONG, Has, Lacks, Row, below

POD = "spec.template.spec"
FROM = {"valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
METADATA = "169.254.169.254/32"


# Each of these is told apart by the component that it is for: one key that is read in another's place is seen.


def env(word: str) -> dict[str, Any]:
    """An EnvVar."""
    return {"name": "OWN", "value": word}


def labels(word: str) -> dict[str, str]:
    """Labels, annotations, a node selector."""
    return {"own.example/is": word}


def volume(word: str) -> dict[str, Any]:
    """A volume."""
    return {"name": f"of-{word}", "emptyDir": {}}


def volume_mount(word: str) -> dict[str, Any]:
    """Where it is mounted."""
    return {"name": f"of-{word}", "mountPath": f"/{word}"}


def a_container(word: str) -> dict[str, Any]:
    """A container before or beside the component's own."""
    return {"name": f"by-{word}", "image": word}


def resources(word: str) -> dict[str, Any]:
    """What a container may use: another amount for each component."""
    limits = {"memory": f"{len(word)}Gi", f"own.example/{word}": "1"}
    return {"limits": limits, "requests": {"memory": f"{len(word)}Mi"}}


def toleration(word: str) -> dict[str, Any]:
    """A taint that does not matter."""
    return {"key": word, "operator": "Exists"}


def hook(word: str) -> dict[str, Any]:
    """What runs before a container is stopped."""
    return {"preStop": {"exec": {"command": [word]}}}


def image(key: str, target: str, container: str) -> list[Row]:
    """IMG. The tag is a number, as dates in values files are."""
    box = f"{POD}.containers.{container}"
    return [
        Row(f"{key}image", {"name": f"q/{container}", "tag": 20240131}, target, f"{box}.image",
            f"q/{container}:20240131"),
        Row(f"{key}image.pullPolicy", "Always", target, f"{box}.imagePullPolicy"),
        Row(f"{key}image.pullSecrets", [container], target, f"{POD}.imagePullSecrets", Has({"name": container})),
    ]  # fmt: skip


def extra_env(key: str, target: str, container: str) -> list[Row]:
    """Extra variables in each of their forms."""
    place = f"{POD}.containers.{container}.env"
    return [
        Row(key, {"OWN": container}, target, place, Has(env(container))),
        Row(key, {"OWN": FROM}, target, place, Has({"name": "OWN", **FROM}), apart="from"),
        Row(key, {"OWN": 10000000}, target, place, Has(env("10000000")), apart="number"),
        Row(key, [env(container)], target, place, AMONG, apart="list"),
    ]


def pod(prefix: str, target: str, container: str) -> list[Row]:
    """What the pods of the binder, the hub and the proxy have in common."""
    box = f"{POD}.containers.{container}"
    return [
        *image(prefix, target, container),
        *extra_env(f"{prefix}extraEnv", target, container),
        Row(f"{prefix}resources", resources(container), target, f"{box}.resources"),
        Row(f"{prefix}nodeSelector", labels(container), target, f"{POD}.nodeSelector"),
        Row(f"{prefix}tolerations", [toleration(container)], target, f"{POD}.tolerations", AMONG),
        Row(f"{prefix}extraPodSpec", {"hostname": container}, target, POD),
    ]


def more_of_a_pod(prefix: str, target: str, container: str) -> list[Row]:
    """What the binder's and the hub's have besides."""
    box = f"{POD}.containers.{container}"
    return [
        Row(f"{prefix}extraVolumes", [volume(container)], target, f"{POD}.volumes", AMONG),
        Row(
            f"{prefix}extraVolumeMounts",
            [volume_mount(container)],
            target,
            f"{box}.volumeMounts",
            Has(volume_mount(container)),
        ),
        Row(
            f"{prefix}initContainers",
            [a_container(container)],
            target,
            f"{POD}.initContainers",
            Has(a_container(container)),
        ),
        Row(f"{prefix}lifecycle", hook(container), target, f"{box}.lifecycle"),
    ]


def extra_files(key: str, secret: str, target: str, container: str) -> list[Row]:
    """Files of the operator's own: the text in the Secret, the mount, the mode."""
    files = {
        "a.yaml": {"mountPath": "/etc/a.yaml", "data": {"of": container}},
        "b": {"mountPath": "/etc/b", "stringData": f"words of {container}", "mode": 0o400},
        "c": {"mountPath": "/etc/c", "binaryData": "d29yZHM="},
    }
    box = f"{POD}.containers.{container}"
    return [
        Row(key, files, secret, "data", {"a.yaml": f"of: {container}", "b": f"words of {container}", "c": "words"}),
        Row(key, files, target, f"{box}.volumeMounts./etc/b.subPath", "b"),
        Row(key, files, target, f"{POD}.volumes.files.secret.items.b.mode", 0o400),
    ]


def probes(prefix: str, target: str, container: str) -> list[Row]:
    """PROBE, of readiness and of liveness."""
    rows = []
    for number, name in enumerate(("livenessProbe", "readinessProbe"), 1):
        place = f"{POD}.containers.{container}.{name}"
        times = ("initialDelaySeconds", "periodSeconds", "failureThreshold", "timeoutSeconds")
        numbers = {key: 20 * number + step + len(container) for step, key in enumerate(times)}
        rows += [
            Row(f"{prefix}{name}", numbers, target, place),
            Row(f"{prefix}{name}.enabled", False, target, place, ABSENT, apart="off"),
        ]
    return rows


def budget(key: str, target: str, *, on: bool) -> list[Row]:
    """PDB; `on`: there is one by default."""
    share = f"{len(key)}%"
    return [
        Row(f"{key}.enabled", not on, target, "", ABSENT if on else {"kind": "PodDisruptionBudget"}, base="local"),
        Row(key, {"enabled": True, "maxUnavailable": share}, target, "spec.maxUnavailable", share),
        Row(
            key,
            {"enabled": True, "maxUnavailable": None, "minAvailable": 2},
            target,
            "spec.minAvailable",
            2,
            apart="fewest",
        ),
    ]


def policy(key: str, name: str, *, closed: tuple[str, ...] = ()) -> list[Row]:
    """NP. `closed` are the rules of egress that are off by default."""
    target = f"NetworkPolicy {name}"
    peer = {"ipBlock": {"cidr": f"198.51.100.{len(name)}/32"}}
    rows = [
        Row("ingress", [{"from": [peer]}], target, "spec.ingress", AMONG),
        Row("egress", [{"to": [peer]}], target, "spec.egress", AMONG),
        Row(
            "allowedIngressPorts",
            [4000 + len(name)],
            target,
            "spec.ingress",
            Has({"ports": [{"port": 4000 + len(name)}]}),
        ),
        Row("interNamespaceAccessLabels", "accept", target, "spec.ingress.0.from.0.namespaceSelector", {}),
    ]
    for rule, entry in _egress_rules().items():
        is_on = rule not in closed
        seen = Lacks(entry) if is_on else Has(entry)
        rows.append(Row(f"egressAllowRules.{rule}", not is_on, target, "spec.egress", seen))
    return below(f"{key}.", rows)


def _egress_rules() -> dict[str, Any]:
    dns = [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]
    metadata = [{"ipBlock": {"cidr": METADATA}}]
    private = [{"ipBlock": {"cidr": cidr}} for cidr in PRIVATE]
    system = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}]
    outside = [{"ipBlock": {"cidr": "0.0.0.0/0", "except": [*PRIVATE, METADATA]}}]
    return {
        "cloudMetadataServer": {"to": metadata},
        "dnsPortsCloudMetadataServer": {"to": metadata, "ports": dns},
        "dnsPortsKubeSystemNamespace": {"to": system, "ports": dns},
        "dnsPortsPrivateIPs": {"to": private, "ports": dns},
        "nonPrivateIPs": {"to": outside},
        "privateIPs": {"to": private},
    }


def service(key: str, target: str) -> list[Row]:
    """Metadata and type of a Service."""
    return [
        Row(f"{key}.type", "NodePort", target, "spec.type"),
        Row(f"{key}.annotations", labels(target), target, "metadata.annotations"),
        Row(f"{key}.loadBalancerIP", f"192.0.2.{len(key)}", target, "spec.loadBalancerIP"),
    ]


def addresses(key: str, target: str) -> list[Row]:
    """The address families of a Service."""
    return [
        Row(f"{key}.ipFamilyPolicy", "PreferDualStack", target, "spec.ipFamilyPolicy"),
        Row(f"{key}.ipFamilies", ["IPv4", "IPv6"], target, "spec.ipFamilies"),
    ]


def ingress(key: str, target: str) -> list[Row]:
    """An Ingress of the binder or the hub."""
    tls = [{"hosts": ["t.example"], "secretName": f"tls-{len(key)}"}]
    path = "spec.rules.0.http.paths.0"
    return [
        Row(f"{key}.enabled", False, target, "", ABSENT, apart="off"),
        Row(f"{key}.hosts", ["h.example", f"{{{{ .Release.Name }}}}.{key}.example"], target, "spec.rules.1.host",
            f"binder.{key}.example"),
        Row(f"{key}.annotations", labels(target), target, "metadata.annotations"),
        Row(f"{key}.ingressClassName", f"class-{len(key)}", target, "spec.ingressClassName"),
        Row(f"{key}.pathSuffix", f"more-{len(key)}", target, f"{path}.path", f"/more-{len(key)}"),
        Row(f"{key}.pathType", "Exact", target, f"{path}.pathType"),
        Row(f"{key}.tls", tls, target, "spec.tls"),
    ]  # fmt: skip
