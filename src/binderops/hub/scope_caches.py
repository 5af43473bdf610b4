"""JupyterHub remembers what scopes come to, for users who return: here those that are gone are forgotten.

There are ten caches of 1,024 entries and one of 65,535. A Binder's users come once, and each left 43 KB in them: 7 MB
after 160 launches (measured with a profiler of memory), and growing.
"""

from __future__ import annotations

import inspect
from functools import lru_cache
from types import ModuleType
from typing import Any

ENTRIES = 128
"""In each cache. What is asked again and again are the scopes of the binder and the culler, a handful of entries."""


def keep_small(scopes: ModuleType, entries: int = ENTRIES) -> list[str]:
    """Bound the caches of `jupyterhub.scopes` to so many entries; returns the names of the functions that have them.

    There is no setting for it. Must be called before the hub starts: a cache only loses entries as it takes new ones.
    """
    bounded = []
    for name, function in vars(scopes).items():
        if not inspect.isfunction(function):
            continue
        cache: Any = inspect.getclosurevars(function).nonlocals.get("cache")
        if hasattr(cache, "maxsize"):
            cache.maxsize = min(cache.maxsize, entries)
            bounded.append(name)
    expand: Any = getattr(scopes, "_expand_scope", None)
    if hasattr(expand, "cache_parameters") and expand.cache_parameters()["maxsize"] > entries:
        scopes._expand_scope = lru_cache(entries)(expand.__wrapped__)  # type: ignore[attr-defined]
        bounded.append("_expand_scope")
    return bounded
