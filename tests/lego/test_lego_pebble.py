"""Certificates from a real ACME server."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from tests.lego.pebble import Pebble, in_days
from tests.lego.world import World, ingress

from binderops.kube import certificates as names
from binderops.kube.kinds import INGRESS
from binderops.kube.objects import parse_timestamp
from binderops.lego.pairs import covers, examine

NewPebble = Callable[..., Pebble]

WHOLE = os.environ.get("LEGO_MATRIX") == "whole"
HOSTS, INGRESSES, LONGEST_DELAY = (50, 20, "15") if WHOLE else (5, 2, "1")
"""Of the table of awkwardness; `make matrix-lego` is the whole one. The delay is in seconds, Pebble's own being 15."""
TABLE = list(product(["5", "90"], ["0", "50", "100"])) if WHOLE else [("90", "0"), ("5", "50"), ("90", "100")]
"""Percent of nonces that are rejected, and of proofs that are used again; here each value once at least."""


async def test_an_ingress_that_asks_gets_a_certificate(world: World, new_pebble: NewPebble) -> None:
    pebble = new_pebble(AUTHZREUSE="0")
    world.warm = None
    world.start()
    await world.client.create(ingress("web", world.namespace, ("web-tls", ["a.example.org", "b.example.org"])))
    pair = await world.issued("web-tls")
    assert covers(pair.leaf, ["a.example.org", "b.example.org"])
    assert examine(pair, ["a.example.org", "b.example.org"], now=datetime.now(UTC)) == []
    pair.chain[-1].verify_directly_issued_by(pebble.root())
    secret = await world.secret("web-tls")
    assert secret is not None and secret["type"] == "kubernetes.io/tls"
    message = await world.event("Issued")
    assert "a.example.org" in message and "web-tls" in message
    # The CA has a window, and what it suggests is what is planned.
    window = (await world.until(lambda: _annotation(world, names.ARI_WINDOW))).split("/")
    start, end = (parse_timestamp(each) for each in window)
    planned = parse_timestamp((await world.annotations("web-tls"))[names.RENEW_AT])
    assert start <= planned <= end
    # Nothing of the order is left.
    assert await world.secrets("order") == []
    assert await world.leftovers() == []
    assert [each["metadata"]["name"] for each in await world.secrets("account")] == ["kube-lego-account"]


async def _annotation(world: World, name: str) -> str | None:
    return (await world.annotations("web-tls")).get(name)


@pytest.mark.slow
@pytest.mark.parametrize(("rejects", "reuse"), TABLE)
async def test_every_awkwardness(world: World, new_pebble: NewPebble, rejects: str, reuse: str) -> None:
    """Nonces refused, proofs asked for again or not, and validations that begin when they like."""
    new_pebble(WFE_NONCEREJECT=rejects, AUTHZREUSE=reuse, VA_NOSLEEP="", VA_SLEEPTIME=LONGEST_DELAY)
    world.warm = None  # its memory is measured
    world.start()
    await all_get_certificates(world, hosts=HOSTS, ingresses=INGRESSES, seconds=60 + 10 * int(LONGEST_DELAY))
    before = {number: await world.issued(f"tls{number}") for number in range(INGRESSES)}
    for number in range(INGRESSES):  # once more, so that there are proofs to be used again
        await world.annotate_secret(f"tls{number}", RENEW_AT="2000-01-01T00:00:00Z")
    for number, pair in before.items():
        await world.issued(f"tls{number}", besides=pair.leaf.serial_number, seconds=60 + 10 * int(LONGEST_DELAY))
    assert await world.events("Failed") == []


@pytest.mark.slow
async def test_fifty_hosts_over_twenty_ingresses_within_a_minute(world: World, new_pebble: NewPebble) -> None:
    new_pebble(WFE_NONCEREJECT="90", AUTHZREUSE="50")
    world.warm = None  # its memory is measured
    world.start()
    took = await all_get_certificates(world, hosts=50, ingresses=20, seconds=60)
    assert took <= 60, f"{took:.1f} s"


async def all_get_certificates(world: World, *, hosts: int, ingresses: int, seconds: float) -> float:
    """Ingresses that share out the hosts, all at once; the seconds until the last one's certificate."""
    named = [f"h{number}.example.org" for number in range(hosts)]
    blocks = [named[number::ingresses] for number in range(ingresses)]
    began = time.monotonic()
    for number, block in enumerate(blocks):
        await world.client.create(ingress(f"web{number}", world.namespace, (f"tls{number}", block)))
    pairs = await asyncio.gather(*(world.issued(f"tls{number}", seconds=seconds) for number in range(ingresses)))
    took, memory = time.monotonic() - began, world.memory()
    print(f"{hosts} hosts over {ingresses} Ingresses: {took:.1f} s, {memory} MB")
    assert all(covers(pair.leaf, block) for pair, block in zip(pairs, blocks, strict=True))
    assert memory <= 80, f"{memory} MB"
    assert len(await world.secrets("account")) == 1

    async def clean() -> bool:
        return not await world.secrets("order") and not await world.leftovers()

    await world.until(clean)
    return took


