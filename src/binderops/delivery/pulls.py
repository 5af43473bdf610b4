"""Images that cannot be pulled: what is only slow, and what no waiting will mend.

An engine tries again for ever, with longer and longer pauses. A registry that does not exist, an image it does not
have, and a password it does not take stay so: the second refusal decides. Whatever else fails may mend itself, for as
long as the engine's first four tries take.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from binderops.delivery.readiness import Assessment, FailingPull, Verdict

REFUSED_SECONDS = 12.0
"""After the first refusal; the kubelet's back-off, and the node's, has the second try 10 s after the first."""
FAILING_SECONDS = 75.0
"""Tries follow each other by 10, 20 and 40 s."""

_HINTS = (
    (r"no such host|server misbehaving|name or service not known", "no such registry: check the host in the name"),
    (
        r"manifest unknown|manifest .*not found|name unknown|repository .*not (?:found|exist)|status code 404",
        "the registry has no such image: check name and tag, and that it was published",
    ),
    (
        r"unauthorized|authentication required|access .*denied|denied:|forbidden|status code 40[13]",
        "the registry does not give it to us: check the name, and the pull Secret in the values (imagePullSecret)",
    ),
    (r"no (?:image|matching manifest).*(?:architecture|platform|manifest list)", "none is for this machine's kind"),
    (r"x509|certificate signed by unknown", "its certificate is not trusted: global.machine.caCertificates adds one"),
)  # fmt: skip
_REFUSALS = tuple((re.compile(pattern, re.IGNORECASE), hint) for pattern, hint in _HINTS)
_OTHER = "check that this machine reaches the registry: podman pull with the image's name shows the same"


@dataclass
class _Seen:
    since: float
    said: str = ""


class FailingPulls:
    """Remembers since when each pull fails, and judges it again by that."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[FailingPull, _Seen] = {}

    def judged(self, assessment: Assessment) -> Assessment:
        """The assessment, failed where its pull has been refused, or has failed, for long enough."""
        pull = assessment.pull
        if pull is None:
            return assessment
        seen = self._seen.setdefault(pull, _Seen(self._clock()))
        seen.said = pull.said or seen.said  # a back-off of older Kubernetes no longer says why
        hint = next((hint for pattern, hint in _REFUSALS if pattern.search(seen.said)), None)
        failing = self._clock() - seen.since
        reason = f"{pull.where} cannot pull {pull.image}: {seen.said or 'its machine does not say why'}"
        hopeless = failing >= (FAILING_SECONDS if hint is None else REFUSED_SECONDS)
        verdict = Verdict.FAILED if hopeless else Verdict.WAITING
        return replace(assessment, verdict=verdict, reason=reason, hint=hint or _OTHER)
