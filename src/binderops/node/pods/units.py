"""One container of a pod over its life: its present view, its back-offs, its probes, and what is being done to it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from binderops.kube.kinds import Object
from binderops.kube.objects import spec_of, status_of
from binderops.node.pods.logs import parse_line
from binderops.node.pods.probes import Prober
from binderops.node.pods.records import Record, lost
from binderops.node.pods.restarts import BackOff
from binderops.node.pods.status import View

QUICK_SECONDS = 1.0
LONGEST_QUICK_SECONDS = 15.0
LONGEST_MESSAGE = 4096
LONGEST_LOG_MESSAGE = 2048
LOG_MESSAGE_LINES = 80
LONGEST_LOG_READ = 128 * 1024
"""More than 2048 bytes take with conmon's words before each, even where each byte is an entry of its own."""


@dataclass
class Unit:
    """`action` is the one thing under way (a start, a kill); `watch` waits for the process to end.

    `ended_by_probe`: a failed probe, and not the container itself, ends or has ended the present attempt.
    """

    view: View
    next_attempt: int = 0
    backoff: BackOff = field(default_factory=BackOff)
    trouble: BackOff = field(default_factory=BackOff)
    troubled_at: float = 0.0
    ended_by_probe: bool = False
    prober: Prober | None = None
    probing: asyncio.Task[None] | None = None
    action: asyncio.Task[None] | None = None
    watch: asyncio.Task[None] | None = None
    _ended: tuple[str, float] | None = None

    @property
    def busy(self) -> bool:
        """Whether something is being done to the container."""
        return self.action is not None and not self.action.done()

    def begin(self, work: Coroutine[Any, Any, None], done: Callable[[], None]) -> None:
        """Do `work` in the background, then call `done`."""
        self.action = asyncio.create_task(work)
        self.action.add_done_callback(lambda _: done())

    def seconds_until_restart(self) -> float:
        """How long the back-off keeps the container from being started."""
        now = time.monotonic()
        wait = self.trouble.remaining(self.troubled_at, now)
        if self.view.record is None or (self.ended_by_probe and self._ran_a_back_off()):
            return wait
        return max(self.backoff.remaining(self.ended_at(), now), wait)

    def ended_at(self) -> float:
        """When the last attempt ended, by the monotonic clock: the machine's own may be set while a back-off lasts."""
        record = self.view.record
        if record is None or record.finished_at is None:
            return time.monotonic()
        if self._ended is None or self._ended[0] != record.id:
            self._ended = (record.id, time.monotonic() - max(0.0, time.time() - record.finished_at.timestamp()))
        return self._ended[1]

    def _ran_a_back_off(self) -> bool:
        """Whether, as a kubelet counts for what its probes end, the back-off since the attempt before was over."""
        record, previous = self.view.record, self.view.previous
        if record is None or previous is None or record.finished_at is None or previous.finished_at is None:
            return True
        return (record.finished_at - previous.finished_at).total_seconds() >= self.backoff.delay

    def failed_to_start(self, *, pulling: bool) -> None:
        """Note that no attempt could be made: the next try waits, for a registry longer than for a missing Secret."""
        self.troubled_at = time.monotonic()
        if not pulling:
            self.trouble.initial, self.trouble.longest = QUICK_SECONDS, LONGEST_QUICK_SECONDS
        self.trouble.advance(self.troubled_at)

    async def stop_probing(self) -> None:
        """End the probes of the attempt that is over."""
        if self.probing is not None:
            self.probing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.probing
        self.prober = self.probing = None
        self.view.ready = self.view.started = False

    async def cancel(self) -> None:
        """End everything that is being done; the container itself is left as it is."""
        tasks = [task for task in (self.action, self.watch, self.probing) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def recall(unit: Unit, pod: Object, entry: Object) -> None:
    """Take over what the API's last status of a container (`entry`) says beside the engine's records."""
    view = unit.view
    view.digest = str(entry.get("imageID") or "")
    if view.record is not None and entry.get("containerID") == f"podman://{view.record.id}":
        # It ran on while this process was started anew: what its probes had found holds until they find otherwise.
        view.started, view.ready = entry.get("started") is True, entry.get("ready") is True
    state = entry.get("state") or {}
    if view.record is not None or not entry.get("containerID") or "waiting" in state:
        return
    unit.next_attempt = int(entry.get("restartCount") or 0) + 1
    over = status_of(pod).get("phase") in ("Succeeded", "Failed")
    if over or spec_of(pod).get("restartPolicy") == "Never":
        # The machine was restarted, or the pod had ended before this process began: it must not run twice.
        view.record = lost(pod, entry)
        view.message = str((state.get("terminated") or {}).get("message") or "")


def last_words(container: Mapping[str, Any], record: Record, message: Path) -> str:
    """The termination message of a container that ended: its file, else (if the policy says so) the end of its log."""
    text = ""
    with contextlib.suppress(OSError), message.open("rb") as stream:
        text = stream.read(LONGEST_MESSAGE).decode(errors="replace")
    failed = record.exit_code != 0 or record.oom_killed
    if text or not failed or container.get("terminationMessagePolicy") != "FallbackToLogsOnError":
        return text
    return end_of_log(Path(record.log))


def end_of_log(path: Path) -> str:
    """The last 80 lines of a log, of these the last 2048 bytes, as a reader of the log sees them."""
    try:
        with path.open("rb") as stream:
            begin = max(0, stream.seek(0, 2) - LONGEST_LOG_READ)
            stream.seek(begin)
            raws = stream.read(LONGEST_LOG_READ).split(b"\n")
    except OSError:
        return ""
    entries = [parse_line(raw) for raw in (raws[1:] if begin else raws)]
    text = b"".join(entry.render(timestamps=False, continues=False) for entry in entries if entry is not None)
    lines = text.splitlines(keepends=True)[-LOG_MESSAGE_LINES:]
    return b"".join(lines)[-LONGEST_LOG_MESSAGE:].decode(errors="replace")