async def test_keys_by_choice_and_a_new_one_at_each_renewal(world: World, new_pebble: NewPebble) -> None:
    new_pebble()
    world.start()
    told = {names.TLS_ACME: "true", names.KEY_ALGORITHM: "RSA", names.KEY_SIZE: "2048"}
    asked = ingress("web", world.namespace, ("web-tls", ["a.example.org"]))
    asked["metadata"]["annotations"] = told
    await world.client.create(asked)
    first = await world.issued("web-tls")
    assert isinstance(first.key, rsa.RSAPrivateKey) and first.key.key_size == 2048
    # Another kind of key is another specification: it is ordered at once.
    body = {"metadata": {"annotations": {names.KEY_ALGORITHM: None, names.KEY_SIZE: None}}}
    await world.client.patch(INGRESS, "web", world.namespace, body)
    second = await world.issued("web-tls", besides=first.leaf.serial_number)
    assert not isinstance(second.key, rsa.RSAPrivateKey) and second.key.curve.name == "secp256r1"
    await world.until(lambda: _annotation(world, names.ARI_WINDOW))
    await world.annotate_secret("web-tls", RENEW_AT="2020-01-01T00:00:00Z")
    third = await world.issued("web-tls", besides=second.leaf.serial_number)
    assert third.key.private_numbers() != second.key.private_numbers()


async def test_more_names_are_ordered_at_once_and_the_old_certificate_stays_until_then(
    world: World, new_pebble: NewPebble
) -> None:
    new_pebble()
    world.start()
    await world.client.create(ingress("web", world.namespace, ("web-tls", ["a.example.org"])))
    first = await world.issued("web-tls")
    spec = ingress("web", world.namespace, ("web-tls", ["a.example.org", "b.example.org"]))["spec"]
    await world.client.patch(INGRESS, "web", world.namespace, {"spec": spec})
    second = await world.issued("web-tls", besides=first.leaf.serial_number)
    assert covers(second.leaf, ["a.example.org", "b.example.org"])


async def test_a_refused_name_is_told_and_waits_and_a_changed_spec_does_not(
    world: World, new_pebble: NewPebble
) -> None:
    new_pebble()
    world.start()
    await world.client.create(ingress("web", world.namespace, ("web-tls", ["www.blocked.example"])))
    message = await world.event("Failed")
    assert "policy" in message or "blocked" in message
    annotations = await world.annotations("web-tls")
    assert annotations[names.FAILURE_REASON] == "rejectedIdentifier"
    wait = parse_timestamp(annotations[names.NEXT_ATTEMPT]) - parse_timestamp(annotations[names.FAILURE_AT])
    assert wait == timedelta(hours=1)
    assert names.PLACEHOLDER in annotations  # the proxy has something to start with
    # The back-off outlives the process.
    world.stop()
    world.start()
    spec = ingress("web", world.namespace, ("web-tls", ["www.example.org"]))["spec"]
    await asyncio.sleep(1)
    assert (await world.annotations("web-tls"))[names.FAILURES] == "1"
    await world.client.patch(INGRESS, "web", world.namespace, {"spec": spec})
    await world.issued("web-tls")
    assert names.FAILURES not in await world.annotations("web-tls")


async def test_revoked_on_request_and_replaced_at_once(world: World, new_pebble: NewPebble) -> None:
    pebble = new_pebble()
    world.start()
    await world.client.create(ingress("web", world.namespace, ("web-tls", ["a.example.org"])))
    first = await world.issued("web-tls")
    await world.annotate_secret("web-tls", REVOKE="keyCompromise")
    second = await world.issued("web-tls", besides=first.leaf.serial_number)
    assert pebble.status_of(first.leaf.serial_number) == "Revoked"
    assert pebble.status_of(second.leaf.serial_number) == "Valid"
    annotations = await world.annotations("web-tls")
    assert names.REVOKE not in annotations
    assert annotations[names.REVOKED] == f"{first.leaf.serial_number:x}"


async def test_the_ca_s_window_is_followed(world: World, new_pebble: NewPebble) -> None:
    pebble = new_pebble()
    world.start()
    await world.client.create(ingress("web", world.namespace, ("web-tls", ["a.example.org"])))
    first = await world.issued("web-tls")
    await world.until(lambda: _annotation(world, names.ARI_WINDOW))
    world.stop()
    pebble.set_window(first.leaf, in_days(20), in_days(21))
    await world.annotate_secret("web-tls", ARI_NEXT="2020-01-01T00:00:00Z")
    world.start()

    async def moved() -> bool:
        planned = parse_timestamp((await world.annotations("web-tls"))[names.RENEW_AT])
        return in_days(19.9) < planned < in_days(21)

    await world.until(moved)


