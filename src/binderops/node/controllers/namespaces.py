"""What each namespace has from the start, and how one that is deleted is emptied."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from binderops.errors import AlreadyExistsError, NotFoundError
from binderops.kube.kinds import CONFIG_MAP, NAMESPACE, POD, SERVICE_ACCOUNT, Object
from binderops.kube.objects import Key, conditions_of, is_deleting, namespace_of, set_condition, spec_of, uid_of
from binderops.node.controllers.machinery import Context, Controller

FINALIZER = "kubernetes"
LOOK_AGAIN_SECONDS = 1.0  # while a namespace ends; most of its kinds are watched by nobody here
ROOT_CA = "kube-root-ca.crt"


class NamespaceContentController(Controller):
    """ServiceAccount `default` and ConfigMap `kube-root-ca.crt` in each namespace, made again if removed."""

    name = "namespace-content-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._namespaces = self.watch(NAMESPACE)
        self._accounts = self.watch(SERVICE_ACCOUNT, _namespace_key)
        self._maps = context.informers.of(CONFIG_MAP)
        self._maps.subscribe(self._map_changed)

    def _map_changed(self, _event: str, new: Object, _old: Object | None) -> None:
        if new["metadata"]["name"] == ROOT_CA:
            self.queue.add(("", namespace_of(new)))

    async def sync(self, key: Key) -> float | None:
        """Make what lacks in one namespace."""
        namespace = self._namespaces.objects.get(key)
        if namespace is None or is_deleting(namespace):
            return None
        if self._accounts.get(key[1], "default") is None:
            await self._make({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _named("default", key[1])})
        if self._maps.get(key[1], ROOT_CA) is None and self.client.certificate_authority:
            note = "Contains a CA bundle that can be used to verify the kube-apiserver from inside the cluster."
            metadata = {**_named(ROOT_CA, key[1]), "annotations": {"kubernetes.io/description": note}}
            data = {"ca.crt": self.client.certificate_authority}
            await self._make({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
        return None

    async def _make(self, obj: Object) -> None:
        try:
            await self.context.create(obj)
        except AlreadyExistsError:
            return


class Resource(NamedTuple):
    """A kind as discovery tells it: only what emptying a namespace needs."""

    path: str
    """`/api/v1/namespaces/NS/pods`"""
    plural: str
    collection: bool
    """Whether all its objects can be deleted by one request."""


class NamespaceController(Controller):
    """Empties namespaces that are being deleted: the pods first, then everything that discovery names."""

    name = "namespace-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._namespaces = self.watch(NAMESPACE)
        context.informers.of(POD).subscribe(self._pod_changed)

    def _pod_changed(self, event: str, new: Object, _old: Object | None) -> None:
        if event == "DELETED":
            self.queue.add(("", namespace_of(new)))

    async def sync(self, key: Key) -> float | None:
        """Delete what is left in one namespace, and let the namespace go when nothing is."""
        namespace = self._namespaces.objects.get(key)
        if namespace is None or not is_deleting(namespace):
            return None
        if FINALIZER not in (spec_of(namespace).get("finalizers") or []):
            return None
        resources = await discover(self.context, key[1])
        left: dict[str, int] = {}
        for stage in (lambda r: r.plural == "pods", lambda r: r.plural != "pods"):
            for resource in filter(stage, resources):
                count = await self._empty(resource)
                if count:
                    left[resource.plural] = count
            if left:
                await self._tell(namespace, left)
                return LOOK_AGAIN_SECONDS
        await self._finalize(namespace)
        return None

    async def _empty(self, resource: Resource) -> int:
        """Ask for the deletion of all objects of a kind; how many are still there."""
        try:
            items = (await self.client.request("GET", resource.path)).get("items") or []
            if not items:
                return 0
            options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
            if resource.collection:
                await self.client.request("DELETE", resource.path, json=options)
            else:
                for item in items:
                    await self._delete_one(f"{resource.path}/{item['metadata']['name']}", options)
            return len((await self.client.request("GET", resource.path)).get("items") or [])
        except NotFoundError:  # the kind is not served after all
            return 0

    async def _delete_one(self, path: str, options: Object) -> None:
        try:
            await self.client.request("DELETE", path, json=options)
        except NotFoundError:
            return

    async def _tell(self, namespace: Object, left: dict[str, int]) -> None:
        rest = ", ".join(f"{plural} has {count} resource instances" for plural, count in sorted(left.items()))
        new = {
            "type": "NamespaceContentRemaining",
            "status": "True",
            "reason": "SomeResourcesRemain",
            "message": f"Some resources are remaining: {rest}",
        }
        await self.context.update_status(namespace, {"conditions": set_condition(conditions_of(namespace), new)})

    async def _finalize(self, namespace: Object) -> None:
        name = namespace["metadata"]["name"]
        left = [entry for entry in spec_of(namespace).get("finalizers") or [] if entry != FINALIZER]
        body = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "uid": uid_of(namespace)},
            "spec": {"finalizers": left},
        }
        try:
            await self.client.request("PUT", NAMESPACE.path(None, name, "finalize"), json=body)
        except NotFoundError:
            return


async def discover(context: Context, namespace: str) -> list[Resource]:
    """Every namespaced kind that the API serves and that can be listed and deleted, by plain discovery."""
    groups = (await context.client.request("GET", "/apis")).get("groups") or []
    roots = ["/api/v1", *(f"/apis/{group['preferredVersion']['groupVersion']}" for group in groups)]
    found = []
    for root in roots:
        for entry in (await context.client.request("GET", root)).get("resources") or []:
            verbs = entry.get("verbs") or []
            if entry.get("namespaced") and "/" not in entry["name"] and {"list", "delete"} <= set(verbs):
                path = f"{root}/namespaces/{namespace}/{entry['name']}"
                found.append(Resource(path, entry["name"], "deletecollection" in verbs))
    return found


def _namespace_key(obj: Object) -> Iterable[Key]:
    return [("", namespace_of(obj))]


def _named(name: str, namespace: str) -> Object:
    return {"name": name, "namespace": namespace}
