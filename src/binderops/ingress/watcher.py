"""Follows the objects that routing is made of and tells, some milliseconds after a change, that there is one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

from binderops.ingress.backends import BackendTable
from binderops.ingress.routing import Routing, build_routing
from binderops.kube.client import Client
from binderops.kube.informer import Informer
from binderops.kube.kinds import ENDPOINT_SLICE, INGRESS, INGRESS_CLASS, SERVICE

_SETTLE = 0.05  # seconds: changes come in groups (a Service with its EndpointSlice), and each reload costs a worker


class Watcher:
    """The informers of Ingress, IngressClass, Service and EndpointSlice; `namespace` None watches all."""

    def __init__(self, client: Client, *, namespace: str | None, class_name: str) -> None:
        self._class_name = class_name
        self._changed = asyncio.Event()
        self.ingresses = Informer(client, INGRESS, namespace=namespace)
        self._classes = Informer(client, INGRESS_CLASS)
        self.services = Informer(client, SERVICE, namespace=namespace)
        self._slices = Informer(client, ENDPOINT_SLICE, namespace=namespace)

    @property
    def _all(self) -> tuple[Informer, ...]:
        return (self.ingresses, self._classes, self.services, self._slices)

    async def start(self, stack: AsyncExitStack) -> None:
        """Starts following and returns once everything was listed; ends with the stack."""
        for informer in self._all:
            informer.subscribe(lambda *_: self._changed.set())
            task = asyncio.create_task(informer.run())
            stack.callback(task.cancel)
        await asyncio.gather(*(informer.synced.wait() for informer in self._all))

    async def change(self) -> None:
        """Waits for a change, then until it has settled."""
        await self._changed.wait()
        await asyncio.sleep(_SETTLE)
        self._changed.clear()

    def routing(self, *, default_backend: tuple[str, str] | None) -> Routing:
        """What the objects ask for now; `default_backend` (namespace, Service) serves what nobody else does."""
        backends = BackendTable(self.services.objects.values(), self._slices.objects.values())
        classes = list(self._classes.objects.values())
        routing = build_routing(self.ingresses.objects.values(), backends, class_name=self._class_name, classes=classes)
        if routing.default_backend is None and default_backend is not None:
            namespace, name = default_backend
            service: Mapping[str, Any] | None = self.services.objects.get((namespace, name))
            ports = ((service or {}).get("spec") or {}).get("ports") or []
            if ports:
                port = {"number": ports[0]["port"]}
                found = backends.find(namespace, {"service": {"name": name, "port": port}})
                routing.default_backend = found if found.endpoints else None
        return routing
