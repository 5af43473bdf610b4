"""The command line: `binderops COMMAND`. Exit codes: 0 done; 1 refused or failed; 2 wrong usage; 130 Ctrl-C."""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import sys
from collections.abc import Callable, Coroutine
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from binderops.cli.console import ConsoleProgress, show_error, show_json
from binderops.cli.disk import with_disk_named
from binderops.delivery.results import Result
from binderops.errors import BinderOpsError, UsageError

FAILED, USAGE, INTERRUPTED = 1, 2, 130
COMMANDS = (
    "certificates",
    "environments",
    "images_command",
    "lifecycle",
    "observing",
    "promoting",
    "secrets",
    "secrets_readers",
)


class Output(StrEnum):
    """How a result is printed."""

    text = "text"
    json = "json"


app = typer.Typer(
    name="binderops",
    help="The production environment of a Binder service, from one repository of files.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

EnvironmentArgument = Annotated[
    str, typer.Argument(metavar="ENV", help="The environment, as binderops.yaml names it.", show_default=True)
]
DirectoryOption = Annotated[
    Path, typer.Option("--directory", "-C", help="The deployment repository, or a folder in it.", show_default="here")
]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="How the result is printed.")]

HERE = Path()


ResultType = TypeVar("ResultType", bound=Result)


def perform(
    action: Callable[[ConsoleProgress], Coroutine[Any, Any, ResultType]],
    *,
    output: Output,
    show: Callable[[ResultType], None],
) -> ResultType:
    """Runs one action and prints its result; an error of ours ends the program with its words and its exit code."""
    progress = ConsoleProgress()
    try:
        result = asyncio.run(action(progress))
    except (BinderOpsError, OSError, ExceptionGroup) as error:
        if (told := with_disk_named(error)) is None:
            raise
        show_error(told, as_json=output is Output.json)
        raise typer.Exit(USAGE if isinstance(told, UsageError) else FAILED) from None
    except KeyboardInterrupt:
        progress.console.print("interrupted; the next run goes on from here")
        raise typer.Exit(INTERRUPTED) from None
    if output is Output.json:
        show_json(result)
    else:
        show(result)
    return result


@app.callback(invoke_without_command=True)
def _program(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if version:
        print(f"binderops {importlib.metadata.version('binderops')}")  # noqa: T201
        raise typer.Exit


def register_commands() -> None:
    """Imports the modules whose commands there are; each adds its own to `app`."""
    for module in COMMANDS:
        importlib.import_module(f"binderops.cli.{module}")


def run() -> None:
    """Registers every command and runs the one that was asked for."""
    register_commands()
    try:
        app()
    except BrokenPipeError:
        sys.exit(0)
