"""`certificates`, `trust`: what stands behind each name that is served over TLS, and the local CA of an environment."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Annotated

import typer

from binderops.cli.app import FAILED, HERE, DirectoryOption, Output, OutputOption, app, perform
from binderops.cli.console import ConsoleProgress, show_lines, show_table
from binderops.cli.promoting import NamedEnvironment
from binderops.cli.wiring import open_workspace
from binderops.delivery.certificates import CertificateReport, CertificatesResult, environment_certificates
from binderops.delivery.certificates_store import TrustStore
from binderops.delivery.certificates_trust import TrustResult, distrust
from binderops.delivery.certificates_trust import trust as find_authority
from binderops.errors import UsageError


@app.command()
def certificates(
    environment: NamedEnvironment, directory: DirectoryOption = HERE, output: OutputOption = Output.text
) -> None:
    """Show each certificate: its names, who signs it, days left, when it is renewed, and what went wrong last.

    Exit code 1 where one is missing, does not cover its names, has ended, or could not be renewed.
    Example: binderops certificates staging
    """

    async def action(progress: ConsoleProgress) -> CertificatesResult:
        return await environment_certificates(open_workspace(directory, environment))

    def show(result: CertificatesResult) -> None:
        columns = ("NAMES", "ISSUER", "STATE", "DAYS LEFT", "NEXT RENEWAL", "SECRET")
        show_table(columns, [_row(found) for found in result.certificates])
        show_lines([("failed", _failure(found)) for found in result.certificates if found.last_error])

    if not perform(action, output=output, show=show).good:
        raise typer.Exit(FAILED)


def _row(found: CertificateReport) -> tuple[object, ...]:
    state = found.state if not found.missing_names else f"does not cover {', '.join(found.missing_names)}"
    left = "-" if found.days_left is None else f"{found.days_left:.1f}"
    return ", ".join(found.names), found.issuer or "-", state, left, _moment(found.next_renewal), found.secret


def _failure(found: CertificateReport) -> str:
    again = _moment(found.next_attempt)
    return f"{found.secret}: {found.failures} in a row, next attempt {again}: {found.last_error}"


def _moment(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M}Z" if moment else "-"


@app.command()
def trust(
    environment: NamedEnvironment,
    install: Annotated[
        bool, typer.Option("--install", help="Put it into this machine's store of trusted CAs (root only).")
    ] = False,
    remove: Annotated[
        bool, typer.Option("--remove", help="Take it out of there again; the environment need not run.")
    ] = False,
    directory: DirectoryOption = HERE,
    output: OutputOption = Output.text,
) -> None:
    """Print an environment's local CA (PEM), or have this machine trust it. Browsers keep stores of their own.

    Example: sudo binderops trust staging --install
    """
    store = TrustStore()

    async def action(progress: ConsoleProgress) -> TrustResult:
        if install and remove:
            raise UsageError("--install and --remove exclude each other")
        workspace = open_workspace(directory, environment)
        if remove:
            return await distrust(workspace.name, store=store)
        return await find_authority(workspace, install=install, store=store)

    def show(result: TrustResult) -> None:
        if result.authority is not None and result.done == "shown":
            sys.stdout.write(result.authority.pem)
            return
        show_lines([(result.done, result.path)])
        if result.authority is not None:
            signs = ", ".join(result.authority.domains) or "any name"
            show_lines([("CA", result.authority.subject), ("SHA-256", result.authority.fingerprint)])
            show_lines([("until", f"{result.authority.not_after:%F}"), ("signs", signs)])

    perform(action, output=output, show=show)
