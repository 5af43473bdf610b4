"""Running one program to its end, with a deadline and its words in the error."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from binderops.errors import EngineError


async def run(arguments: Sequence[str], *, timeout: float = 30.0, environment: Mapping[str, str] | None = None) -> str:
    """The standard output of `arguments`; EngineError with its standard error if it fails or takes over `timeout` s."""
    process = await asyncio.create_subprocess_exec(
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(environment) if environment is not None else None,
    )
    try:
        async with asyncio.timeout(timeout):
            output, errors = await process.communicate()
    except TimeoutError:
        raise EngineError(f"{arguments[0]} did not end within {timeout:g} s", where=" ".join(arguments)) from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise EngineError(
            f"{arguments[0]} failed with exit code {process.returncode}",
            where=" ".join(arguments),
            why=errors.decode(errors="replace").strip()[-2000:] or None,
        )
    return output.decode(errors="replace")
