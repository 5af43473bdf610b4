"""`python -m bench [NAME …]`; the names are below, all of them by default."""

from __future__ import annotations

import argparse
import asyncio
import sys

from bench.browser import in_chromium
from bench.content import content_only
from bench.deployment import idle_memory, up_with_images
from bench.launch import known_image
from bench.many import many_at_once
from bench.new import new_repository
from bench.nothing import up_from_nothing
from bench.place import binderops
from bench.ready import node_ready
from bench.secrets import both_environments
from bench.start import bare_start
from bench.viewers import viewers

NAMES = (
    *("known", "browser", "new", "content", "up", "nothing", "start", "many", "ready", "viewers", "memory", "secrets"),
)
WITHOUT_A_DEPLOYMENT = {"secrets", "nothing"}


def main() -> int:
    """Brings `local` up (not for what needs no deployment, or has its own), then takes the figures; all by default."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", default=[], help=f"which of {', '.join(NAMES)}")
    parser.add_argument("-n", type=int, default=10, help="samples of each kind of launch")
    parser.add_argument("--at-once", type=int, default=10, help="launches at once (30 want about 4 GiB)")
    parser.add_argument("--idle", type=float, default=60, help="seconds to leave it alone before memory is read")
    options = parser.parse_args()
    names = options.names or list(NAMES)
    if set(names) - WITHOUT_A_DEPLOYMENT:
        binderops("up", seconds=1800, quiet=False)
    if "known" in names:
        asyncio.run(known_image(options.n)).show()
    if "browser" in names:
        asyncio.run(in_chromium(options.n)).show()
    if "new" in names:
        asyncio.run(new_repository(max(3, options.n // 2))).show()
    if "content" in names:
        asyncio.run(content_only(options.n)).show()
    if "up" in names:
        up_with_images(3).show()
    if "nothing" in names:
        up_from_nothing(1).show()
    if "start" in names:
        asyncio.run(bare_start(options.n)).show()
    if "many" in names:
        asyncio.run(many_at_once(options.at_once, 3)).show()
    if "ready" in names:
        node_ready(options.n).show()
    if "viewers" in names:
        viewers().show()
    if "memory" in names:
        idle_memory(options.idle).show()
    if "secrets" in names:
        both_environments(options.n).show()
    return 0


if __name__ == "__main__":
    sys.exit(main())
