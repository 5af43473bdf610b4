"""Who signs: the local CA, nobody, somebody else; whose Secret it is; and which of two replicas works."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from tests.lego.pebble import free_port
from tests.lego.world import World, ingress, pair_in

from binderops.delivery.certificates import certificates, local_authority
from binderops.kube import certificates as names
from binderops.kube.kinds import INGRESS, LEASE, SECRET
from binderops.lego.pairs import KeyKind, Pair, chain_pem, covers, examine, key_pem, self_signed

LOCAL = {
    "local": {"type": "ca", "domains": ["localhost"]},
    "bought": {"type": "external"},
    "self": {"type": "selfSigned"},
}


@pytest.fixture
def local(world: World) -> World:
    """No ACME server anywhere: the issuers of a laptop."""
    world.server, world.issuers = "https://localhost:9/directory", LOCAL
    world.arguments = ["--default-issuer", "local"]
    return world


def foreign(world: World, name: str, pair: Pair, *, kind: str = "kubernetes.io/tls") -> dict[str, Any]:
    data = {"tls.crt": chain_pem(pair.chain), "tls.key": key_pem(pair.key)}
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    metadata = {"name": name, "namespace": world.namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": kind, "data": encoded}


async def test_the_local_ca_signs_for_its_own_domains_only(local: World) -> None:
    local.start()
    hosts = ["binder.localhost", "*.binder.localhost"]
    await local.client.create(ingress("web", local.namespace, ("web-tls", hosts)))
    await local.client.create(ingress("bad", local.namespace, ("bad-tls", ["www.example.org"])))
    pair = await local.issued("web-tls")
    pem = await local_authority(local.client, local.namespace)
    assert pem is not None
    authority = x509.load_pem_x509_certificate(pem.encode())
    pair.leaf.verify_directly_issued_by(authority)
    assert covers(pair.leaf, ["binder.localhost", "hub.binder.localhost"])
    assert examine(pair, hosts, now=datetime.now(UTC)) == []
    secret = await local.secret("web-tls")
    assert secret is not None and base64.b64decode(secret["data"]["ca.crt"]).decode() == pem
    assert "may not sign for www.example.org" in await local.event("Failed")
    # The same CA after a restart.
    local.stop()
    local.start()
    await local.client.create(ingress("more", local.namespace, ("more-tls", ["static.localhost"])))
    (await local.issued("more-tls")).leaf.verify_directly_issued_by(authority)


async def test_self_signed_by_choice(local: World) -> None:
    local.start()
    await local.client.create(ingress("web", local.namespace, ("web-tls", ["a.example.org"]), **{names.ISSUER: "self"}))
    pair = await local.issued("web-tls")
    assert pair.leaf.issuer == pair.leaf.subject


async def test_what_somebody_else_made_is_never_touched_unless_adopted(local: World) -> None:
    pair = self_signed(["binder.localhost"], KeyKind(), life=timedelta(days=60))
    await local.client.create(foreign(local, "web-tls", pair))
    await local.client.create(foreign(local, "opaque", pair, kind="Opaque"))
    before = await local.secret("web-tls")
    local.start()
    await local.client.create(ingress("web", local.namespace, ("web-tls", ["binder.localhost"])))
    asked = ingress("odd", local.namespace, ("opaque", ["binder.localhost"]))
    asked["metadata"]["annotations"][names.ADOPT] = "true"
    await local.client.create(asked)
    assert names.ADOPT in await local.event("NotOurs", "web-tls")
    assert "its type is Opaque" in await local.event("NotOurs", "opaque")
    assert await local.secret("web-tls") == before
    # Told to adopt it, the controller replaces it by one of the issuer that is asked for.
    body = {"metadata": {"annotations": {names.ADOPT: "true"}}}
    await local.client.patch(INGRESS, "web", local.namespace, body)
    await local.issued("web-tls", besides=pair.leaf.serial_number)


async def test_an_external_certificate_is_watched(local: World) -> None:
    local.start()
    told = {names.CLUSTER_ISSUER: "bought"}
    await local.client.create(ingress("none", local.namespace, ("none-tls", ["a.example.org"]), **told))
    assert "there is no such Secret" in await local.event("CertificateMissing")
    assert await local.secret("none-tls") is None, "no placeholder: it is not ours"
    for name, hosts, days in (("soon", ["a.example.org"], 10), ("other", ["b.example.org"], 300), ("old", [], -1)):
        pair = self_signed(hosts or ["a.example.org"], KeyKind(), life=timedelta(days=abs(days)))
        if days < 0:
            moment = datetime.now(UTC) - timedelta(days=30)
            pair = self_signed(["a.example.org"], KeyKind(), life=timedelta(days=1), now=moment)
        await local.client.create(foreign(local, f"{name}-tls", pair))
        await local.client.create(ingress(name, local.namespace, (f"{name}-tls", ["a.example.org"]), **told))
    assert "it does not cover a.example.org (it is for b.example.org)" in await local.event("CertificateNames")
    assert "it ended at" in await local.event("CertificateExpired", "old-tls")
    found = await certificates(local.client, local.namespace)
    assert {report.secret: report.state for report in found.certificates} == {
        "none-tls": "missing",
        "soon-tls": "valid",
        "other-tls": "valid",
        "old-tls": "expired",
    }


async def test_a_secret_that_is_broken_or_deleted_comes_back(local: World) -> None:
    local.start()
    await local.client.create(ingress("web", local.namespace, ("web-tls", ["binder.localhost"])))
    first = await local.issued("web-tls")
    wrong = base64.b64encode(key_pem(KeyKind().generate()).encode()).decode()
    await local.client.patch(SECRET, "web-tls", local.namespace, {"data": {"tls.key": wrong}})

    async def repaired() -> Pair | None:
        secret = await local.secret("web-tls")
        try:
            pair = pair_in(secret) if secret and names.PLACEHOLDER not in secret["metadata"]["annotations"] else None
        except ValueError:
            return None
        return pair if pair and pair.leaf != first.leaf else None

    second = await local.until(repaired)
    await local.client.delete(SECRET, "web-tls", local.namespace)
    await local.issued("web-tls", besides=second.leaf.serial_number)


async def test_a_secret_that_is_deleted_while_nothing_is_under_way_comes_back(local: World) -> None:
    local.start()
    await local.client.create(ingress("web", local.namespace, ("web-tls", ["binder.localhost"])))
    first = await local.issued("web-tls")
    assert "web-tls" in await local.event("Issued", "web-tls")
    await asyncio.sleep(2)  # what is still under way would look at the Secret once more by itself
    await local.client.delete(SECRET, "web-tls", local.namespace)
    await local.issued("web-tls", besides=first.leaf.serial_number)


async def test_what_is_refused_is_told_on_the_ingress(local: World) -> None:
    local.start()
    await local.client.create(ingress("twice", local.namespace, ("tls", ["a.localhost"]), ("tls", ["b.localhost"])))
    await local.client.create(ingress("nobody", local.namespace, ("x", ["a.localhost"]), **{names.ISSUER: "nobody"}))
    assert "name the same Secret tls" in await local.event("BadConfig", "tls")
    assert "there is no issuer 'nobody'" in await local.event("BadConfig", "nobody")
    assert await local.secret("tls") is None and await local.secret("x") is None


async def test_one_of_two_replicas_works_and_the_other_takes_over(local: World) -> None:
    first = local.start("kube-lego-0")
    await local.client.create(ingress("web", local.namespace, ("web-tls", ["binder.localhost"])))
    await local.issued("web-tls")
    local.port = free_port()
    second = local.start("kube-lego-1")
    try:

        async def holder() -> str:
            return str((await local.client.get(LEASE, "kube-lego", local.namespace))["spec"]["holderIdentity"])

        assert await holder() == "kube-lego-0"
        first.terminate()
        assert first.wait(timeout=20) == 0

        async def taken() -> bool:
            return await holder() == "kube-lego-1"

        await local.until(taken)
        await local.client.create(ingress("more", local.namespace, ("more-tls", ["static.localhost"])))
        await local.issued("more-tls")
        assert second.poll() is None
    finally:
        first.kill()
        first.wait(timeout=10)


async def test_an_ingress_that_goes_leaves_its_secret_and_nothing_else(local: World) -> None:
    local.start()
    await local.client.create(ingress("web", local.namespace, ("web-tls", ["binder.localhost"])))
    await local.client.create(ingress("failing", local.namespace, ("failing-tls", ["a.example.org"])))
    pair = await local.issued("web-tls")
    await local.event("Failed")
    for name in ("web", "failing"):
        await local.client.delete(INGRESS, name, local.namespace)

    async def dropped() -> bool:
        return local.log().count("asked for no longer") == 2

    await local.until(dropped)
    # It is as good as before to whoever asks again, and no new one is made.
    await local.client.create(ingress("again", local.namespace, ("web-tls", ["binder.localhost"])))
    await local.client.create(ingress("last", local.namespace, ("last-tls", ["hub.localhost"])))
    await local.issued("last-tls")
    secret = await local.secret("web-tls")
    assert secret is not None and pair_in(secret).leaf == pair.leaf
