"""What the controller tells back: Events about what is not honoured, and the address in each Ingress's status."""

from __future__ import annotations

from typing import Any

import structlog

from binderops.errors import KubernetesError
from binderops.ingress.routing import Complaint, Key, Routing
from binderops.kube.client import Client
from binderops.kube.events import EventRecorder
from binderops.kube.informer import Informer
from binderops.kube.kinds import INGRESS, Object
from binderops.kube.objects import status_of

log = structlog.get_logger(__name__)


class Reporter:
    """Tells each complaint once, and again only after it was gone."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._events = EventRecorder(client, "nginx-ingress-controller")
        self._told: set[Complaint] = set()

    async def complaints(self, routing: Routing, ingresses: Informer) -> None:
        """Events for the complaints that are new."""
        current = set(routing.complaints)
        for complaint in [found for found in routing.complaints if found not in self._told]:
            ingress = ingresses.objects.get(complaint.ingress)
            if ingress is not None:
                await self._warn(ingress, complaint.reason, complaint.message)
        self._told = current

    async def refused(self, routing: Routing, ingresses: Informer, message: str) -> None:
        """The proxy refused the configuration: told to every Ingress, since any of them may be the cause."""
        for key in routing.handled:
            ingress = ingresses.objects.get(key)
            if ingress is not None:
                await self._warn(ingress, "ConfigurationRefused", message)

    async def addresses(self, routing: Routing, ingresses: Informer, published: Object | None) -> None:
        """Copies the public Service's addresses into the status of every Ingress that is served."""
        wanted = published_addresses(published)
        for key in routing.handled:
            ingress = ingresses.objects.get(key)
            if ingress is None or _addresses(ingress) == wanted:
                continue
            try:
                body = {"status": {"loadBalancer": {"ingress": wanted}}}
                await self._client.patch(INGRESS, key[1], key[0], body, subresource="status")
            except KubernetesError as error:
                log.info("an Ingress's address could not be told", ingress="/".join(key), error=str(error))

    async def _warn(self, ingress: Object, reason: str, message: str) -> None:
        described = {"apiVersion": INGRESS.api_version, "kind": INGRESS.kind, **ingress}
        await self._events.event(described, reason, message, "Warning")


def published_addresses(service: Object | None) -> list[dict[str, Any]]:
    """The addresses of a LoadBalancer Service as an Ingress's status wants them; its ClusterIP where it has none."""
    if service is None:
        return []
    told = (status_of(service).get("loadBalancer") or {}).get("ingress") or []
    found = [{key: entry[key] for key in ("ip", "hostname") if entry.get(key)} for entry in told]
    if found:
        return found
    address = (service.get("spec") or {}).get("clusterIP")
    return [{"ip": address}] if address and address != "None" else []


def _addresses(ingress: Object) -> list[dict[str, Any]]:
    told = (status_of(ingress).get("loadBalancer") or {}).get("ingress") or []
    return [{key: entry[key] for key in ("ip", "hostname") if entry.get(key)} for entry in told]


__all__ = ["Key", "Reporter", "published_addresses"]
