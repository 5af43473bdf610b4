"""The work on one certificate: one step of what its Secret needs, and when to come back."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta

import structlog

from binderops.errors import (
    AcmeError,
    AlreadyExistsError,
    BinderOpsError,
    CertificateError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
)
from binderops.kube import certificates as names
from binderops.kube.events import EventRecorder
from binderops.kube.kinds import INGRESS, Object
from binderops.kube.objects import Key, annotations_of, timestamp
from binderops.lego import authority, backoff, external, metrics, renewal
from binderops.lego.accounts import Accounts
from binderops.lego.decisions import Decision, decide
from binderops.lego.ordering import Ordering
from binderops.lego.pairs import Pair, self_signed
from binderops.lego.targets import Targets
from binderops.lego.wanted import Wanted

log = structlog.get_logger(__name__)

LOOK_AGAIN = timedelta(minutes=1)
"""When Secrets that are not ours, of which no watch tells, are looked at again."""
LONGEST = timedelta(hours=8)
"""Certificates are looked at at least this often, as kube-lego did."""
_ASK_AGAIN_SOON = timedelta(minutes=5)  # after the first failure to learn a window
_REASONS = {
    "unspecified": 0,
    "keyCompromise": 1,
    "affiliationChanged": 3,
    "superseded": 4,
    "cessationOfOperation": 5,
}


class Work:
    """One step at a time for one certificate; no two orders for one set of names at once."""

    def __init__(self, targets: Targets, ordering: Ordering, accounts: Accounts, events: EventRecorder) -> None:
        self._targets = targets
        self._ordering = ordering
        self._accounts = accounts
        self._events = events
        self._names: dict[tuple[str, tuple[str, ...]], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._told: dict[Key, frozenset[tuple[str, str]]] = {}

    async def step(self, wanted: Wanted, ingress: Object) -> datetime:
        """Do what is due; when there is something to do again. Raises only what a restart cures."""
        now = datetime.now(UTC)
        try:
            secret = await self._targets.read(wanted)
            if wanted.issuer.type == "external":
                return await self._watch(wanted, ingress, secret, now)
            decision = decide(wanted, secret, now=now)
            if secret is not None:
                metrics.show(wanted.key, secret)
            if decision.at > now:
                return min(decision.at, now + LONGEST)
            return await self._act(wanted, ingress, secret, decision)
        except (ConflictError, NotFoundError):  # somebody was quicker: look again
            return now + timedelta(seconds=1)
        except ForbiddenError as error:
            await self._tell(wanted, ingress, [("Forbidden", str(error))])
            return now + LOOK_AGAIN
        except BinderOpsError as error:
            log.warning("the API did not answer as it should", secret=wanted.secret_name, error=str(error))
            return now + timedelta(seconds=random.uniform(5, 15))  # noqa: S311

    def forget(self, key: Key) -> None:
        """A certificate is asked for no longer."""
        self._told.pop(key, None)
        metrics.forget(key)

    async def _act(self, wanted: Wanted, ingress: Object, secret: Object | None, decision: Decision) -> datetime:
        now = datetime.now(UTC)
        match decision.action:
            case "refuse":
                message = (
                    f"Secret {wanted.secret_name} is not touched: {decision.why}. To have it looked after here, "
                    f'annotate the Ingress with {names.ADOPT}: "true", or delete the Secret'
                )
                await self._tell(wanted, ingress, [("NotOurs", message)])
                return now + LOOK_AGAIN
            case "adopt":
                assert secret is not None
                await self._targets.adopt(wanted, secret)
            case "placeholder":
                try:
                    await self._targets.placeholder(wanted)
                except AlreadyExistsError:
                    return now + timedelta(seconds=1)
            case "window":
                assert secret is not None and decision.pair is not None
                await self._ask_window(wanted, secret, decision.pair)
            case "revoke" | "issue":
                assert secret is not None
                await self._sign(wanted, ingress, secret, decision)
            case "wait":
                return min(decision.at, now + LONGEST)
        return now  # the next step, at once

    async def _sign(self, wanted: Wanted, ingress: Object, secret: Object, decision: Decision) -> None:
        """Issue or revoke; a failure is remembered, told and counted."""
        try:
            if decision.action == "revoke":
                await self._revoke(wanted, ingress, secret, decision)
            else:
                await self._issue(wanted, ingress, secret, decision)
        except CertificateError as error:
            now = datetime.now(UTC)
            before = backoff.read(annotations_of(secret), specification=wanted.specification)
            life = renewal.life(decision.pair.leaf) if decision.pair else None
            failure = backoff.after(error, before, specification=wanted.specification, now=now, life=life)
            await self._targets.failed(wanted, failure)
            metrics.FAILED.labels(wanted.issuer.name, failure.reason).inc()
            message = f"{', '.join(wanted.names[:3])}: {error}; next attempt at {failure.next_attempt:%F %T}Z"
            log.warning(
                "failed", secret=wanted.secret_name, reason=failure.reason, error=str(error), count=failure.count
            )
            await self._event(ingress, "Failed", message, warning=True)

    async def _issue(self, wanted: Wanted, ingress: Object, secret: Object, decision: Decision) -> None:
        log.info("a certificate is ordered", secret=wanted.secret_name, names=wanted.names, why=decision.why)
        signer: Pair | None = None
        if wanted.issuer.type == "acme":
            async with self._names[wanted.issuer.server, wanted.names]:
                pair = await self._ordering.obtain(wanted, ingress, decision.pair if decision.renews else None)
        elif wanted.issuer.type == "ca":
            signer = await self._targets.authority(wanted.issuer.domains)
            refused = authority.outside(signer, wanted.names)
            if refused:
                raise CertificateError(
                    f"the local CA may not sign for {', '.join(refused)}",
                    reason="namesRefused",
                    hint="delete its Secret (and trust the new one), or take another issuer",
                )
            pair = authority.issue(signer, wanted.names, wanted.key_kind)
        else:
            pair = self_signed(wanted.names, wanted.key_kind, life=authority.LEAF_LIFE)
        # Read again: an order takes its time, and annotations may have changed meanwhile.
        latest = await self._targets.read(wanted)
        if latest is None:
            latest = await self._targets.placeholder(wanted)
        if decide(wanted, latest, now=datetime.now(UTC)).action in ("refuse", "adopt"):
            raise CertificateError(
                f"Secret {wanted.secret_name} has become somebody else's", reason="notOurs", hint="delete or adopt it"
            )
        written = await self._targets.write(wanted, latest, pair, authority=signer)
        await self._ordering.finished(wanted)
        metrics.show(wanted.key, written)
        metrics.ISSUED.labels(wanted.issuer.name, str(decision.renews).lower()).inc()
        end = pair.leaf.not_valid_after_utc
        message = (
            f"certificate for {', '.join(wanted.names[:5])} is in Secret {wanted.secret_name}, valid until {end:%F %T}Z"
        )
        await self._event(ingress, "Issued", message)

    async def _revoke(self, wanted: Wanted, ingress: Object, secret: Object, decision: Decision) -> None:
        assert decision.pair is not None
        annotations = annotations_of(secret)
        asked, serial = annotations[names.REVOKE], f"{decision.pair.leaf.serial_number:x}"
        reason = _REASONS.get(asked)
        if reason is None:
            await self._targets.annotate(wanted, {names.REVOKE: None})
            known = ", ".join(_REASONS)
            await self._event(
                ingress, "BadConfig", f"{names.REVOKE} is {asked!r}: a reason is one of {known}", warning=True
            )
            return
        if wanted.issuer.type == "acme" and annotations.get(names.ISSUER_NAME) == wanted.issuer.name:
            door = await self._accounts.door(wanted.issuer)
            await door.revoke(decision.pair.leaf, reason)
        # What was revoked must not stay in use: a new one is due at once, with a new key.
        due = {names.REVOKE: None, names.REVOKED: serial, names.RENEW_AT: timestamp(), names.ARI_NEXT: None}
        await self._targets.annotate(wanted, due)
        await self._event(ingress, "Revoked", f"certificate {serial} was revoked ({asked}); a new one is on its way")

    async def _ask_window(self, wanted: Wanted, secret: Object, pair: Pair) -> None:
        """Learn the CA's window (RFC 9773); what goes wrong there never delays a renewal."""
        now = datetime.now(UTC)
        try:
            info = await (await self._accounts.door(wanted.issuer)).renewal_info(pair.leaf)
        except CertificateError as error:
            log.info("the CA did not tell when to renew", secret=wanted.secret_name, error=str(error))
            told = error.retry_after if isinstance(error, AcmeError) else None
            soon = timestamp(renewal.ask_again_at(now, told) if told is not None else now + _ASK_AGAIN_SOON)
            await self._targets.annotate(wanted, {names.ARI_NEXT: soon})
            return
        next_at = timestamp(renewal.ask_again_at(now, info.retry_after if info else None))
        await self._targets.window(wanted, secret, pair, info, next_at=next_at)

    async def _watch(self, wanted: Wanted, ingress: Object, secret: Object | None, now: datetime) -> datetime:
        found, end = external.findings(secret, wanted.names, now=now)
        if end is not None:
            metrics.EXPIRY.labels(*wanted.key).set(end.timestamp())
        await self._tell(wanted, ingress, [(reason, f"Secret {wanted.secret_name}: {why}") for reason, why in found])
        return now + LOOK_AGAIN

    async def _tell(self, wanted: Wanted, ingress: Object, found: list[tuple[str, str]]) -> None:
        """Warnings that are new; the same is told again only after it was gone."""
        before = self._told.get(wanted.key, frozenset())
        self._told[wanted.key] = frozenset(found)
        for reason, message in found:
            if (reason, message) not in before:
                await self._event(ingress, reason, message, warning=True)

    async def _event(self, ingress: Object, reason: str, message: str, *, warning: bool = False) -> None:
        described = {"apiVersion": INGRESS.api_version, "kind": INGRESS.kind, **ingress}
        await self._events.event(described, reason, message, "Warning" if warning else "Normal")
