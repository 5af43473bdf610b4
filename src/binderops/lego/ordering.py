"""An order, from its key to its chain: each step is remembered before the next, so a killed one goes on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import structlog
from cryptography import x509

from binderops.errors import AcmeError, CertificateError
from binderops.kube.kinds import Object
from binderops.lego.accounts import Accounts
from binderops.lego.acme_door import AcmeDoor, Authorization, Order
from binderops.lego.challenges import Challenges
from binderops.lego.orders import Orders, PendingOrder
from binderops.lego.pairs import Pair, certificate_id, examine, signing_request
from binderops.lego.wanted import Wanted

log = structlog.get_logger(__name__)

ORDER_SECONDS = 1800.0
"""How long one attempt follows an order; the next one goes on with the same."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 30.0  # seconds between two looks, where the CA names no time
_LONGEST_WAIT = 300.0  # seconds that a CA's Retry-After may make us wait between two looks
_GONE = {"malformed", "notFound", "unauthorized"}  # what CAs say of an order that they do not know (any more)


class Ordering:
    """Obtains certificates by ACME."""

    def __init__(self, accounts: Accounts, orders: Orders, challenges: Challenges) -> None:
        self._accounts = accounts
        self._orders = orders
        self._challenges = challenges

    async def obtain(self, wanted: Wanted, ingress: Object, current: Pair | None) -> Pair:
        """A new pair, examined; `current` is what it replaces, if the same issuer signed it.

        Raises AcmeError, SelfCheckError, CertificateError, KubernetesError. An order that can go on stays remembered.
        """
        door = await self._accounts.door(wanted.issuer)
        try:
            return await self._obtain(door, wanted, ingress, current)
        except AcmeError as error:
            if error.reason != "accountDoesNotExist":
                raise
            # The server has lost the account: the same key is registered again, and orders of before mean nothing.
            await self._accounts.forget(wanted.issuer)
            await self._orders.remove(wanted)
        return await self._obtain(await self._accounts.door(wanted.issuer), wanted, ingress, current)

    async def finished(self, wanted: Wanted) -> None:
        """The certificate lies in its Secret: the order is remembered no longer."""
        await self._orders.remove(wanted)

    async def _obtain(self, door: AcmeDoor, wanted: Wanted, ingress: Object, current: Pair | None) -> Pair:
        pending, order = await self._resume(door, wanted, current)
        if order is not None:
            try:
                return await self._finish(door, wanted, ingress, current, pending=pending, order=order)
            except CertificateError as error:
                if _can_go_on(error):
                    raise
                # Nobody answered its challenges while no controller ran: that says nothing about a new order.
                log.info("an order of before is given up", secret=wanted.secret_name, why=str(error))
                pending = None
        return await self._finish(door, wanted, ingress, current, pending=pending, order=None)

    async def _finish(
        self,
        door: AcmeDoor,
        wanted: Wanted,
        ingress: Object,
        current: Pair | None,
        *,
        pending: PendingOrder | None,
        order: Order | None,
    ) -> Pair:
        """An order (placed here, if there is none) to its end; one that cannot go on is forgotten."""
        async with AsyncExitStack() as path:
            if order is None or order.status == "pending":
                await path.enter_async_context(self._challenges.path(wanted, ingress))
            pending = pending or await self._orders.begin(wanted, ingress)
            if order is None:
                order = await self._place(door, wanted, current)
                pending = await self._orders.record(pending, order.url)
            try:
                order = await self._follow(door, wanted, pending, order)
                return await self._collect(door, wanted, pending, order, current)
            except CertificateError as error:
                if not _can_go_on(error):
                    await self._orders.remove(wanted)
                raise

    async def _resume(
        self, door: AcmeDoor, wanted: Wanted, current: Pair | None
    ) -> tuple[PendingOrder | None, Order | None]:
        """The order that an earlier attempt left, as it stands now."""
        pending = await self._orders.load(wanted)
        if pending is not None and current is not None and pending.key.public_key() == current.key.public_key():
            # It gave the very certificate that is to be replaced, and was not forgotten.
            await self._orders.remove(wanted)
            return None, None
        if pending is None or not pending.url:
            return pending, None
        try:
            order = await door.order(pending.url)
        except AcmeError as error:
            if error.reason not in _GONE:
                raise
            order = None
        if order is None or order.status == "invalid":
            # Its key was never signed, or is of no use: a new order gets a new one.
            await self._orders.remove(wanted)
            return None, None
        log.info("an order goes on", secret=wanted.secret_name, order=order.url, status=order.status)
        return pending, order

    async def _place(self, door: AcmeDoor, wanted: Wanted, current: Pair | None) -> Order:
        replaces = ""
        if current is not None:
            try:
                replaces = certificate_id(current.leaf)
            except (ValueError, x509.ExtensionNotFound):
                replaces = ""  # a certificate without its issuer's identifier cannot be named (RFC 9773 4.1)
        try:
            return await door.new_order(wanted.names, replaces=replaces, profile=wanted.issuer.profile)
        except AcmeError as error:
            # What is named may be replaced already, or unknown to a CA that lost it: an order without it is as good.
            if not replaces or error.reason in ("rateLimited", "accountDoesNotExist", "unreachable", "timeout"):
                raise
            return await door.new_order(wanted.names, profile=wanted.issuer.profile)

    async def _follow(self, door: AcmeDoor, wanted: Wanted, pending: PendingOrder, order: Order) -> Order:
        """Until the order is valid. Raises AcmeError where it is not going to be."""
        deadline = time.monotonic() + ORDER_SECONDS
        pause = _FIRST_PAUSE
        while order.status != "valid":
            if order.status == "pending":
                await self._prove(door, order.authorizations, deadline)
            elif order.status == "ready":
                order = await self._finalize(door, wanted, pending, order)
                continue
            elif order.status == "invalid":
                raise order.error or AcmeError("the CA failed the order, and says no more", reason="invalidOrder")
            elif order.status != "processing":
                raise AcmeError(f"the order's state is {order.status!r}", reason="malformedAnswer", where=order.url)
            order = await door.order(order.url)
            if order.status in ("pending", "processing"):
                pause = await _wait(order.retry_after, pause, deadline, f"the order is {order.status}", order.url)
        return order

    async def _finalize(self, door: AcmeDoor, wanted: Wanted, pending: PendingOrder, order: Order) -> Order:
        try:
            return await door.finalize(order, signing_request(pending.key, wanted.names))
        except AcmeError as error:
            if error.reason != "orderNotReady":
                raise
            # It moved on (a finalize of before a kill), or moved back: its state says which (RFC 8555 7.4).
            await asyncio.sleep(_FIRST_PAUSE)
            return await door.order(order.url)

    async def _prove(self, door: AcmeDoor, urls: Sequence[str], deadline: float) -> None:
        """Prove each name that is not proved yet, all at once."""
        await _all(lambda url: self._prove_one(door, url, deadline), urls)

    async def _prove_one(self, door: AcmeDoor, url: str, deadline: float) -> None:
        found = await door.authorization(url)
        if found.status == "valid":
            return
        if found.status == "pending" and not found.token:
            raise AcmeError(
                f"the CA offers no HTTP-01 challenge for {found.name}", reason="noChallenge", where=door.server
            )
        with self._challenges.answering(found.name, found.token, door.key_authorization(found.token)):
            pause = _FIRST_PAUSE
            if found.status == "pending" and found.challenge_status == "pending":
                await door.answer(found.challenge_url)
                found = await door.authorization(url)
            while found.status == "pending":
                what = f"the CA is validating {found.name}"
                pause = await _wait(found.retry_after, pause, deadline, what, door.server)
                found = await door.authorization(url)
        if found.status != "valid":
            raise found.error or _no_reason(found, door)

    async def _collect(
        self, door: AcmeDoor, wanted: Wanted, pending: PendingOrder, order: Order, current: Pair | None
    ) -> Pair:
        """The chain to serve: the one that the issuer prefers, else the first that can be served at all."""
        if not order.certificate_url:
            raise AcmeError("the order is valid and names no certificate", reason="malformedAnswer", where=order.url)
        chains = [chain for chain in await door.certificate(order.certificate_url) if chain]
        preferred = wanted.issuer.preferred_chain
        if preferred:
            chains.sort(key=lambda chain: preferred not in chain[-1].issuer.rfc4514_string())
        now, found = datetime.now(UTC), []
        for chain in chains:
            pair = Pair(chain, pending.key)
            found = examine(pair, wanted.names, now=now)
            if not found or (_only_early(found) and not _usable(current, now)):
                return pair
        reason, why = found[0] if found else ("malformedAnswer", "the answer holds no certificate")
        raise CertificateError(
            "the certificate that the CA handed out cannot be served: the one before stays",
            reason=reason,
            where=door.server,
            why=why,
            hint="set this machine's clock" if reason == "clockSkew" else "report it to the CA, or take another issuer",
        )


