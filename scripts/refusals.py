"""What a refusal says, for the schemas and the page of keys; templates/_refuse.tpl of each chart says the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NOTHING = "nothing"
UNLESS_OFF = "unless off"


def words(entry: Mapping[str, Any], *, quote: str = "") -> str:
    """What to use instead of a key of refused.yaml, and why; each key between two `quote`s."""
    use = " and ".join(f"{quote}{key}{quote}" for key in successors(entry))
    said = [f"use {use}" if use else "nothing instead", *([str(entry["why"])] if "why" in entry else [])]
    off = f" (accepted while {quote}{entry['key']}.enabled{quote} is false)" if entry.get("when") == UNLESS_OFF else ""
    return ": ".join(said) + off


def successors(entry: Mapping[str, Any]) -> list[str]:
    """The keys that took a refused key's place: of its own chart, or from the top of the values."""
    return [] if entry["use"] == NOTHING else str(entry["use"]).split(" and ")
