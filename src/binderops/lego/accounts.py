"""Accounts at ACME servers: a key of its own for each directory, in a Secret, made before the server hears of it.

So staging and production never share a key, and a process that is killed anywhere finds the same account again.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import structlog

from binderops.errors import AcmeError, AlreadyExistsError, CertificateError, NotFoundError
from binderops.kube import certificates as names
from binderops.kube.client import Client
from binderops.kube.kinds import SECRET, Object
from binderops.kube.objects import annotations_of, name_of
from binderops.lego.acme_door import THREADS, AcmeDoor
from binderops.lego.pairs import KeyKind, key_pem, load_key
from binderops.lego.settings import Issuer, Settings

log = structlog.get_logger(__name__)


class Accounts:
    """Doors to ACME servers, each as the holder of this controller's one account there."""

    def __init__(self, client: Client, settings: Settings) -> None:
        self._client = client
        self._settings = settings
        self._doors: dict[str, AcmeDoor] = {}
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="acme")

    def close(self) -> None:
        """Let threads end; requests that are under way are not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def door(self, issuer: Issuer) -> AcmeDoor:
        """The door to the issuer's server, with an account. Raises AcmeError, KubernetesError."""
        async with self._locks[issuer.server]:
            if issuer.server not in self._doors:
                self._doors[issuer.server] = await self._open(issuer)
            return self._doors[issuer.server]

    async def forget(self, issuer: Issuer) -> None:
        """The server does not know the account (any more): it is registered again, with the same key."""
        async with self._locks[issuer.server]:
            self._doors.pop(issuer.server, None)
            secret = await self._find(issuer)
            if secret is not None:
                await self._annotate(secret, {names.ACCOUNT: None})

    async def _open(self, issuer: Issuer) -> AcmeDoor:
        secret = await self._find(issuer) or await self._create(issuer)
        annotations = annotations_of(secret)
        try:
            key = load_key(base64.b64decode(secret["data"]["tls.key"]))
        except (KeyError, ValueError) as error:
            raise CertificateError(
                f"the account's key in Secret {name_of(secret)} cannot be read",
                reason="accountKey",
                where=issuer.server,
                why=str(error),
                hint="restore the Secret, or delete it: a new account is made then",
            ) from error
        door = AcmeDoor(issuer.server, key, pool=self._pool)
        if names.ACCOUNT not in annotations:
            url = await door.register(issuer.email, external=await self._external(issuer))
            await self._annotate(secret, {names.ACCOUNT: url, names.ACCOUNT_EMAIL: issuer.email})
            log.info("account registered", server=issuer.server, account=url)
            return door
        door.use_account(annotations[names.ACCOUNT])
        if annotations.get(names.ACCOUNT_EMAIL, "") != issuer.email:
            try:
                await door.update_contact(issuer.email)
            except AcmeError as error:
                if error.reason != "accountDoesNotExist":  # which the first order finds out, and cures
                    raise
            await self._annotate(secret, {names.ACCOUNT_EMAIL: issuer.email})
        return door

    async def _find(self, issuer: Issuer) -> Object | None:
        for name in (_hashed(issuer.server), names.ACCOUNT_SECRET):
            try:
                found = await self._client.get(SECRET, name, self._settings.namespace)
            except NotFoundError:
                continue
            if annotations_of(found).get(names.DIRECTORY) == issuer.server:
                return found
        return None

    async def _create(self, issuer: Issuer) -> Object:
        """A Secret with a new key: kube-lego's name for the default issuer, unless taken, else one by the address."""
        default = self._settings.issuers.get(self._settings.default_issuer)
        plain = default is not None and default.server == issuer.server
        for name in [names.ACCOUNT_SECRET] * plain + [_hashed(issuer.server)]:
            try:
                return await self._client.create(self._secret(name, issuer))
            except AlreadyExistsError:  # of another directory, or of a kube-lego of old
                found = await self._client.get(SECRET, name, self._settings.namespace)
                if annotations_of(found).get(names.DIRECTORY) == issuer.server:
                    return found
        raise CertificateError(
            "the account's Secret cannot be made",
            reason="accountKey",
            where=f"Secret {_hashed(issuer.server)}",
            why="somebody else made a Secret of that name",
            hint="rename or delete it",
        )

    def _secret(self, name: str, issuer: Issuer) -> Object:
        key = base64.b64encode(key_pem(KeyKind().generate()).encode()).decode()
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": name,
                "namespace": self._settings.namespace,
                "labels": {names.MANAGED_BY: names.KUBE_LEGO, names.COMPONENT: "account"},
                "annotations": {names.DIRECTORY: issuer.server},
            },
            "type": "Opaque",
            "data": {"tls.key": key},
        }

    async def _external(self, issuer: Issuer) -> tuple[str, str] | None:
        binding = issuer.external_account
        if binding is None:
            return None
        try:
            secret = await self._client.get(SECRET, binding.secret_name, self._settings.namespace)
            key = base64.b64decode(secret["data"]["secret"]).decode("ascii").strip()
        except (NotFoundError, KeyError, ValueError) as error:
            raise CertificateError(
                f"the issuer {issuer.name} has no HMAC key for its external account",
                reason="externalAccount",
                where=f"Secret {binding.secret_name}, key secret",
                why=str(error),
                hint="put the key there as the CA gave it (base64url)",
            ) from error
        return binding.key_id, key

    async def _annotate(self, secret: Object, annotations: dict[str, str | None]) -> None:
        patch = {"metadata": {"annotations": annotations}}
        await self._client.patch(SECRET, name_of(secret), self._settings.namespace, patch)


def _hashed(server: str) -> str:
    return f"{names.ACCOUNT_SECRET}-{hashlib.sha256(server.encode()).hexdigest()[:10]}"
