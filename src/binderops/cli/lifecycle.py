"""`up`, `down`, `purge`, `launch`: what starts, stops and uses an environment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from binderops.cli.app import HERE, DirectoryOption, EnvironmentArgument, Output, OutputOption, app, perform
from binderops.cli.console import ConsoleProgress, show_lines
from binderops.cli.wiring import gate_of, image_builder, open_workspace
from binderops.delivery import launch_action, stopping
from binderops.delivery.results import DownResult, LaunchResult, PurgeResult, UpResult
from binderops.delivery.up import up as bring_up
from binderops.delivery.workspace import Workspace
from binderops.errors import MachineError

WithoutProofOption = Annotated[
    str | None,
    typer.Option("--without-proof", metavar="REASON", help="Go ahead unproven; the reason stands in the record."),
]


def _open(directory: Path, environment: str, verb: str) -> Workspace:
    """The workspace of a command that starts or stops things: a node is root's."""
    workspace = open_workspace(directory, environment)
    if workspace.environment.target.node and os.geteuid() != 0:
        raise MachineError(f"{verb} {environment} needs root", why="a node is root's", hint=f"sudo make {verb}")
    return workspace


@app.command()
def up(
    environment: EnvironmentArgument = "local",
    without_proof: WithoutProofOption = None,
    directory: DirectoryOption = HERE,
    output: OutputOption = Output.text,
) -> None:
    """Start an environment and prove it by a launch. Run again, it changes nothing.

    Where another environment promotes to it, it takes only what that one has proven.

    Example: binderops up local
    """

    async def action(progress: ConsoleProgress) -> UpResult:
        workspace = _open(directory, environment, "up")
        gate = gate_of(workspace, without_proof)
        return await bring_up(workspace, build_images=image_builder(workspace), gate=gate, progress=progress)

    def show(result: UpResult) -> None:
        suffix = "" if result.environment == "local" else f" ENV={result.environment}"
        show_lines(
            [
                ("Binder", result.binder_url),
                ("Try", result.try_url or result.try_command),
                ("Stop", f"make down{suffix}       Everything gone: make purge{suffix}"),
            ]
        )

    perform(action, output=output, show=show)


@app.command()
def down(
    environment: EnvironmentArgument = "local", directory: DirectoryOption = HERE, output: OutputOption = Output.text
) -> None:
    """Stop everything that runs; data, images and settings stay.

    Example: binderops down local
    """

    async def action(progress: ConsoleProgress) -> DownResult:
        return await stopping.down(_open(directory, environment, "down"), progress=progress)

    perform(action, output=output, show=lambda _: show_lines([("Again", f"binderops up {environment}")]))


@app.command()
def purge(
    environment: EnvironmentArgument = "local", directory: DirectoryOption = HERE, output: OutputOption = Output.text
) -> None:
    """Remove everything that was started or made: processes, network, data, images.

    Example: binderops purge local
    """

    async def action(progress: ConsoleProgress) -> PurgeResult:
        return await stopping.purge(_open(directory, environment, "purge"), progress=progress)

    perform(action, output=output, show=lambda result: show_lines([("stays", line) for line in result.stays]))


@app.command()
def launch(
    what: Annotated[
        str, typer.Argument(metavar="PATH_OR_URL", help="A folder, a git URL, or a spec such as gh/USER/REPO/REF.")
    ],
    environment: Annotated[str, typer.Option("--environment", "-e", help="Where to launch it.")] = "local",
    ref: Annotated[str, typer.Option("--ref", help="Branch, tag or commit of a git URL.")] = "HEAD",
    directory: DirectoryOption = HERE,
    output: OutputOption = Output.text,
) -> None:
    """Launch a folder or a git repository, following its log, until its Lab page answers.

    Example: binderops launch examples/hello
    """

    async def action(progress: ConsoleProgress) -> LaunchResult:
        workspace = open_workspace(directory, environment)
        return await launch_action.launch_anything(workspace, what, ref=ref, progress=progress)

    def show(result: LaunchResult) -> None:
        where = ", ".join(f"{phase} {seconds:.1f} s" for phase, seconds in result.phases.items())
        show_lines([("Server", result.url), ("Image", result.image), ("Phases", where)])

    perform(action, output=output, show=show)
