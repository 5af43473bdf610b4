"""What the README claims is shown by a test, or marked as not tried."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_each_claim_names_its_test_or_says_that_it_was_not_tried() -> None:
    section = (ROOT / "README.md").read_text().partition("## What was tried")[2].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 5
    for claim, state, shown in rows:
        named = re.findall(r"`([^`]+)`", shown)
        assert named or "*not tried*" in state, claim
        missing = [name for name in named if not (ROOT / name).exists()]
        assert missing == [], f"{claim}: there is no {missing}"
