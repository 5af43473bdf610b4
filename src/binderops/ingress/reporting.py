"""What the controller tells back: Events about what is not honoured, and the address in each Ingress's status."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import structlog

from binderops.errors import KubernetesError
from binderops.ingress.annotations import Refusal
from binderops.ingress.routing import Complaint, Key, Routing
from binderops.kube.client import Client
from binderops.kube.events import EventRecorder
from binderops.kube.informer import Informer
from binderops.kube.kinds import CONFIG_MAP, INGRESS, Kind, Object
from binderops.kube.objects import status_of

log = structlog.get_logger(__name__)


class Reporter:
    """Tells each complaint once, and again only after it was gone."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._events = EventRecorder(client, "nginx-ingress-controller")
        self._told: set[Complaint] = set()
        self._told_settings: set[tuple[str, str]] = set()
        self._told_default: str | None = None

    async def complaints(self, complaints: Sequence[Complaint], ingresses: Informer) -> None:
        """Events for the complaints that are new."""
        for complaint in [found for found in complaints if found not in self._told]:
            ingress = ingresses.objects.get(complaint.ingress)
            if ingress is not None:
                await self._warn(INGRESS, ingress, complaint.reason, complaint.message)
        self._told = set(complaints)

    async def refused(self, keys: Iterable[Key], ingresses: Informer, message: str) -> None:
        """Tells that nginx refused the configuration for these, or for one of them."""
        for key in keys:
            ingress = ingresses.objects.get(key)
            if ingress is not None:
                await self._warn(INGRESS, ingress, "ConfigurationRefused", message)

    async def settings(self, refusals: Sequence[Refusal], configmap: Object | None) -> None:
        """Settings of the controller's ConfigMap that are not honoured: in the log, and as Events on it."""
        current = {(refusal.annotation, refusal.why) for refusal in refusals}
        for name, why in sorted(current - self._told_settings):
            message = f"{name} is not honoured: {why}"
            log.warning("a setting is not honoured", setting=name, why=why)
            if configmap is not None:
                await self._warn(CONFIG_MAP, configmap, "UnsupportedSetting", message)
        self._told_settings = current

    def default_certificate(self, problem: str | None) -> None:
        """What is wrong with the default certificate, or None: to the log, where it is new."""
        if problem is not None and problem != self._told_default:
            log.warning("the default certificate cannot be served", why=problem)
        self._told_default = problem

    async def addresses(self, routing: Routing, ingresses: Informer, published: Object | None) -> None:
        """Copies the public Service's addresses into the status of every Ingress that is served."""
        wanted = published_addresses(published)
        for key in routing.handled:
            ingress = ingresses.objects.get(key)
            if ingress is None or _addresses(ingress) == wanted:
                continue
            try:
                # By its uid: another Ingress may have been made in its place, one that somebody else serves.
                body = {
                    "metadata": {"uid": ingress["metadata"]["uid"]},
                    "status": {"loadBalancer": {"ingress": wanted}},
                }
                await self._client.patch(INGRESS, key[1], key[0], body, subresource="status")
            except KubernetesError as error:
                log.info("an Ingress's address could not be told", ingress="/".join(key), error=str(error))

    async def _warn(self, kind: Kind, obj: Object, reason: str, message: str) -> None:
        described = {"apiVersion": kind.api_version, "kind": kind.kind, **obj}
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
