"""What the README claims is shown by a test, or marked as not tried."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROMISES = ROOT / "docs/develop/promises.md"


def test_each_claim_names_its_test_or_says_that_it_was_not_tried() -> None:
    section = (ROOT / "README.md").read_text().partition("## What was tried")[2].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 5
    for claim, state, shown in rows:
        named = re.findall(r"`([^`]+)`", shown)
        assert named or "*not tried*" in state, claim
        missing = [name for name in named if not (ROOT / name).exists()]
        assert missing == [], f"{claim}: there is no {missing}"


def test_each_test_that_it_names_has_a_row_among_the_promises() -> None:
    promises = PROMISES.read_text()
    named = re.findall(r"`tests/([^`]+)`", (ROOT / "README.md").read_text())
    assert len(named) > 10
    assert [name for name in named if f"`{name.removesuffix('.py')}`" not in promises] == []


def test_each_test_of_the_promises_is_there() -> None:
    named = set(re.findall(r"`([a-z0-9_]+/[a-z0-9_/]*test_[a-z0-9_]+)`", PROMISES.read_text()))
    assert len(named) > 50
    assert [name for name in sorted(named) if not (ROOT / "tests" / f"{name}.py").exists()] == []
