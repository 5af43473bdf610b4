"""`ledger`: an environment's records, told; and a new beginning where their chain is broken."""

from __future__ import annotations

from binderops.delivery.attempts import shown
from binderops.delivery.ledger import Ledger
from binderops.delivery.promoting import records_of
from binderops.delivery.results import LedgerResult
from binderops.delivery.workspace import Workspace
from binderops.kube.client import Client


async def ledger(workspace: Workspace) -> LedgerResult:
    """Every record that is kept; raises LedgerError where they do not fit together."""
    records = await records_of(workspace)
    return LedgerResult(environment=workspace.name, records=tuple(shown(record) for record in records))


async def begin_anew(workspace: Workspace) -> LedgerResult:
    """Removes what is there: nothing is proven any more, until something is proven again."""
    access = workspace.target.access()
    async with Client.from_kubeconfig(access.kubeconfig, context=access.context) as client:
        removed = await Ledger(client, workspace.environment.namespace, workspace.name).begin_anew()
    return LedgerResult(environment=workspace.name, records=(), removed=removed)
