"""Visitors name repositories: what is counted of them stays bounded, and what is counted still is not lost."""

from __future__ import annotations

import pytest

from binderops.binder import metrics
from binderops.binder.metrics import Metrics


def test_the_series_that_was_not_counted_for_longest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MOST_SERIES", 3)
    told = Metrics()
    for repository in "abacadae":
        told.launch_count.count("success", "Git", repository)
    lines = [line for line in told.text().decode().splitlines() if line.startswith("binderhub_launch_count_total{")]
    assert {line.split('repo="')[1][0]: float(line.split()[-1]) for line in lines} == {"a": 4, "d": 1, "e": 1}


def test_builds_and_launches_of_many_repositories_take_no_more_than_so_much() -> None:
    told = Metrics()
    for number in range(metrics.MOST_SERIES + 50):
        told.build_count.count("failure", "GitHub", f"https://github.com/a/{number}")
    assert told.text().count(b"binderhub_build_count_total{") == metrics.MOST_SERIES
