"""Which certificate serves which host: what `spec.tls` of all Ingresses asks for, met from Secrets.

A host is served by a pair that covers it, by the last good one of the same Secret while the present one is bad, or by
the default (which no browser accepts, unless it covers the host): never silently by another host's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from binderops.ingress.certificates import Pair, pair_of, placeholder
from binderops.ingress.keystore import KeyStore
from binderops.ingress.routing import Complaint, Key, is_host
from binderops.kube.objects import key_of, metadata_of, spec_of

Object = Mapping[str, Any]


@dataclass(frozen=True)
class Demand:
    """A host that an Ingress wants served by a Secret (None: by the default certificate)."""

    host: str
    secret: Key | None
    ingress: Key
    implied: bool = False  # the element of spec.tls names no hosts: those of the rules that the certificate covers


@dataclass(frozen=True)
class Tls:
    """What nginx is told: files (one of each kind of key) by host, and those for every other name."""

    default: tuple[Path, ...]
    hosts: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)

    def find(self, host: str) -> tuple[Path, ...] | None:
        """The files of a host, or of the wildcard above it; None where no Ingress asks for TLS on it."""
        return self.hosts.get(host) or self.hosts.get("*." + host.partition(".")[2])

    def only(self, ingresses: Iterable[Object]) -> Tls:
        """The part of it that these Ingresses ask for."""
        asked = {demand.host for demand in _demands(ingresses, [])}
        return Tls(self.default, {host: files for host, files in self.hosts.items() if host in asked})

    @property
    def files(self) -> set[Path]:
        """Every file that nginx needs."""
        return {*self.default, *(path for paths in self.hosts.values() for path in paths)}


class Certificates:
    """Chooses among Secrets, and remembers the last good pair of each while an Ingress names it."""

    def __init__(self, store: KeyStore) -> None:
        self._store = store
        self._placeholder = placeholder()
        self._parsed: dict[Key, tuple[str, Pair | str]] = {}  # by Secret: its version, and the pair or what is wrong
        self._good: dict[tuple[Key, str], Pair] = {}  # by Secret and host
        self._good_default: Pair | None = None

    def choose(
        self, ingresses: Iterable[Object], secrets: Mapping[Key, Object], *, default: Key | None = None
    ) -> tuple[Tls, list[Complaint]]:
        """The files for all hosts that `ingresses` (oldest first) want, and what is wrong with their Secrets."""
        complaints: list[Complaint] = []
        fallback = self._default(secrets, default)
        chosen: dict[str, dict[str, tuple[Pair, Demand]]] = {}
        demands = list(_demands(ingresses, complaints))
        for demand in demands:
            pair = self._meet(demand, secrets, fallback, complaints)
            if pair is not None:
                _add(chosen, demand, pair, complaints)
            elif not demand.implied:
                chosen.setdefault(demand.host, {})
        self._forget(demands, secrets)
        default_path = self._store.put(fallback)
        hosts = {
            host: tuple(sorted(self._store.put(pair) for pair, _ in kinds.values()))
            or (default_path if fallback.covers(host) else self._store.put(self._placeholder),)
            for host, kinds in chosen.items()
        }
        return Tls((default_path,), hosts), complaints

    def expiries(self) -> dict[Key, datetime]:
        """When the pair that is in use of each Secret ends."""
        return {secret: pair.not_after for (secret, _), pair in self._good.items()}

    def default_problem(self, secrets: Mapping[Key, Object], default: Key | None) -> str | None:
        """What is wrong with the default certificate's Secret, in words."""
        found = self._read(default, secrets) if default is not None else None
        return found if isinstance(found, str) else None

    def _default(self, secrets: Mapping[Key, Object], default: Key | None) -> Pair:
        found = self._read(default, secrets) if default is not None else None
        if isinstance(found, Pair):
            self._good_default = found
        return self._good_default or self._placeholder

    def _meet(
        self, demand: Demand, secrets: Mapping[Key, Object], fallback: Pair, complaints: list[Complaint]
    ) -> Pair | None:
        if demand.secret is None:
            if fallback.covers(demand.host):
                return fallback
            said = f"{demand.host}: spec.tls names no Secret, and the default certificate does not cover it"
            complaints.append(Complaint(demand.ingress, "CertificateNotFound", said))
            return None
        found, reason = self._read(demand.secret, secrets), "CertificateInvalid"
        if isinstance(found, Pair) and found.covers(demand.host):
            self._good[demand.secret, demand.host] = found
            _warn_of_dates(found, demand, complaints)
            return found
        if demand.implied:
            return self._good.get((demand.secret, demand.host))
        if isinstance(found, Pair):
            found, reason = f"its certificate does not cover {demand.host}", "CertificateDoesNotCover"
        elif demand.secret not in secrets:
            reason = "CertificateNotFound"
        last = self._good.get((demand.secret, demand.host))
        instead = (
            "the last good one goes on being served" if last else "a placeholder is served, which no browser accepts"
        )
        said = f"{demand.host}: Secret {demand.secret[1]}: {found}; {instead}"
        complaints.append(Complaint(demand.ingress, reason, said))
        return last

    def _read(self, key: Key, secrets: Mapping[Key, Object]) -> Pair | str:
        secret = secrets.get(key)
        if secret is None:
            return "it does not exist, or is not of type kubernetes.io/tls"
        version = str(metadata_of(secret).get("resourceVersion") or "")
        known = self._parsed.get(key)
        if known is not None and version and known[0] == version:
            return known[1]
        found: Pair | str
        try:
            found = pair_of(secret)
            self._store.put(found)
        except ValueError as error:
            found = str(error)
        self._parsed[key] = version, found
        return found

    def _forget(self, demands: list[Demand], secrets: Mapping[Key, Object]) -> None:
        wanted = {(demand.secret, demand.host) for demand in demands}
        self._good = {known: pair for known, pair in self._good.items() if known in wanted}
        self._parsed = {key: known for key, known in self._parsed.items() if key in secrets}


