"""Certificates of sixty seconds behind the real ingress controller, renewed under constant traffic.

LEGO_SOAK_SECONDS=600 is `make soak-lego`: they are renewed when it is time. The short form, of less than a life, does
not wait for that: an operator asks for each renewal.
"""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable

import pytest
from cryptography import x509
from tests.lego.pebble import Pebble, free_port
from tests.lego.world import World, ingress
from tests.programs import program

from binderops.lego.pairs import chain_pem

SECONDS = float(os.environ.get("LEGO_SOAK_SECONDS", "5"))
LIFE = 60  # seconds
ASKED = 3  # renewals, where SECONDS are less than a life
HOSTS = ["a.example.org", "b.example.org"]


class Proxy:
    """`python -m binderops.ingress` in front of the world's solver and of nothing else."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.http, self.https = free_port(), free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "binderops.ingress", "--kubeconfig", str(self.world.kubeconfig)]
        command += ["--watch-namespace", self.world.namespace, "--folder", str(self.world.folder / "nginx")]
        command += [
            "--http-port",
            str(self.http),
            "--https-port",
            str(self.https),
            "--public-tls-port",
            str(self.https),
        ]
        command += ["--health-port", str(free_port()), "--metrics-port", str(free_port())]
        with (self.world.folder / "ingress.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(timeout=30)


@pytest.fixture
async def proxy(world: World) -> AsyncIterator[Proxy]:
    made = Proxy(world)
    yield made
    made.stop()


async def handshake(port: int, host: str, context: ssl.SSLContext) -> int:
    """A request over a connection of its own; the serial number of the certificate that was verified."""
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=host)
        try:
            writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            assert (await reader.readline()).startswith(b"HTTP/1.1 "), "no answer"
            peer = writer.get_extra_info("ssl_object").getpeercert(True)
            return x509.load_der_x509_certificate(peer).serial_number
        finally:
            writer.close()


async def ask_for_renewals(world: World, served: set[int]) -> None:
    """As an operator does (docs/operate/certificates.md), each once the one before is in force."""
    for _ in range(ASKED):
        before = (await world.issued("web-tls")).leaf.serial_number
        await world.annotate_secret("web-tls", RENEW_AT="2000-01-01T00:00:00Z")
        renewed = (await world.issued("web-tls", besides=before)).leaf.serial_number

        async def in_force(serial: int = renewed) -> bool:
            return serial in served

        await world.until(in_force)


@pytest.mark.slow
@pytest.mark.timeout(1200)
async def test_no_handshake_fails_while_certificates_of_a_minute_are_renewed(
    world: World, proxy: Proxy, new_pebble: Callable[..., Pebble]
) -> None:
    program("nginx")
    # The CA comes to the proxy's port 80, and so does the self-check.
    solver, world.port = world.port, proxy.http
    pebble = new_pebble(validity=LIFE, AUTHZREUSE="0")
    world.port = solver
    world.solver_address = "127.0.0.1"
    world.self_check_port = proxy.http
    # As in a pod: for a tenth of a second nginx's old workers take connections beside the new ones.
    world.self_check_passes = 0
    proxy.start()
    world.warm = None
    world.start()
    await world.client.create(ingress("web", world.namespace, ("web-tls", HOSTS)))
    await world.issued("web-tls")
    context = ssl.create_default_context(cadata=chain_pem([pebble.root()]))

    async def served() -> bool:
        # An old worker may take a connection or two with the placeholder while the first certificate comes into force.
        try:
            return all([await handshake(proxy.https, host, context) > 0 for host in HOSTS for _ in range(20)])
        except (OSError, TimeoutError):
            return False

    await world.until(served)
    serials: set[int] = set()
    failures: list[str] = []
    count, end = 0, time.monotonic() + SECONDS
    asking = asyncio.create_task(ask_for_renewals(world, serials)) if SECONDS < LIFE else None
    while time.monotonic() < end or (asking is not None and not asking.done()):
        for host in HOSTS:
            try:
                serials.add(await handshake(proxy.https, host, context))
                count += 1
            except (OSError, TimeoutError, AssertionError) as error:
                failures.append(f"{time.monotonic():.1f} {host}: {type(error).__name__} {error}")
        await asyncio.sleep(0.02)
    if asking is not None:
        await asking
    print(f"{count} handshakes, {len(serials)} certificates, {len(failures)} failures")
    assert failures == []
    assert len(serials) >= 1 + (ASKED if asking else SECONDS // LIFE)
    assert await world.events("Failed") == []
