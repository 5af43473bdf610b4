"""One attempt at a proof, recorded whatever comes of it: a pass, or the first error."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from binderops.delivery.ledger import Ledger, utc_now, who
from binderops.delivery.records import Action, Record, RecordedError, Verdict
from binderops.delivery.results import RecordResult
from binderops.errors import BinderOpsError
from binderops.kube.client import Client
from binderops.target.protocol import Access


@dataclass
class Attempt:
    """What is being proven. The action fills `revision` and `timings` (seconds) as it learns them."""

    environment: str
    namespace: str
    action: Action
    digest: str
    common: str
    without_proof: str | None = None
    revision: int | None = None
    timings: dict[str, float] = field(default_factory=dict)
    record: RecordResult | None = None
    """Set once the proof passed and was recorded."""
    conceal: Callable[[str], str] = lambda text: text
    """Takes secrets out of an error's words before they are kept."""

    def brought(self, revision: int) -> None:
        """Helm brought the objects of this revision: a failure from here on is its."""
        self.revision = revision

    @property
    def recorded(self) -> RecordResult:
        """The record of a proof that passed."""
        assert self.record is not None
        return self.record


@asynccontextmanager
async def recorded(attempt: Attempt, access: Access) -> AsyncIterator[Attempt]:
    """Records the attempt when its block ends. An error of ours is recorded as a fail and goes on its way.

    Ctrl-C and the like are no verdict, and leave no record.
    """
    started = time.monotonic()
    try:
        yield attempt
    except BinderOpsError as error:
        attempt.timings["total"] = round(time.monotonic() - started, 3)
        try:
            await _write(attempt, access, "fail", error)
        except BinderOpsError as unwritten:
            # The deployment's own failure is what counts; that it is not on record is said beside it.
            error.why = f"{error.why or ''}\n(this failure could not be recorded: {unwritten.what})".strip()
        raise
    attempt.timings["total"] = round(time.monotonic() - started, 3)
    attempt.record = shown(await _write(attempt, access, "pass", None))


async def _write(attempt: Attempt, access: Access, verdict: Verdict, error: BinderOpsError | None) -> Record:
    def made(number: int, previous: str) -> Record:
        return Record(
            number=number,
            environment=attempt.environment,
            action=attempt.action,
            verdict=verdict,
            digest=attempt.digest,
            common=attempt.common,
            revision=attempt.revision,
            time=utc_now(),
            who=who(),
            seconds=attempt.timings,
            error=_told(attempt, error) if error else None,
            without_proof=attempt.without_proof,
            previous=previous,
        )

    async with Client.from_kubeconfig(access.kubeconfig, context=access.context) as client:
        return await Ledger(client, attempt.namespace, attempt.environment).append(made)


def _told(attempt: Attempt, error: BinderOpsError) -> RecordedError:
    told = RecordedError.of(error)
    return told.model_copy(update={"what": attempt.conceal(told.what), "why": attempt.conceal(told.why)})


def shown(record: Record) -> RecordResult:
    """A record as commands show it."""
    error = record.error
    told = f"{error.what}{': ' + error.why if error.why else ''} ({error.id})" if error else None
    return RecordResult(
        **record.model_dump(include=set(RecordResult.model_fields) - {"error"}),
        error=told,
    )
