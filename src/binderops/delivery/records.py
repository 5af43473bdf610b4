"""Records of proofs: what one says, and whether a chain of them fits together. Pure: no cluster, no clock.

Each record holds the hash (sha256 over its text) of the one before. So a record that is changed, removed or put in
between breaks the chain. Who may write in the namespace can forge a whole chain: the records show accidents and quiet
edits; they are no signature.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from binderops.errors import BinderOpsError, LedgerError

Action = Literal["up", "deploy", "verify", "rollback"]
Verdict = Literal["pass", "fail"]

_LONGEST_REASON = 300  # characters of an error that a record keeps: enough to know which, not a log


class RecordedError(BaseModel):
    """The first error of a failed proof: its id, what failed, and the first line of why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    what: str
    why: str = ""

    @classmethod
    def of(cls, error: BinderOpsError) -> RecordedError:
        """Cut short: the record stays in the cluster for long."""
        lines = (error.why or "").strip().splitlines()
        return cls(
            id=error.reference, what=error.what[:_LONGEST_REASON], why=(lines[0] if lines else "")[:_LONGEST_REASON]
        )


class Record(BaseModel):
    """One proof: when (UTC), by whom, of which digests and Helm revision, with what verdict; times in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    environment: str
    action: Action
    verdict: Verdict
    digest: str
    common: str
    revision: int | None
    time: str
    who: str
    seconds: dict[str, float] = {}
    error: RecordedError | None = None
    without_proof: str | None = None
    previous: str = ""

    @property
    def text(self) -> str:
        """As it is stored and hashed: JSON, keys in order."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)

    @property
    def hash(self) -> str:
        """sha256:HEX over the text."""
        return hash_of(self.text)


@dataclass(frozen=True)
class Stored:
    """A record as the target gave it: the object's name and the text that it held."""

    name: str
    text: str


@dataclass(frozen=True)
class Head:
    """What is kept beside the records: how many there ever were, the newest one's hash, the first that is kept."""

    count: int
    newest: str
    first: int


def hash_of(text: str) -> str:
    """sha256:HEX over a record's text."""
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def read_chain(stored: Sequence[Stored], head: Head | None, *, where: str) -> list[Record]:
    """The records, oldest first; raises LedgerError naming the first that does not fit."""
    pairs = sorted(((_parsed(found, where), found) for found in stored), key=lambda pair: pair[0].number)
    # What is older than the first that is kept was about to be removed when somebody was killed.
    pairs = [pair for pair in pairs if head is None or pair[0].number >= head.first]
    if not pairs:
        if head is not None and head.count:
            raise _broken(where, f"{head.count} records were written, and none is left")
        return []
    expected = head.first if head else 1
    previous, counted = "", ""
    for record, found in pairs:
        if record.number != expected:
            raise _broken(
                where, f"record {expected} is missing" if record.number > expected else f"{found.name} is one too many"
            )
        if previous and record.previous != previous:
            raise _broken(where, f"{found.name} was changed, or the one before it: their hashes do not fit")
        previous, expected = hash_of(found.text), expected + 1
        counted = previous if head and record.number == head.count else counted
    _fits_head(pairs[-1][0], counted, head, where)
    return [record for record, _ in pairs]


def _fits_head(last: Record, counted: str, head: Head | None, where: str) -> None:
    if head is None:
        if last.number > 1:
            raise _broken(where, "the object that counts the records is missing")
        return
    if last.number < head.count or head.count < 1:
        raise _broken(where, f"{head.count} records were written, the newest that is left is {last.number}")
    # A record is written first, then counted: whoever was killed in between left a count that is behind.
    if counted != head.newest:
        raise _broken(where, f"record {head.count} was changed: it is not the one that was counted")


def _parsed(found: Stored, where: str) -> Record:
    try:
        return Record.model_validate_json(found.text)
    except ValidationError:
        raise _broken(where, f"{found.name} is not a record any more") from None


def _broken(where: str, why: str) -> LedgerError:
    return LedgerError(
        "the records of proofs do not fit together",
        where=where,
        why=why,
        hint="find out who writes there; `binderops ledger ENV --begin-anew` starts a new chain that says so",
    )


def newest_of(records: Sequence[Record], *, common: str | None = None, digest: str | None = None) -> Record | None:
    """The newest record of a common part, or of a whole state."""
    for record in reversed(records):
        if (common is None or record.common == common) and (digest is None or record.digest == digest):
            return record
    return None


def proven_revisions(records: Sequence[Record]) -> dict[int, Record]:
    """Revision -> its newest record, of those revisions whose newest record is a pass."""
    newest = {record.revision: record for record in records if record.revision is not None}
    return {revision: record for revision, record in newest.items() if record.verdict == "pass"}
