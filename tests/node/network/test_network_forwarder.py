"""The forwarder's loop, in a thread, between a client and a server of the test's own."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from binderops.node.network import forwarder
from binderops.node.network.forwarder import Forwarder

LINGER = 0.3


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        made.settimeout(10)
        yield made


@pytest.fixture
def port(server: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Where the forwarder listens for the server."""
    monkeypatch.setattr(forwarder, "LINGER_SECONDS", LINGER)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        free = int(probe.getsockname()[1])
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    control.bind(str(tmp_path / "control"))
    control.listen(1)
    control.setblocking(False)
    loop = threading.Thread(target=Forwarder(control).run)
    loop.start()
    try:
        told = talk(tmp_path / "control", {"listen": [["127.0.0.1", free, *server.getsockname()]]})
        assert told["failed"] == []
        yield free
    finally:
        talk(tmp_path / "control", {"stop": True})
        loop.join(10)
        control.close()


def talk(path: Path, request: object) -> dict[str, object]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as control:
        control.settimeout(10)
        control.connect(str(path))
        control.sendall(json.dumps(request).encode() + b"\n")
        told: dict[str, object] = json.loads(control.makefile().readline())
        return told


def connected(port: int, server: socket.socket) -> tuple[socket.socket, socket.socket]:
    client = socket.create_connection(("127.0.0.1", port), timeout=10)
    accepted, _ = server.accept()
    accepted.settimeout(10)
    return client, accepted


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_client_that_never_closes_holds_nothing_once_the_server_has(port: int, server: socket.socket) -> None:
    before = descriptors()
    clients = []
    for _ in range(20):
        client, accepted = connected(port, server)
        accepted.sendall(b"bye")
        accepted.close()
        clients.append(client)
    until(lambda: descriptors() <= before + len(clients))
    assert [client.recv(10) for client in clients] == [b"bye"] * len(clients)
    for client in clients:
        client.close()


def test_who_still_takes_what_was_sent_gets_all_of_it(port: int, server: socket.socket) -> None:
    """Slower than the time that a silent client has."""
    size = 8 << 20
    client, accepted = connected(port, server)

    def send() -> None:
        accepted.sendall(b"x" * size)
        accepted.close()

    writer = threading.Thread(target=send)
    writer.start()
    received, pieces = 0, 0
    while data := client.recv(256 * 1024):
        received, pieces = received + len(data), pieces + 1
        time.sleep(0.02)
    writer.join()
    client.close()
    assert received == size and pieces * 0.02 > 2 * LINGER


def test_a_client_that_has_said_all_waits_for_its_answer(port: int, server: socket.socket) -> None:
    client, accepted = connected(port, server)
    client.sendall(b"question")
    client.shutdown(socket.SHUT_WR)
    assert accepted.recv(100) == b"question" and accepted.recv(1) == b""
    time.sleep(2 * LINGER)  # longer than a silent client would have
    accepted.sendall(b"answer")
    accepted.close()
    assert client.recv(100) == b"answer"
    client.close()
