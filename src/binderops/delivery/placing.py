"""Before anything is changed on a machine of one node: whether that node is one that each pod may run on.

On a cluster of machines nothing is asked: nodes that a selector names may be made for the pod. A pod that an operator's
Python (`extraConfig`) gives a selector is not foreseen; the node's Event on it says the same.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from ruamel.yaml import YAML

from binderops.errors import TargetError
from binderops.kube.client import Client
from binderops.kube.kinds import NODE
from binderops.kube.objects import name_of, spec_of
from binderops.kube.placement import PURPOSE, labels_told, unmet
from binderops.state.release import Object
from binderops.state.values import get_path

_SERVERS = "binderhub.jupyterhub.singleuser"
_BUILDS = "binderhub.config.KubernetesBuildExecutor.node_selector"
_OLD_BUILDS = "binderhub.config.BinderHub.build_node_selector"


class Planned(NamedTuple):
    """A pod that is to be: what it is called in words, and what of its spec places it."""

    what: str
    spec: Mapping[str, Any]


async def check_places(client: Client, objects: Iterable[Object]) -> None:
    """Raises TargetError naming each pod that the only node is not for, before any of these objects is there."""
    nodes = (await client.list(NODE)).items
    if len(nodes) != 1:
        return  # at a first start the node registers in a moment: then its Events say it of each pod
    (node,) = nodes
    nowhere = [f"{pod.what} ({wanted})" for pod in planned_pods(objects) if (wanted := unmet(pod.spec, node))]
    if not nowhere:
        return
    raise TargetError(
        f"these would have no place on the node {name_of(node)}: {', '.join(nowhere)}",
        where="nodeSelector, or required node affinity, of these in the values",
        why=f"it is the only node, and has the labels {labels_told(node)}",
        hint=f"set the selector's key to null for this environment, or: kubectl label node {name_of(node)} KEY=VALUE",
    )


def planned_pods(objects: Iterable[Object]) -> Iterator[Planned]:
    """The pods that rendered objects ask for, users' servers and builds among them."""
    for obj in objects:
        match obj.get("kind"):
            case "Deployment" | "StatefulSet" | "Job":
                yield Planned(f"{obj['kind']} {name_of(obj)}", spec_of(spec_of(obj).get("template") or {}))
            case "CronJob":
                template = spec_of(spec_of(obj).get("jobTemplate") or {}).get("template") or {}
                yield Planned(f"CronJob {name_of(obj)}", spec_of(template))
            case "Pod":
                yield Planned(f"Pod {name_of(obj)}", spec_of(obj))
            case "Secret" if name_of(obj) == "hub" and (values := _values(obj)):
                yield _server(values)
            case "Secret" if name_of(obj) == "binder-secret" and (values := _values(obj)):
                yield _build(values)


def _server(values: Mapping[str, Any]) -> Planned:
    terms = list(get_path(values, "singleuser.extraNodeAffinity.required") or [])
    if get_path(values, "scheduling.userPods.nodeAffinity.matchNodePurpose") == "require":
        terms.append({"matchExpressions": [{"key": PURPOSE, "operator": "In", "values": ["user"]}]})
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}
    selector = get_path(values, "singleuser.nodeSelector")
    spec = {"nodeSelector": selector, **({"affinity": affinity} if terms else {})}
    return Planned(f"users' servers, {_SERVERS}", spec)


def _build(values: Mapping[str, Any]) -> Planned:
    for key in (_BUILDS, _OLD_BUILDS):
        if selector := get_path(values, key.removeprefix("binderhub.")):
            return Planned(f"builds, {key}", {"nodeSelector": selector})
    return Planned("builds", {})


def _values(secret: Object) -> Mapping[str, Any]:
    """What a chart tells its program of the values."""
    text = (secret.get("data") or {}).get("values.yaml")
    found = YAML(typ="safe").load(base64.b64decode(text).decode()) if text else None
    return found if isinstance(found, Mapping) else {}
