"""How an action tells what it is doing: steps that begin, say something, and end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Progress(Protocol):
    """What the command line shows of a running action."""

    def begin(self, step: str) -> None:
        """A step has begun."""

    def say(self, step: str, text: str, *, fraction: float | None = None) -> None:
        """What the step is doing or waiting for; `fraction` of it done, 0 to 1, where that is known."""

    def end(self, step: str, text: str, *, ok: bool = True) -> None:
        """The step is over; `text` says with what result."""


class Silent:
    """Progress for callers that show none."""

    def begin(self, step: str) -> None:
        """Nothing."""

    def say(self, step: str, text: str, *, fraction: float | None = None) -> None:
        """Nothing."""

    def end(self, step: str, text: str, *, ok: bool = True) -> None:
        """Nothing."""


class Step:
    """One step of an action; what `running` gives."""

    def __init__(self, progress: Progress, name: str) -> None:
        self._progress, self._name, self.summary = progress, name, ""

    def say(self, text: str, *, fraction: float | None = None) -> None:
        """What the step is doing or waiting for."""
        self._progress.say(self._name, text, fraction=fraction)


@contextmanager
def running(progress: Progress, name: str) -> Iterator[Step]:
    """A step that ends with its `summary`, or with the error that breaks it off."""
    step = Step(progress, name)
    progress.begin(name)
    try:
        yield step
    except BaseException:
        progress.end(name, step.summary or "failed", ok=False)
        raise
    progress.end(name, step.summary)
