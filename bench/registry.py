"""The deployment's registry as its owner sees it: with the key that signs tokens, past the binder."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from binderops.delivery.workspace import Workspace
from binderops.kube.client import Client
from binderops.kube.kinds import SECRET, SERVICE
from binderops.oci.credentials import Minting
from binderops.oci.registry import Registry
from binderops.oci.tokens import TokenSigner


@asynccontextmanager
async def own_registry(workspace: Workspace) -> AsyncIterator[Registry]:
    """The registry by its Service's address."""
    deployment, access = workspace.deployment(), workspace.target.access()
    async with Client.from_kubeconfig(access.kubeconfig, context=access.context) as client:
        service = await client.get(SERVICE, "registry", deployment.namespace)
        secret = await client.get(SECRET, "registry-token", deployment.namespace)
    with tempfile.TemporaryDirectory() as folder:
        for name in ("tls.key", "tls.crt"):
            (Path(folder) / name).write_bytes(base64.b64decode(secret["data"][name]))
        signer = TokenSigner.load(Path(folder))
    host = f"{service['spec']['clusterIP']}:{service['spec']['ports'][0]['port']}"
    async with Registry(host, Minting(signer), insecure=True) as registry:
        yield registry
