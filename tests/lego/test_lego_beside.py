"""Beside cert-manager: what it made is its own, whatever Ingresses ask for.

The chart's switch, in a running deployment, is in `tests/e2e/test_e2e_acme`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import timedelta

import pytest
from tests.lego.world import World, ingress, pair_in

from binderops.kube import certificates as names
from binderops.kube.kinds import INGRESS, SECRET, SERVICE, Object
from binderops.lego.pairs import KeyKind, Pair, chain_pem, key_pem, self_signed

ISSUED = {"controller.cert-manager.io/fao": "true"}
TEMPORARY = {"cert-manager.io/next-private-key": "true", **ISSUED}
SOLVER = {"acme.cert-manager.io/http01-solver": "true"}
NAME = "cm-acme-http-solver-x7k2p"


def encoded(texts: Mapping[str, str]) -> dict[str, str]:
    return {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}


class CertManager:
    """What cert-manager keeps in a namespace: two certificates, a key for the next, an account, an open challenge."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def make(self) -> None:
        for secret, host in (("kubelego-tls-binder", "binder.localhost"), ("shop-tls", "shop.example.org")):
            await self._secret(secret, self.files(host), kind="kubernetes.io/tls", certificate=secret, **ISSUED)
        await self._secret("shop-tls-nvq5c", {"tls.key": key_pem(KeyKind().generate())}, **TEMPORARY)
        await self._secret("letsencrypt-prod", {"tls.key": key_pem(KeyKind().generate())})
        client, namespace = self.world.client, self.world.namespace
        await client.create(ingress("binder", namespace, ("kubelego-tls-binder", ["binder.localhost"])))
        told = {names.CLUSTER_ISSUER: "letsencrypt-prod"}
        await client.create(ingress("shop", namespace, ("shop-tls", ["shop.example.org"]), **told))
        metadata = {"name": NAME, "namespace": namespace, "labels": SOLVER}
        ports = [{"port": 8089, "targetPort": 8089, "protocol": "TCP"}]
        await client.create(
            {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": ports, "selector": SOLVER}}
        )
        path = {"path": "/.well-known/acme-challenge/token", "pathType": "Exact"}
        backend = {"service": {"name": NAME, "port": {"number": 8089}}}
        rules = [{"host": "shop.example.org", "http": {"paths": [{**path, "backend": backend}]}}]
        await client.create(
            {
                "apiVersion": INGRESS.api_version,
                "kind": "Ingress",
                "metadata": metadata,
                "spec": {"ingressClassName": "nginx", "rules": rules},
            }
        )

    def files(self, host: str) -> dict[str, str]:
        pair = self.pair = self_signed([host], KeyKind(), life=timedelta(days=90))
        return {"tls.crt": chain_pem(pair.chain), "tls.key": key_pem(pair.key)}

    async def _secret(
        self, name: str, files: Mapping[str, str], *, kind: str = "Opaque", certificate: str = "", **labels: str
    ) -> None:
        about = {"cert-manager.io/certificate-name": certificate, "cert-manager.io/issuer-name": "letsencrypt-prod"}
        metadata = {"name": name, "namespace": self.world.namespace, "labels": labels}
        metadata |= {"annotations": about} if certificate else {}
        await self.world.client.create(
            {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": kind, "data": encoded(files)}
        )

    async def objects(self) -> dict[tuple[str, str], Object]:
        """All that is in the namespace and is not kube-lego's, to the last field."""
        found = {}
        for kind in (SECRET, INGRESS, SERVICE):
            for each in (await self.world.client.list(kind, self.world.namespace)).items:
                if each["metadata"].get("labels", {}).get(names.MANAGED_BY) != names.KUBE_LEGO:
                    found[kind.kind, each["metadata"]["name"]] = each
        return found


@pytest.fixture
async def cert_manager(world: World) -> CertManager:
    world.server = "https://localhost:9/directory"
    world.issuers = {"local": {"type": "ca", "domains": ["localhost"]}}
    world.arguments = ["--default-issuer", "local"]
    made = CertManager(world)
    await made.make()
    return made


async def served_one_more(world: World, name: str) -> Pair:
    """A certificate of our own for an Ingress that came last: what came before has been looked at by then."""
    await world.client.create(ingress(name, world.namespace, (f"{name}-tls", [f"{name}.localhost"])))
    return await world.issued(f"{name}-tls")


async def test_nothing_of_cert_manager_s_is_touched_by_one_that_runs_all_the_same(
    world: World, cert_manager: CertManager
) -> None:
    before = await cert_manager.objects()
    assert len(before) == 8
    world.start()
    assert names.ADOPT in await world.event("NotOurs", "kubelego-tls-binder")
    assert "there is no issuer 'letsencrypt-prod'" in await world.event("BadConfig", "letsencrypt-prod")
    await served_one_more(world, "ours")
    # cert-manager renews; and kube-lego starts anew, which sweeps what it left itself.
    await world.client.patch(
        SECRET, "kubelego-tls-binder", world.namespace, {"data": encoded(cert_manager.files("binder.localhost"))}
    )
    renewed = cert_manager.pair
    world.stop()
    world.start()
    await served_one_more(world, "last")
    after = await cert_manager.objects()
    for name in ("ours", "last"):
        after.pop(("Ingress", name))
    changed = {key for key in before if before[key] != after.get(key)}
    assert changed == {("Secret", "kubelego-tls-binder")} and after.keys() == before.keys()
    assert pair_in(after["Secret", "kubelego-tls-binder"]).leaf == renewed.leaf

    # With the guard taken away, by the operator's own word, it is another matter.
    body = {"metadata": {"annotations": {names.ADOPT: "true"}}}
    await world.client.patch(INGRESS, "binder", world.namespace, body)
    await world.issued("kubelego-tls-binder", besides=renewed.leaf.serial_number)


async def test_of_classes_that_are_not_its_own_it_says_nothing_at_all(world: World, cert_manager: CertManager) -> None:
    """As in a cluster where cert-manager serves one controller, and kube-lego another one."""
    before = await cert_manager.objects()
    world.environment = {"LEGO_SUPPORTED_INGRESS_CLASS": "binder"}
    world.start()
    mine = ingress("ours", world.namespace, ("ours-tls", ["ours.localhost"]))
    mine["spec"]["ingressClassName"] = "binder"
    await world.client.create(mine)
    await world.issued("ours-tls")
    await world.event("Issued", "ours-tls")
    after = await cert_manager.objects()
    after.pop(("Ingress", "ours"))
    assert after == before
    assert await world.events("NotOurs") == [] and await world.events("BadConfig") == []
