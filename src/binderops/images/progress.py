"""What a build tells while it runs: typed events, which the command line renders."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

State = Literal["kept", "building", "built", "removed"]


@dataclass(frozen=True)
class ImageProgress:
    """How far one image is. `seconds` count from the whole build's start; step and steps are 0 before the first."""

    image: str
    state: State
    doing: str
    step: int
    steps: int
    seconds: float

    @property
    def fraction(self) -> float:
        """From 0 to 1; a step counts when it begins, so 1 is reached only when the image is there."""
        if self.state != "building":
            return 1.0
        return max(self.step - 1, 0) / self.steps if self.steps else 0.0


ProgressCallback = Callable[[ImageProgress], None]


@dataclass(frozen=True)
class Reporter:
    """Gives one build's events their clock."""

    callback: ProgressCallback
    started: float = field(default_factory=time.monotonic)

    def tell(self, image: str, state: State, doing: str = "", *, step: int = 0, steps: int = 0) -> None:
        """Send one event."""
        seconds = time.monotonic() - self.started
        self.callback(ImageProgress(image=image, state=state, doing=doing, step=step, steps=steps, seconds=seconds))
