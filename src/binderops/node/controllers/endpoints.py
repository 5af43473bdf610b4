"""The EndpointSlice controller: which pods stand behind each Service; and the same as legacy Endpoints."""

from __future__ import annotations

from binderops.errors import AlreadyExistsError, NotFoundError
from binderops.kube.kinds import ENDPOINT_SLICE, ENDPOINTS, POD, SERVICE, Object, kind_of
from binderops.kube.objects import (
    Key,
    annotations_of,
    is_deleting,
    labels_of,
    metadata_of,
    name_of,
    namespace_of,
    spec_of,
    uid_of,
)
from binderops.kube.selectors import from_labels
from binderops.node.controllers import slices
from binderops.node.controllers.machinery import Context, Controller
from binderops.node.controllers.workloads import in_namespace


class EndpointController(Controller):
    """Keeps the EndpointSlices (and Endpoints) of Services with a selector. Others are their makers' affair."""

    name = "endpoint-slice-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._services = self.watch(SERVICE)
        self._pods = context.informers.of(POD)
        self._pods.subscribe(self._pod_changed)
        self._slices = self.watch(ENDPOINT_SLICE, _service_of_slice)
        self._by_service = self._slices.add_index(lambda obj: ["/".join(key) for key in _service_of_slice(obj)])
        self._endpoints = self.watch(ENDPOINTS)

    def _pod_changed(self, event: str, new: Object, old: Object | None) -> None:
        if event == "MODIFIED" and old is not None and slices.facts(old) == slices.facts(new):
            return
        labels = [labels_of(new)] + ([labels_of(old)] if old is not None else [])
        namespace = metadata_of(new).get("namespace")
        for key, service in self._services.objects.items():
            if key[0] == namespace:
                selector = from_labels(spec_of(service).get("selector"))
                if any(map(selector.matches, labels)):
                    self.queue.add(key)

    async def sync(self, key: Key) -> float | None:
        """Bring the slices and the Endpoints of one Service to what its pods are."""
        service = self._services.objects.get(key)
        if service is None:
            await self._remove_endpoints(key)
            return None  # slices go by garbage collection
        if is_deleting(service) or not spec_of(service).get("selector"):
            return None
        if spec_of(service).get("type") == "ExternalName":
            return None
        selector = from_labels(spec_of(service)["selector"])
        pods = [pod for pod in in_namespace(self._pods.objects, key[0]) if selector.matches(labels_of(pod))]
        await self._reconcile_slices(service, pods)
        await self._reconcile_endpoints(service, pods)
        return None

    async def _reconcile_slices(self, service: Object, pods: list[Object]) -> None:
        wanted = {name_of(entry): entry for entry in slices.slices_for(service, pods)}
        for current in self._by_service.get("/".join((metadata_of(service)["namespace"], name_of(service)))):
            if labels_of(current).get(slices.MANAGED_BY) != slices.MANAGER:
                continue
            if name_of(current) not in wanted:
                await self.context.delete(current)
        for name, entry in wanted.items():
            present = self._slices.get(metadata_of(service)["namespace"], name)
            await self._write(entry, present, ("endpoints", "ports"))

    async def _reconcile_endpoints(self, service: Object, pods: list[Object]) -> None:
        wanted = slices.endpoints_for(service, pods)
        await self._write(
            wanted, self._endpoints.get(metadata_of(service)["namespace"], name_of(service)), ("subsets",)
        )

    async def _write(self, wanted: Object, present: Object | None, fields: tuple[str, ...]) -> None:
        if present is None:
            try:
                await self.context.create(wanted)
                return
            except AlreadyExistsError:
                present = await self.client.get(kind_of(wanted), name_of(wanted), namespace_of(wanted))
        labels = labels_of(wanted)
        same = all((present.get(field) or []) == (wanted.get(field) or []) for field in fields)
        if same and labels.items() <= labels_of(present).items():
            return
        body: Object = {"metadata": {"uid": uid_of(present), "labels": labels}}
        body |= {field: wanted.get(field) or None for field in fields}
        await self.context.patch(present, body)

    async def _remove_endpoints(self, key: Key) -> None:
        present = self._endpoints.objects.get(key)
        if present is None or annotations_of(present).get(slices.OURS) is None:
            return
        try:
            await self.context.delete(present)
        except NotFoundError:
            return


def _service_of_slice(obj: Object) -> list[Key]:
    service = labels_of(obj).get(slices.SERVICE_NAME)
    return [(str(metadata_of(obj)["namespace"]), service)] if service else []
