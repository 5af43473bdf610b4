"""The one door to ACME servers (RFC 8555, RFC 9773): Certbot's `acme`, in threads of its own, behind plain types.

Each call is one exchange; nothing waits here for an order to get on, so that who calls can remember each step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from acme import challenges, client, errors, messages
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.b64 import b64decode
from josepy.json_util import field
from josepy.jwa import ES256, ES384, RS256
from josepy.jwk import JWK, JWKEC, JWKRSA

from binderops.errors import AcmeError
from binderops.lego.acme_network import Network, Networks, in_words, of_problem, retry_after_seconds
from binderops.lego.pairs import PrivateKey, certificate_id, is_address, load_chain
from binderops.lego.renewal import Window

USER_AGENT = "binderops-kube-lego/0.1 (python-acme)"
THREADS = 4
CALL_SECONDS = 180.0  # bad nonces make one call into many requests
_LONGEST_CHAIN = 256 * 1024  # characters

Result = TypeVar("Result")


class _NewOrder(messages.NewOrder):
    """newOrder with RFC 9773's `replaces`, which the library does not have."""

    replaces: str | None = field("replaces", omitempty=True)


@dataclass(frozen=True)
class Order:
    """An order as its server tells it; `retry_after` in seconds, `error` set where it is invalid."""

    url: str
    status: str
    authorizations: tuple[str, ...]
    finalize_url: str
    certificate_url: str | None
    error: AcmeError | None
    retry_after: float | None


@dataclass(frozen=True)
class Authorization:
    """One name's proof; `token` and `challenge_url` are of its HTTP-01 challenge ("" where none is offered)."""

    url: str
    name: str
    status: str
    token: str
    challenge_url: str
    challenge_status: str
    error: AcmeError | None
    retry_after: float | None


@dataclass(frozen=True)
class RenewalInfo:
    """What RFC 9773 has to say about a certificate; `retry_after` in seconds."""

    window: Window
    retry_after: float | None


