"""All that nginx is told at one moment, from what the watcher knows: routes, certificates, settings, and complaints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from binderops.ingress.configuration import Settings, render
from binderops.ingress.routing import Complaint, Key, Routing
from binderops.ingress.tls import Certificates, Tls
from binderops.ingress.watcher import Watcher
from binderops.kube.kinds import Object
from binderops.kube.objects import key_of


@dataclass(frozen=True)
class Picture:
    """Alike pictures have alike text. `complaints` are those about routes and those about certificates."""

    ingresses: Sequence[Object]
    routing: Routing
    settings: Settings
    tls: Tls | None
    complaints: Sequence[Complaint]

    @property
    def text(self) -> str:
        """The whole nginx.conf. Raises ValueError for a value that must not reach it."""
        return render(self.routing, self.settings, self.tls)


class Painter:
    """Makes pictures; `surroundings` are folder and ports, to which the controller's ConfigMap adds its settings."""

    def __init__(
        self,
        watcher: Watcher,
        certificates: Certificates | None,
        surroundings: Settings,
        *,
        default_backend: Key | None = None,
        default_certificate: Key | None = None,
    ) -> None:
        self._watcher = watcher
        self._certificates = certificates
        self._surroundings = surroundings
        self._default_backend = default_backend
        self._default_certificate = default_certificate

    def picture(self, ingresses: Sequence[Object]) -> Picture:
        """What these Ingresses and the Secrets that they name make now."""
        routing = self._routing(ingresses)
        tls, complaints = None, list(routing.complaints)
        if self._certificates is not None:
            secrets = self._watcher.secrets()
            tls, about_tls = self._certificates.choose(ingresses, secrets, default=self._default_certificate)
            complaints += about_tls
        settings = self._watcher.settings()[0].upon(self._surroundings)
        return Picture(ingresses, routing, settings, tls, complaints)

    def part(self, picture: Picture, keys: Sequence[Key]) -> Picture:
        """The picture that some of its Ingresses make alone: certificates are not chosen anew."""
        ingresses = [found for found in picture.ingresses if key_of(found) in keys]
        tls = picture.tls.only(ingresses) if picture.tls else None
        return Picture(ingresses, self._routing(ingresses), picture.settings, tls, ())

    def _routing(self, ingresses: Sequence[Object]) -> Routing:
        options = self._watcher.settings()[0].options
        return self._watcher.routing(ingresses, default_backend=self._default_backend, options=options)
