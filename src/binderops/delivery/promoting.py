"""The gate before an environment: it takes only a common part that the one which promotes to it has proven."""

from __future__ import annotations

from collections.abc import Sequence

from binderops.delivery.ledger import Ledger
from binderops.delivery.records import Record, newest_of
from binderops.delivery.workspace import Workspace
from binderops.errors import BinderOpsError, LedgerError, PromotionError
from binderops.kube.client import Client
from binderops.state.composition import Part
from binderops.state.deployment import Deployment


async def require_proof(workspace: Workspace, deployment: Deployment, promoters: Sequence[Workspace]) -> str:
    """Words about who proved this; raises PromotionError that says what is missing, LedgerError for a broken chain."""
    told = [await _require(workspace.name, deployment, promoter) for promoter in promoters]
    return "; ".join(told)


async def records_of(workspace: Workspace) -> list[Record]:
    """The ledger of an environment; raises BinderOpsError where its target does not answer."""
    access = workspace.target.access()
    async with Client.from_kubeconfig(access.kubeconfig, context=access.context) as client:
        return await Ledger(client, workspace.environment.namespace, workspace.name).records()


async def _require(name: str, deployment: Deployment, promoter: Workspace) -> str:
    try:
        records = await records_of(promoter)
    except LedgerError:
        raise
    except BinderOpsError as error:
        raise _refusal(
            name, promoter, f"its records cannot be read: {error.what}", f"binderops up {promoter.name}"
        ) from None
    newest = newest_of(records, common=deployment.common)
    if newest is None:
        why = f"{promoter.name} has no record of the common part {short(deployment.common)}"
        if records:
            why += (
                f"; its newest record, a {records[-1].verdict} at {records[-1].time}, is of {short(records[-1].common)}"
            )
        raise _refusal(
            name, promoter, "\n".join([why, *_differences(deployment, promoter)]), f"binderops up {promoter.name}"
        )
    if newest.verdict != "pass":
        because = f": {newest.error.what}" if newest.error else ""
        why = f"its newest record of {short(deployment.common)} is a fail at {newest.time}{because}"
        raise _refusal(name, promoter, why, f"mend it, then binderops up {promoter.name}")
    return f"{promoter.name} proved {short(newest.common)} at {newest.time}"


def _refusal(name: str, promoter: Workspace, why: str, hint: str) -> PromotionError:
    return PromotionError(
        f"{name} takes only what {promoter.name} has proven",
        where=f"binderops.yaml: environments.{promoter.name}.promotesTo",
        why=why,
        hint=f"{hint}; or go ahead with --without-proof REASON, which stands in the record",
    )


def _differences(deployment: Deployment, promoter: Workspace) -> list[str]:
    """Which common parts the promoter's own files would run otherwise; none where both would run the same."""
    try:
        other = _common(promoter.deployment(opened=False).composition.parts)
    except BinderOpsError:
        return []
    own = _common(deployment.composition.parts)
    return [f"differs now: {part}" for part in sorted({*own, *other}) if own.get(part) != other.get(part)]


def _common(parts: Sequence[Part]) -> dict[str, str]:
    return {part.name: part.digest for part in parts if part.common}


def short(digest: str) -> str:
    """The first twelve digits, as people read them."""
    return digest.removeprefix("sha256:")[:12]
