"""Asking an API once more that is away for now: a node's that is started anew is back within seconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from binderops.errors import KubernetesError

BACK_SECONDS = 20.0
PAUSE_SECONDS = 0.5

Answer = TypeVar("Answer")


async def when_back(ask: Callable[[], Awaitable[Answer]], *, seconds: float = BACK_SECONDS) -> Answer:
    """The answer of `ask`, asked again while nobody answers, so long at most; then its KubernetesError.

    What is asked may have been done although its answer was lost: `ask` is to be something that can be said twice.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return await ask()
        except KubernetesError as error:
            if error.reason not in ("Unreachable", "Timeout") or time.monotonic() >= deadline:
                raise
        await asyncio.sleep(PAUSE_SECONDS)
