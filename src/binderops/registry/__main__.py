"""`python -m binderops.registry`: the cleaner beside a registry, on the same storage and as the same user."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import asdict
from pathlib import Path

import structlog
from prometheus_client import start_http_server

from binderops import logs
from binderops.kube.quantity import to_bytes
from binderops.registry.budget import Thresholds
from binderops.registry.cleaner import LOOK_SECONDS, REST_SECONDS, Budget, Cleaner
from binderops.registry.metrics import Metrics
from binderops.registry.storage import Storage
from binderops.registry.uses import Uses, listen

log = structlog.get_logger(__name__)

# What an operator may set by imageCleaner.extraEnv, in seconds; the first has upstream's name.
INTERVAL, REST = "DOCKER_IMAGE_CLEANER_INTERVAL_SECONDS", "IMAGE_CLEANER_REST_SECONDS"


def main(argv: list[str] | None = None) -> int:
    """Clean up until it is ended: whatever it is doing then, the next one goes on with."""
    options = _parser().parse_args(argv)
    logs.configure()
    thresholds = Thresholds(options.threshold_type, options.high, options.low, options.capacity)
    storage, metrics = Storage(options.storage), Metrics()
    uses = Uses(storage)
    listen(uses, options.events_port)
    start_http_server(options.metrics_port, registry=metrics.registry)
    budget = Budget(thresholds, tuple(options.keep), options.delay, options.interval, options.rest)
    log.info("cleaning up", storage=str(options.storage), **asdict(budget))
    Cleaner(storage, budget, uses, metrics).run()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m binderops.registry", description=__doc__)
    parser.add_argument("--storage", type=Path, required=True, help="the registry's rootdirectory")
    parser.add_argument("--capacity", type=to_bytes, required=True, help="what its volume was asked for (50Gi)")
    parser.add_argument("--threshold-type", choices=("relative", "absolute"), default="relative")
    parser.add_argument("--high", type=float, default=80, help="above this images go: per cent, or bytes")
    parser.add_argument("--low", type=float, default=60, help="until this")
    parser.add_argument("--delay", type=float, default=5, help="seconds between two removals")
    parser.add_argument(
        "--interval",
        type=float,
        default=os.environ.get(INTERVAL, LOOK_SECONDS),
        help=f"between two looks (${INTERVAL})",
    )
    parser.add_argument(
        "--rest", type=float, default=os.environ.get(REST, REST_SECONDS), help=f"so long a use counts (${REST})"
    )
    parser.add_argument("--keep", action="append", default=[], metavar="PATTERN", help="REPOSITORY:TAG that stays")
    parser.add_argument("--events-port", type=int, default=5002, help="where the registry tells of its use: loopback")
    parser.add_argument("--metrics-port", type=int, default=5001)
    return parser


if __name__ == "__main__":
    sys.exit(main())
