"""`status`, `logs`, `kubeconfig`: what runs, what it says, and how other programs reach it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from binderops.cli.app import (
    FAILED,
    HERE,
    USAGE,
    DirectoryOption,
    EnvironmentArgument,
    Output,
    OutputOption,
    app,
    perform,
)
from binderops.cli.console import ConsoleProgress, show_error, show_lines, show_table, verdict_words
from binderops.cli.terminal import ShownStream, json_text
from binderops.cli.wiring import open_project, open_workspace, workspace_of
from binderops.delivery.looking import environment_status
from binderops.delivery.looking import logs as read_logs
from binderops.delivery.promoting import short
from binderops.delivery.results import EnvironmentStatus, KubeconfigResult, StatusResult
from binderops.delivery.secrets_verdict import quoted
from binderops.errors import BinderOpsError, UsageError


@app.command()
def status(
    environment: Annotated[
        str | None, typer.Argument(metavar="[ENV]", help="One environment; all where none is named.")
    ] = None,
    directory: DirectoryOption = HERE,
    output: OutputOption = Output.text,
) -> None:
    """Show each environment: its target, its release, and every pod with the reason why it is not ready.

    Example: binderops status
    """

    async def action(progress: ConsoleProgress) -> StatusResult:
        root, project = open_project(directory)
        if environment is not None:
            project.environment(environment)
        names = [environment] if environment else list(project.environments)
        workspaces = [workspace_of(root, project, name) for name in names]
        found = tuple(await asyncio.gather(*map(environment_status, workspaces)))
        return StatusResult(environments=found, secrets=quoted(root, project))

    def show(result: StatusResult) -> None:
        for found in result.environments:
            release = f"{found.release} revision {found.revision} ({found.release_status})" if found.release else "none"
            show_lines([(found.environment, found.target), ("release", release), ("Binder", found.binder_url or "-")])
            if found.running or found.release or environment:
                show_lines([("wanted", _wanted(found)), ("live", short(found.live or "-")), ("proven", _proven(found))])
            show_lines([("note", note) for note in found.notes])
            rows = [(pod.app, pod.name, pod.containers, pod.status, pod.restarts, pod.reason) for pod in found.pods]
            if rows:
                show_table(("APP", "POD", "READY", "STATUS", "RESTARTS", "WHY NOT"), rows)
        if result.secrets is not None:
            show_lines([("secrets", verdict_words(result.secrets))])

    result = perform(action, output=output, show=show)
    # An environment that nobody started on this machine is no failure, unless it was asked for by name.
    asked = [found for found in result.environments if found.made or environment]
    if not all(found.running and all(pod.well for pod in found.pods) for found in asked):
        raise typer.Exit(FAILED)


def _wanted(found: EnvironmentStatus) -> str:
    if found.wanted is None:
        return "-"
    return short(found.wanted) + (" (is live)" if found.wanted == found.live else " (not live)")


def _proven(found: EnvironmentStatus) -> str:
    record = found.proven
    if record is None:
        if found.running:
            return "no: this state has no record"
        return "not known while it does not run" if found.made else "no: it never ran here"
    words = f"{record.verdict} at {record.time} by {record.who} ({record.action})"
    words += f", without proof: {record.without_proof}" if record.without_proof else ""
    return words + (f": {record.error}" if record.error else "")


@app.command()
def logs(
    app_name: Annotated[
        str,
        typer.Argument(metavar="APP", help="hub, proxy, binder, registry, ingress, server, build, …, or a pod's name."),
    ],
    environment: Annotated[str, typer.Option("--environment", "-e", help="Whose logs.")] = "local",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as it writes.")] = False,
    tail: Annotated[int | None, typer.Option("--tail", min=0, help="Only the last lines, so many.")] = None,
    previous: Annotated[
        bool, typer.Option("--previous", "-p", help="Of the container before its last restart.")
    ] = False,
    directory: DirectoryOption = HERE,
    output: OutputOption = Output.text,
) -> None:
    """Print what an app writes. As JSON: one object a line, with pod and text.

    Example: binderops logs hub --tail 50
    """

    async def action() -> None:
        text = ShownStream()
        workspace = open_workspace(directory, environment)
        async for pod, chunk in read_logs(workspace, app_name, follow=follow, tail=tail, previous=previous):
            if output is Output.json:
                for line in chunk.decode(errors="replace").splitlines():
                    print(json_text({"pod": pod, "text": line}), flush=True)  # noqa: T201
            else:
                print(text.feed(chunk), end="", flush=True)  # noqa: T201
        print(text.end(), end="")  # noqa: T201

    try:
        asyncio.run(action())
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
    except BinderOpsError as error:
        show_error(error, as_json=output is Output.json)
        raise typer.Exit(USAGE if isinstance(error, UsageError) else FAILED) from None


@app.command()
def kubeconfig(
    environment: EnvironmentArgument = "local", directory: DirectoryOption = HERE, output: OutputOption = Output.text
) -> None:
    """Print the kubeconfig of an environment, for kubectl, helm and other programs. It is a credential: keep it.

    Example: binderops kubeconfig local > ~/binder.kubeconfig; chmod 600 ~/binder.kubeconfig
    """

    async def action(progress: ConsoleProgress) -> KubeconfigResult:
        workspace = open_workspace(directory, environment)
        access = workspace.target.access()
        if not isinstance(access.kubeconfig, Path):
            raise UsageError(
                f"the kubeconfig of {environment} is sealed, and stays so",
                where="binderops.yaml",
                hint="its readers open it themselves: sops decrypt FILE",
            )
        try:
            content = access.kubeconfig.read_text(encoding="utf-8")
        except PermissionError:
            raise UsageError(
                "the kubeconfig may be read by root only", where=str(access.kubeconfig), hint="run it with sudo"
            ) from None
        return KubeconfigResult(
            environment=environment, path=str(access.kubeconfig), context=access.context, content=content
        )

    def show(result: KubeconfigResult) -> None:
        sys.stdout.write(result.content)

    perform(action, output=output, show=show)
