"""The log of each program that runs on: structlog to stderr, one JSON object a line, or colours for people."""

from __future__ import annotations

import logging
import sys
from typing import TextIO, cast

import structlog

_QUIET = ("httpx", "httpcore", "uvicorn", "websockets", "asyncio")


class PatientStream:
    """A stream whose file system may be full or broken: what cannot be said must not become the answer's failure."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lost = 0

    def write(self, text: str) -> int:
        """Writes, or counts what was lost; how much was, stands before the next line that can be written."""
        try:
            if self._lost:
                self._stream.write(
                    f'{{"event": "the log could not be written", "level": "warning", "lost": {self._lost}}}\n'
                )
                self._stream.flush()
                self._lost = 0
            return self._stream.write(text)
        except OSError:
            self._lost += 1
            return 0

    def flush(self) -> None:
        """Flushes, where that is possible."""
        try:
            self._stream.flush()
        except OSError:
            self._lost += 1


def configure(form: str | None = None, *, level: int = logging.INFO) -> None:
    """Log to stderr what is of `level` or above, as `json` or `console` (None: by whether stderr is a terminal)."""
    console = form == "console" or (form is None and sys.stderr.isatty())
    # Tracebacks without local variables: those may hold a Secret's content.
    processors: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if console:
        processors.append(structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback))
    else:
        processors += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    stream = cast(TextIO, PatientStream(sys.stderr))
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, stream=stream, format="%(name)s %(levelname)s %(message)s")
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)
    # The application answers whatever goes wrong in it; what uvicorn would add are requests cut off by a stop.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
