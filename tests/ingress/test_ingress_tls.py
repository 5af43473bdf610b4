"""Certificates by name, the redirect to https, HSTS, protocols: through a real nginx, with real handshakes."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.ingress.authority import Authority, secret, served_names

PLACEHOLDER = ["placeholder.invalid"]


@pytest.fixture
async def echo(make: Any) -> AsyncIterator[Any]:
    async with make("echo")("a") as found:
        yield found


@pytest.fixture
def serve(front: Any, make: Any, echo: Any) -> Any:
    """Serves Ingresses, each of (name, hosts, [(secret, hosts)]), with `secrets`."""

    async def run(*wanted: tuple[str, list[str], list[tuple[str | None, list[str]]]], **more: Any) -> Any:
        ingresses = [
            make("ingress")(
                name,
                *(make("rule")(host, ("/", "Prefix", "a")) for host in hosts),
                created=f"2026-01-{number + 1:02}T00:00:00Z",
                annotations=more.get("annotations", {}),
                tls=[{**({"secretName": named} if named else {}), "hosts": names} for named, names in tls],
            )
            for number, (name, hosts, tls) in enumerate(wanted)
        ]
        services = [make("service")("a", echo.port)]
        chosen = {key: more[key] for key in ("default", "settings") if key in more}
        return await front.serve_tls(ingresses, services, more.get("secrets", []), **chosen)

    return run


def names(front: Any, host: str, **more: Any) -> Any:
    return asyncio.to_thread(served_names, front.tls_port, host, **more)


async def test_a_host_gets_its_certificate_exact_beats_wildcard_and_others_get_the_placeholder(
    front: Any, serve: Any, authority: Authority
) -> None:
    complaints = await serve(
        ("one", ["www.a.test", "*.a.test", "b.test"], [("www", ["www.a.test"]), ("wild", ["*.a.test"])]),
        ("two", ["b.test", "c.test"], [("b", ["b.test"])]),
        secrets=[
            secret("www", authority.issue("www.a.test")),
            secret("wild", authority.issue("*.a.test")),
            secret("b", authority.issue("b.test", "also.test")),
        ],
    )
    assert complaints == []
    table = {
        "www.a.test": ["www.a.test"],
        "x.a.test": ["*.a.test"],
        "x.y.a.test": PLACEHOLDER,
        "b.test": ["b.test", "also.test"],
        "c.test": PLACEHOLDER,  # has rules, asked for no TLS
        "also.test": PLACEHOLDER,  # covered by a certificate, but nobody asked for it
        "unknown.test": PLACEHOLDER,
    }
    assert {host: await names(front, host) for host in table} == table


async def test_the_chain_is_complete_and_http_2_is_spoken(front: Any, serve: Any, authority: Authority) -> None:
    await serve(("one", ["a.test"], [("a", ["a.test"])]), secrets=[secret("a", authority.issue("a.test"))])
    async with front.https(authority, "a.test", http2=True) as client:
        answer = await client.get("/x?y=1", extensions={"sni_hostname": "a.test"})
    assert (answer.status_code, answer.http_version) == (200, "HTTP/2")
    seen = answer.json()["headers"]
    assert (seen["x-forwarded-proto"], seen["x-forwarded-port"]) == ("https", str(front.tls_port))


async def test_rsa_and_ecdsa_for_one_name(front: Any, serve: Any, authority: Authority) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    complaints = await serve(
        ("one", ["a.test"], [("ec", ["a.test"]), ("rsa", ["a.test"])]),
        secrets=[
            secret("ec", authority.issue("a.test", "ec.test")),
            secret("rsa", authority.issue("a.test", "rsa.test", key=key)),
        ],
    )
    assert complaints == []
    for kind in ("ec", "rsa"):
        ciphers = f"ECDHE-{'ECDSA' if kind == 'ec' else 'RSA'}-AES128-GCM-SHA256"
        seen = await names(front, "a.test", ciphers=ciphers, version=ssl.TLSVersion.TLSv1_2)
        assert seen == ["a.test", f"{kind}.test"]


async def test_two_secrets_of_one_kind_for_one_name_the_oldest_wins(
    front: Any, serve: Any, authority: Authority
) -> None:
    complaints = await serve(
        ("old", ["a.test"], [("first", ["a.test"])]),
        ("new", ["b.test"], [("second", ["a.test", "b.test"])]),
        secrets=[
            secret("first", authority.issue("a.test")),
            secret("second", authority.issue("a.test", "b.test")),
        ],
    )
    assert [(found.ingress, found.reason) for found in complaints] == [(("test", "new"), "Conflict")]
    assert await names(front, "a.test") == ["a.test"]
    assert await names(front, "b.test") == ["a.test", "b.test"]


async def test_the_default_certificate_serves_unknown_names_and_elements_without_a_secret(
    front: Any, serve: Any, authority: Authority
) -> None:
    complaints = await serve(
        ("one", ["x.a.test", "other.test"], [(None, ["x.a.test", "other.test"])]),
        secrets=[secret("wild", authority.issue("*.a.test"))],
        default=("test", "wild"),
    )
    assert [(found.reason, found.message.partition(":")[0]) for found in complaints] == [
        ("CertificateNotFound", "other.test")
    ]
    table = {"x.a.test": ["*.a.test"], "nobody.test": ["*.a.test"], "other.test": PLACEHOLDER}
    assert {host: await names(front, host) for host in table} == table


async def test_an_element_without_hosts_serves_the_rules_that_its_certificate_covers(
    front: Any, serve: Any, authority: Authority
) -> None:
    complaints = await serve(
        ("one", ["a.test", "b.test"], [("a", [])]), secrets=[secret("a", authority.issue("a.test"))]
    )
    assert complaints == []
    assert await names(front, "a.test") == ["a.test"]
    assert await names(front, "b.test") == PLACEHOLDER
    assert (await front.get("b.test")).status_code == 200


async def test_a_host_of_tls_alone_leads_where_the_wildcard_rule_leads(
    front: Any, serve: Any, authority: Authority
) -> None:
    await serve(("one", ["*.a.test"], [("x", ["x.a.test"])]), secrets=[secret("x", authority.issue("x.a.test"))])
    async with front.https(authority, "x.a.test") as client:
        assert (await client.get("/", extensions={"sni_hostname": "x.a.test"})).json()["name"] == "a"
    assert (await front.get("y.a.test")).status_code == 200


REDIRECTS = [
    # host, target, annotations, where to (None: served)
    ("a.test", "/x/y?q=a%2Fb", {}, "https://a.test:{port}/x/y?q=a%2Fb"),
    ("a.test:8080", "/", {}, "https://a.test:{port}/"),
    ("a.test", "/.well-known/acme-challenge/token", {}, None),
    ("a.test", "/.well-known/acme-challenge/%2e%2e/%2e%2e/admin", {}, "https://a.test:{port}/.well-known/acme-challenge/%2e%2e/%2e%2e/admin"),
    ("a.test", "/x/.well-known/acme-challenge/token", {}, "https://a.test:{port}/x/.well-known/acme-challenge/token"),
    ("plain.test", "/", {}, None),
    ("a.test", "/", {"ssl-redirect": "false"}, None),
    ("plain.test", "/", {"force-ssl-redirect": "true"}, "https://plain.test:{port}/"),
    ("plain.test", "/.well-known/acme-challenge/t", {"force-ssl-redirect": "true"}, None),
    ("missing.test", "/", {}, "https://missing.test:{port}/"),
]  # fmt: skip


@pytest.mark.parametrize(("host", "target", "annotations", "where"), REDIRECTS)
async def test_redirect(
    front: Any,
    serve: Any,
    authority: Authority,
    host: str,
    target: str,
    annotations: dict[str, str],
    where: str | None,
) -> None:
    await serve(
        ("one", ["a.test", "plain.test", "missing.test"], [("a", ["a.test"]), ("not-there", ["missing.test"])]),
        secrets=[secret("a", authority.issue("a.test"))],
        annotations={f"nginx.ingress.kubernetes.io/{name}": value for name, value in annotations.items()},
    )
    answer = await front.get(host, target)
    if where is None:
        assert answer.status_code == 200
        assert answer.json()["target"] == target
    else:
        assert (answer.status_code, answer.headers["location"]) == (308, where.format(port=front.tls_port))


async def test_port_443_is_not_named_and_http_on_the_tls_port_is_sent_to_https(
    front: Any, serve: Any, authority: Authority
) -> None:
    wanted = ("one", ["a.test"], [("a", ["a.test"])])
    secrets = [secret("a", authority.issue("a.test"))]
    await serve(wanted, secrets=secrets, settings=replace(front.settings, public_tls_port=443))
    assert (await front.get("a.test", "/x")).headers["location"] == "https://a.test/x"
    front.port = front.tls_port
    answer = await front.get("a.test", "/x?y")
    assert (answer.status_code, answer.headers["location"]) == (308, "https://a.test/x?y")


async def test_hsts_is_by_choice_and_on_tls_only(front: Any, serve: Any, authority: Authority) -> None:
    wanted = ("one", ["a.test"], [("a", ["a.test"])])
    secrets = [secret("a", authority.issue("a.test"))]
    settings = replace(front.settings, hsts_max_age=600, hsts_include_subdomains=True)
    async with front.https(authority, "a.test") as client:
        for annotations, expected in (
            ({}, None),
            ({"nginx.ingress.kubernetes.io/hsts": "true"}, "max-age=600; includeSubDomains"),
        ):
            await serve(wanted, secrets=secrets, annotations=annotations, settings=settings)
            answer = await client.get("/", extensions={"sni_hostname": "a.test"}, headers={"connection": "close"})
            assert answer.headers.get("strict-transport-security") == expected
            assert "strict-transport-security" not in (await front.get("a.test")).headers


@pytest.mark.parametrize(
    ("protocols", "version", "works"),
    [
        ("TLSv1.2 TLSv1.3", ssl.TLSVersion.TLSv1_3, True),
        ("TLSv1.2 TLSv1.3", ssl.TLSVersion.TLSv1_2, True),
        ("TLSv1.3", ssl.TLSVersion.TLSv1_2, False),
        ("TLSv1.2 TLSv1.3", ssl.TLSVersion.TLSv1_1, False),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_protocols(
    front: Any, serve: Any, authority: Authority, protocols: str, version: ssl.TLSVersion, works: bool
) -> None:
    await serve(
        ("one", ["a.test"], [("a", ["a.test"])]),
        secrets=[secret("a", authority.issue("a.test"))],
        settings=replace(front.settings, ssl_protocols=protocols),
    )
    if works:
        assert await names(front, "a.test", version=version) == ["a.test"]
        return
    with pytest.raises(ssl.SSLError, match=r"protocol|PROTOCOL|NO_CIPHERS"):
        await names(front, "a.test", version=version, ciphers="ALL:@SECLEVEL=0")


@pytest.mark.parametrize("cipher", ["AES128-SHA", "ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA384"])
async def test_ciphers_outside_the_profile_are_not_spoken(
    front: Any, serve: Any, authority: Authority, cipher: str
) -> None:
    await serve(("one", ["a.test"], [("a", ["a.test"])]), secrets=[secret("a", authority.issue("a.test"))])
    with pytest.raises(ssl.SSLError):
        await names(front, "a.test", ciphers=cipher, version=ssl.TLSVersion.TLSv1_2)


async def test_without_a_tls_port_there_is_no_redirect_and_no_listener(front: Any, make: Any, echo: Any) -> None:
    rule = make("rule")("a.test", ("/", "Prefix", "a"))
    ingress = make("ingress")("one", rule, tls=[{"hosts": ["a.test"], "secretName": "a"}])
    await front.serve([ingress], [make("service")("a", echo.port)])
    assert await front.served_by("a.test") == "a"
    with pytest.raises(ConnectionRefusedError):
        await names(front, "a.test")