async def _all(work: Callable[[str], Awaitable[None]], urls: Sequence[str]) -> None:
    """All at once; the first failure counts once all have ended, so that no challenge is left half way."""
    results = await asyncio.gather(*(work(url) for url in urls), return_exceptions=True)
    failed = [result for result in results if isinstance(result, BaseException)]
    # What the CA decided says more than a connection that broke beside it.
    failed.sort(key=lambda error: isinstance(error, AcmeError) and error.transient)
    if failed:
        raise failed[0]


async def _wait(told: float | None, pause: float, deadline: float, what: str, where: str) -> float:
    """Wait as long as the CA says, or a growing pause; the pause after it. AcmeError `timeout` past the deadline."""
    seconds = pause if told is None else min(max(told, _FIRST_PAUSE), _LONGEST_WAIT)
    if time.monotonic() + seconds > deadline:
        why = f"after {ORDER_SECONDS:.0f} seconds it still is"
        raise AcmeError(what, reason="timeout", transient=True, where=where, why=why)
    await asyncio.sleep(seconds)
    return min(pause * 1.5, _LONGEST_PAUSE)


def _can_go_on(error: CertificateError) -> bool:
    """Whether the order may still become a certificate with the same key."""
    if isinstance(error, AcmeError):
        return error.transient or error.reason in ("rateLimited", "accountDoesNotExist")
    return error.reason == "clockSkew"


def _only_early(found: Sequence[tuple[str, str]]) -> bool:
    return [reason for reason, _ in found] == ["clockSkew"]


def _usable(pair: Pair | None, now: datetime) -> bool:
    return pair is not None and pair.leaf.not_valid_after_utc > now


def _no_reason(found: Authorization, door: AcmeDoor) -> AcmeError:
    return AcmeError(
        f"the CA could not validate {found.name}",
        reason="unauthorized",
        where=door.server,
        why=f"the authorization is {found.status}, and says no more",
    )
