"""Follows the objects that the configuration is made of, and tells of changes some milliseconds after them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from binderops.errors import BinderOpsError
from binderops.ingress.annotations import DEFAULT_OPTIONS, Options, Refusal
from binderops.ingress.backends import BackendTable
from binderops.ingress.routing import Key, Routing, build_routing, ours
from binderops.ingress.settings import ControllerSettings, parse_settings
from binderops.kube.client import Client
from binderops.kube.informer import Informer, without_managed_fields
from binderops.kube.kinds import CONFIG_MAP, ENDPOINT_SLICE, INGRESS, INGRESS_CLASS, SECRET, SERVICE, Kind, Object

_SETTLE = 0.05  # seconds: changes come in groups (a Service with its EndpointSlice), and each reload costs a worker
_TLS_SECRETS = "type=kubernetes.io/tls"
_PAIR = ("tls.crt", "tls.key")


@dataclass(frozen=True)
class Scope:
    """What is followed. `namespace` None: all of them; Secrets only with `tls`."""

    class_name: str
    namespace: str | None = None
    tls: bool = False
    default_certificate: Key | None = None
    settings: Key | None = None


class Watcher:
    """The informers of all kinds that are followed."""

    def __init__(self, client: Client, scope: Scope) -> None:
        self._client, self._scope = client, scope
        self._changed = asyncio.Event()
        self._all: list[Informer] = []
        self._tasks: list[asyncio.Task[None]] = []
        self.ingresses = self._follow(INGRESS, scope.namespace)
        self._classes = self._follow(INGRESS_CLASS)
        self.services = self._follow(SERVICE, scope.namespace)
        self._slices = self._follow(ENDPOINT_SLICE, scope.namespace)
        self._settings = self._follow_one(CONFIG_MAP, scope.settings)
        self._secrets: list[Informer] = []
        if scope.tls:
            self._secrets.append(self._follow(SECRET, scope.namespace, fields=_TLS_SECRETS, keep=_only_pair))
            elsewhere = scope.namespace not in {None, (scope.default_certificate or ("", ""))[0]}
            default = self._follow_one(SECRET, scope.default_certificate, keep=_only_pair) if elsewhere else None
            self._secrets += [default] if default else []

    def _follow(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        fields: str | None = None,
        keep: Callable[[Object], Object] = without_managed_fields,
    ) -> Informer:
        informer = Informer(self._client, kind, namespace=namespace, fields=fields, keep=keep)
        self._all.append(informer)
        return informer

    def _follow_one(
        self, kind: Kind, key: Key | None, *, keep: Callable[[Object], Object] = without_managed_fields
    ) -> Informer | None:
        return self._follow(kind, key[0], fields=f"metadata.name={key[1]}", keep=keep) if key is not None else None

    async def start(self, stack: AsyncExitStack) -> None:
        """Starts following and returns once everything was listed; ends with the stack. BinderOpsError as `change`."""
        for informer in self._all:
            informer.subscribe(lambda *_: self._changed.set())
            task = asyncio.create_task(informer.run())
            self._tasks.append(task)
            stack.callback(task.cancel)
        await self._while_following(asyncio.gather(*(informer.synced.wait() for informer in self._all)))

    async def change(self) -> None:
        """Waits for a change, then until it has settled. BinderOpsError once a kind is not followed any more."""
        await self._while_following(self._changed.wait())
        await asyncio.sleep(_SETTLE)
        self._changed.clear()

    async def _while_following(self, awaited: Awaitable[object]) -> None:
        """Awaits something; who follows nothing any more must end, not serve what was true once."""
        waiting = asyncio.ensure_future(awaited)
        try:
            await asyncio.wait([waiting, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not waiting.done():
                waiting.cancel()
        for task in self._tasks:
            if task.done() and not task.cancelled():
                raise BinderOpsError(
                    "a watch stopped following the API", why=repr(task.exception())
                ) from task.exception()
        await waiting

    def served(self) -> list[Object]:
        """The Ingresses that are ours, oldest first."""
        classes = self._classes.objects.values()
        found = ours(self.ingresses.objects.values(), class_name=self._scope.class_name, classes=classes)
        return [dict(ingress) for ingress in found]

    def secrets(self) -> dict[Key, Object]:
        """Every Secret of type kubernetes.io/tls."""
        return {key: secret for informer in self._secrets for key, secret in informer.objects.items()}

    def settings_object(self) -> Object | None:
        """The controller's ConfigMap."""
        found = self._settings.objects.values() if self._settings else ()
        return next(iter(found), None)

    def settings(self) -> tuple[ControllerSettings, list[Refusal]]:
        """The controller's settings, and what of its ConfigMap is not honoured."""
        return parse_settings((self.settings_object() or {}).get("data") or {})

    def routing(
        self, ingresses: Sequence[Object], *, default_backend: Key | None, options: Options = DEFAULT_OPTIONS
    ) -> Routing:
        """What these Ingresses ask for now; `default_backend` (namespace, Service) serves what nobody else does."""
        backends = BackendTable(self.services.objects.values(), self._slices.objects.values())
        classes = list(self._classes.objects.values())
        routing = build_routing(
            ingresses, backends, class_name=self._scope.class_name, classes=classes, defaults=options
        )
        if routing.default_backend is None and default_backend is not None:
            namespace, name = default_backend
            service = self.services.objects.get((namespace, name))
            ports = ((service or {}).get("spec") or {}).get("ports") or []
            if ports:
                port = {"number": ports[0]["port"]}
                found = backends.find(namespace, {"service": {"name": name, "port": port}})
                routing.default_backend = found if found.endpoints else None
        return routing


def _only_pair(secret: Object) -> Object:
    """All that is kept of a Secret: what names it, its version, and the pair."""
    metadata = secret.get("metadata") or {}
    kept = {name: metadata[name] for name in ("namespace", "name", "uid", "resourceVersion") if name in metadata}
    data = secret.get("data") or {}
    return {"metadata": kept, "data": {name: data[name] for name in _PAIR if name in data}}
