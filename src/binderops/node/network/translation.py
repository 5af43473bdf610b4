"""Keeps the node's nftables table like the Services: one writer, whole changes, stale UDP flows forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace

import structlog

from binderops.errors import NetworkError
from binderops.node.config import NodeConfig
from binderops.node.network.names import node_table, veth_prefix
from binderops.node.network.programs import missing, nft, run_program
from binderops.node.network.ruleset import ISOLATED, Closed, Ruleset, Table, build_ruleset, difference, isolation
from binderops.node.network.services import Backend, Frontend, ServicePort

log = structlog.get_logger(__name__)


class Translation:
    """The table `ip binderops-NAME` of one node. `sync` is called with all there is; it writes what differs."""

    def __init__(self, config: NodeConfig) -> None:
        self._table = Table(
            name=node_table(config.name),
            pod_range=config.pod_range,
            service_range=config.service_range,
            host_address=config.bridge_address,
            bridge=config.bridge,
            veth_prefix=veth_prefix(config.name),
        )
        self._applied: Ruleset | None = None
        self._flows: dict[Frontend, frozenset[Backend]] = {}
        self._lock = asyncio.Lock()

    async def sync(
        self,
        ports: Iterable[ServicePort],
        published: Mapping[Frontend, ServicePort],
        pod_addresses: Iterable[str],
        closed: Callable[[], Awaitable[Closed]],
    ) -> bool:
        """Bring the table up to date; returns whether anything was written. NetworkError when nft refuses.

        `closed` is asked when nothing else is being written: who was isolated a moment ago is in its answer.

        The first call, and the one after a failure, makes the whole table anew (still in one transaction).
        """
        async with self._lock:
            ports = list(ports)
            wanted = build_ruleset(ports, published, sorted(pod_addresses), await closed())
            script = self._script(wanted)
            if not script:
                return False
            self._applied = None
            await asyncio.to_thread(nft, script)
            self._applied = wanted
            await asyncio.to_thread(self._forget_flows, _udp_flows(ports, published))
            return True

    async def isolate(self, address: str) -> None:
        """Close the machine to a pod before it is there, whatever else of the table waits to be written.

        By whom the table is written, or nobody would remove it again: the pod may be gone before the next `sync`.
        """
        async with self._lock:
            await asyncio.to_thread(nft, isolation(self._table.name, address))
            if self._applied is not None:
                elements = {**self._applied.elements, (ISOLATED, address): ""}
                self._applied = replace(self._applied, elements=elements)

    def forget(self) -> None:
        """The table was removed by somebody: the next `sync` makes it whole."""
        self._applied = None

    def _script(self, wanted: Ruleset) -> str:
        if self._applied is None:
            return self._table.base() + difference(self._table.name, Ruleset(), wanted)
        return difference(self._table.name, self._applied, wanted)

    def _forget_flows(self, flows: dict[Frontend, frozenset[Backend]]) -> None:
        """Drop connection tracking entries of UDP flows that lead to an endpoint which is gone.

        UDP has no end: a client that keeps its port would keep the old endpoint. One that sent while there was no
        endpoint has an untranslated entry, which must go when the first endpoint comes.
        """
        before, self._flows = self._flows, flows
        for frontend, backends in before.items():
            for backend in backends - flows.get(frontend, frozenset()):
                _delete_flows(frontend, ["--dst-nat", backend.address])
        for frontend, backends in flows.items():
            if backends and not before.get(frontend):
                _delete_flows(frontend, [])


def _udp_flows(
    ports: Iterable[ServicePort], published: Mapping[Frontend, ServicePort]
) -> dict[Frontend, frozenset[Backend]]:
    flows = {port.cluster_frontend: frozenset(port.backends) for port in ports if port.protocol == "UDP"}
    flows |= {
        Frontend("", "UDP", port.node_port): frozenset(port.backends)
        for port in ports
        if port.protocol == "UDP" and port.node_port
    }
    return flows | {
        frontend: frozenset(port.backends) for frontend, port in published.items() if frontend.protocol == "UDP"
    }


def _delete_flows(frontend: Frontend, more: list[str]) -> None:
    if missing("conntrack"):
        log.warning("conntrack is missing: UDP clients may keep an endpoint that is gone", port=frontend.port)
        return
    address = ["--orig-dst", frontend.address] if frontend.address else []
    argv = ["conntrack", "-D", "-p", "udp", *address, "--orig-port-dst", str(frontend.port), *more]
    try:
        run_program(argv, check=False)  # exit code 1 says that there was none
    except NetworkError as error:
        log.warning("UDP flows were not forgotten", error=str(error))
