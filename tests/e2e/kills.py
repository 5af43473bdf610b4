"""What kills did, judged by their bars: a line for people, build/reports/kills-PIECE.json for programs.

`python -m tests.e2e.kills` prints those reports as one Markdown table.
"""

from __future__ import annotations

import json
import os
import statistics
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

REPORTS = Path(__file__).parents[2] / "build" / "reports"
PIECES = ("node", "podman", "hub", "proxy", "binder", "ingress", "registry")
ON_THE_PATH = {"proxy", "ingress"}  # between a browser and a server's kernel: its socket breaks with them
_HEAD = (
    "| killed | n | in flight | back p50, max (s) | ≤ 10 s | silence p50, max (s) | ≤ 2 s | ready | failed "
    "| left after 60 s | load |\n|---|---|---|---|---|---|---|---|---|---|---|"
)


@dataclass(frozen=True)
class Bars:
    """What is allowed, in seconds: until all is back, and of a kernel's silence where the piece is not on its path."""

    back: float
    silence: float


PROMISED = Bars(back=10.0, silence=2.0)  # on a machine that does nothing else
PATIENCE = Bars(back=20.0, silence=5.0)  # what a busy one gets before a test counts as failed


@dataclass(frozen=True)
class Kill:
    """One kill: seconds until all was back, the kernel's longest silence, the launch's end.

    `build` is whether the launch had an image to build, `length` what such a launch takes undisturbed, `moment` when
    the kill came, in seconds from its click; `in_flight` is whether it had not ended by then.
    """

    build: bool
    length: float
    moment: float
    in_flight: bool
    back: float
    silence: float
    outcome: str
    why: str


@dataclass
class Report:
    """The kills of one piece. `wanted` have to fall into launches; `bars` are those that fail the test."""

    piece: str
    seed: int
    wanted: int
    bars: Bars
    kills: list[Kill] = field(default_factory=list)
    leftovers: list[str] | None = None  # None as long as nobody looked
    broken_off: str = ""  # why there are no more kills: what raised, such as a piece that did not come back
    load_before: float = field(default_factory=lambda: os.getloadavg()[0])

    @property
    def in_flight(self) -> int:
        """How many kills came before the end of their launch."""
        return sum(kill.in_flight for kill in self.kills)

    @property
    def back(self) -> list[float]:
        """Seconds until all was back, in the order of the kills."""
        return [kill.back for kill in self.kills]

    @property
    def silences(self) -> list[float]:
        """The longest silence of the kernel around each kill, in seconds."""
        return [kill.silence for kill in self.kills]

    @property
    def failed(self) -> list[str]:
        """The reasons of the launches that ended in one."""
        return [kill.why for kill in self.kills if kill.outcome != "ready"]

    def faults(self) -> list[str]:
        """What breaks the promise."""
        found = []
        if self.in_flight < self.wanted:
            found.append(f"{self.in_flight} of {len(self.kills)} kills fell into a launch, not {self.wanted}")
        found += [f"back after {back:.1f} s, not {self.bars.back:g} s" for back in self.back if back > self.bars.back]
        if self.piece not in ON_THE_PATH:
            bar = self.bars.silence
            found += [f"the kernel was silent for {gap:.2f} s, not {bar:g} s" for gap in self.silences if gap > bar]
        return found + [f"left: {each}" for each in self.leftovers or ()]

    def show(self, *, write: bool) -> None:
        """Prints every figure and its verdict by what is promised; writes the JSON where it is wanted."""
        told = self.summary()
        back, silence = told["back"], told["silence"]
        print(
            f"\n{self.piece}: n={told['n']} seed={self.seed} in flight={told['in_flight']} "
            f"load={told['load_before']:.1f}, {told['load_after']:.1f}\n"
            f"  back (s): {_samples(self.back)}; p50={back['p50']} max={back['max']}: "
            f"{back['verdict']} (≤ {PROMISED.back:g})\n"
            f"  longest silence of the kernel (s): {_samples(self.silences)}; p50={silence['p50']} "
            f"max={silence['max']}: {silence['verdict']} (≤ {PROMISED.silence:g})\n"
            f"  launches: ready={told['ready']} failed={self.failed}; "
            f"left: {'not looked at' if self.leftovers is None else self.leftovers}"
            + (f"\n  BROKEN OFF: {self.broken_off}" if self.broken_off else ""),
            flush=True,
        )
        if write:
            REPORTS.mkdir(parents=True, exist_ok=True)
            path = REPORTS / f"kills-{self.piece}.json"
            path.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")

    def summary(self) -> dict[str, Any]:
        """The report as JSON has it, every sample included."""
        silence_bar = None if self.piece in ON_THE_PATH else PROMISED.silence
        return {
            "taken": datetime.now(UTC).isoformat(timespec="seconds"),
            "piece": self.piece,
            "seed": self.seed,
            "n": len(self.kills),
            "in_flight": self.in_flight,
            "back": _figures(self.back, PROMISED.back),
            "silence": _figures(self.silences, silence_bar),
            "ready": len(self.kills) - len(self.failed),
            "failed": self.failed,
            "leftovers": self.leftovers,
            "broken_off": self.broken_off,
            "load_before": self.load_before,
            "load_after": os.getloadavg()[0],
            "kills": [asdict(kill) for kill in self.kills],
        }


def verdict(worst: float, bar: float) -> str:
    """As benches say it."""
    return "kept" if worst <= bar else "MISSED"


def table_of(summaries: list[dict[str, Any]]) -> str:
    """Reports as they were written, as a Markdown table."""
    return "\n".join([_HEAD, *(_row(told) for told in summaries)])


def _row(told: dict[str, Any]) -> str:
    back, silence, left = told["back"], told["silence"], told["leftovers"]
    piece = f"{told['piece']}: broken off" if told["broken_off"] else told["piece"]
    return (
        f"| {piece} | {told['n']} | {told['in_flight']} | {back['p50']}, {back['max']} | {back['verdict']} "
        f"| {silence['p50']}, {silence['max']} | {silence['verdict']} | {told['ready']} | {len(told['failed'])} "
        f"| {'not looked at' if left is None else len(left)} | {told['load_before']:.1f}, {told['load_after']:.1f} |"
    )


def _figures(samples: list[float], bar: float | None) -> dict[str, Any]:
    if not samples:
        return {"p50": None, "max": None, "bar": bar, "verdict": "-"}
    worst = max(samples)
    return {
        "p50": round(statistics.median(samples), 2),
        "max": round(worst, 2),
        "bar": bar,
        "verdict": "-" if bar is None else verdict(worst, bar),
    }


def _samples(samples: list[float]) -> str:
    return " ".join(f"{sample:.2f}" for sample in samples)


if __name__ == "__main__":
    written = [path for piece in PIECES if (path := REPORTS / f"kills-{piece}.json").exists()]
    print(table_of([json.loads(path.read_text(encoding="utf-8")) for path in written]))
