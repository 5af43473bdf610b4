"""What kills are judged by sees each thing that the promise forbids, and writes what a page is filled from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.e2e import kills
from tests.e2e.kills import PATIENCE, PROMISED, Bars, Kill, Report, table_of


def kill(**changed: Any) -> Kill:
    usual: dict[str, Any] = {"build": True, "length": 4.0, "moment": 1.0, "in_flight": True, "back": 3.0}
    return Kill(**{**usual, "silence": 0.1, "outcome": "ready", "why": "", **changed})


def report(*made: Kill, piece: str = "binder", bars: Bars = PROMISED, left: list[str] | None = None) -> Report:
    return Report(piece, 1, 3, bars, [kill(), kill(), kill(), *made], left or [])


@pytest.mark.parametrize(
    ("judged", "fault"),
    [
        (report(kill(back=10.1)), "back after 10.1 s"),
        (report(kill(back=20.1), bars=PATIENCE), "back after 20.1 s"),
        (report(kill(silence=2.1)), "silent for 2.10 s"),
        (report(kill(silence=5.1), bars=PATIENCE), "silent for 5.10 s"),
        (Report("hub", 1, 3, PROMISED, [kill(), kill(), kill(in_flight=False)]), "2 of 3 kills fell into a launch"),
        (report(left=["container of no pod"]), "left: container of no pod"),
    ],
)
def test_each_fault_is_named(judged: Report, fault: str) -> None:
    assert [fault in told for told in judged.faults()] == [True]


@pytest.mark.parametrize(
    "judged",
    [
        report(),
        report(kill(back=10.0, silence=2.0), kill(outcome="failed", why="the build was ended: 137")),
        report(kill(back=19.0, silence=4.0), bars=PATIENCE),
        report(kill(silence=30.0), piece="proxy"),  # the socket breaks with what carries it
        report(kill(in_flight=False)),
    ],
)
def test_what_is_allowed_is_no_fault(judged: Report) -> None:
    assert judged.faults() == []


def test_all_is_told_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(kills, "REPORTS", tmp_path / "reports")
    report(kill(back=12.0), kill(outcome="failed", why="no answer of the hub"), bars=PATIENCE).show(write=True)
    said = capsys.readouterr().out
    assert "3.00 3.00 3.00 12.00 3.00; p50=3.0 max=12.0: MISSED (≤ 10)" in said
    assert "max=0.1: kept (≤ 2)" in said
    told = json.loads((tmp_path / "reports/kills-binder.json").read_text())
    assert (told["n"], told["in_flight"], told["ready"], told["failed"]) == (5, 5, 4, ["no answer of the hub"])
    assert told["back"] == {"p50": 3.0, "max": 12.0, "bar": 10.0, "verdict": "MISSED"}
    assert [each["back"] for each in told["kills"]] == [3.0, 3.0, 3.0, 12.0, 3.0]
    row = table_of([told]).splitlines()[-1]
    assert row.startswith("| binder | 5 | 5 | 3.0, 12.0 | MISSED | 0.1, 0.1 | kept | 4 | 1 | 0 |")


def test_kills_that_were_broken_off_do_not_look_like_all(capsys: pytest.CaptureFixture[str]) -> None:
    judged = report()
    judged.broken_off = "waited 60 s for hub to be back"
    judged.show(write=False)
    assert "BROKEN OFF: waited 60 s for hub to be back" in capsys.readouterr().out
    assert "| binder: broken off | 3 |" in table_of([judged.summary()])


def test_one_kill_of_the_short_form_replaces_no_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kills, "REPORTS", tmp_path / "reports")
    report(piece="node").show(write=False)
    Report("node", 1, 1, PATIENCE).show(write=False)  # nor does a kill that raised before there was a figure
    assert not (tmp_path / "reports").exists()
