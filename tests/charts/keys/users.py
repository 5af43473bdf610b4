"""Rows of the jupyterhub chart: users' servers, as a real spawner makes their pods, and where pods are placed."""

from __future__ import annotations

from tests.charts.keys.bases import JUPYTERHUB
from tests.charts.keys.rows import ABSENT, AMONG, Has, Row, below
from tests.charts.keys.shared import (
    FROM,
    PRIVATE,
    a_container,
    env,
    hook,
    labels,
    policy,
    toleration,
    volume,
    volume_mount,
)

SPAWNER, USER, CLAIM = "Spawner", "Pod of a user", "Claim of a user"
BOX = "spec.containers.notebook"
HOME = f"{BOX}.volumeMounts./home/jovyan"
TERM = {"matchExpressions": [{"key": "k", "operator": "Exists"}]}
WEIGHED = {"weight": 1, "preference": TERM}
APART = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"a": "own"}}}
WEIGHED_APART = {"weight": 1, "podAffinityTerm": APART}
_METADATA = {
    "cloudMetadata": {"blockWithIptables": False},
    "networkPolicy": {"egressAllowRules": {"cloudMetadataServer": True}},
}
_NO_POLICY = {"cloudMetadata": {"blockWithIptables": False}, "networkPolicy": {"enabled": False}}
_OWN_METADATA = {"to": [{"ipBlock": {"cidr": "192.0.2.77/32"}}], "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}  # fmt: skip  # noqa: E501
_FILES = {"f": {"mountPath": "/etc/f", "stringData": "words", "mode": 0o440}}
_SCHEDULED = "DuringSchedulingIgnoredDuringExecution"
_OPEN = {"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": [*PRIVATE, "169.254.169.254/32"]}}]}

_SHUT = ("cloudMetadataServer", "privateIPs", "dnsPortsPrivateIPs")

