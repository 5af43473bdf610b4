"""The node's log: structlog to stderr, one JSON object a line, or colours for people."""

from __future__ import annotations

import logging
import sys

import structlog

_QUIET = ("httpx", "httpcore", "uvicorn", "websockets", "asyncio")


def configure(form: str | None) -> None:
    """Log to stderr as `json` or `console` (None: by whether stderr is a terminal)."""
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
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(name)s %(levelname)s %(message)s")
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)
    # The application answers whatever goes wrong in it; what uvicorn would add are requests cut off by a stop.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
