"""How requests go to an ACME server: many bad nonces are borne, what headers say about waiting is kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import requests
from acme import client, errors, messages
from josepy.jwa import JWASignature
from josepy.jwk import JWK

from binderops.errors import AcmeError

REQUEST_SECONDS = 30
BAD_NONCES = 150
"""A server may refuse good nonces (RFC 8555 6.5); at nine of ten, all of these fail once in seven million."""
_PATIENT_AFTER = 20  # attempts; then a pause, since a server that refuses more than nine of ten is not well

_TRANSIENT = {"badNonce", "serverInternal", "orderNotReady"}


class Network(client.ClientNetwork):
    """One thread's connection and nonces. The library tries a bad nonce again once only, and drops error headers."""

    def __init__(self, key: JWK, alg: JWASignature, user_agent: str) -> None:
        super().__init__(key, alg=alg, user_agent=user_agent, timeout=REQUEST_SECONDS)
        self.retry_after: str | None = None

    def _send_request(self, method: str, url: str, *args: Any, **kwargs: Any) -> requests.Response:
        response = super()._send_request(method, url, *args, **kwargs)
        self.retry_after = response.headers.get("Retry-After")
        if not response.ok and self.REPLAY_NONCE_HEADER in response.headers:
            self._add_nonce(response)
        return response

    def post(self, *args: Any, **kwargs: Any) -> requests.Response:
        """A signed request; tried again with a fresh nonce while the server refuses the nonce alone."""
        for attempt in range(BAD_NONCES):
            try:
                return self._post_once(*args, **dict(kwargs))
            except messages.Error as error:
                if error.code != "badNonce" or attempt == BAD_NONCES - 1:
                    raise
            if attempt >= _PATIENT_AFTER:
                time.sleep(0.05)
        raise AssertionError("the last attempt returns or raises")


class Networks(threading.local):
    """A Network for each thread: nonces and connections are not shared."""

    def __init__(self, key: JWK, alg: JWASignature, user_agent: str) -> None:
        self.network = Network(key, alg, user_agent)


def retry_after_seconds(text: str | None, *, now: datetime | None = None) -> float | None:
    """`Retry-After` as seconds from now: a number, or a date (RFC 9110 10.2.3); None for what is neither."""
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - (now or datetime.now(UTC))).total_seconds())


def in_words(error: Exception, network: Network, *, what: str, server: str) -> AcmeError:
    """Any of the library's errors as ours."""
    wait = retry_after_seconds(network.retry_after)
    if isinstance(error, messages.Error):
        return of_problem(error, what=what, server=server, retry_after=wait)
    if isinstance(error, errors.ClientError) and error.args and isinstance(error.args[0], requests.Response):
        status = error.args[0].status_code
        why = f"it answered {status} without a reason that can be read"
        return AcmeError(what, reason="serverInternal", transient=True, retry_after=wait, where=server, why=why)
    if isinstance(error, requests.RequestException):
        why = f"it does not answer: {_shortly(error)}"
        return AcmeError(what, reason="unreachable", transient=True, retry_after=wait, where=server, why=why)
    why = f"its answer is not what RFC 8555 says: {type(error).__name__}: {_shortly(error)}"
    return AcmeError(what, reason="malformedAnswer", transient=True, retry_after=wait, where=server, why=why)


def of_problem(error: messages.Error, *, what: str, server: str, retry_after: float | None = None) -> AcmeError:
    """A problem document (RFC 7807), with its subproblems, in words."""
    reason = error.code or str(error.typ).rsplit(":", 1)[-1] or "unknown"
    return AcmeError(
        what,
        reason=reason,
        transient=reason in _TRANSIENT,
        retry_after=retry_after,
        where=server,
        why=describe(error),
        hint=_HINTS.get(reason),
    )


def describe(error: messages.Error) -> str:
    """What a problem document says: its detail (or what its type means), then one clause for each subproblem."""
    said = error.detail or error.title or error.description or str(error.typ)
    parts = [_shortly(said)]
    for part in error.subproblems or ():
        about = f"{part.identifier.value}: " if part.identifier else ""
        parts.append(f"{about}{_shortly(part.detail or part.description or str(part.typ))}")
    return "; ".join(parts)


_HINTS: Mapping[str, str] = {
    "rateLimited": "nothing: the next attempt waits as long as the CA says; try things out with its staging directory",
    "externalAccountRequired": "declare the issuer with externalAccount (keyId, secretName), as the CA gave them",
    "caa": "allow this CA in the domain's CAA records",
    "dns": "look at the host's DNS records, as the CA sees them",
    "connection": "let the CA's servers reach port 80 of the host",
    "unauthorized": "see that http://HOST/.well-known/acme-challenge/ leads here, from everywhere",
    "rejectedIdentifier": "ask this CA for names that it signs, or take another issuer",
    "userActionRequired": "read the CA's new terms of service, at the address in its words",
}


def _shortly(what: object, length: int = 300) -> str:
    text = " ".join(str(what).split())
    return text if len(text) <= length else text[: length - 1] + "…"
