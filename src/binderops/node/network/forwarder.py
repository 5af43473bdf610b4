"""The forwarder: listens on the host's loopback and IPv6 addresses and passes TCP connections on to Services.

A program of its own, in a session of its own, that outlives the node's process: a restart of the node breaks no
connection. It imports the standard library only, and is started as a file (`python -I -S forwarder.py SOCKET`), so that
it stays below 10 MB. Loopback needs a listener because nftables can translate `[::1]` not at all and 127.0.0.1 only
with route_localnet; the server behind sees the host's address, which is who a loopback client is.

It is told what to listen on over the unix socket, one JSON line each way, as the whole of what is wanted:

    {"listen": [["127.0.0.1", 8080, "10.77.16.9", 80], …]}  →  {"listening": […], "failed": [["::1", 80, "reason"], …]}
    {"stop": true}                                           →  {"listening": [], "failed": []}

Connections that are open stay open when their listener goes.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import select
import signal
import socket
import sys
import time
from collections import deque

BUFFER_BYTES = 256 * 1024
CONNECT_MILLISECONDS = 10_000
ROUNDS = 16
"""How many buffers one connection may move before others get their turn."""

PAUSE_SECONDS = 0.05
LINGER_SECONDS = 30.0
"""How long a client may keep its end open after the server closed its own, unless it still takes what was sent."""
LONGEST_REQUEST_BYTES = 1 << 20
_TCP_USER_TIMEOUT = 18
_EDGES = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET

Route = tuple[str, int, str, int]
"""Address and port to listen on, address and port to pass on to."""


class Connection:
    """A client, the upstream, and what was read but not yet written in each direction."""

    def __init__(self, client: socket.socket, upstream: socket.socket) -> None:
        self.ends = (client, upstream)
        self.pending: list[memoryview | None] = [None, None]
        self.ended = [False, False]
        self.connecting = True
        self.queued = False


class Forwarder:
    """One epoll loop over listeners, connections and the control socket."""

    def __init__(self, control: socket.socket) -> None:
        self._epoll = select.epoll()
        self._control = control
        self._listeners: dict[int, tuple[socket.socket, Route]] = {}
        self._connections: dict[int, Connection] = {}
        self._talks: dict[int, tuple[socket.socket, bytearray]] = {}
        self._ready: deque[Connection] = deque()
        self._lingering: deque[tuple[float, Connection, int]] = deque()
        self._buffer = memoryview(bytearray(BUFFER_BYTES))
        self._stopped = False
        self._epoll.register(control.fileno(), select.EPOLLIN)

    def run(self) -> None:
        """Serve until told to stop."""
        while not self._stopped:
            for descriptor, _ in self._epoll.poll(self._patience()):
                if descriptor in self._connections:
                    self._queue(self._connections[descriptor])
                elif descriptor in self._listeners:
                    self._accept(*self._listeners[descriptor])
                elif descriptor in self._talks:
                    self._talk(descriptor)
                elif descriptor == self._control.fileno():
                    self._greet()
            for _ in range(len(self._ready)):
                connection = self._ready.popleft()
                connection.queued = False
                self._move(connection)
            self._close_lingering()

    def _patience(self) -> float:
        """How long nothing has to be done if nothing happens (s; -1: for ever)."""
        if self._ready:
            return 0
        return max(0.0, self._lingering[0][0] - time.monotonic()) if self._lingering else -1

    def _linger(self, connection: Connection) -> None:
        self._lingering.append((time.monotonic() + LINGER_SECONDS, connection, _left(connection)))

    def _close_lingering(self) -> None:
        """Close what its server closed some time ago, where the client does neither read nor close."""
        now = time.monotonic()
        while self._lingering and self._lingering[0][0] <= now:
            _, connection, before = self._lingering.popleft()
            if connection.ends[0].fileno() < 0:
                continue
            if connection.pending[1] is not None and _left(connection) != before:
                self._linger(connection)
            else:
                self._close(connection)

    def _greet(self) -> None:
        with contextlib.suppress(OSError):
            talk, _ = self._control.accept()
            talk.setblocking(False)
            self._talks[talk.fileno()] = (talk, bytearray())
            self._epoll.register(talk.fileno(), select.EPOLLIN)

    def _talk(self, descriptor: int) -> None:
        talk, received = self._talks[descriptor]
        try:
            part = talk.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            part = b""
        received += part
        if part and b"\n" not in received and len(received) < LONGEST_REQUEST_BYTES:
            return
        answer: dict[str, object]
        try:
            answer = self._obey(json.loads(bytes(received)))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            answer = {"error": str(error)}
        with contextlib.suppress(OSError):
            talk.setblocking(True)
            talk.settimeout(1.0)
            talk.sendall(json.dumps(answer).encode() + b"\n")
        del self._talks[descriptor]
        talk.close()

    def _obey(self, request: dict[str, object]) -> dict[str, object]:
        if request.get("stop"):
            self._stopped = True
            return {"listening": [], "failed": [], "pid": os.getpid()}
        wanted: list[Route] = []
        if "listen" in request:
            wanted = [(str(a), int(p), str(b), int(q)) for a, p, b, q in request["listen"]]  # type: ignore[attr-defined]
            failed = self._listen(wanted)
        else:
            failed = []
        listening = [list(route) for _, route in self._listeners.values()]
        return {"listening": listening, "failed": failed, "pid": os.getpid()}

    def _listen(self, wanted: list[Route]) -> list[list[object]]:
        """Close what is no longer wanted, open what is new; returns what could not be opened, with the reason."""
        for descriptor, (listener, route) in list(self._listeners.items()):
            if route not in wanted:
                self._epoll.unregister(descriptor)
                del self._listeners[descriptor]
                listener.close()
        failed: list[list[object]] = []
        present = {route for _, route in self._listeners.values()}
        for route in wanted:
            if route in present:
                continue
            family = socket.AF_INET6 if ":" in route[0] else socket.AF_INET
            listener = socket.socket(family, socket.SOCK_STREAM)
            try:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                listener.bind((route[0], route[1]))
                listener.listen(1024)
                listener.setblocking(False)
            except OSError as error:
                listener.close()
                failed.append(
                    [route[0], route[1], errno.errorcode.get(error.errno or 0, "") + ": " + str(error.strerror)]
                )
                continue
            self._listeners[listener.fileno()] = (listener, route)
            self._epoll.register(listener.fileno(), select.EPOLLIN)
        return failed

    def _accept(self, listener: socket.socket, route: Route) -> None:
        for _ in range(ROUNDS):
            try:
                client, _ = listener.accept()
            except BlockingIOError:
                return
            except OSError:  # no descriptor is free, most likely: the client waits in the queue
                time.sleep(PAUSE_SECONDS)
                return
            try:
                upstream = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            except OSError:
                client.close()
                return
            for end in (client, upstream):
                end.setblocking(False)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            # The kernel's own deadline for the handshake: no timers here.
            upstream.setsockopt(socket.IPPROTO_TCP, _TCP_USER_TIMEOUT, CONNECT_MILLISECONDS)
            connection = Connection(client, upstream)
            try:
                upstream.connect((route[2], route[3]))
            except BlockingIOError:
                pass
            except OSError:
                self._abort(connection)
                continue
            for end in connection.ends:
                self._connections[end.fileno()] = connection
                self._epoll.register(end.fileno(), _EDGES)

    def _queue(self, connection: Connection) -> None:
        if not connection.queued:
            connection.queued = True
            self._ready.append(connection)

    def _move(self, connection: Connection) -> None:
        """Move what can be moved now in both directions; the next edge calls again."""
        if connection.ends[0].fileno() < 0:
            return
        try:
            if connection.connecting and not self._connected(connection):
                return
            busy = [self._pump(connection, 0), self._pump(connection, 1)]
        except OSError:
            self._abort(connection)
            return
        if all(connection.ended):
            self._close(connection)
        elif any(busy):
            self._queue(connection)

    def _connected(self, connection: Connection) -> bool:
        upstream = connection.ends[1]
        problem = upstream.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if problem:
            raise OSError(problem, os.strerror(problem))
        try:
            upstream.getpeername()
        except OSError:
            return False  # still on its way
        connection.connecting = False
        upstream.setsockopt(socket.IPPROTO_TCP, _TCP_USER_TIMEOUT, 0)
        return True

    def _pump(self, connection: Connection, source: int) -> bool:
        """Read from one end and write to the other until one of them blocks; whether there may be more right now."""
        reader, writer = connection.ends[source], connection.ends[1 - source]
        for _ in range(ROUNDS):
            data = connection.pending[source]
            if data is None:
                if connection.ended[source]:
                    return False
                try:
                    count = reader.recv_into(self._buffer)
                except BlockingIOError:
                    return False
                if count == 0:
                    connection.ended[source] = True
                    with contextlib.suppress(OSError):
                        writer.shutdown(socket.SHUT_WR)
                    if source == 1:
                        self._linger(connection)
                    return False
                data = self._buffer[:count]
            try:
                sent = writer.send(data)
            except BlockingIOError:
                sent = 0
            if sent == len(data):
                connection.pending[source] = None
                continue
            rest = data[sent:]
            # The shared buffer is needed by others: what is left in it moves to one of the connection's own.
            connection.pending[source] = memoryview(bytes(rest)) if data.obj is self._buffer.obj else rest
            if sent == 0:
                return False
        return True

    def _abort(self, connection: Connection) -> None:
        """Close with a reset, so that the client sees a failure and not an empty answer."""
        for end in connection.ends:
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        self._close(connection)

    def _close(self, connection: Connection) -> None:
        for end in connection.ends:
            self._connections.pop(end.fileno(), None)
            end.close()


def _left(connection: Connection) -> int:
    """Bytes that were read for the client and that its socket has not taken yet."""
    data = connection.pending[1]
    return 0 if data is None else len(data)


def main() -> None:
    """Take the unix socket's path from the command line and serve."""
    path = sys.argv[1]
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    os.umask(0o177)
    unready = f"{path}.{os.getpid()}"
    control.bind(unready)
    control.listen(8)
    control.setblocking(False)
    os.rename(unready, path)  # noqa: PTH104 (pathlib would cost a megabyte); whoever sees the socket can talk to it
    Forwarder(control).run()
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108


if __name__ == "__main__":
    main()
