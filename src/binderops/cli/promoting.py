"""`deploy`, `verify`, `rollback`, `ledger`: a state on its way through the environments, and the records of it."""

from __future__ import annotations

from typing import Annotated

import typer

from binderops.cli.app import HERE, DirectoryOption, Output, OutputOption, app, perform
from binderops.cli.console import ConsoleProgress, show_lines, show_table
from binderops.cli.lifecycle import WithoutProofOption
from binderops.cli.wiring import gate_of, open_workspace
from binderops.delivery import recalling, verifying
from binderops.delivery.bringing import deploy_proven
from binderops.delivery.promoting import short
from binderops.delivery.results import DeployedResult, LedgerResult, RecordResult, RollbackResult, VerifyResult

NamedEnvironment = Annotated[str, typer.Argument(metavar="ENV", help="The environment, as binderops.yaml names it.")]


@app.command()
def deploy(
    environment: NamedEnvironment,
    without_proof: WithoutProofOption = None,
    directory: DirectoryOption = HERE,
    output: OutputOption = Output.text,
) -> None:
    """Bring the state of the files to a target that runs already, and prove it. Never starts a target.

    Example: binderops deploy prod
    """

    async def action(progress: ConsoleProgress) -> DeployedResult:
        workspace = open_workspace(directory, environment)
        return await deploy_proven(workspace, gate=gate_of(workspace, without_proof), progress=progress)

    def show(result: DeployedResult) -> None:
        show_lines([("Binder", result.binder_url), ("record", record_words(result.record))])

    perform(action, output=output, show=show)


@app.command()
def verify(
    environment: NamedEnvironment, directory: DirectoryOption = HERE, output: OutputOption = Output.text
) -> None:
    """Prove what is live, as it is: its pages, a launch, a kernel. The verdict is recorded.

    Example: binderops verify staging
    """

    async def action(progress: ConsoleProgress) -> VerifyResult:
        return await verifying.verify(open_workspace(directory, environment), progress=progress)

    perform(action, output=output, show=lambda result: show_lines([("record", record_words(result.record))]))


@app.command()
def rollback(
    environment: NamedEnvironment, directory: DirectoryOption = HERE, output: OutputOption = Output.text
) -> None:
    """Go back to the newest revision that was proven, by Helm's own history, and prove it again.

    Neither git nor a registry of charts is asked, and the files of this repository are not read.
    Example: binderops rollback staging
    """

    async def action(progress: ConsoleProgress) -> RollbackResult:
        return await verifying.rollback(open_workspace(directory, environment), progress=progress)

    def show(result: RollbackResult) -> None:
        back = f"revision {result.left} left, {result.back_to} is live again as {result.revision}"
        show_lines([("back", back), ("record", record_words(result.record))])

    perform(action, output=output, show=show)


@app.command()
def ledger(
    environment: NamedEnvironment,
    begin_anew: Annotated[
        bool, typer.Option("--begin-anew", help="Remove every record; for a chain that is broken.")
    ] = False,
    directory: DirectoryOption = HERE,
    output: OutputOption = Output.text,
) -> None:
    """Show the records of an environment's proofs, and whether their chain is whole.

    Example: binderops ledger staging
    """

    async def action(progress: ConsoleProgress) -> LedgerResult:
        workspace = open_workspace(directory, environment)
        return await (recalling.begin_anew(workspace) if begin_anew else recalling.ledger(workspace))

    def show(result: LedgerResult) -> None:
        if result.removed:
            show_lines([("removed", f"{result.removed} records; the next proof begins a new chain")])
        rows = [
            (found.number, found.time, found.action, found.verdict, found.revision or "-", short(found.digest),
             short(found.common), found.who)
            for found in result.records
        ]  # fmt: skip
        show_table(("NO", "TIME", "BY", "VERDICT", "REVISION", "STATE", "COMMON", "WHO"), rows)
        show_lines(
            [(str(found.number), why) for found in result.records if (why := found.without_proof or found.error)]
        )

    perform(action, output=output, show=show)


def record_words(record: RecordResult) -> str:
    """A record in a line."""
    words = f"{record.number}: {record.verdict}, state {short(record.digest)}, common {short(record.common)}"
    return words + (f", without proof: {record.without_proof}" if record.without_proof else "")
