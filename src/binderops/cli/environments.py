"""`env`, `state`, `explain`, `new environment`: which environments there are, and what each is made of."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from binderops.cli.app import HERE, DirectoryOption, Output, OutputOption, app, perform
from binderops.cli.console import ConsoleProgress, show_lines, show_table, verdict_words
from binderops.cli.promoting import NamedEnvironment
from binderops.cli.wiring import open_project, open_workspace, workspace_of
from binderops.delivery import describing
from binderops.delivery.founding import Founding
from binderops.delivery.looking import environment_result
from binderops.delivery.promoting import short
from binderops.delivery.results import EnvironmentsResult, ExplainResult, NewEnvironmentResult, StateResult
from binderops.secrets.rules import Reader

new = typer.Typer(no_args_is_help=True, help="Write the files of something new.")
app.add_typer(new, name="new")


@app.command()
def env(directory: DirectoryOption = HERE, output: OutputOption = Output.text) -> None:
    """Show which environments there are, what they point at, and what is live.

    Example: binderops env
    """

    async def action(progress: ConsoleProgress) -> EnvironmentsResult:
        root, project = open_project(directory)
        workspaces = [workspace_of(root, project, name) for name in project.environments]
        return EnvironmentsResult(environments=tuple(await asyncio.gather(*map(environment_result, workspaces))))

    def show(result: EnvironmentsResult) -> None:
        rows = [
            (found.environment, found.target, found.namespace, found.release, found.binder_url or "-",
             ", ".join(found.waits_for) or "-", found.live)
            for found in result.environments
        ]  # fmt: skip
        show_table(("ENV", "TARGET", "NAMESPACE", "RELEASE", "BINDER", "WAITS FOR", "LIVE"), rows)

    perform(action, output=output, show=show)


@app.command()
def state(environment: NamedEnvironment, directory: DirectoryOption = HERE, output: OutputOption = Output.text) -> None:
    """Show the digest of what would run, what it is made of, and the digest of what environments have in common.

    No key is needed: sealed layers count by what stands in their files.
    Example: binderops state staging
    """

    async def action(progress: ConsoleProgress) -> StateResult:
        return describing.state(open_workspace(directory, environment))

    def show(result: StateResult) -> None:
        show_lines([("state", result.digest), ("common", result.common)])
        if result.secrets is not None:
            show_lines([("secrets", verdict_words(result.secrets))])
        rows = [("common" if part.common else "own", part.name, short(part.digest)) for part in result.parts]
        show_table(("PART", "NAME", "DIGEST"), rows)

    perform(action, output=output, show=show)


@app.command()
def explain(
    environment: NamedEnvironment,
    key: Annotated[str, typer.Argument(metavar="KEY", help="A path in the values, as in global.domain.")],
    directory: DirectoryOption = HERE,
    output: OutputOption = Output.text,
) -> None:
    """Show which layer sets a key, and which others it covers. Sealed values stay sealed.

    Example: binderops explain staging global.domain
    """

    async def action(progress: ConsoleProgress) -> ExplainResult:
        return describing.explain(open_workspace(directory, environment), key)

    def show(result: ExplainResult) -> None:
        rows = [("wins" if place.wins else "covered", place.where, place.value) for place in result.places]
        show_table(("", "WHERE", "VALUE"), rows)

    perform(action, output=output, show=show)


@new.command("environment")
def new_environment(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The new environment's name.")],
    like: Annotated[str, typer.Option("--like", help="The environment that it is made after.")],
    reader: Annotated[
        str | None, typer.Option("--reader", metavar="KEY", help="The public key that reads its secrets.")
    ] = None,
    reader_name: Annotated[str, typer.Option("--reader-name", help="Whose key that is.")] = "",
    directory: DirectoryOption = HERE,
    output: OutputOption = Output.text,
) -> None:
    """Write the lines and files of a new environment after an existing one, and tell what is left to fill in.

    Its secrets are sealed for the readers of its rule in .sops.yaml, and for --reader.

    Example: binderops new environment demo --like staging --reader age1… --reader-name ana
    """

    async def action(progress: ConsoleProgress) -> NewEnvironmentResult:
        root, project = open_project(directory)
        named = Reader(reader_name, reader) if reader else None
        return Founding(root=root, project=project, name=name, like=like, reader=named).run()

    def show(result: NewEnvironmentResult) -> None:
        show_lines([("wrote", path) for path in result.written])
        show_lines([("left", line) for line in result.left])

    perform(action, output=output, show=show)
