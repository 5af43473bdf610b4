"""What commands show: progress lines that end in a tick, errors in four parts, results as tables or JSON.

Progress and errors go to standard error, results to standard output, so that `--output json` can be piped.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from binderops.cli.terminal import json_text, shown
from binderops.delivery.results import Result, VerdictInfo
from binderops.errors import BinderOpsError

_STEP_WIDTH = 14
_BAR_WIDTH = 20


def error_console() -> Console:
    """Standard error, plain where it is no terminal."""
    return Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())


class ConsoleProgress:
    """Steps as lines: a spinner while one runs (on a terminal), a tick or a cross when it ends."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or error_console()
        self._live: Live | None = None
        self._started = 0.0
        self._last = ""

    def begin(self, step: str) -> None:
        """A step has begun."""
        self._started, self._last = time.monotonic(), ""
        if self.console.is_terminal:
            self._live = Live(
                self._running(step, "", None), console=self.console, transient=True, refresh_per_second=10
            )
            self._live.start()

    def say(self, step: str, text: str, *, fraction: float | None = None) -> None:
        """Shown in place on a terminal; elsewhere a line every ten seconds, if the text changed."""
        text = next(iter(shown(text).splitlines()), "")
        if self._live is not None:
            self._live.update(self._running(step, text, fraction))
        elif text != self._last and time.monotonic() - self._started > 10:
            self.console.print(f"  {step:<{_STEP_WIDTH}} {_safe(text)}")
            self._started, self._last = time.monotonic(), text

    def end(self, step: str, text: str, *, ok: bool = True) -> None:
        """The step's last word."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        mark = "[green]✓[/green]" if ok else "[red]✗[/red]"
        self.console.print(f"{mark} {step:<{_STEP_WIDTH}} {_safe(text)}")

    def _running(self, step: str, text: str, fraction: float | None) -> Spinner:
        bar = ""
        if fraction is not None:
            done = round(max(0.0, min(1.0, fraction)) * _BAR_WIDTH)
            bar = "━" * done + "╌" * (_BAR_WIDTH - done) + f" {fraction * 100:3.0f} %  "
        line = Text.assemble(
            f"{step:<{_STEP_WIDTH}} ", (bar, "green"), (text, "dim"), overflow="ellipsis", no_wrap=True
        )
        return Spinner("dots", line)


def _safe(text: str) -> str:
    """Text that may come from strangers' programs: neither Rich nor the terminal finds a command in it."""
    return escape(shown(text))


def show_error(error: BinderOpsError, *, as_json: bool) -> None:
    """An error in its four parts; as JSON on standard output where that was asked for."""
    if as_json:
        told = {"id": error.reference, "what": error.what, "where": error.where, "why": error.why, "hint": error.hint}
        print(json_text({"error": told}, indent=2))  # noqa: T201
        return
    console = error_console()
    console.print(f"[red]✗[/red] [bold]{_safe(error.what)}[/bold]  [dim]({error.reference})[/dim]")
    for label, text in (("where", error.where), ("why", error.why), ("to do", error.hint)):
        if text:
            first, *rest = shown(text).splitlines() or [""]
            console.print(f"  [dim]{label:<6}[/dim] {_safe(first)}")
            for line in rest:
                console.print(f"         {_safe(line)}")


def show_json(result: Result) -> None:
    """The result as one JSON document."""
    print(json_text(result.model_dump(mode="json"), indent=2))  # noqa: T201


def show_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, title: str | None = None) -> None:
    """A plain table on standard output."""
    table = Table(*columns, title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(_safe(str(cell)) for cell in row))
    Console(highlight=False, soft_wrap=not sys.stdout.isatty()).print(table)


def show_lines(lines: Sequence[tuple[str, str]]) -> None:
    """Label and text, a line each, on standard output."""
    console = Console(highlight=False, soft_wrap=True)
    for label, text in lines:
        console.print(f"  [dim]{_safe(f'{label:<8}')}[/dim] {_safe(text)}")


def verdict_words(found: VerdictInfo) -> str:
    """The last verdict on the secrets, in a line."""
    if found.checked is None:
        return "never checked on this machine: binderops secrets check"
    said = f"{len(found.findings)} findings ({', '.join(found.findings)})" if found.findings else "nothing found"
    stale = "" if found.current else "; files changed since: binderops secrets check"
    return f"{said} at {found.checked:%Y-%m-%dT%H:%M:%SZ}{stale}"
