"""An ACME server for what Pebble does not do: rate limits, slow issuance, subproblems, bad chains, skewed clocks.

It takes every signature and every challenge for good; what it is told to do wrong stands in its public attributes.
"""

from __future__ import annotations

import base64
import json
import secrets
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from binderops.lego.authority import issue, make_authority
from binderops.lego.pairs import BACKDATED, KeyKind, chain_pem, key_pem, names_of

Answer = tuple[int, Any, dict[str, str]]


def problem(
    kind: str, detail: str, code: int = 403, *, parts: Any = (), headers: dict[str, str] | None = None
) -> Answer:
    """A problem document; `parts` are (name, kind, detail) of its subproblems."""
    prefix = "urn:ietf:params:acme:error:"
    body: dict[str, Any] = {"type": prefix + kind, "detail": detail, "status": code}
    if parts:
        body["subproblems"] = [
            {"type": prefix + what, "detail": why, "identifier": {"type": "dns", "value": name}}
            for name, what, why in parts
        ]
    return code, body, headers or {}


class FakeCa:
    """The server's state, and what it does wrong."""

    def __init__(self) -> None:
        self.refuse_orders: list[Answer] = []  # answers to the next newOrders
        self.polls_in_processing = 0  # looks at an order before it is valid
        self.seconds_in_processing = 0.0
        self.looked = 0  # at orders in processing
        self.retry_after: str | None = None
        self.order_not_ready = 0  # finalize requests that are refused as too early
        self.failing: dict[str, Answer] = {}  # by name: what its validation ends with
        self.validating = False  # validation begins, and does not end
        self.lost: set[str] = set()  # orders (by number) whose validation failed while nobody looked
        self.wrong_chain = False
        self.skew = timedelta()  # how far ahead the CA's clock is
        self.life = timedelta(days=90)
        self.window: tuple[datetime, datetime] | None = None
        self.window_retry_after = "21600"
        self.window_asked, self.window_told = threading.Event(), threading.Event()
        self.window_told.set()  # unless a test holds the answer back
        self.orders: list[dict[str, Any]] = []  # what newOrder was asked for
        self.accounts: set[str] = set()
        self.finalized = self.answered = 0
        self.overlapping = 0  # orders that were placed while another for the same names was under way
        self._handed_out: set[str] = set()
        self.url = ""
        self._state: dict[str, dict[str, Any]] = {}
        self._authority, self._other = make_authority(), make_authority()

    @contextmanager
    def serving(self, folder: Path) -> Iterator[Path]:
        """Serve over TLS; the file of the CA that its own certificate is signed by."""
        pair = issue(self._authority, ["localhost"], KeyKind())
        (folder / "fake.pem").write_text(chain_pem(pair.chain) + key_pem(pair.key))
        (folder / "fake-ca.pem").write_text(chain_pem(self._authority.chain))
        handler = type("Handler", (_Handler,), {"ca": self})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "fake.pem")
        server.socket = context.wrap_socket(server.socket, server_side=True)
        self.url = f"https://localhost:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield folder / "fake-ca.pem"
        finally:
            server.shutdown()
            server.server_close()

    def answer(self, path: str, message: dict[str, Any]) -> Answer:
        """The answer to a request; `message` is a POST's JWS."""
        parts = path.strip("/").split("/")
        payload = _decoded(message.get("payload", ""))
        match parts:
            case ["directory"]:
                names = ("newNonce", "newAccount", "newOrder", "revokeCert", "renewalInfo")
                return 200, {name: f"{self.url}/{name}" for name in names}, {}
            case ["newNonce"]:
                return 200, {}, {}
            case ["newAccount"]:
                self.accounts.add(json.dumps(_decoded(message["protected"])["jwk"], sort_keys=True))
                return 201, {"status": "valid"}, {"Location": f"{self.url}/account/1"}
            case ["newOrder"]:
                return self._new_order(payload)
            case ["order", number]:
                return self._order(number)
            case ["authz", number, name]:
                return self._authorization(number, name)
            case ["challenge", number, name]:
                self.answered += 1
                self._state[number]["proved"].add(name)
                code, body, _ = self._authorization(number, name)
                return code, body["challenges"][0], {"Link": f'<{self.url}/authz/{number}/{name}>;rel="up"'}
            case ["finalize", number]:
                return self._finalize(number, payload)
            case ["cert", number]:
                self._handed_out.add(number)
                return 200, self._state[number]["chain"], {}
            case ["renewalInfo", _] if self.window is not None:
                self.window_asked.set()
                assert self.window_told.wait(30)
                start, end = (f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" for moment in self.window)
                told = {"suggestedWindow": {"start": start, "end": end}}
                return 200, told, {"Retry-After": self.window_retry_after}
        return problem("malformed", f"there is no {path}", 404)

    def _new_order(self, payload: dict[str, Any]) -> Answer:
        self.orders.append(payload)
        if self.refuse_orders:
            return self.refuse_orders.pop(0)
        number = str(len(self._state))
        names = [each["value"] for each in payload["identifiers"]]
        under_way = [state for other, state in self._state.items() if other not in self._handed_out]
        self.overlapping += sum(set(state["names"]) == set(names) for state in under_way)
        self._state[number] = {"names": names, "proved": set(), "polls": None, "until": 0.0, "chain": ""}
        _, body, _ = self._order(number)
        return 201, body, {"Location": f"{self.url}/order/{number}"}

    def _order(self, number: str) -> Answer:
        state, headers = self._state[number], {}
        proved = state["proved"] >= set(state["names"]) and not self.validating
        status = "ready" if proved else "pending"
        if state["polls"] is not None:
            status = "processing" if state["polls"] > 0 or time.monotonic() < state["until"] else "valid"
            state["polls"] -= 1
            self.looked += status == "processing"
            if self.retry_after and status == "processing":
                headers["Retry-After"] = self.retry_after
        if any(name in self.failing for name in state["proved"]):
            status = "invalid"
        body = {
            "status": status,
            "identifiers": [{"type": "dns", "value": name} for name in state["names"]],
            "authorizations": [f"{self.url}/authz/{number}/{name}" for name in state["names"]],
            "finalize": f"{self.url}/finalize/{number}",
        }
        if status == "valid":
            body["certificate"] = f"{self.url}/cert/{number}"
        return 200, body, headers

    def _authorization(self, number: str, name: str) -> Answer:
        proved = name in self._state[number]["proved"]
        failed = self.failing.get(name) if proved else None
        if number in self.lost:
            failed = problem("connection", "connection refused")
        status = "invalid" if failed else "valid" if proved and not self.validating else "pending"
        challenge = {"type": "http-01", "url": f"{self.url}/challenge/{number}/{name}", "status": status}
        challenge["token"] = base64.urlsafe_b64encode(name.encode().ljust(32, b"-")).decode().rstrip("=")
        if failed:
            challenge["error"] = failed[1]
        odd = {"type": "teapot-01", "status": status, "url": f"{self.url}/x"}  # a type that nobody knows
        body = {"status": status, "identifier": {"type": "dns", "value": name}, "challenges": [challenge, odd]}
        return 200, body, {}

    def _finalize(self, number: str, payload: dict[str, Any]) -> Answer:
        if self.order_not_ready > 0:
            self.order_not_ready -= 1
            return problem("orderNotReady", "not yet")
        raw = base64.urlsafe_b64decode(payload["csr"] + "=" * (-len(payload["csr"]) % 4))
        self._state[number]["chain"] = self._chain(x509.load_der_x509_csr(raw))
        self._state[number]["polls"] = self.polls_in_processing
        self._state[number]["until"] = time.monotonic() + self.seconds_in_processing
        self.finalized += 1
        return self._order(number)

    def _chain(self, request: x509.CertificateSigningRequest) -> str:
        names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        begins = datetime.now(UTC) + self.skew - BACKDATED
        key = self._authority.key
        leaf = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self._authority.leaf.subject)
            .public_key(request.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(begins + self.life)
            .add_extension(names, critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        assert names_of(leaf) and leaf.public_bytes(serialization.Encoding.DER)
        return chain_pem([leaf, (self._other if self.wrong_chain else self._authority).leaf])


class _Handler(BaseHTTPRequestHandler):
    ca: FakeCa
    protocol_version = "HTTP/1.1"

    def _do(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        code, body, headers = self.ca.answer(self.path, json.loads(raw) if raw else {})
        media = "application/problem+json" if code >= 400 else "application/json"
        content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(code)
        for name, value in {
            "Replay-Nonce": secrets.token_urlsafe(16),
            "Content-Type": "application/pem-certificate-chain" if isinstance(body, str) else media,
            "Content-Length": str(len(content)),
            **headers,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_POST = do_HEAD = _do

    def log_message(self, *_: object) -> None:
        pass


def _decoded(text: str) -> dict[str, Any]:
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    return dict(json.loads(raw)) if raw else {}
