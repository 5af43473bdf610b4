"""What a certificate's Secret needs, and when. Pure: a Secret and a moment go in, a decision comes out."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from binderops.kube import certificates as names
from binderops.kube.kinds import Object
from binderops.kube.objects import annotations_of, labels_of, parse_timestamp
from binderops.lego import backoff, renewal
from binderops.lego.pairs import Pair, covers, read_pair
from binderops.lego.wanted import Wanted

Action = Literal["adopt", "refuse", "placeholder", "issue", "window", "revoke", "wait"]


@dataclass(frozen=True)
class Decision:
    """`at`: when it is to be done. `why` is for logs; `pair` is what the Secret holds, where it can be read."""

    action: Action
    at: datetime
    why: str = ""
    pair: Pair | None = None
    renews: bool = False
    """Whether a new certificate replaces `pair`, which the same issuer signed."""


def is_ours(secret: Object) -> bool:
    """Whether the controller made a Secret, or was told to adopt it."""
    labels = labels_of(secret)
    return (labels.get(names.MANAGED_BY), labels.get(names.COMPONENT)) == (names.KUBE_LEGO, "certificate")


def decide(wanted: Wanted, secret: Object | None, *, now: datetime) -> Decision:
    """What to do first, for any issuer but `external`."""
    if secret is None:
        return Decision("placeholder", now, "there is no Secret yet")
    if not is_ours(secret):
        return _foreign(wanted, secret, now)
    annotations = annotations_of(secret)
    pair, why = _read(secret)
    reason = why or _needed(wanted, annotations, pair, now)
    if annotations.get(names.REVOKE) and pair is not None and names.PLACEHOLDER not in annotations:
        return _unless_failed(wanted, annotations, Decision("revoke", now, "it is to be revoked", pair))
    renews = pair is not None and _by_same_issuer(wanted, annotations)
    if reason:
        return _unless_failed(wanted, annotations, Decision("issue", now, reason, pair, renews))
    assert pair is not None
    at = _moment(annotations.get(names.RENEW_AT)) or renewal.by_lifetime(pair.leaf)
    due = Decision("issue", max(at, now), "it is time to renew", pair, renews)
    failed = _unless_failed(wanted, annotations, due)
    ask = _moment(annotations.get(names.ARI_NEXT))
    # What is due now (an operator may have asked for it) is not put off by what the CA suggests.
    if ask is not None and wanted.issuer.type == "acme" and ask < failed.at > now:
        return Decision("window", max(ask, now), "the CA is asked when to renew", pair)
    return failed


def _foreign(wanted: Wanted, secret: Object, now: datetime) -> Decision:
    if not wanted.adopt:
        return Decision("refuse", now, "somebody else made it")
    if secret.get("type") != "kubernetes.io/tls":
        return Decision(
            "refuse", now, f"its type is {secret.get('type')}, not kubernetes.io/tls, which no update changes"
        )
    return Decision("adopt", now, "it is to be adopted")


def _needed(wanted: Wanted, annotations: Mapping[str, str], pair: Pair | None, now: datetime) -> str:
    """Why a new certificate is needed now whatever its age, or ""."""
    if pair is None:
        return "there is no certificate"
    if names.PLACEHOLDER in annotations:
        return "there is a placeholder only"
    if not covers(pair.leaf, wanted.names):
        missing = [name for name in wanted.names if not covers(pair.leaf, [name])]
        return f"it does not cover {', '.join(missing[:3])}"
    issuer = annotations.get(names.ISSUER_NAME)
    if issuer != wanted.issuer.name:
        return f"its issuer was {issuer or 'another'}, and {wanted.issuer.name} is asked for"
    if not wanted.key_kind.fits(pair.key):
        return f"a key of {wanted.key_kind.algorithm} {wanted.key_kind.size} is asked for"
    if annotations.get(names.SPECIFICATION) != wanted.specification:
        return "what is asked for has changed"
    if pair.leaf.not_valid_after_utc <= now:
        return "it has expired"
    return ""


def _read(secret: Object) -> tuple[Pair | None, str]:
    data = secret.get("data") or {}
    try:
        return read_pair(*(base64.b64decode(data.get(key) or "") for key in ("tls.crt", "tls.key"))), ""
    except ValueError as error:
        return None, str(error)


def _by_same_issuer(wanted: Wanted, annotations: Mapping[str, str]) -> bool:
    return names.PLACEHOLDER not in annotations and annotations.get(names.ISSUER_NAME) == wanted.issuer.name


def _unless_failed(wanted: Wanted, annotations: Mapping[str, str], decision: Decision) -> Decision:
    """The decision, but not before the back-off of a failure ends."""
    failure = backoff.read(annotations, specification=wanted.specification)
    if failure is None or failure.next_attempt <= decision.at:
        return decision
    why = f"{decision.why}; not before the pause after {failure.count} failures ends ({failure.reason})"
    return Decision(decision.action, failure.next_attempt, why, decision.pair, decision.renews)


def _moment(text: str | None) -> datetime | None:
    try:
        return parse_timestamp(text) if text else None
    except ValueError:  # somebody edited it
        return None
