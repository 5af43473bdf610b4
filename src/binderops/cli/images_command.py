"""`images build`: what the platform runs on this machine, built from this repository's files."""

from __future__ import annotations

import typer

from binderops.cli.app import HERE, DirectoryOption, Output, OutputOption, app, perform
from binderops.cli.console import ConsoleProgress, show_table
from binderops.cli.images import build_all, built_images
from binderops.cli.wiring import open_project, state_folder
from binderops.delivery.progress import running
from binderops.delivery.results import ImagesResult

images = typer.Typer(help="The platform's own images.", no_args_is_help=True)
app.add_typer(images, name="images")


@images.command("build")
def build(directory: DirectoryOption = HERE, output: OutputOption = Output.text) -> None:
    """Build the platform's images that are missing or whose sources changed, and lock them by digest.

    Example: binderops images build
    """

    async def action(progress: ConsoleProgress) -> ImagesResult:
        root, project = open_project(directory)
        with running(progress, "images") as step:
            step.summary = await build_all(root, state_folder(), project.images, step=step)
        return ImagesResult(images=built_images(state_folder()))

    perform(action, output=output, show=lambda result: show_table(("IMAGE", "DIGEST"), sorted(result.images.items())))
