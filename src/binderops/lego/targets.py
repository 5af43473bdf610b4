"""Certificates' Secrets: read, and written in one update, so that no key ever stands beside another's certificate."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import timedelta

from binderops.errors import AlreadyExistsError, CertificateError, NotFoundError
from binderops.kube import certificates as names
from binderops.kube.client import Client
from binderops.kube.kinds import SECRET, Object
from binderops.kube.objects import annotations_of, metadata_of, timestamp
from binderops.lego import backoff, renewal
from binderops.lego.acme_door import RenewalInfo
from binderops.lego.authority import make_authority
from binderops.lego.pairs import Pair, chain_pem, key_pem, read_pair, self_signed
from binderops.lego.wanted import Wanted

_PLACEHOLDER_LIFE = timedelta(days=365)
_LABELS = {names.MANAGED_BY: names.KUBE_LEGO, names.COMPONENT: "certificate"}


class Targets:
    """What the controller writes into Secrets that Ingresses name."""

    def __init__(self, client: Client, *, namespace: str) -> None:
        self._client = client
        self._namespace = namespace

    async def read(self, wanted: Wanted) -> Object | None:
        """The Secret as the API has it now."""
        try:
            return await self._client.get(SECRET, wanted.secret_name, wanted.namespace)
        except NotFoundError:
            return None

    async def placeholder(self, wanted: Wanted) -> Object:
        """A Secret with a pair that nobody trusts, so that the proxy has something to start with.

        AlreadyExistsError if somebody was quicker.
        """
        pair = self_signed(wanted.names, wanted.key_kind, life=_PLACEHOLDER_LIFE)
        annotations = {**_annotations(wanted, pair), names.PLACEHOLDER: "true"}
        del annotations[names.ISSUER_NAME], annotations[names.NOT_AFTER]
        metadata = {"name": wanted.secret_name, "namespace": wanted.namespace, "labels": dict(_LABELS)}
        return await self._client.create(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {**metadata, "annotations": annotations},
                "type": "kubernetes.io/tls",
                "data": _data(pair),
            }
        )

    async def adopt(self, wanted: Wanted, secret: Object) -> Object:
        """Take over a Secret of somebody else's: its certificate stays until it has to be renewed."""
        annotations = {names.INGRESS_NAME: wanted.ingress, names.NAMES: ",".join(wanted.names)}
        return await self._patch(wanted, secret, {"metadata": {"labels": _LABELS, "annotations": annotations}})

    async def write(self, wanted: Wanted, secret: Object, pair: Pair, *, authority: Pair | None = None) -> Object:
        """Put a new pair in the old one's place, and forget failures. ConflictError if the Secret has changed since."""
        at = timestamp(renewal.by_lifetime(pair.leaf))
        annotations: dict[str, str | None] = {
            **backoff.no_failure(),
            names.PLACEHOLDER: None,
            names.ARI_WINDOW: None,
            names.ARI_NEXT: None,
            **_annotations(wanted, pair),
            names.RENEW_AT: at,
        }
        if wanted.issuer.type == "acme":
            annotations[names.ARI_NEXT] = timestamp()
        data: dict[str, str | None] = dict(_data(pair))
        data["ca.crt"] = _base64(chain_pem(authority.chain)) if authority else None
        return await self._patch(wanted, secret, {"metadata": {"annotations": annotations}, "data": data})

    async def failed(self, wanted: Wanted, failure: backoff.Failure) -> None:
        """Remember a failure. What the Secret holds stays as it is."""
        await self.annotate(wanted, failure.annotations)

    async def window(
        self, wanted: Wanted, secret: Object, pair: Pair, info: RenewalInfo | None, *, next_at: str
    ) -> None:
        """Remember the CA's window, and a moment in it; the same window keeps its moment.

        ConflictError if the Secret has changed since: an operator may have asked for a renewal meanwhile.
        """
        before = annotations_of(secret).get(names.ARI_WINDOW, "")
        told = str(info.window) if info else None
        changes: dict[str, str | None] = {names.ARI_WINDOW: told, names.ARI_NEXT: next_at}
        if info is not None and told != before:
            changes[names.RENEW_AT] = timestamp(renewal.by_window(pair.leaf, info.window))
        elif info is None and before:
            changes[names.RENEW_AT] = timestamp(renewal.by_lifetime(pair.leaf))
        await self._patch(wanted, secret, {"metadata": {"annotations": changes}})

    async def annotate(self, wanted: Wanted, annotations: Mapping[str, str | None]) -> None:
        """Write annotations alone."""
        patch = {"metadata": {"annotations": dict(annotations)}}
        await self._client.patch(SECRET, wanted.secret_name, wanted.namespace, patch)

    async def authority(self, domains: tuple[str, ...]) -> Pair:
        """The local CA, made where there is none. CertificateError where its Secret is somebody else's."""
        try:
            secret = await self._client.get(SECRET, names.AUTHORITY_SECRET, self._namespace)
        except NotFoundError:
            secret = await self._new_authority(domains)
        data = secret.get("data") or {}
        try:
            return read_pair(*(base64.b64decode(data.get(key) or "") for key in ("tls.crt", "tls.key")))
        except ValueError as error:
            raise CertificateError(
                "the local CA cannot be read",
                reason="authority",
                where=f"Secret {self._namespace}/{names.AUTHORITY_SECRET}",
                why=str(error),
                hint="restore it, or delete it: a new CA is made then, and has to be trusted again",
            ) from error

    async def _new_authority(self, domains: tuple[str, ...]) -> Object:
        metadata = {
            "name": names.AUTHORITY_SECRET,
            "namespace": self._namespace,
            "labels": {names.MANAGED_BY: names.KUBE_LEGO, names.COMPONENT: "authority"},
        }
        made = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "kubernetes.io/tls"}
        try:
            return await self._client.create({**made, "data": _data(make_authority(domains))})
        except AlreadyExistsError:
            return await self._client.get(SECRET, names.AUTHORITY_SECRET, self._namespace)

    async def _patch(self, wanted: Wanted, secret: Object, patch: Object) -> Object:
        """Patch the very version that was read, so that nothing that came between is lost."""
        patch["metadata"]["resourceVersion"] = metadata_of(secret).get("resourceVersion")
        return await self._client.patch(SECRET, wanted.secret_name, wanted.namespace, patch)


def _annotations(wanted: Wanted, pair: Pair) -> dict[str, str]:
    return {
        names.INGRESS_NAME: wanted.ingress,
        names.ISSUER_NAME: wanted.issuer.name,
        names.NAMES: ",".join(wanted.names),
        names.SPECIFICATION: wanted.specification,
        names.NOT_AFTER: timestamp(pair.leaf.not_valid_after_utc),
    }


def _data(pair: Pair) -> dict[str, str]:
    return {"tls.crt": _base64(chain_pem(pair.chain)), "tls.key": _base64(key_pem(pair.key))}


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
