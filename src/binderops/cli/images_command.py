"""`images`: what runs on this machine, built from this repository's files, and published for clusters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from binderops.cli.app import HERE, DirectoryOption, Output, OutputOption, app, perform
from binderops.cli.console import ConsoleProgress, show_table
from binderops.cli.images import build_all, built_images, publish_all
from binderops.cli.wiring import open_project, state_folder
from binderops.delivery.progress import running
from binderops.delivery.results import ImagesResult

images = typer.Typer(help="The images of the platform, and your own.", no_args_is_help=True)
app.add_typer(images, name="images")


@images.command("build")
def build(directory: DirectoryOption = HERE, output: OutputOption = Output.text) -> None:
    """Build the images that are missing or whose sources changed, the platform's and your own, and lock them by digest.

    Example: binderops images build
    """

    async def action(progress: ConsoleProgress) -> ImagesResult:
        root, project = open_project(directory)
        with running(progress, "images") as step:
            step.summary = await build_all(root, state_folder(), project.images, step=step)
        return ImagesResult(images=built_images(state_folder()))

    perform(action, output=output, show=lambda result: show_table(("IMAGE", "DIGEST"), sorted(result.images.items())))


@images.command("publish")
def publish(
    to: Annotated[str, typer.Argument(metavar="REGISTRY/PATH", help="Where each is pushed to, as PATH/NAME.")],
    credentials: Annotated[
        Path | None,
        typer.Option("--credentials", help="A config.json with the registry's; what `podman login` stored by default."),
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="The registry speaks plain http.")] = False,
    directory: DirectoryOption = HERE,
    output: OutputOption = Output.text,
) -> None:
    """Build what is missing, push every image to a registry that a cluster reaches, and write images.lock.yaml.

    Example: binderops images publish quay.io/example/binder
    """

    async def action(progress: ConsoleProgress) -> ImagesResult:
        root, project = open_project(directory)
        with running(progress, "images") as step:
            step.summary = await build_all(root, state_folder(), project.images, step=step)
        with running(progress, "publish") as step:
            lock = await publish_all(root, state_folder(), to, credentials=credentials, insecure=insecure, step=step)
            step.summary = "commit images.lock.yaml"
        return ImagesResult(images=lock)

    perform(action, output=output, show=lambda result: show_table(("IMAGE", "DIGEST"), sorted(result.images.items())))
