"""JSON merge patch (RFC 7386)."""

from __future__ import annotations

from typing import Any


def json_merge(live: Any, patch: Any) -> Any:
    """The live value with a patch merged in: objects by key, null removes, all else replaces."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(live) if isinstance(live, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = json_merge(merged.get(key), value)
    return merged
