"""An order under way, in a Secret: the new key before the order is placed, its address as soon as it has one.

Whoever comes after a kill goes on with that order and that key.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
from dataclasses import dataclass, replace

from binderops.errors import NotFoundError
from binderops.kube import certificates as names
from binderops.kube.client import Client
from binderops.kube.kinds import SECRET, Object
from binderops.kube.objects import annotations_of, labels_of, name_of, namespace_of, owner_reference
from binderops.lego.pairs import PrivateKey, key_pem, load_key
from binderops.lego.wanted import Wanted

_LABELS = {names.MANAGED_BY: names.KUBE_LEGO, names.COMPONENT: "order"}
_SELECTOR = ",".join(f"{key}={value}" for key, value in _LABELS.items())


@dataclass(frozen=True)
class PendingOrder:
    """The key for the next certificate, and the order's address ("": not placed yet)."""

    name: str
    namespace: str
    key: PrivateKey
    url: str = ""


class Orders:
    """Order Secrets, one for each certificate that is being ordered."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def load(self, wanted: Wanted) -> PendingOrder | None:
        """What an earlier attempt left, if it was for the same specification; anything else of ours is removed."""
        try:
            secret = await self._client.get(SECRET, _name(wanted), wanted.namespace)
        except NotFoundError:
            return None
        annotations = annotations_of(secret)
        fits = (annotations.get(names.SPECIFICATION), annotations.get(names.DIRECTORY)) == (
            wanted.specification,
            wanted.issuer.server,
        )
        try:
            key = load_key(base64.b64decode(secret["data"]["tls.key"]))
        except (KeyError, ValueError):
            fits = False
        if not fits:
            if labels_of(secret).get(names.MANAGED_BY) == names.KUBE_LEGO:
                await self.remove(wanted)
            return None
        return PendingOrder(_name(wanted), wanted.namespace, key, annotations.get(names.ORDER, ""))

    async def begin(self, wanted: Wanted, ingress: Object) -> PendingOrder:
        """A new key, kept before anybody signs it. ConflictError if another process is just doing the same."""
        pending = PendingOrder(_name(wanted), wanted.namespace, wanted.key_kind.generate())
        secret: Object = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": pending.name,
                "namespace": pending.namespace,
                "labels": dict(_LABELS),
                "annotations": {
                    names.ORDER_FOR: wanted.secret_name,
                    names.SPECIFICATION: wanted.specification,
                    names.DIRECTORY: wanted.issuer.server,
                    names.NAMES: ",".join(wanted.names),
                },
                # With its Ingress an order goes, too.
                "ownerReferences": [owner_reference(ingress, controller=False)],
            },
            "type": "Opaque",
            "data": {"tls.key": base64.b64encode(key_pem(pending.key).encode()).decode()},
        }
        await self._client.create(secret)
        return pending

    async def record(self, pending: PendingOrder, url: str) -> PendingOrder:
        """The order was placed."""
        patch = {"metadata": {"annotations": {names.ORDER: url}}}
        await self._client.patch(SECRET, pending.name, pending.namespace, patch)
        return replace(pending, url=url)

    async def sweep(self, namespace: str | None) -> None:
        """Forget the orders whose certificate lies in its Secret: a process was killed between the two."""
        for order in (await self._client.list(SECRET, namespace, labels=_SELECTOR)).items:
            where, target = namespace_of(order), annotations_of(order).get(names.ORDER_FOR)
            with contextlib.suppress(NotFoundError):
                if target and _key_in(order) == _key_in(await self._client.get(SECRET, target, where)):
                    await self._client.delete(SECRET, name_of(order), where)

    async def remove(self, wanted: Wanted) -> None:
        """The order is done, or given up."""
        try:
            await self._client.delete(SECRET, _name(wanted), wanted.namespace)
        except NotFoundError:
            return


def _key_in(secret: Object) -> str | None:
    key: str | None = (secret.get("data") or {}).get("tls.key")
    return key


def _name(wanted: Wanted) -> str:
    return f"kube-lego-order-{hashlib.sha256(wanted.secret_name.encode()).hexdigest()[:12]}"
