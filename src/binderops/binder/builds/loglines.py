"""Lines of a build pod's log as events of the stream."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from binderops.binder.events import Event

_LONGEST_LINE = 64 << 10
# What a repository's code prints must not pass for the binder's own words: a build never says `ready`, or where to go.
_PHASES = frozenset({"fetching", "building", "pushing", "running", "failed", "failure", "info", "unknown"})
_KEYS = ("phase", "message", "progress")


def parse_line(line: bytes) -> Event:
    """repo2docker's JSON as it is, anything else as a message of phase `unknown`."""
    text = line.decode(errors="replace")
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, dict) or not isinstance(parsed.get("message", ""), str):
        return {"phase": "unknown", "message": text}
    item = {key: parsed[key] for key in _KEYS if key in parsed}
    if "phase" in item and str(item["phase"]).lower() not in _PHASES:
        item["phase"] = "unknown"
    return item


async def split_lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Whole lines of a stream of chunks; a line without end is cut where it gets too long."""
    rest = b""
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield line[:_LONGEST_LINE]
        if len(rest) > _LONGEST_LINE:
            yield rest[:_LONGEST_LINE]
            rest = b""
    if rest.strip():
        yield rest
