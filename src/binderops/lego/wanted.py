"""What Ingresses ask for: which certificates, of whom, for which names; and what is refused, in words.

Pure. The rules are those of cert-manager's ingress-shim, the trigger `kubernetes.io/tls-acme` is kube-lego's.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from binderops.kube import certificates as names
from binderops.kube.kinds import Object
from binderops.kube.objects import Key, annotations_of, is_deleting, key_of, labels_of, metadata_of, spec_of
from binderops.lego.pairs import KeyKind, is_address
from binderops.lego.settings import Issuer, Settings

_TRUE = {"1", "t", "T", "true", "TRUE", "True"}
_FALSE = {"0", "f", "F", "false", "FALSE", "False", ""}
_DNS_NAME = re.compile(r"(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_SERVED = {
    names.CLUSTER_ISSUER,
    names.ISSUER,
    names.ISSUER_KIND,
    names.ISSUER_GROUP,
    names.KEY_ALGORITHM,
    names.KEY_SIZE,
    names.CHALLENGE_CLASS,
    "cert-manager.io/issue-temporary-certificate",  # every first certificate has its placeholder here
}


class Complaint(NamedTuple):
    """Something that is not honoured, for an Event on the Ingress."""

    ingress: Key
    reason: str
    message: str


@dataclass(frozen=True)
class Wanted:
    """One certificate, as an Ingress asks for it."""

    namespace: str
    secret_name: str
    names: tuple[str, ...]
    issuer: Issuer
    key_kind: KeyKind
    ingress: str
    challenge_class: str
    """The class of the challenge's Ingress: the Ingress's own, unless it names another."""
    class_by_annotation: bool
    """Whether the class stands in the annotation of old, and so must the challenge's."""
    adopt: bool

    @property
    def key(self) -> Key:
        """(namespace, Secret)."""
        return self.namespace, self.secret_name

    @property
    def specification(self) -> str:
        """A digest of what the certificate has to be: when it changes, old failures mean nothing."""
        parts = [*self.names, self.issuer.name, self.issuer.type, self.issuer.server, str(self.key_kind)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def plan(ingresses: Iterable[Object], settings: Settings) -> tuple[dict[Key, Wanted], list[Complaint]]:
    """Every certificate that is asked for, by (namespace, Secret); and what is refused."""
    wanted: dict[Key, Wanted] = {}
    complaints: list[Complaint] = []
    # The oldest Ingress keeps a Secret's name; by name where they are of the same second.
    for ingress in sorted(ingresses, key=lambda each: (metadata_of(each).get("creationTimestamp", ""), key_of(each))):
        if is_deleting(ingress) or labels_of(ingress).get(names.COMPONENT) == "solver":
            continue
        for found in _of_ingress(ingress, settings, complaints):
            before = wanted.setdefault(found.key, found)
            if before.ingress != found.ingress and before.specification != found.specification:
                complaints.append(
                    Complaint(
                        key_of(ingress),
                        "BadConfig",
                        f"Secret {found.secret_name} belongs to Ingress {before.ingress}, which asks for other names, "
                        f"issuer or key: give this Ingress's certificate a Secret of its own",
                    )
                )
    return wanted, complaints


def triggered(annotations: Mapping[str, str]) -> bool:
    """Whether an Ingress asks for certificates at all, by kube-lego's annotation or one of cert-manager's."""
    asked = names.ISSUER in annotations or names.CLUSTER_ISSUER in annotations
    return asked or annotations.get(names.TLS_ACME, "") in _TRUE


def _of_ingress(ingress: Object, settings: Settings, complaints: list[Complaint]) -> list[Wanted]:
    annotations, where = annotations_of(ingress), key_of(ingress)

    def refuse(message: str, reason: str = "BadConfig") -> list[Wanted]:
        complaints.append(Complaint(where, reason, message))
        return []

    auto = annotations.get(names.TLS_ACME, "")
    if auto not in _TRUE | _FALSE:
        refuse(f"{names.TLS_ACME} is {auto!r}, neither true nor false: it counts as false")
    class_name = spec_of(ingress).get("ingressClassName") or annotations.get("kubernetes.io/ingress.class") or ""
    if not triggered(annotations) or (settings.classes and class_name not in settings.classes):
        return []
    try:
        issuer = _issuer(annotations, settings)
        kind = KeyKind.parse(annotations.get(names.KEY_ALGORITHM, ""), annotations.get(names.KEY_SIZE, ""))
    except ValueError as error:
        return refuse(str(error))
    _refuse_unknown(annotations, where, complaints)
    blocks = spec_of(ingress).get("tls") or []
    if not blocks:
        return refuse("certificates are asked for, but spec.tls names neither hosts nor a Secret")
    given = defaultdict(list)
    for number, block in enumerate(blocks):
        given[block.get("secretName") or ""].append(number)
    repeated = [name for name, numbers in given.items() if name and len(numbers) > 1]
    if repeated:
        places = ", ".join(f"spec.tls[{number}]" for number in given[repeated[0]])
        return refuse(
            f"{places} name the same Secret {repeated[0]}: nothing of this Ingress is served until one changes"
        )
    found = []
    for number, block in enumerate(blocks):
        try:
            hosts = _hosts(block, issuer, number)
        except ValueError as error:
            refuse(str(error))
            continue
        found.append(
            Wanted(
                namespace=where[0],
                secret_name=str(block["secretName"]),
                names=hosts,
                issuer=issuer,
                key_kind=kind,
                ingress=where[1],
                challenge_class=annotations.get(names.CHALLENGE_CLASS) or class_name,
                class_by_annotation=not (
                    annotations.get(names.CHALLENGE_CLASS) or spec_of(ingress).get("ingressClassName")
                ),
                adopt=annotations.get(names.ADOPT, "") in _TRUE,
            )
        )
    return found


def _issuer(annotations: Mapping[str, str], settings: Settings) -> Issuer:
    one, whole = annotations.get(names.ISSUER), annotations.get(names.CLUSTER_ISSUER)
    if one is not None and whole is not None:
        raise ValueError(f"{names.ISSUER} and {names.CLUSTER_ISSUER} both stand there: only one can be meant")
    if annotations.get(names.ISSUER_GROUP, "cert-manager.io") != "cert-manager.io":
        raise ValueError(f"{names.ISSUER_GROUP}: issuers of {annotations[names.ISSUER_GROUP]} are not served here")
    if annotations.get(names.ISSUER_KIND, "Issuer") not in ("Issuer", "ClusterIssuer"):
        raise ValueError(f"{names.ISSUER_KIND}: {annotations[names.ISSUER_KIND]} is not a kind of issuer here")
    asked = one if one is not None else whole
    name = settings.default_issuer if asked is None else asked
    if name not in settings.issuers:
        raise ValueError(f"there is no issuer {name!r}: declared are {', '.join(sorted(settings.issuers))}")
    return settings.issuers[name]


def _hosts(block: Mapping[str, Any], issuer: Issuer, number: int) -> tuple[str, ...]:
    where = f"spec.tls[{number}]"
    hosts = sorted({str(host).lower().rstrip(".") for host in block.get("hosts") or []})
    if not hosts:
        raise ValueError(f"{where} has no hosts: it is left out")
    if not block.get("secretName"):
        raise ValueError(f"{where} has no secretName: it is left out")
    bad = [host for host in hosts if len(host) > 253 or not (_DNS_NAME.fullmatch(host) or is_address(host))]
    if bad:
        raise ValueError(f"{where}: {bad[0]!r} is not a host name: the whole element is left out")
    wild = [host for host in hosts if host.startswith("*.")]
    if wild and issuer.type == "acme":
        raise ValueError(
            f"{where}: {wild[0]} cannot be proved by HTTP-01, which is all that is served here: "
            f"use an issuer of type external or ca"
        )
    if len(hosts) > 100:
        raise ValueError(f"{where} has {len(hosts)} hosts, and no CA takes more than 100 in one certificate")
    return tuple(hosts)


def _refuse_unknown(annotations: Mapping[str, str], where: Key, complaints: list[Complaint]) -> None:
    for name in sorted(annotations):
        if name.partition("/")[0] in ("cert-manager.io", "acme.cert-manager.io") and name not in _SERVED:
            complaints.append(Complaint(where, "NotSupported", f"annotation {name} is without effect here"))