async def test_an_account_needs_its_binding_where_the_ca_says_so(world: World, new_pebble: NewPebble) -> None:
    hmac = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
    pebble = new_pebble(external={"kid-1": hmac})
    bound = {"keyId": "kid-1", "secretName": "binding"}
    server = pebble.directory
    world.issuers = {"bound": {"type": "acme", "server": server, "email": "a@example.org", "externalAccount": bound}}
    await world.client.create(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "binding", "namespace": world.namespace},
            "stringData": {"secret": hmac},
        }
    )
    world.start()
    await world.client.create(
        ingress("web", world.namespace, ("web-tls", ["a.example.org"]), **{names.CLUSTER_ISSUER: "bound"})
    )
    await world.issued("web-tls")


async def test_a_server_that_forgot_the_account_gets_the_same_key_again(world: World, new_pebble: NewPebble) -> None:
    pebble = new_pebble()
    world.start()
    await world.client.create(ingress("one", world.namespace, ("one-tls", ["a.example.org"])))
    await world.issued("one-tls")
    key = (await world.secrets("account"))[0]["data"]["tls.key"]
    pebble.stop()
    pebble.start()  # it keeps nothing
    await world.client.create(ingress("two", world.namespace, ("two-tls", ["b.example.org"])))
    await world.issued("two-tls")
    accounts = await world.secrets("account")
    assert [each["data"]["tls.key"] for each in accounts] == [key]


async def test_each_directory_has_a_key_of_its_own(world: World, new_pebble: NewPebble) -> None:
    staging, production = new_pebble(), new_pebble()
    bundle = world.folder / "both.pem"
    bundle.write_text(staging.ca.read_text() + production.ca.read_text())
    world.ca, world.server = bundle, staging.directory
    world.issuers = {"prod": {"type": "acme", "server": production.directory}}
    world.start()
    await world.client.create(ingress("one", world.namespace, ("one-tls", ["a.example.org"])))
    await world.client.create(ingress("two", world.namespace, ("two-tls", ["b.example.org"]), **{names.ISSUER: "prod"}))
    await asyncio.gather(world.issued("one-tls"), world.issued("two-tls"))
    accounts = await world.secrets("account")
    assert len({each["data"]["tls.key"] for each in accounts}) == 2
    by_directory = {each["metadata"]["annotations"][names.DIRECTORY]: each["metadata"]["name"] for each in accounts}
    assert by_directory[staging.directory] == "kube-lego-account"
    assert by_directory[production.directory].startswith("kube-lego-account-")


async def test_another_directory_takes_over_without_a_secret_deleted(world: World, new_pebble: NewPebble) -> None:
    """As the page says of going live: the address changes, the account stays behind, each certificate is new."""
    staging = new_pebble()
    world.start()
    await world.client.create(ingress("web", world.namespace, ("web-tls", ["a.example.org"])))
    first = await world.issued("web-tls")
    world.stop()
    production = new_pebble()
    world.start()
    second = await world.issued("web-tls", besides=first.leaf.serial_number)
    second.chain[-1].verify_directly_issued_by(production.root())
    by_directory = {
        each["metadata"]["annotations"][names.DIRECTORY]: each["data"]["tls.key"]
        for each in await world.secrets("account")
    }
    assert by_directory.keys() == {staging.directory, production.directory}
    assert len(set(by_directory.values())) == 2
    assert await world.events("Failed") == []


async def test_the_profile_and_the_chain_that_an_issuer_prefers(world: World, new_pebble: NewPebble) -> None:
    day = 86400
    pebble = new_pebble(profiles={"long": 90 * day, "short": 6 * day}, ALTERNATE_ROOTS="1")
    roots = {"long": pebble.root(0), "short": pebble.root(1)}
    for profile, root in roots.items():
        name = root.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
        wanted = {"type": "acme", "server": pebble.directory, "profile": profile, "preferredChain": str(name)}
        world.issuers[profile] = wanted
    world.start()
    for profile in roots:
        asked = (f"{profile}-tls", [f"{profile}.example.org"])
        await world.client.create(ingress(profile, world.namespace, asked, **{names.CLUSTER_ISSUER: profile}))
    for profile, days in (("long", 90), ("short", 6)):
        pair = await world.issued(f"{profile}-tls")
        pair.chain[-1].verify_directly_issued_by(roots[profile])
        assert round((pair.leaf.not_valid_after_utc - pair.leaf.not_valid_before_utc) / timedelta(days=1)) == days


async def test_an_address_has_a_certificate_beside_a_name(world: World, new_pebble: NewPebble) -> None:
    new_pebble()
    world.start()
    await world.client.create(ingress("web", world.namespace, ("web-tls", ["127.0.0.1", "a.example.org"])))
    pair = await world.issued("web-tls")
    assert covers(pair.leaf, ["127.0.0.1", "a.example.org"]) and not covers(pair.leaf, ["127.0.0.2"])
