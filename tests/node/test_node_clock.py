"""A wrong clock is named, by times that are given here."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from binderops.node.clock import EARLIEST, Clock, at_least

NOON = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)


class Hands:
    """Two clocks, of which one can be set."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now.timestamp()
        self.passed = 100.0

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.passed += seconds

    def clock(self, note: Path) -> Clock:
        return Clock(note, wall=lambda: self.now, steady=lambda: self.passed)


@pytest.mark.parametrize(
    ("set_by", "said"),
    [
        (timedelta(days=3), "set forward by 3 days, 0:00:00 and says 2026-12-03 12:01:00 UTC"),
        (-timedelta(hours=5), "set back by 5:00:00 and says 2026-11-30 07:01:00 UTC"),
        (timedelta(seconds=3), None),
    ],
)
def test_a_clock_that_is_set_is_named_once(tmp_path: Path, set_by: timedelta, said: str | None) -> None:
    hands = Hands()
    clock = hands.clock(tmp_path / "clock")
    hands.wait(60)
    assert clock.fault_now() is None, "time passed"
    hands.now += set_by.total_seconds()
    told = clock.fault_now()
    assert said in told if told and said else told is None, told
    hands.wait(60)
    assert clock.fault_now() is None


def test_a_node_that_starts_before_it_last_ran_says_so(tmp_path: Path) -> None:
    note = tmp_path / "clock"
    assert Hands().clock(note).fault_at_start() is None
    note.touch()
    os.utime(note, (NOON.timestamp(), NOON.timestamp()))
    assert Hands(NOON + timedelta(days=90)).clock(note).fault_at_start() is None
    told = Hands(datetime(1970, 1, 1, 0, 0, 9, tzinfo=UTC)).clock(note).fault_at_start()
    assert told is not None and "says 1970-01-01 00:00:09 UTC, and 2026-11-30 12:00:00 UTC is past" in told


def test_a_first_start_in_1970_is_named_too(tmp_path: Path) -> None:
    told = Hands(datetime(1970, 1, 1, tzinfo=UTC)).clock(tmp_path / "clock").fault_at_start()
    assert told is not None and f"{EARLIEST:%Y-%m-%d}" in told


def test_the_last_known_time_is_kept_on_disk(tmp_path: Path) -> None:
    hands = Hands()
    clock = hands.clock(tmp_path / "clock")
    clock.fault_now()
    assert (tmp_path / "clock").exists()
    assert at_least(datetime(1970, 1, 1, tzinfo=UTC), tmp_path / "clock") > EARLIEST