_USERS = [
    Row("cmd", ["own-server"], USER, f"{BOX}.args.0", "own-server"),
    Row("cmd", "own-server", USER, f"{BOX}.args.0", apart="text"),
    Row("defaultUrl", "/tree", USER, f"{BOX}.args", Has("--ServerApp.default_url=/tree")),
    Row("startTimeout", 77, SPAWNER, "start_timeout"),
    Row("podNameTemplate", "x-{username}", USER, "metadata.name", "x-binder-examples-hello-abc12345"),
    Row("events", False, SPAWNER, "events_enabled"),
    Row("uid", 2000, USER, f"{BOX}.securityContext.runAsUser"),
    Row("fsGid", 2001, USER, "spec.securityContext.fsGroup"),
    Row("serviceAccountName", "me", USER, "spec.serviceAccountName"),
    Row("allowPrivilegeEscalation", True, USER, f"{BOX}.securityContext.allowPrivilegeEscalation"),
    Row("extraPodConfig", {"dnsPolicy": "Default"}, USER, "spec"),
    Row("lifecycleHooks", hook("user-lifecyclehooks"), USER, f"{BOX}.lifecycle"),
    Row("profileList", [{"display_name": "one"}], SPAWNER, "profile_list"),
    Row("image", {"name": "quay.example/own", "tag": 20240131}, USER, f"{BOX}.image", "quay.example/own:20240131"),
    Row("image.pullPolicy", "Always", USER, f"{BOX}.imagePullPolicy"),
    Row("image.pullSecrets", ["own-pull"], USER, "spec.imagePullSecrets", Has({"name": "own-pull"})),
    Row("memory.limit", "3G", USER, f"{BOX}.resources.limits.memory", 3 * 1024**3),
    Row("memory.guarantee", "1.5G", USER, f"{BOX}.resources.requests.memory", 3 * 1024**3 // 2),
    Row("cpu.limit", 1.5, USER, f"{BOX}.resources.limits.cpu"),
    Row("cpu.guarantee", 0.25, USER, f"{BOX}.resources.requests.cpu"),
    Row("extraResource.limits", {"own.example/gpu": "1"}, USER, f"{BOX}.resources.limits"),
    Row("extraResource.guarantees", {"own.example/gpu": "1"}, USER, f"{BOX}.resources.requests"),
    Row("extraEnv", {"OWN": "user-extraenv"}, USER, f"{BOX}.env", Has(env("user-extraenv"))),
    Row("extraEnv", {"OWN": FROM}, USER, f"{BOX}.env", Has({"name": "OWN", **FROM}), apart="from"),
    Row("extraEnv", {"OWN": 10000000}, USER, f"{BOX}.env", Has(env("10000000")), apart="number"),
    Row("extraEnv", [env("user-extraenv")], USER, f"{BOX}.env", AMONG, apart="list"),
    Row("extraLabels", labels("user-extralabels"), USER, "metadata.labels"),
    Row("extraAnnotations", labels("user-extraannotations"), USER, "metadata.annotations"),
    Row("extraFiles", _FILES, "Secret singleuser", "data", {"f": "words"}),
    Row("extraFiles", _FILES, USER, f"{BOX}.volumeMounts./etc/f.subPath", "f"),
    Row("extraFiles", _FILES, USER, "spec.volumes.files.secret.items.f.mode", 0o440),
    Row("initContainers", [a_container("user-initcontainers")], USER, "spec.initContainers", AMONG),
    Row("extraContainers", [a_container("user-extracontainers")], USER, "spec.containers", AMONG),
    Row("nodeSelector", labels("user-nodeselector"), USER, "spec.nodeSelector"),
    Row("extraTolerations", [toleration("user-extratolerations")], USER, "spec.tolerations", AMONG),
    Row("cloudMetadata.ip", "192.0.2.77", "NetworkPolicy singleuser", "spec.egress", Has(_OWN_METADATA), apart="ip"),
    Row("networkPolicy.egressAllowRules.dnsPortsCloudMetadataServer", True, "NetworkPolicy singleuser", "spec.egress",
        Has(_OWN_METADATA), apart="ip"),
    *(row for row in policy("networkPolicy", "singleuser", closed=_SHUT)
      if row.key.rpartition(".")[2] not in {"cloudMetadataServer", "dnsPortsCloudMetadataServer", "nonPrivateIPs"}),
    # The meta chart shuts this one: its own policy opens what is open.
    Row("networkPolicy.egressAllowRules.nonPrivateIPs", True, "NetworkPolicy singleuser", "spec.egress", Has(_OPEN)),
]  # fmt: skip

_AFFINITIES = [
    Row(f"{key}.{name}", [term], USER, f"spec.affinity.{kind}.{name}{_SCHEDULED}{more}", AMONG)
    for key, kind, name, term, more in (
        ("extraNodeAffinity", "nodeAffinity", "required", TERM, ".nodeSelectorTerms"),
        ("extraNodeAffinity", "nodeAffinity", "preferred", WEIGHED, ""),
        ("extraPodAffinity", "podAffinity", "required", APART, ""),
        ("extraPodAffinity", "podAffinity", "preferred", WEIGHED_APART, ""),
        ("extraPodAntiAffinity", "podAntiAffinity", "required", APART, ""),
        ("extraPodAntiAffinity", "podAntiAffinity", "preferred", WEIGHED_APART, ""),
    )
]

_STORAGE = [
    Row("type", "none", USER, HOME, ABSENT, apart="none"),
    Row("homeMountPath", "/home/own", USER, f"{BOX}.volumeMounts./home/own.mountPath"),
    Row("extraLabels", labels("storage-extralabels"), CLAIM, "metadata.labels"),
    Row("capacity", "7Gi", CLAIM, "spec.resources.requests.storage"),
    Row("extraVolumes", [volume("user-extravolumes")], USER, "spec.volumes", AMONG),
    Row("extraVolumeMounts", [volume_mount("user-extravolumes")], USER, f"{BOX}.volumeMounts", AMONG),
    Row("static.pvcName", "homes", USER, "spec.volumes.home.persistentVolumeClaim.claimName", base="static volume"),
    Row("static.subPath", "s/{username}", USER, f"{HOME}.subPath", "s/binder-examples-hello-abc12345",
        base="static volume"),
    Row("dynamic.storageClass", "fast", CLAIM, "spec.storageClassName"),
    Row("dynamic.pvcNameTemplate", "own-{username}", CLAIM, "metadata.name", "own-binder-examples-hello-abc12345"),
    Row("dynamic.volumeNameTemplate", "own-{username}", USER, "spec.volumes.own-binder-examples-hello-abc12345.name",
        "own-binder-examples-hello-abc12345"),
    Row("dynamic.storageAccessModes", ["ReadWriteMany"], CLAIM, "spec.accessModes"),
    Row("dynamic.subPath", "d/{username}", USER, f"{HOME}.subPath", "d/binder-examples-hello-abc12345", apart="path"),
]  # fmt: skip

_PRIORITY = "PriorityClass binder-default-priority"
_CORE, _PLACED = "Deployment hub", "spec.template.spec"
_PURPOSE = (
    f"affinity.nodeAffinity.required{_SCHEDULED}.nodeSelectorTerms.0.matchExpressions.hub.jupyter.org/node-purpose"
)

_SCHEDULING = [
    Row("podPriority.enabled", True, _PRIORITY, "kind", "PriorityClass", base="local"),
    Row("podPriority.enabled", True, _CORE, f"{_PLACED}.priorityClassName", "binder-default-priority", base="local"),
    Row("podPriority.enabled", True, USER, "spec.priorityClassName", "binder-default-priority", base="local"),
    Row("podPriority.globalDefault", True, _PRIORITY, "globalDefault"),
    Row("podPriority.defaultPriority", 2000000, _PRIORITY, "value"),
    Row(
        "corePods.tolerations",
        [toleration("user-corepods-tolerations")],
        _CORE,
        f"{_PLACED}.tolerations",
        [toleration("user-corepods-tolerations")],
        apart="core",
    ),
    Row("corePods.nodeAffinity.matchNodePurpose", "require", _CORE, f"{_PLACED}.{_PURPOSE}.values", ["core"]),
    Row(
        "userPods.tolerations",
        [toleration("user-userpods-tolerations")],
        USER,
        "spec.tolerations",
        [toleration("user-userpods-tolerations")],
        apart="core",
    ),
    Row("userPods.nodeAffinity.matchNodePurpose", "require", USER, f"spec.{_PURPOSE}.values", ["user"], apart="core"),
]

ROWS = below(
    f"{JUPYTERHUB}.",
    [
        *below("singleuser.", _USERS),
        *below("singleuser.", _AFFINITIES),
        *below("singleuser.storage.", _STORAGE),
        Row("singleuser", _NO_POLICY, "NetworkPolicy singleuser", "", ABSENT, apart="off"),
        Row("singleuser", _METADATA, "NetworkPolicy singleuser", "spec.egress",
            Has({"to": [{"ipBlock": {"cidr": "169.254.169.254/32"}}]}), apart="metadata"),
        *below("scheduling.", _SCHEDULING),
    ],
)  # fmt: skip
