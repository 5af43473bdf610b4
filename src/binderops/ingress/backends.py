"""From a backend as an Ingress names it to the addresses that serve it now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from binderops.kube.objects import key_of, labels_of, namespace_of, spec_of

Object = Mapping[str, Any]
SERVICE_NAME = "kubernetes.io/service-name"


@dataclass(frozen=True)
class Backend:
    """A Service's port: its ready endpoints as (address, port), sorted; none is answered with 503."""

    namespace: str
    service: str
    port: str
    endpoints: tuple[tuple[str, int], ...] = ()
    problem: str | None = None

    @property
    def upstream(self) -> str:
        """The name of its upstream block: parts that cannot hold anything but letters, digits and dashes."""
        return f"{self.namespace}.{self.service}.{self.port}"


class BackendTable:
    """Services and EndpointSlices as they are now."""

    def __init__(self, services: Iterable[Object], slices: Iterable[Object]) -> None:
        self._services = {key_of(service): service for service in services}
        self._slices: dict[tuple[str, str], list[Object]] = {}
        for endpoint_slice in slices:
            name = labels_of(endpoint_slice).get(SERVICE_NAME)
            if name:
                self._slices.setdefault((namespace_of(endpoint_slice), name), []).append(endpoint_slice)

    def find(self, namespace: str, backend: Object) -> Backend:
        """The backend of an Ingress in `namespace`; `problem` says in words what is missing."""
        named = backend.get("service")
        if not isinstance(named, Mapping):
            return Backend(namespace, "none", "0", problem="a resource backend is not supported: name a Service")
        name = str(named.get("name", ""))
        wanted = named.get("port") or {}
        shown = str(wanted.get("number") or wanted.get("name") or "")
        service = self._services.get((namespace, name))
        if service is None:
            return Backend(namespace, name, shown, problem=f"Service {name} does not exist")
        for port in spec_of(service).get("ports") or []:
            if (wanted.get("number") and port.get("port") == wanted["number"]) or (
                wanted.get("name") and port.get("name") == wanted["name"]
            ):
                return Backend(namespace, name, shown, self._endpoints(namespace, name, port.get("name") or ""))
        return Backend(namespace, name, shown, problem=f"Service {name} has no port {shown}")

    def _endpoints(self, namespace: str, service: str, port_name: str) -> tuple[tuple[str, int], ...]:
        found: set[tuple[str, int]] = set()
        for endpoint_slice in self._slices.get((namespace, service), []):
            numbers = [
                int(port["port"])
                for port in endpoint_slice.get("ports") or []
                if (port.get("name") or "") == port_name and port.get("port")
            ]
            for endpoint in endpoint_slice.get("endpoints") or []:
                if (endpoint.get("conditions") or {}).get("ready") is False:
                    continue
                for address in endpoint.get("addresses") or []:
                    if _is_plain(address):
                        found |= {(str(ip_address(address)), number) for number in numbers}
        return tuple(sorted(found))


def _is_plain(address: str) -> bool:
    """Whether it is an IP address. Not a name (slices of type FQDN), and without a zone, which may be any text."""
    try:
        return getattr(ip_address(address), "scope_id", None) is None
    except ValueError:
        return False
