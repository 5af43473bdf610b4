"""The node's process: settings, certificates, the API, and the rooms that work through it."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import resource
import signal
import sys
from argparse import Namespace
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import structlog

from binderops import logs
from binderops.errors import BinderOpsError, MachineError
from binderops.fingerprint import program_digest
from binderops.memory import give_back, keep_apart
from binderops.node import control
from binderops.node.api import server
from binderops.node.arguments import parse
from binderops.node.config import NodeConfig, load_config, read_config, run_folder
from binderops.node.kubeconfig import withdraw_admin_kubeconfig, write_admin_kubeconfig, write_node_kubeconfig
from binderops.node.pki import ensure_pki
from binderops.node.reserve import Reserve
from binderops.node.rooms import Room, keep_running

_log = structlog.get_logger("node")
_STOP_SECONDS = 8.0
_SETTLE_SECONDS = 20.0
_ANNOUNCE_SECONDS = 1.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 good, 1 a refusal (said on stderr), 3 not running or not ready."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = parse(given)
    try:
        match options.command:
            case "stop":
                config = read_config(options.name, state_root=options.state, run_root=options.run)
                return control.stop(config, seconds=options.timeout)
            case "status":
                return control.print_status(read_config(options.name, state_root=options.state, run_root=options.run))
        return _run(options, given)
    except BinderOpsError as error:
        print(f"binderops node: {error}", file=sys.stderr)  # noqa: T201 - the program's own last word
        return 1


def _run(options: Namespace, given: Sequence[str]) -> int:
    keep_apart()
    logs.configure(options.log)
    _raise_file_limit()
    with _only_process(run_folder(options.name, options.run)):  # first: who is refused must change no settings
        Reserve(options.state / "nodes" / options.name / "reserve").begin()
        with _told("the node cannot start"):
            config = load_config(
                options.name,
                state_root=options.state,
                run_root=options.run,
                api_port=options.api_port,
                host_addresses=tuple(options.host_address) if options.host_address else None,
                pod_range=options.pod_range,
                service_range=options.service_range,
                image_budget=options.image_budget,
            )
            withdraw_admin_kubeconfig(config)
            _tell_program(config, given)
            ensure_pki(config)
            write_node_kubeconfig(config)
        _loop_runner()(_serve(config, api_only=options.api_only))
    return 0


async def _serve(config: NodeConfig, *, api_only: bool) -> None:
    """Run until SIGTERM or SIGINT."""
    asked_to_stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked_to_stop.set)
    ready, settled = asyncio.Event(), asyncio.Event()
    api = asyncio.create_task(_run_api(config, ready), name="api")
    others = asyncio.create_task(_run_others(config, ready, settled, api_only=api_only), name="rooms")
    announcing = asyncio.create_task(_announce(config, ready, settled))
    housekeeping = asyncio.create_task(give_back(), name="memory")
    stopping = asyncio.create_task(asked_to_stop.wait())
    done, _ = await asyncio.wait({api, stopping}, return_when=asyncio.FIRST_COMPLETED)
    _log.info("the node stops", pods="go on running")
    for task in (housekeeping, announcing, others, api, stopping):
        await end(task, within=_STOP_SECONDS)  # the API late: the rooms write through it while they stop
    with contextlib.suppress(OSError):  # a disk that turned read-only: whoever asks finds no API there
        withdraw_admin_kubeconfig(config)
    if api in done and (error := api.exception()):
        raise error


async def end(task: asyncio.Task[Any], *, within: float) -> None:
    """Cancel a task and wait for its end, so long (s) at most: one that is lost must not keep the process."""
    task.cancel()
    await asyncio.wait({task}, timeout=within)


async def _run_api(config: NodeConfig, ready: asyncio.Event) -> None:
    """The API: what cannot work at the start ends the process, what fails later is started again."""
    started = asyncio.Event()
    first = asyncio.create_task(server.run(config, started))
    waiting = asyncio.create_task(started.wait())
    try:
        await asyncio.wait({first, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if first.done():
            await first
        ready.set()
        await first
    except asyncio.CancelledError:
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        raise
    except BinderOpsError:
        raise
    except Exception as error:
        _log.error("the API stopped", exc_info=error)
    finally:
        waiting.cancel()
    await keep_running(Room("api", lambda: server.run(config, started)))


async def _announce(config: NodeConfig, ready: asyncio.Event, settled: asyncio.Event) -> None:
    """Say that the node is ready, by its kubeconfig: once the API answers, and tells of pods only what is still true.

    A room that cannot settle (no engine, say) must not hide the API from who wants to see why.
    """
    await ready.wait()
    try:
        async with asyncio.timeout(_SETTLE_SECONDS):
            await settled.wait()
    except TimeoutError:
        _log.error("what runs here is not known yet; the API may tell what was", waited_seconds=_SETTLE_SECONDS)
    while True:
        try:
            write_admin_kubeconfig(config)
            break
        except OSError as error:  # nobody would learn that the API answers: tried until there is room
            _log.error("the kubeconfig cannot be written", error=str(error), retry_seconds=_ANNOUNCE_SECONDS)
            await asyncio.sleep(_ANNOUNCE_SECONDS)
    _log.info("the node is ready", kubeconfig=str(config.admin_kubeconfig))


async def _run_others(config: NodeConfig, ready: asyncio.Event, settled: asyncio.Event, *, api_only: bool) -> None:
    await ready.wait()
    if api_only:
        settled.set()
        return
    from binderops.node.wiring import other_rooms  # not before the API answers: a fifth of a second of imports

    # From here on the clone may be somebody else's again (scripts/shell): what is imported later leaves no file in it.
    sys.dont_write_bytecode = True
    async with asyncio.TaskGroup() as group:
        for room in other_rooms(config, settled):
            group.create_task(keep_running(room), name=room.name)


def _loop_runner() -> Callable[[Coroutine[Any, Any, None]], None]:
    try:
        import uvloop
    except ImportError:  # an optional speed-up that has no wheels for every machine
        return asyncio.run
    run: Callable[[Coroutine[Any, Any, None]], None] = uvloop.run
    return run


def _tell_program(config: NodeConfig, given: Sequence[str]) -> None:
    """Write down of what code this process is made and what it was told, for who may have to start it anew."""
    told = {"code": program_digest(), "arguments": list(given)}
    (config.run / "program.json").write_text(json.dumps(told) + "\n", encoding="utf-8")


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """What the machine refuses, in words."""
    try:
        yield
    except OSError as error:
        raise MachineError(
            what,
            where=str(error.filename or "?"),
            why=error.strerror or str(error),
            hint="look at its file system: whether it has room (df), and takes writes (findmnt)",
        ) from error


@contextlib.contextmanager
def _only_process(folder: Path) -> Iterator[None]:
    """One process a node: hold a lock on its pid file for as long as this one runs."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _locked(folder / "node.pid") as stream:
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        try:
            yield
        finally:
            stream.seek(0)
            stream.truncate(0)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[IO[str]]:
    with path.open("a+", encoding="ascii") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            raise MachineError(
                "this node runs already",
                where=str(path),
                why=f"process {stream.read().strip() or '?'} holds it",
                hint="stop it first: python -m binderops.node stop --name NAME",
            ) from None
        yield stream


def _raise_file_limit() -> None:
    """Each watch and each pod's streams need a descriptor; the soft limit is often 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or soft < hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