def _demands(ingresses: Iterable[Object], complaints: list[Complaint]) -> Iterator[Demand]:
    for ingress in ingresses:
        key, spec = key_of(ingress), spec_of(ingress)
        ruled = [str(rule["host"]).lower() for rule in spec.get("rules") or [] if rule.get("host")]
        for element in spec.get("tls") or []:
            named = [str(host).lower() for host in element.get("hosts") or []]
            secret = (key[0], str(element["secretName"])) if element.get("secretName") else None
            for host in dict.fromkeys(named or ruled):
                if is_host(host):
                    yield Demand(host, secret, key, implied=not named)
                elif named:
                    complaints.append(Complaint(key, "InvalidHost", f"{host!r} in spec.tls is not a host name"))


def _add(
    chosen: dict[str, dict[str, tuple[Pair, Demand]]], demand: Demand, pair: Pair, complaints: list[Complaint]
) -> None:
    kinds = chosen.setdefault(demand.host, {})
    present = kinds.setdefault(pair.kind, (pair, demand))
    if present[0].digest != pair.digest:
        owner = present[1]
        by = f"Secret {owner.secret[1] if owner.secret else 'of the default'} of Ingress {'/'.join(owner.ingress)}"
        said = f"{demand.host} is served by {by} already, with a key of the same kind ({pair.kind})"
        complaints.append(Complaint(demand.ingress, "Conflict", said))


def _warn_of_dates(pair: Pair, demand: Demand, complaints: list[Complaint]) -> None:
    now = datetime.now(UTC)
    said = f"{demand.host}: the certificate in Secret {demand.secret[1] if demand.secret else ''}"
    if pair.not_after < now:
        complaints.append(
            Complaint(demand.ingress, "CertificateExpired", f"{said} ended at {pair.not_after:%F %T} UTC")
        )
    elif pair.not_before > now:
        complaints.append(
            Complaint(demand.ingress, "CertificateNotYetValid", f"{said} begins at {pair.not_before:%F %T} UTC")
        )
