"""Many launches of a known image at once, beside as many bare containers started at once."""

from __future__ import annotations

import asyncio
import time

from bench.baseline import bare_container, recipe
from bench.launch import Visitor, free_ports, launch_example, nobody_runs
from bench.place import DIRECTORY, ENVIRONMENT
from bench.report import Report, Series
from binderops.cli.wiring import open_workspace
from binderops.delivery.launching import Launched
from binderops.delivery.proving import end_server


async def many_at_once(count: int, n: int) -> Report:
    """In turn, n times: `count` launches together, then `count` bare containers together."""
    workspace = open_workspace(DIRECTORY, ENVIRONMENT)
    first = await launch_example(workspace, DIRECTORY / "examples" / "hello")
    await end_server(first)
    report = Report(f"many-{count}", f"{count} launches at once and {count} bare containers at once in turn")
    image = first.result.image
    told = await recipe(image)
    visitor = await Visitor.of(workspace)
    launches, bare, each, failed = [], [], [], 0
    for _ in range(n):
        await nobody_runs(workspace)
        began = time.monotonic()
        found = await asyncio.gather(*(visitor.launch(first.result.spec) for _ in range(count)), return_exceptions=True)
        launches.append(time.monotonic() - began)
        served = [launched for launched in found if isinstance(launched, Launched)]
        failed += count - len(served)
        each += [launched.result.seconds for launched in served]
        await asyncio.gather(*map(end_server, served))
        await nobody_runs(workspace)
        # Until the last one answers; that they are removed then does not count, as it does not for the launches.
        bare.append(max(await asyncio.gather(*(bare_container(image, port=port) for port in free_ports(count)))))
    report.series = [
        Series(f"{count} launches", "from the first request until the last Lab page answers", "s", launches),
        Series(f"{count} bare containers", f"{told}; all at once", "s", bare),
        Series(
            "share of bare's time",
            "the first divided by the second after it",
            "",
            [a / b for a, b in zip(launches, bare, strict=True)],
            bar=1.25,
        ),
        Series("  each launch", "of those that succeeded", "s", each),
        Series("failed launches", "of all rounds", "", [failed], bar=0),
    ]
    return report
