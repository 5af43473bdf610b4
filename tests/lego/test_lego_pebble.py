"""Certificates from a real ACME server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.lego.pebble import Pebble, in_days
from tests.lego.world import World, ingress

from binderops.kube import certificates as names
from binderops.kube.kinds import INGRESS
from binderops.kube.objects import parse_timestamp
from binderops.lego.pairs import covers, examine

NewPebble = Callable[..., Pebble]


async def test_an_ingress_that_asks_gets_a_certificate(world: World, new_pebble: NewPebble) -> None:
    pebble = new_pebble(AUTHZREUSE="0")
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
