"""Publishes LoadBalancer Services on the node's host addresses.

A Service is published with all its ports or not at all. The first to want a port keeps it; another stays pending, with
an Event that names the holder, and is tried again. Loopback and IPv6 addresses are served by the forwarder, other IPv4
addresses by translation (so that the server sees its client's own address).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, ip_address
from typing import Any, Protocol

import structlog

from binderops.errors import KubernetesError, NotFoundError
from binderops.kube.kinds import SERVICE, Kind
from binderops.node.config import NodeConfig
from binderops.node.network import forwarding
from binderops.node.network.forwarding import Route
from binderops.node.network.holders import find_holder
from binderops.node.network.services import Frontend, Key, Object, ServicePort, is_load_balancer

log = structlog.get_logger(__name__)

PORT_TAKEN = "PortTaken"
PUBLISHED = "Published"


class Patches(Protocol):
    """What is needed of the API's client."""

    async def patch(
        self, kind: Kind, name: str, namespace: str | None, body: Any, *, how: Any = ..., subresource: str | None = ...
    ) -> Any:
        """Patch an object."""


class Events(Protocol):
    """What is needed of an EventRecorder."""

    async def event(self, obj: Mapping[str, Any], reason: str, message: str, type: Any = ...) -> None:
        """Record an Event."""


class LoadBalancers:
    """Which Service has which public port, and the status that says so."""

    def __init__(self, config: NodeConfig, client: Patches, recorder: Events) -> None:
        self._config = config
        self._client = client
        self._recorder = recorder
        self._holding: dict[Key, tuple[ServicePort, ...]] = {}
        self._said: dict[Key, str] = {}
        self.pending = False
        """Whether a Service waits for a port: then `sync` is to be called again without any change."""

        self._translated = tuple(address for address in config.host_addresses if _is_translated(address))
        self._forwarded = tuple(address for address in config.host_addresses if not _is_translated(address))

    @property
    def published(self) -> dict[Frontend, ServicePort]:
        """The addresses that are to be translated."""
        return {
            Frontend(address, port.protocol, port.port): port
            for ports in self._holding.values()
            for port in ports
            for address in self._translated
        }

    async def sync(self, services: Iterable[Object], ports: Iterable[ServicePort]) -> bool:
        """Give ports to Services, tell the forwarder and the API; returns whether `published` changed.

        NetworkError when the forwarder fails; KubernetesError of a status is logged and tried again.
        """
        before = self.published
        by_key = {(s["metadata"]["namespace"], s["metadata"]["name"]): s for s in services}
        grouped: dict[Key, list[ServicePort]] = {}
        for port in ports:
            if port.load_balancer:
                grouped.setdefault((port.namespace, port.service), []).append(port)
        refused = await self._assign(by_key, grouped)
        refused |= await self._forward()
        self.pending = bool(refused)
        for key, service in by_key.items():
            if is_load_balancer(service) or (service.get("status") or {}).get("loadBalancer"):
                await self._report(service, key, refused.get(key))
        for key in [key for key in self._said if key not in by_key]:
            del self._said[key]
        return self.published != before

    async def _assign(self, services: Mapping[Key, Object], grouped: Mapping[Key, list[ServicePort]]) -> dict[Key, str]:
        """Decide who holds which port; returns the reason for each Service that must wait."""
        held, self._holding = self._holding, {}
        owners: dict[tuple[str, int], Key] = {}
        refused: dict[Key, str] = {}
        for key in sorted(grouped, key=lambda key: (key not in held, _age(services[key]), key)):
            reason = None
            for port in grouped[key]:
                owner = owners.get((port.protocol, port.port))
                if owner is not None:
                    reason = f"port {port.port} ({port.protocol}) is held by Service {owner[0]}/{owner[1]}"
                elif port.protocol == "UDP" and self._forwarded and not self._translated:
                    reason = f"UDP port {port.port} cannot be published on {', '.join(self._forwarded)}"
                elif key not in held and port.protocol == "TCP":
                    reason = await self._taken_on_host(port.port)
                if reason:
                    break
            if reason:
                refused[key] = reason
                continue
            self._holding[key] = tuple(grouped[key])
            owners |= {(port.protocol, port.port): key for port in grouped[key]}
        return refused

    async def _taken_on_host(self, number: int) -> str | None:
        """Translation would take a port from a process of the host without a word: it must be free."""
        for address in self._translated:
            holder = await asyncio.to_thread(find_holder, address, number)
            if holder:
                return f"port {number} of {address} is held by {holder}"
        return None

    async def _forward(self) -> dict[Key, str]:
        """Tell the forwarder; Services whose port it cannot have are taken back whole."""
        refused: dict[Key, str] = {}
        while True:
            answer = await forwarding.set_routes(self._config, self._routes())
            if not answer.failed:
                return refused
            for (address, number), reason in answer.failed.items():
                holder = await asyncio.to_thread(find_holder, address, number)
                why = f"is held by {holder}" if holder else f"cannot be listened on ({reason})"
                for key in [key for key, ports in self._holding.items() if any(p.port == number for p in ports)]:
                    del self._holding[key]
                    refused[key] = f"port {number} of {address} {why}"

    def _routes(self) -> set[Route]:
        return {
            (address, port.port, port.cluster_ip, port.port)
            for ports in self._holding.values()
            for port in ports
            if port.protocol == "TCP"
            for address in self._forwarded
        }

    async def _report(self, service: Object, key: Key, refusal: str | None) -> None:
        """Write status.loadBalancer where it differs, and an Event when something is new."""
        wanted = [{"ip": address} for address in self._config.host_addresses] if key in self._holding else []
        seen = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
        try:
            if [entry.get("ip") for entry in seen] != [entry["ip"] for entry in wanted]:
                body = {"status": {"loadBalancer": {"ingress": wanted or None}}}
                await self._client.patch(SERVICE, key[1], key[0], body, how="merge", subresource="status")
        except NotFoundError:
            return
        except KubernetesError as error:
            self.pending = True
            log.warning("a Service's status could not be written", service="/".join(key), error=str(error))
            return
        said = refusal or (PUBLISHED if wanted else "")
        if said and self._said.get(key) != said:
            if refusal:
                await self._recorder.event(service, PORT_TAKEN, f"not published: {refusal}", "Warning")
            elif self._said.get(key):
                await self._recorder.event(service, PUBLISHED, "published: the port is free now")
        self._said[key] = said


def _is_translated(address: str) -> bool:
    parsed = ip_address(address)
    return isinstance(parsed, IPv4Address) and not parsed.is_loopback


def _age(service: Object) -> str:
    return str(service["metadata"].get("creationTimestamp") or "")
