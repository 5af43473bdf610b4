"""`secrets`: what stands in an environment's sealed file, by key. No command prints a value."""

from __future__ import annotations

import getpass
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from binderops.cli.app import FAILED, HERE, DirectoryOption, Output, OutputOption, app, perform
from binderops.cli.console import ConsoleProgress, show_error, show_lines
from binderops.cli.wiring import open_project
from binderops.delivery.demonstration import refuse_demonstration
from binderops.delivery.secrets_check import check_secrets
from binderops.delivery.secrets_editing import edit_environment
from binderops.delivery.secrets_place import SecretsPlace
from binderops.delivery.secrets_results import ChangeResult, CheckResult, KeysResult
from binderops.delivery.secrets_values import generate_missing, list_keys, rotate_key, set_key, unset_key
from binderops.errors import SecretsError
from binderops.secrets.editing import editor_command
from binderops.secrets.values import ClearText
from binderops.secrets.writing import given_value, json_value, key_path

secrets = typer.Typer(help="Sealed values: edit, set, generate, rotate, readers, checks.", no_args_is_help=True)
app.add_typer(secrets, name="secrets")

SealedEnvironment = Annotated[str, typer.Argument(metavar="ENV", help="The environment, as binderops.yaml names it.")]
KeyArgument = Annotated[
    str, typer.Argument(metavar="KEY", help=r"A key path: a.b.c; a dot in a key is `\.`, an item of a list `keys[0]`.")
]


def place_of(directory: Path, environment: str) -> SecretsPlace:
    """The secrets of one environment; an unknown name is refused with the nearest one."""
    root, project = open_project(directory)
    refuse_demonstration(root, project, environment)
    return SecretsPlace(root, project, environment)


def show_change(result: ChangeResult) -> None:
    """What a change did, and what has to restart."""
    lines = [("file", result.file)]
    lines += [("set", path) for path in result.changed]
    lines += [("removed", path) for path in result.removed]
    if result.restarts:
        lines.append(("restart", f"{', '.join(result.restarts)} (by the next deploy)"))
    lines += [("note", note) for note in result.notes]
    show_lines(lines)


@secrets.command("edit")
def edit(
    environment: SealedEnvironment,
    editor: Annotated[
        str | None, typer.Option("--editor", help="The editor; else $SOPS_EDITOR, $VISUAL, $EDITOR, vi.")
    ] = None,
    directory: DirectoryOption = HERE,
    output: OutputOption = Output.text,
) -> None:
    """Open the sealed file in an editor; its text is in memory only. A bad save is kept, sealed, for the next try.

    Example: binderops secrets edit staging
    """

    def again(problem: SecretsError) -> bool:
        show_error(problem, as_json=False)
        return sys.stdin.isatty() and typer.confirm("back to the editor?", default=True, err=True)

    async def action(progress: ConsoleProgress) -> ChangeResult:
        return edit_environment(place_of(directory, environment), editor=editor_command(editor), again=again)

    perform(action, output=output, show=show_change)


@secrets.command("set")
def set_(
    environment: SealedEnvironment,
    key: KeyArgument,
    as_json: Annotated[
        bool, typer.Option("--json", help="Standard input is JSON (a number, a list), not text.")
    ] = False,
    unset: Annotated[bool, typer.Option("--unset", help="Take the key away instead.")] = False,
    directory: DirectoryOption = HERE,
    output: OutputOption = Output.text,
) -> None:
    """Set one value, read from standard input, or asked for where that is a terminal. One newline at its end goes.

    Example: binderops secrets set staging binderhub.registry.password < password.txt
    """

    async def action(progress: ConsoleProgress) -> ChangeResult:
        place = place_of(directory, environment)
        path = key_path(key)
        return unset_key(place, path) if unset else set_key(place, path, _value(as_json=as_json))

    perform(action, output=output, show=show_change)


@secrets.command("generate")
def generate(
    environment: SealedEnvironment, directory: DirectoryOption = HERE, output: OutputOption = Output.text
) -> None:
    """Make every secret that the enabled components need and the sealed file does not have.

    Example: binderops secrets generate staging
    """

    async def action(progress: ConsoleProgress) -> ChangeResult:
        return generate_missing(place_of(directory, environment), now=datetime.now(UTC))

    perform(action, output=output, show=show_change)


@secrets.command("keys")
def keys(environment: SealedEnvironment, directory: DirectoryOption = HERE, output: OutputOption = Output.text) -> None:
    """List the keys of the sealed file: path, type, purpose and age. No key is needed, no value is shown.

    Example: binderops secrets keys prod
    """

    async def action(progress: ConsoleProgress) -> KeysResult:
        return list_keys(place_of(directory, environment))

    def show(result: KeysResult) -> None:
        for one in result.keys:
            when = f"{one.changed:%Y-%m-%d}" if one.changed else "not committed"
            show_lines([(one.type, f"{one.path}  {when}, {one.where}{f': {one.purpose}' if one.purpose else ''}")])
        show_lines([("missing", f"{one.path}: {one.purpose}") for one in result.missing])

    perform(action, output=output, show=show)


@secrets.command("rotate")
def rotate(
    environment: SealedEnvironment,
    key: KeyArgument,
    directory: DirectoryOption = HERE,
    output: OutputOption = Output.text,
) -> None:
    """Give a key a new value, and say what must restart and what its users notice.

    Example: binderops secrets rotate prod binderhub.jupyterhub.proxy.secretToken
    """

    async def action(progress: ConsoleProgress) -> ChangeResult:
        return rotate_key(place_of(directory, environment), key_path(key), now=datetime.now(UTC))

    perform(action, output=output, show=show_change)


@secrets.command("check")
def check(
    whole_history: Annotated[
        bool, typer.Option("--whole-history", help="Search all of git's history, not only what is new.")
    ] = False,
    directory: DirectoryOption = HERE,
    output: OutputOption = Output.text,
) -> None:
    """Check the secrets of all environments: nothing shared, weak or in clear. What no key opens is checked closed.

    Example: binderops secrets check
    """

    async def action(progress: ConsoleProgress) -> CheckResult:
        root, project = open_project(directory)
        return check_secrets(root, project, now=datetime.now(UTC), whole_history=whole_history)

    def show(result: CheckResult) -> None:
        for one in result.findings:
            show_lines([(one.id, one.what), ("where", one.where), ("why", one.why), ("to do", one.hint)])
        verdict = f"{len(result.findings)} findings" if result.findings else "nothing found"
        show_lines(
            [
                ("verdict", f"{verdict}; {result.checked} credentials opened, in {result.seconds:.1f} s"),
                ("opened", ", ".join(result.opened) or "none"),
                ("closed", ", ".join(result.closed) or "none"),
            ]
        )

    if perform(action, output=output, show=show).findings:
        raise typer.Exit(FAILED)


def _value(*, as_json: bool) -> ClearText:
    """From the pipe, or without an echo from the terminal, as JSON text."""
    if sys.stdin.isatty():
        return json_value(getpass.getpass("value: "))
    return given_value(ClearText(sys.stdin.buffer.read()), as_json=as_json)
