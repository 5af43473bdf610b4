"""`python -m bench [NAME …]`; the names are below, all of them by default. `python -m bench table` prints the last."""

from __future__ import annotations

import argparse
import asyncio
import sys
import traceback
from argparse import Namespace
from collections.abc import Callable

from bench.browser import in_chromium
from bench.content import content_only
from bench.deployment import fresh_memory, idle_memory, up_with_images
from bench.launch import known_image
from bench.many import many_at_once
from bench.new import new_repository
from bench.nothing import up_from_nothing
from bench.place import binderops
from bench.ready import node_ready
from bench.report import Report
from bench.secrets import both_environments
from bench.start import bare_start
from bench.table import last_figures
from bench.viewers import viewers

# In the order in which they disturb each other least: memory before anything was launched, and again at the end.
BENCHES: dict[str, Callable[[Namespace], Report]] = {
    "memory": lambda options: fresh_memory(options.idle),
    "known": lambda options: asyncio.run(known_image(options.n)),
    "browser": lambda options: asyncio.run(in_chromium(options.n)),
    "start": lambda options: asyncio.run(bare_start(options.n)),
    "many": lambda options: asyncio.run(many_at_once(options.at_once, options.n)),
    "many-30": lambda options: asyncio.run(many_at_once(30, max(3, options.n // 2))),
    "memory-used": lambda options: idle_memory(options.idle),
    "viewers": lambda options: viewers(),
    "new": lambda options: asyncio.run(new_repository(max(3, options.n // 2))),
    "content": lambda options: asyncio.run(content_only(options.n)),
    "up": lambda options: up_with_images(3),
    "ready": lambda options: node_ready(options.n),
    "nothing": lambda options: up_from_nothing(1),
    "secrets": lambda options: both_environments(options.n),
}
WITHOUT_A_DEPLOYMENT = {"secrets", "nothing"}


def main() -> int:
    """Brings `local` up (not for what needs no deployment, or has its own), then takes the figures.

    1 if one of them could not be taken; the others are taken all the same.
    """
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", default=[], help=f"which of {', '.join(BENCHES)}, or table")
    parser.add_argument("-n", type=int, default=10, help="samples of each kind of launch")
    parser.add_argument("--at-once", type=int, default=10, help="launches at once of `many`")
    parser.add_argument("--idle", type=float, default=60, help="seconds to leave it alone before memory is read")
    options = parser.parse_args()
    if options.names == ["table"]:
        print(last_figures())
        return 0
    names = options.names or list(BENCHES)
    if unknown := set(names) - set(BENCHES):
        parser.error(f"no such bench: {', '.join(sorted(unknown))}")
    if set(names) - WITHOUT_A_DEPLOYMENT:
        binderops("up", seconds=1800, quiet=False)
    failed = []
    for name in (each for each in BENCHES if each in names):
        try:
            BENCHES[name](options).show()
        except Exception:
            traceback.print_exc()
            failed.append(name)
    if failed:
        print(f"not taken: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
