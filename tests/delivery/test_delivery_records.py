"""Records of proofs: a chain that fits, and every way in which it does not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binderops.delivery.records import Head, Record, RecordedError, Stored, newest_of, proven_revisions, read_chain
from binderops.delivery.verifying import choose_revision
from binderops.errors import LedgerError, ProofError, RollbackError
from binderops.helm.releases import Release


def record(number: int, previous: str = "", **more: object) -> Record:
    told = {
        "environment": "staging", "action": "up", "verdict": "pass", "digest": "sha256:d", "common": "sha256:c",
        "revision": number, "time": "2026-11-24T16:00:00Z", "who": "me@here",
    }  # fmt: skip
    return Record.model_validate({**told, "number": number, "previous": previous, **more})


def chain(count: int, *, first: int = 1) -> tuple[list[Stored], Head]:
    stored: list[Stored] = []
    previous = "" if first == 1 else "sha256:gone"
    for number in range(first, first + count):
        made = record(number, previous)
        stored.append(Stored(f"proof-{number:06d}", made.text))
        previous = made.hash
    return stored, Head(first + count - 1, previous, first)


@given(st.integers(0, 8), st.integers(1, 50), st.randoms())
def test_a_whole_chain_is_read_in_whatever_order_it_comes(count: int, first: int, random: object) -> None:
    stored, head = chain(count, first=first)
    random.shuffle(stored)  # type: ignore[attr-defined]
    known = None if count == 0 and first == 1 else head
    if count == 0 and first > 1:
        return  # a count without any record is a broken chain: below
    assert [found.number for found in read_chain(stored, known, where="here")] == list(range(first, first + count))


def test_a_writer_that_was_killed_before_it_counted_or_tidied_up_breaks_nothing() -> None:
    stored, head = chain(4)
    before, counted = chain(3)
    assert len(read_chain(stored, counted, where="here")) == 4
    assert [found.number for found in read_chain(stored, replace(head, first=3), where="here")] == [3, 4]
    assert before == stored[:3]


@pytest.mark.parametrize(
    ("tamper", "words"),
    [
        (lambda s, h: (s[:1] + s[2:], h), "record 2 is missing"),
        (lambda s, h: (s[:-1], h), "4 records were written, the newest that is left is 3"),
        (lambda s, h: ([], h), "4 records were written, and none is left"),
        (lambda s, h: (s[1:], h), "record 1 is missing"),
        (lambda s, h: (s, None), "the object that counts the records is missing"),
        (lambda s, h: ([changed(s[0]), *s[1:]], h), "proof-000002 was changed, or the one before it"),
        (lambda s, h: ([*s[:-1], changed(s[-1])], h), "record 4 was changed"),
        (lambda s, h: ([*s, s[-1]], h), "is one too many"),
        (lambda s, h: ([*s[:-1], Stored("proof-000004", "{}")], h), "proof-000004 is not a record any more"),
        (lambda s, h: ([*s, Stored("proof-000005", record(5, "sha256:other").text)], h), "their hashes do not fit"),
        (lambda s, h: (s, replace(h, count=-1)), "-1 records were written"),
        (lambda s, h: (s, replace(h, newest="sha256:other")), "record 4 was changed"),
    ],
)
def test_what_was_tampered_with_is_named(tamper: object, words: str) -> None:
    stored, head = tamper(*chain(4))  # type: ignore[operator]
    with pytest.raises(LedgerError, match="do not fit together") as caught:
        read_chain(stored, head, where="staging")
    assert caught.value.why is not None and words in caught.value.why
    assert caught.value.reference == "ledger.broken"


def changed(stored: Stored) -> Stored:
    return replace(stored, text=stored.text.replace('"me@here"', '"you@there"'))


def test_the_newest_record_of_a_common_part_counts() -> None:
    told = [record(1, common="a"), record(2, common="b", verdict="fail"), record(3, common="a", verdict="fail")]
    newest = newest_of(told, common="a")
    assert newest is not None and (newest.number, newest.verdict) == (3, "fail")
    assert newest_of(told, common="none") is None
    assert proven_revisions([*told, record(4, revision=2)]) == {1: told[0], 2: record(4, revision=2)}


def test_an_error_is_cut_to_what_says_which() -> None:
    told = RecordedError.of(ProofError("x" * 500, why="first\nsecond"))
    assert (told.id, len(told.what), told.why) == ("delivery.proof", 300, "first")


def revision(number: int, state: str, status: str = "superseded") -> Release:
    labels = {"binderops.dev/state": state} if state else {}
    return Release(name="r", namespace="n", revision=number, status=status, labels=labels)


@pytest.mark.parametrize(
    ("states", "verdicts", "chosen"),
    [
        ("aab", {1: "pass", 2: "pass", 3: "fail"}, 2),
        ("abc", {1: "pass", 2: "fail", 3: "fail"}, 1),
        ("ab", {1: "pass", 2: "pass"}, 1),
        ("aba", {1: "pass", 2: "pass", 3: "pass"}, 2),
        ("ab", {1: "fail", 2: "fail"}, None),
        ("aa", {1: "pass", 2: "pass"}, None),
        ("a", {1: "pass"}, None),
        ("ab", {}, None),
    ],
)
def test_which_revision_a_rollback_takes(states: str, verdicts: dict[int, str], chosen: int | None) -> None:
    history = [revision(number, state) for number, state in enumerate(states, start=1)]
    records = [record(number, revision=number, verdict=verdict) for number, verdict in verdicts.items()]
    if chosen is None:
        with pytest.raises(RollbackError, match="no proven revision of staging"):
            choose_revision(history, records, environment="staging")
    else:
        assert choose_revision(history, records, environment="staging").revision == chosen


def test_a_revision_that_helm_could_not_bring_is_never_taken() -> None:
    history = [revision(1, "a"), revision(2, "b", "failed"), revision(3, "c", "deployed")]
    records = [record(1), record(2), record(3, verdict="fail")]
    assert choose_revision(history, records, environment="staging").revision == 1


def test_a_rollback_that_was_cut_off_leaves_what_it_was_leaving() -> None:
    cut = revision(3, "a", "failed")
    cut.labels["binderops.dev/cut"] = "pending-rollback"
    history = [revision(1, "a"), revision(2, "b", "deployed"), cut]
    records = [record(1), record(2)]
    assert choose_revision(history, records, environment="staging").revision == 1
    cut.labels.clear()
    assert choose_revision(history, records, environment="staging").revision == 2, "an upgrade that failed"
