"""Asking a registry again: it is one pod on one volume, so while it is replaced nobody listens for some seconds.

One that is away is waited for; one that is there and fails is asked a few times. Every request here can be repeated:
asked twice it leaves the same behind.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

import httpx

ATTEMPTS = 4
TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 2.0


@dataclass(frozen=True)
class Patience:
    """How long one request may take: `answer` seconds once somebody listens, and `away` in which nobody needs to."""

    answer: float = 30.0
    away: float = 40.0
    """Longer than a registry finishes pushes when it is told to end (20 s), and the next one takes to start."""
    slowest: float = 10e6
    """Bytes a second below which a transfer is given up: slower than any disk that holds a registry."""


async def insist(
    exchange: Callable[[], Awaitable[httpx.Response]], patience: Patience, *, attempts: int = ATTEMPTS
) -> httpx.Response:
    """The answer of `exchange`, asked again on what passes: nobody listens, a connection that is lost, 429, 5xx.

    Raises the last httpx.TransportError, or TimeoutError where no answer came in time.
    """
    loop, pause, away, asked = asyncio.get_running_loop(), _FIRST_PAUSE, 0.0, 0
    async with asyncio.timeout(patience.answer) as limit:
        while True:
            began = loop.time()
            try:
                answer = await exchange()
            except httpx.TransportError as error:
                if is_away(error):
                    if away >= patience.away:
                        raise
                    await asyncio.sleep(min(pause, patience.away - away))
                    spent = loop.time() - began
                    away += spent
                    limit.reschedule((limit.when() or began) + spent)
                else:
                    asked += 1
                    if asked >= attempts or is_untrusted(error):
                        raise
                    await asyncio.sleep(pause)
            else:
                asked += 1
                if asked >= attempts or answer.status_code not in TRANSIENT:
                    return answer
                await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)


def is_away(error: BaseException | None) -> bool:
    """Whether nobody listened: nothing was sent, and who comes back answers."""
    return isinstance(error, httpx.ConnectError | httpx.ConnectTimeout) and not is_untrusted(error)


def is_untrusted(error: BaseException) -> bool:
    """Whether the other side cannot prove who it is, or does not speak TLS: waiting does not mend that."""
    return any(
        isinstance(each, ssl.SSLError) and not isinstance(each, ssl.SSLEOFError | ssl.SSLZeroReturnError)
        for each in _chain(error)
    )


def is_cut(error: BaseException) -> bool:
    """Whether a connection ended on its way, also one of another registry that a body came from."""
    lost = next((each for each in _chain(error) if isinstance(each, httpx.TransportError)), None)
    return lost is not None and not is_away(lost)


def words_of(error: BaseException) -> str:
    """What the system said: httpx ("All connection attempts failed") and asyncio ("Connect call failed") wrap it."""
    said = [each for each in _chain(error) if str(each)]
    if not said:
        return type(error).__name__
    cause = said[-1]
    if isinstance(cause, OSError) and not isinstance(cause, ssl.SSLError | socket.gaierror) and cause.errno:
        return f"{os.strerror(cause.errno)}: {cause}"
    return str(cause)


def _chain(error: BaseException) -> Iterator[BaseException]:
    each: BaseException | None = error
    while each is not None:
        yield each
        each = each.__cause__ or each.__context__