class AcmeDoor:
    """One directory, as one account's holder. Every method raises AcmeError."""

    def __init__(self, server: str, key: PrivateKey, *, pool: ThreadPoolExecutor) -> None:
        self.server = server
        jwk: JWK
        if isinstance(key, ec.EllipticCurvePrivateKey):
            jwk, alg = JWKEC(key=key), ES256 if key.key_size == 256 else ES384
        else:
            jwk, alg = JWKRSA(key=key), RS256
        self._jwk = jwk
        self._pool = pool
        self._networks = Networks(jwk, alg, USER_AGENT)
        self._account: messages.RegistrationResource | None = None
        self._directory: messages.Directory | None = None

    # --- the account ----------------------------------------------------------------------------------------------

    def use_account(self, url: str) -> None:
        """Sign as this account from now on."""
        self._account = messages.RegistrationResource(uri=url, body=messages.Registration())

    async def register(self, email: str, *, external: tuple[str, str] | None = None) -> str:
        """The account's URL: found by its key, or made (agreeing to the terms). `external`: key identifier, HMAC."""

        def work(acme: client.ClientV2, _: Network) -> str:
            binding: dict[str, Any] | None = None
            if external is not None:
                public = self._jwk.public_key()
                binding = messages.ExternalAccountBinding.from_data(public, *external, self._known_directory)
            body = messages.NewRegistration.from_data(
                email=email or None, terms_of_service_agreed=True, external_account_binding=binding
            )
            try:
                return str(acme.new_account(body).uri)
            except errors.ConflictError as error:  # the key has an account: the answer names it
                return str(error.location)

        self._account = None
        url = await self._call("the CA does not take the account", work)
        self.use_account(url)
        return url

    async def update_contact(self, email: str) -> None:
        """Tell the CA another address."""

        def work(acme: client.ClientV2, network: Network) -> None:
            assert network.account is not None
            body = messages.UpdateRegistration.from_data(email=email or None, contact=())
            acme._post(network.account.uri, body)

        await self._call("the CA does not take the account's address", work)

    # --- orders ---------------------------------------------------------------------------------------------------

    async def new_order(self, names: Sequence[str], *, replaces: str = "", profile: str = "") -> Order:
        """Place an order; `replaces` is the identifier (RFC 9773) of the certificate that it renews."""

        def work(acme: client.ClientV2, network: Network) -> Order:
            kinds = [messages.IDENTIFIER_IP if is_address(name) else messages.IDENTIFIER_FQDN for name in names]
            identifiers = [messages.Identifier(typ=kind, value=name) for kind, name in zip(kinds, names, strict=True)]
            renews = replaces if replaces and _has(acme.directory, "renewalInfo") else None
            body = _NewOrder(identifiers=identifiers, profile=profile or None, replaces=renews)
            answer = acme._post(acme.directory["newOrder"], body)
            return self._order(answer.headers["Location"], answer.json(), network)

        return await self._call(f"the CA does not take an order for {_some(names)}", work)

    async def order(self, url: str) -> Order:
        """An order as it stands."""

        def work(acme: client.ClientV2, network: Network) -> Order:
            return self._order(url, acme._post_as_get(url).json(), network)

        return await self._call("the CA does not tell an order's state", work)

    async def authorization(self, url: str) -> Authorization:
        """One of an order's authorizations."""

        def work(acme: client.ClientV2, network: Network) -> Authorization:
            return self._authorization(url, acme._post_as_get(url).json(), network)

        return await self._call("the CA does not tell an authorization's state", work)

    def key_authorization(self, token: str) -> str:
        """What the solver answers for a token (RFC 8555 8.1)."""
        return str(challenges.HTTP01(token=b64decode(token)).key_authorization(self._jwk))

    async def answer(self, challenge_url: str) -> None:
        """Tell the CA that the challenge may be looked at."""

        def work(acme: client.ClientV2, _: Network) -> None:
            acme._post(challenge_url, challenges.HTTP01Response())

        await self._call("the CA does not begin to validate", work)

    async def finalize(self, order: Order, request: x509.CertificateSigningRequest) -> Order:
        """Hand in the CSR. AcmeError `orderNotReady` when it is too early (or somebody was here before)."""

        def work(acme: client.ClientV2, network: Network) -> Order:
            answer = acme._post(order.finalize_url, messages.CertificateRequest(csr=request))
            return self._order(order.url, answer.json(), network)

        return await self._call("the CA does not take the certificate request", work)

    async def certificate(self, url: str) -> list[tuple[x509.Certificate, ...]]:
        """The chain, and after it those that the CA offers besides (`Link: rel=alternate`)."""

        def work(acme: client.ClientV2, _: Network) -> list[tuple[x509.Certificate, ...]]:
            answer = acme._post_as_get(url)
            texts = [answer.text]
            texts += [acme._post_as_get(other).text for other in acme._get_links(answer, "alternate")[:8]]
            return [load_chain(text[:_LONGEST_CHAIN]) for text in texts]

        return await self._call("the CA does not hand out the certificate", work)

    async def revoke(self, certificate: x509.Certificate, reason: int) -> None:
        """Revoke a certificate (reason: a number of RFC 5280 5.3.1); one that is revoked already is no error."""

        def work(acme: client.ClientV2, _: Network) -> None:
            try:
                acme.revoke(certificate, reason)
            except messages.Error as error:
                if error.code != "alreadyRevoked":
                    raise

        await self._call("the CA does not revoke the certificate", work)

    async def renewal_info(self, certificate: x509.Certificate) -> RenewalInfo | None:
        """When the CA would like the certificate to be renewed; None where it has no such service."""

        def work(acme: client.ClientV2, network: Network) -> RenewalInfo | None:
            if not _has(acme.directory, "renewalInfo"):
                return None
            base = str(acme.directory["renewalInfo"]).rstrip("/")
            answer = network.get(f"{base}/{certificate_id(certificate)}")
            told = messages.RenewalInfo.from_json(answer.json()).suggested_window
            return RenewalInfo(Window(told.start, told.end), retry_after_seconds(network.retry_after))

        return await self._call("the CA does not tell when to renew", work)

    # --- the library's objects as ours ----------------------------------------------------------------------------

    @property
    def _known_directory(self) -> messages.Directory:
        assert self._directory is not None
        return self._directory

    def _order(self, url: str, body: Mapping[str, Any], network: Network) -> Order:
        wait = retry_after_seconds(network.retry_after)
        error = None
        if body.get("error"):
            problem = messages.Error.from_json(body["error"])
            error = of_problem(problem, what="the CA failed the order", server=self.server)
        return Order(
            url=url,
            status=str(body["status"]),
            authorizations=tuple(body.get("authorizations") or ()),
            finalize_url=str(body.get("finalize") or ""),
            certificate_url=body.get("certificate"),
            error=error,
            retry_after=wait,
        )

    def _authorization(self, url: str, body: Mapping[str, Any], network: Network) -> Authorization:
        # Read as plain JSON: a challenge of a type that the library does not know must not hide the one that we want.
        offered = [each for each in body.get("challenges") or () if each.get("type") == "http-01"]
        challenge = offered[0] if offered else {}
        name, error = str(body["identifier"]["value"]), None
        if challenge.get("error"):
            problem = messages.Error.from_json(challenge["error"])
            error = of_problem(problem, what=f"the CA could not validate {name}", server=self.server)
        return Authorization(
            url=url,
            name=name,
            status=str(body["status"]),
            token=str(challenge.get("token") or ""),
            challenge_url=str(challenge.get("url") or ""),
            challenge_status=str(challenge.get("status") or ""),
            error=error,
            retry_after=retry_after_seconds(network.retry_after),
        )

    async def _call(self, what: str, work: Callable[[client.ClientV2, Network], Result]) -> Result:
        def run() -> Result:
            network = self._networks.network
            network.account = self._account
            try:
                if self._directory is None:
                    self._directory = client.ClientV2.get_directory(self.server, network)
                return work(client.ClientV2(self._directory, network), network)
            except AcmeError:
                raise
            except Exception as error:  # whatever an odd server makes of the library: it is told, never a crash
                self._directory = None  # a server that was restarted may have other addresses
                raise in_words(error, network, what=what, server=self.server) from error

        future = asyncio.get_running_loop().run_in_executor(self._pool, run)
        try:
            async with asyncio.timeout(CALL_SECONDS):
                return await future
        except TimeoutError as error:
            why = f"it took longer than {CALL_SECONDS:.0f} seconds"
            raise AcmeError(what, reason="timeout", transient=True, where=self.server, why=why) from error


def _has(directory: messages.Directory, field: str) -> bool:
    try:
        return bool(directory[field])
    except KeyError:
        return False


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
