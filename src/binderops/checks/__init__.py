"""What must be true of a state, looked at without a cluster: one small module a check, each returns findings."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it must be. `id` has its place in docs/operate/findings.md; `where` is file:line."""

    id: str
    what: str
    where: str = ""
    why: str = ""
    hint: str = ""
