"""When to try again after a failure: remembered in annotations, forgotten when the specification changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from binderops.errors import AcmeError, BinderOpsError, CertificateError, SelfCheckError
from binderops.kube import certificates as names
from binderops.kube.objects import parse_timestamp, timestamp

_QUICK = (timedelta(seconds=30), timedelta(minutes=5))
_SLOW = (timedelta(hours=1), timedelta(hours=32))
_PART_OF_LIFE = 12
"""No pause is longer than this part of the certificate's life: renewed at half of it, several attempts are left."""
_LONGEST_TEXT = 600  # characters of an error that an annotation keeps

ANNOTATIONS = (
    names.FAILURES,
    names.FAILURE_REASON,
    names.FAILURE_AT,
    names.FAILED_SPECIFICATION,
    names.LAST_ERROR,
    names.NEXT_ATTEMPT,
)


@dataclass(frozen=True)
class Failure:
    """What went wrong, how often in a row, and when to try again."""

    count: int
    reason: str
    message: str
    at: datetime
    next_attempt: datetime
    specification: str

    @property
    def annotations(self) -> dict[str, str]:
        """The failure as annotations."""
        return {
            names.FAILURES: str(self.count),
            names.FAILURE_REASON: self.reason,
            names.FAILURE_AT: timestamp(self.at),
            names.FAILED_SPECIFICATION: self.specification,
            names.LAST_ERROR: self.message[:_LONGEST_TEXT],
            names.NEXT_ATTEMPT: timestamp(self.next_attempt),
        }


def no_failure() -> dict[str, None]:
    """A merge patch of annotations that forgets failures."""
    return dict.fromkeys(ANNOTATIONS)


def read(annotations: Mapping[str, str], *, specification: str) -> Failure | None:
    """The failure that a Secret remembers; None if there is none, or it was about another specification."""
    if annotations.get(names.FAILED_SPECIFICATION) != specification:
        return None
    try:
        return Failure(
            count=int(annotations[names.FAILURES]),
            reason=annotations[names.FAILURE_REASON],
            message=annotations.get(names.LAST_ERROR, ""),
            at=parse_timestamp(annotations[names.FAILURE_AT]),
            next_attempt=parse_timestamp(annotations[names.NEXT_ATTEMPT]),
            specification=specification,
        )
    except (KeyError, ValueError):  # somebody edited it: better one attempt too many than none
        return None


def after(
    error: BinderOpsError,
    before: Failure | None,
    *,
    specification: str,
    now: datetime,
    life: timedelta | None = None,
) -> Failure:
    """The failure that an error makes, counted on from the one before if that was of the same kind.

    Self-checks and servers that do not answer: 30 s doubled to 5 min. What a CA decided: 1 h doubled to 32 h. Less
    where a certificate of a short `life` is to be renewed, but for a CA's limits. A time that the server named
    (Retry-After) holds where it is later.
    """
    quick = is_quick(error)
    reason = error.reason if isinstance(error, CertificateError) else "kubernetes"
    most = life / _PART_OF_LIFE if life is not None and reason != "rateLimited" else _SLOW[1]
    same = before is not None and (before.reason == reason or quick == _was_quick(before, most))
    count = before.count + 1 if before is not None and same else 1
    first, longest = _QUICK if quick else _SLOW
    delay = min(first * 2 ** min(count - 1, 10), longest, most)
    if isinstance(error, AcmeError) and error.retry_after is not None:
        told = timedelta(seconds=error.retry_after)
        delay = told if error.reason == "rateLimited" else max(told, delay)
    return Failure(
        count=count, reason=reason, message=str(error), at=now, next_attempt=now + delay, specification=specification
    )


def is_quick(error: BinderOpsError) -> bool:
    """Whether nothing was decided against us, so that soon is not too soon."""
    if isinstance(error, CertificateError):
        return isinstance(error, SelfCheckError) or (isinstance(error, AcmeError) and error.transient)
    return True  # the API, for a moment


def _was_quick(failure: Failure, most: timedelta) -> bool:
    return failure.next_attempt - failure.at < min(_SLOW[0], most)
