"""What is there before anybody creates anything: namespaces, roles, the Service of the API itself.

Roles are brought up to date at each start, as kube-apiserver does (rules and subjects are added, none is taken away).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import structlog

from binderops.errors import StoreFailedError
from binderops.kube.schemas import schema_of
from binderops.kube.selectors import from_label_selector
from binderops.node.api.admission import SYSTEM_PRIORITIES
from binderops.node.api.objects import writes
from binderops.node.api.resources import RESOURCES, Resource
from binderops.node.api.roles import bootstrap_roles
from binderops.node.config import NodeConfig
from binderops.node.store import Record, Store

_log = structlog.get_logger("api")
Object = dict[str, Any]
_MANAGER = "kube-apiserver"
_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
_BY_KIND: dict[tuple[str, str], Resource] = {(r.api_version, r.kind): r for r in RESOURCES if r.is_stored}
_CLUSTER_ROLES = "clusterroles.rbac.authorization.k8s.io"
_LOOK_SECONDS = 3600.0
_RETRY_SECONDS = 30.0  # after the store took no write


async def bootstrap(store: Store, config: NodeConfig) -> None:
    """Create what is missing, and bring up to date what the node itself defines."""
    # Together, so that they share a transaction: the first start should not wait for the disk thirty times.
    await asyncio.gather(
        *(_ensure(store, _namespace(name)) for name in _NAMESPACES),
        *(_ensure(store, obj, update=_add_missing) for obj in bootstrap_roles()),
        *(_ensure(store, obj, update=_replace_addresses) for obj in _api_service(config)),
        *(_ensure(store, _priority_class(name, value)) for name, value in SYSTEM_PRIORITIES.items()),
    )
    await aggregate_roles(store)


async def aggregate_roles(store: Store) -> None:
    """Give each ClusterRole with an aggregationRule the rules of the roles that it selects (ClusterRoleAggregation)."""
    records = store.records(_CLUSTER_ROLES)
    for record in records:
        role = record.object()
        selectors = [
            from_label_selector(s) for s in (role.get("aggregationRule") or {}).get("clusterRoleSelectors") or ()
        ]
        if not selectors:
            continue
        chosen = [r for r in records if r is not record and any(s.matches(r.labels) for s in selectors)]
        rules: list[Object] = []
        for other in chosen:
            rules += [rule for rule in other.object().get("rules") or () if rule not in rules]
        if rules != (role.get("rules") or []) and store.latest(_CLUSTER_ROLES, "", record.name) is record:
            await store.update({**role, "rules": rules}, previous=record)


async def keep_aggregated(store: Store) -> None:
    """Aggregate anew whenever a ClusterRole changes, until cancelled."""
    watcher = store.watch(_CLUSTER_ROLES, lambda _: True, since=store.version)
    while True:
        rest = _LOOK_SECONDS
        try:
            await aggregate_roles(store)
        except StoreFailedError as error:  # the API serves the rules as they were
            rest = _RETRY_SECONDS
            _log.error("roles cannot be aggregated", error=str(error), next_seconds=rest)
        await watcher.wait(rest)
        if watcher.closed.is_set():
            watcher = store.watch(_CLUSTER_ROLES, lambda _: True, since=store.version)


async def _ensure(store: Store, wanted: Object, *, update: Any = None) -> None:
    resource = _BY_KIND[(wanted["apiVersion"], wanted["kind"])]
    metadata = wanted["metadata"]
    record: Record | None = store.latest(resource.stored_as, metadata.get("namespace", ""), metadata["name"])
    schema = schema_of(resource.group, resource.version, resource.kind)
    now = datetime.now(UTC)
    if record is None:
        prepared = writes.prepare_create(wanted, schema=schema, manager=_MANAGER, now=now)
        await store.create(resource.stored_as, prepared)
        return
    live = record.object()
    changed = update(live, wanted) if update else live
    if not writes.unchanged(live, changed):
        prepared = writes.prepare_replace(live, changed, schema=schema, manager=_MANAGER, now=now)
        await store.update(prepared, previous=record)


def _add_missing(live: Object, wanted: Object) -> Object:
    """An operator's additions stay; `autoupdate: "false"` on the object keeps all of it (as kube-apiserver does)."""
    annotations = live["metadata"].get("annotations") or {}
    if annotations.get("rbac.authorization.k8s.io/autoupdate") == "false" or wanted.get("aggregationRule"):
        return live
    merged = dict(live)
    for key in ("rules", "subjects"):
        if key in wanted:
            present = live.get(key) or []
            merged[key] = present + [entry for entry in wanted[key] if entry not in present]
    return merged


def _replace_addresses(live: Object, wanted: Object) -> Object:
    if live["kind"] == "Service":
        return {**live, "spec": {**live["spec"], "ports": wanted["spec"]["ports"]}}
    return {**live, **{key: wanted[key] for key in ("endpoints", "ports", "subsets") if key in wanted}}


def _namespace(name: str) -> Object:
    labels = {"kubernetes.io/metadata.name": name}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def _priority_class(name: str, value: int) -> Object:
    return {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": name},
        "value": value,
        "description": "Used for system critical pods.",
    }


def _api_service(config: NodeConfig) -> Iterator[Object]:
    """Service default/kubernetes leads to where the API listens for pods: bridge_address."""
    metadata = {
        "name": "kubernetes",
        "namespace": "default",
        "labels": {"component": "apiserver", "provider": "kubernetes"},
    }
    address = config.kubernetes_service_address
    port = {"name": "https", "port": 443, "protocol": "TCP", "targetPort": config.api_port}
    spec = {
        "type": "ClusterIP",
        "clusterIP": address,
        "clusterIPs": [address],
        "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack",
        "ports": [port],
        "sessionAffinity": "None",
    }
    yield {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}
    target = {"name": "https", "port": config.api_port, "protocol": "TCP"}
    # The mirroring controllers leave both alone: the API itself is their manager, as in a cluster.
    slice_labels = {
        "kubernetes.io/service-name": "kubernetes",
        "endpointslice.kubernetes.io/managed-by": "kube-apiserver",
    }
    yield {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": slice_labels},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [config.bridge_address], "conditions": {"ready": True}}],
        "ports": [target],
    }
    yield {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [{"addresses": [{"ip": config.bridge_address}], "ports": [target]}],
    }
