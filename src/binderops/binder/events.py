"""The events of a launch, as they stand in the stream, and their frames."""

from __future__ import annotations

import json
from typing import Any

Event = dict[str, Any]

_FAILED = frozenset({"failed", "failure"})


def event(phase: str, message: str, **more: Any) -> Event:
    """One event; messages end with a newline, since clients append them to a log."""
    return {"phase": phase, "message": f"{message}\n", **more}


def failed(message: str, **more: Any) -> Event:
    """The last event of a launch that cannot be served."""
    return event("failed", message, **more)


def has_failed(item: Event) -> bool:
    """Whether an event (also a log line of a build) says that it is over."""
    return str(item.get("phase", "")).lower() in _FAILED


class SharedEvent(dict[str, Any]):
    """An event that many read, with its frame made once for all of them; nobody may change it."""

    __slots__ = ("encoded",)

    def __init__(self, item: Event) -> None:
        super().__init__(item)
        self.encoded = _encoded(item)


def frame(item: Event) -> bytes:
    """The event as one `data:` frame."""
    return item.encoded if isinstance(item, SharedEvent) else _encoded(item)


def _encoded(item: Event) -> bytes:
    return b"data: " + json.dumps(item, separators=(",", ":")).encode() + b"\n\n"
