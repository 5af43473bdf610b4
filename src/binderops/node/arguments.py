"""The command line of `python -m binderops.node`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from binderops.kube.quantity import to_bytes
from binderops.node.config import DEFAULT_IMAGE_BUDGET, DEFAULT_STATE

_STATE_HELP = "the machine's state folder (default: $BINDEROPS_STATE, else /var/lib/binderops)"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line: no command means `run`."""
    parser = argparse.ArgumentParser(
        prog="python -m binderops.node", description="One machine as a Kubernetes API: run, stop, ask."
    )
    commands = parser.add_subparsers(dest="command")
    for name, text in (
        ("run", "run the node in the foreground (the default)"),
        ("stop", "stop the node's process if it runs, its pods, forwarder and network"),
        ("status", "print as JSON whether the node runs and is ready"),
    ):
        _add_common(commands.add_parser(name, help=text), starts=name == "run", asks=name != "run")
    given = list(arguments)
    if not given or (given[0].startswith("-") and given[0] not in {"-h", "--help"}):
        given.insert(0, "run")
    return parser.parse_args(given)


def _add_common(parser: argparse.ArgumentParser, *, starts: bool, asks: bool) -> None:
    state = Path(os.environ.get("BINDEROPS_STATE", DEFAULT_STATE))
    parser.add_argument("--state", type=Path, default=state, help=_STATE_HELP)
    parser.add_argument("--run", type=Path, help="the folder of sockets (default: $BINDEROPS_RUN, else /run/binderops)")
    parser.add_argument("--name", required=True, help="the node's name: 1 to 8 of a-z, 0-9, -")
    if starts:
        parser.add_argument("--api-port", type=int, help="the API's port (default: the kept one, else 6443)")
        parser.add_argument(
            "--host-address",
            action="append",
            help="publish LoadBalancer Services here (repeatable; default 127.0.0.1, ::1)",
        )
        parser.add_argument("--pod-range", help="fix the pods' range, e.g. 10.77.0.0/20 (default: a free one)")
        parser.add_argument("--service-range", help="fix the Services' range")
        parser.add_argument(
            "--image-budget",
            type=to_bytes,
            default=DEFAULT_IMAGE_BUDGET,
            help="what pulled images may hold on the disk, e.g. 20Gi (default: 40Gi)",
        )
        parser.add_argument(
            "--api-only", action="store_true", help="serve the API alone: no controllers, pods, network"
        )
        parser.add_argument("--log", choices=("json", "console"), help="(default: console on a terminal, else json)")
    if asks:
        parser.add_argument("--timeout", type=float, default=60.0, help="seconds to wait at most (default: 60)")
