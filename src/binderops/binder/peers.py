"""Whose word is taken for who asks: the ingress controller's pods of this release, and addresses an operator names.

A private address is no proof of anything: builds and users' servers have one too.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from binderops.binder.values import TrustedProxies
from binderops.kube.client import Client
from binderops.kube.informer import Informer
from binderops.kube.kinds import POD, Object
from binderops.kube.objects import status_of


class Peers:
    """The proxies that are believed. `run` follows the pods until it is cancelled."""

    def __init__(self, trusted: TrustedProxies, client: Client, *, namespace: str, release: str) -> None:
        self._networks = trusted.cidrs
        self._pods: Informer | None = None
        if trusted.pod_labels:
            labels = ",".join(f"{key}={value}" for key, value in {"release": release, **trusted.pod_labels}.items())
            self._pods = Informer(client, POD, namespace=namespace, labels=labels)

    async def run(self) -> None:
        """Follow the pods, where there are any to follow."""
        if self._pods is not None:
            await self._pods.run()

    def __contains__(self, address: str) -> bool:
        """Whether a connection from this address is one of theirs."""
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._networks) or address in set(self._addresses())

    def _addresses(self) -> Iterator[str]:
        for pod in self._pods.objects.values() if self._pods else ():
            yield from _addresses_of(pod)


def _addresses_of(pod: Object) -> Iterator[str]:
    for item in status_of(pod).get("podIPs") or [{"ip": status_of(pod).get("podIP")}]:
        if item.get("ip"):
            yield str(item["ip"])
