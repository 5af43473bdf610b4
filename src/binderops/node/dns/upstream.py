"""Forwards what is not the cluster's to the host's resolvers, and remembers the answers.

The node's process is in the host's network namespace, so a resolver on 127.0.0.53 is reached as the host reaches it.
Each question travels from a socket, port and id of its own (dnspython's), and TCP follows an answer that was cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.ttl
import structlog

log = structlog.get_logger(__name__)

RESOLV_CONF = Path("/etc/resolv.conf")
PORT = 53
TRY_SECONDS = 2.0
TRIES = 2
PAYLOAD_BYTES = 1232
"""What the DNS Flag Day 2020 recommends: no fragments."""

MOST_REMEMBERED = 4096
MOST_AT_ONCE = 256
LONGEST_TTL = 300
NEGATIVE_TTL = 30
_MOST_SERVERS = 3  # as the C library has it


class Reply(NamedTuple):
    """An upstream's answer: response code, answer and authority sections."""

    rcode: dns.rcode.Rcode
    answer: tuple[dns.rrset.RRset, ...] = ()
    authority: tuple[dns.rrset.RRset, ...] = ()


_Key = tuple[dns.name.Name, dns.rdatatype.RdataType]


class Upstream:
    """The host's resolvers behind a cache. `own_address` is never asked: that would be this server itself."""

    def __init__(self, *, own_address: str = "", resolv_conf: Path = RESOLV_CONF, port: int = PORT) -> None:
        self._own = own_address
        self._path = resolv_conf
        self._port = port
        self._read_at = -1
        self._servers: list[str] = []
        self._cache: OrderedDict[_Key, tuple[Reply, float, float]] = OrderedDict()
        self._asking: dict[_Key, asyncio.Task[Reply]] = {}
        self._slots = asyncio.Semaphore(MOST_AT_ONCE)

    async def resolve(self, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> Reply:
        """The answer from the cache or a resolver; SERVFAIL when none answers within its time.

        Who asks the same at the same time shares one question. TTLs are what is left of them.
        """
        key = (name.canonicalize(), kind)
        remembered = self._cache.get(key)
        now = time.monotonic()
        if remembered and remembered[2] > now:
            self._cache.move_to_end(key)
            return _aged(remembered[0], int(now - remembered[1]))
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.create_task(self._ask_all(*key))
            task.add_done_callback(lambda _: self._asking.pop(key, None))
        return await asyncio.shield(task)

    def servers(self) -> list[str]:
        """The host's resolvers, read again when the file changes."""
        try:
            changed = self._path.stat().st_mtime_ns
            if changed != self._read_at:
                self._servers = _read_servers(self._path.read_text(encoding="utf-8", errors="replace"), self._own)
                self._read_at = changed
        except OSError as error:
            log.warning("the host's resolvers cannot be read", path=str(self._path), error=str(error))
        return self._servers

    async def _ask_all(self, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> Reply:
        last = Reply(dns.rcode.SERVFAIL)
        async with self._slots:
            for server in self.servers() * TRIES:
                query = dns.message.make_query(name, kind, use_edns=0, payload=PAYLOAD_BYTES)
                try:
                    message, _ = await dns.asyncquery.udp_with_fallback(
                        query, server, timeout=TRY_SECONDS, port=self._port, ignore_unexpected=True, ignore_errors=True
                    )
                except (dns.exception.DNSException, OSError, EOFError) as error:
                    log.debug("a resolver did not answer", server=server, name=str(name), error=repr(error))
                    continue
                last = Reply(message.rcode(), tuple(message.answer), tuple(message.authority))
                if last.rcode in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
                    self._remember((name, kind), last)
                    break
        return last

    def _remember(self, key: _Key, reply: Reply) -> None:
        ttl = _ttl_of(reply)
        if ttl <= 0:
            return
        now = time.monotonic()
        self._cache[key] = (reply, now, now + ttl)
        self._cache.move_to_end(key)
        while len(self._cache) > MOST_REMEMBERED:
            self._cache.popitem(last=False)


def _read_servers(text: str, own: str) -> list[str]:
    servers = []
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver" and words[1] != own:
            with contextlib.suppress(ValueError):
                ip_address(words[1].partition("%")[0])
                servers.append(words[1])
    return servers[:_MOST_SERVERS]


def _ttl_of(reply: Reply) -> int:
    if reply.answer:
        return min(LONGEST_TTL, *(rrset.ttl for rrset in reply.answer))
    for rrset in reply.authority:
        if rrset.rdtype == dns.rdatatype.SOA:  # RFC 2308: the lesser of the SOA's own TTL and its last number
            return min(NEGATIVE_TTL, rrset.ttl, int(rrset[0].minimum))
    return 0


def _aged(reply: Reply, seconds: int) -> Reply:
    """The reply with TTLs that are less by the time it lay in the cache."""

    def older(rrset: dns.rrset.RRset) -> dns.rrset.RRset:
        return dns.rrset.from_rdata_list(rrset.name, max(1, rrset.ttl - seconds), list(rrset))

    return Reply(reply.rcode, tuple(map(older, reply.answer)), tuple(map(older, reply.authority)))
