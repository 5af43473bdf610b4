"""The keys that docs/operate/values-keys.md lists, from the program that writes it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from tests.charts.conftest import ROOT

HONOURED, WITHOUT_EFFECT, REFUSED = "honoured", "without effect", "refused"
ON_A_CLUSTER = "on one machine:"


@dataclass(frozen=True)
class Listed:
    """A key of the page: what becomes of it, and why."""

    verdict: str
    why: str
    takes: str = ""
    """The types that its value may have."""

    @property
    def is_open(self) -> bool:
        """Whether it is a map whose keys are anybody's."""
        return bool({"object", "any", "dict"} & set(self.takes.split(" or ")))

    @property
    def shows(self) -> bool:
        """Whether it changes what is rendered: what has no effect on one machine is in force on a cluster."""
        return self.verdict == HONOURED or self.why.startswith(ON_A_CLUSTER)


@lru_cache(maxsize=1)
def listed_keys() -> Mapping[str, Listed]:
    """Every key of the page, by where it stands below the meta chart's values."""
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        found = importlib.import_module("values_keys").all_keys(ROOT)
    finally:
        sys.path.pop(0)
    return {path: Listed(key.verdict, key.why, key.takes) for path, key in found.items()}


def rows_about(key: str, page: Mapping[str, Listed]) -> list[Listed]:
    """The page's rows about a key: its own, else that of an open map or a refusal above it, else those below it.

    `X.*` is any key of X: only an open map has those, or a refusal of them all.
    """
    parts = key.removesuffix(".*").split(".")
    is_any = key.endswith(".*")
    for end in range(len(parts), 0, -1):
        above = ".".join(parts[:end])
        is_own = end == len(parts) and not is_any
        for name in (f"{above}.*", above) if is_any else (above, f"{above}.*"):
            row = page.get(name)
            if row and (is_own or row.is_open or row.verdict == REFUSED):
                return [row]
    return [] if is_any else [row for name, row in page.items() if name.startswith(f"{key}.")]
