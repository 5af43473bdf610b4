"""The controller's own settings, from its ConfigMap: a table of typed values, named as ingress-nginx names them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from binderops.ingress import values
from binderops.ingress.annotations import DEFAULT_OPTIONS, PARSERS, Options, Refusal
from binderops.ingress.configuration import Settings


@dataclass(frozen=True)
class ControllerSettings:
    """What holds for every Ingress; `options` are what annotations may set again. Times in seconds."""

    options: Options = DEFAULT_OPTIONS
    hsts_max_age: int = 31_536_000
    hsts_include_subdomains: bool = False
    ssl_protocols: str = "TLSv1.2 TLSv1.3"
    worker_shutdown_timeout: int = 3600

    def upon(self, surroundings: Settings) -> Settings:
        """What nginx is told of these settings, besides its surroundings."""
        return replace(
            surroundings,
            drain_seconds=self.worker_shutdown_timeout,
            ssl_protocols=self.ssl_protocols,
            hsts_max_age=self.hsts_max_age,
            hsts_include_subdomains=self.hsts_include_subdomains,
        )


DEFAULT_SETTINGS = ControllerSettings()

# What an annotation sets for one Ingress, and a setting for all that do not.
_OPTIONS: dict[str, Callable[[str], Any]] = {
    name: PARSERS[name]
    for name in (
        "proxy-body-size",
        "proxy-connect-timeout",
        "proxy-read-timeout",
        "proxy-send-timeout",
        "proxy-buffering",
        "proxy-request-buffering",
        "ssl-redirect",
        "force-ssl-redirect",
        "hsts",
    )
}
_OWN: dict[str, Callable[[str], Any]] = {
    "hsts-max-age": values.age,
    "hsts-include-subdomains": values.boolean,
    "ssl-protocols": values.one_of("TLSv1.2 TLSv1.3", "TLSv1.3"),
    "worker-shutdown-timeout": values.seconds,
}
_REFUSED = {
    "use-forwarded-headers": "what a client claims about itself is never passed on",
    "use-proxy-protocol": "it is not supported",
    "ssl-ciphers": "ciphers are those of Mozilla's intermediate profile",
    "allow-snippet-annotations": "raw nginx configuration is never taken from Ingresses",
    **dict.fromkeys(
        ("main-snippet", "http-snippet", "server-snippet", "location-snippet", "stream-snippet"),
        "raw nginx configuration is never taken from settings",
    ),
}

SUPPORTED_SETTINGS = tuple(sorted({**_OPTIONS, **_OWN}))


def parse_settings(data: Mapping[str, str]) -> tuple[ControllerSettings, list[Refusal]]:
    """The settings that a ConfigMap's `data` gives, and what of it is not honoured."""
    settings, refusals = DEFAULT_SETTINGS, []
    for key, value in sorted(data.items()):
        parser = _OPTIONS.get(key) or _OWN.get(key)
        if parser is None:
            refusals.append(Refusal(key, _REFUSED.get(key, "it is not known")))
            continue
        try:
            parsed = {key.replace("-", "_"): parser(str(value))}
        except ValueError as error:
            refusals.append(Refusal(key, str(error)))
            continue
        if key in _OPTIONS:
            settings = replace(settings, options=replace(settings.options, **parsed))
        else:
            settings = replace(settings, **parsed)
    return settings, refusals


assert {name.replace("-", "_") for name in _OWN} | {"options"} == {field.name for field in fields(ControllerSettings)}
