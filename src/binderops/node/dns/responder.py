"""From a packet to a packet: parse, ask the zone, else the host's resolvers, and write the answer."""

from __future__ import annotations

from collections.abc import Callable

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from binderops.node.dns.upstream import PAYLOAD_BYTES, Upstream
from binderops.node.dns.zone import TTL_SECONDS, Answer, Record, Zone

_SMALLEST_PAYLOAD = 512
_HEADER_BYTES = 12


class Responder:
    """Answers questions with the zone of the moment and an upstream."""

    def __init__(self, zone: Callable[[], Zone], upstream: Upstream, *, domain: str) -> None:
        self._zone = zone
        self._upstream = upstream
        self._domain = domain

    async def respond(self, data: bytes, *, stream: bool = False, forward: bool = True) -> bytes | None:
        """The answer to one packet; None for what is no question. Over UDP it is cut to what the client can take.

        Without `forward`, None too for what the zone alone cannot answer: then nothing is waited for.
        """
        try:
            query = dns.message.from_wire(data)
        except (dns.exception.DNSException, ValueError):
            return _format_error(data)
        if query.flags & dns.flags.QR:
            return None
        response = dns.message.make_response(query, recursion_available=True, our_payload=PAYLOAD_BYTES)
        if not await self._fill(query, response, forward=forward):
            return None
        if stream:
            return response.to_wire(max_size=65535)
        limit = max(_SMALLEST_PAYLOAD, min(query.payload, PAYLOAD_BYTES)) if query.edns >= 0 else _SMALLEST_PAYLOAD
        try:
            return response.to_wire(max_size=limit)
        except dns.exception.TooBig:
            cut = dns.message.make_response(query, recursion_available=True, our_payload=PAYLOAD_BYTES)
            cut.set_rcode(response.rcode())
            cut.flags |= dns.flags.TC
            return cut.to_wire()

    async def _fill(self, query: dns.message.Message, response: dns.message.Message, *, forward: bool) -> bool:
        if (
            query.opcode() != dns.opcode.QUERY
            or len(query.question) != 1
            or query.question[0].rdclass != dns.rdataclass.IN
        ):
            response.set_rcode(dns.rcode.NOTIMP)
            return True
        name, kind = query.question[0].name, query.question[0].rdtype
        found = self._zone().lookup(name.to_text(omit_final_dot=True), dns.rdatatype.to_text(kind))
        if not forward and (found is None or found.follow is not None):
            return False
        if found is not None:
            await self._own(found, kind, response)
            return True
        reply = await self._upstream.resolve(name, kind)
        response.set_rcode(reply.rcode)
        response.answer.extend(reply.answer)
        response.authority.extend(reply.authority)
        return True

    async def _own(self, found: Answer, kind: dns.rdatatype.RdataType, response: dns.message.Message) -> None:
        response.flags |= dns.flags.AA
        response.set_rcode(dns.rcode.NOERROR if found.exists else dns.rcode.NXDOMAIN)
        response.answer.extend(_rrsets(found.records))
        response.additional.extend(_rrsets(found.extra))
        if found.follow is not None:
            followed = await self._upstream.resolve(dns.name.from_text(found.follow), kind)
            response.answer.extend(followed.answer)
        if not found.records:
            response.authority.append(self._authority())

    def _authority(self) -> dns.rrset.RRset:
        """For how long the absence may be remembered (RFC 2308)."""
        text = f"ns.dns.{self._domain}. hostmaster.{self._domain}. 1 7200 1800 86400 {TTL_SECONDS}"
        return dns.rrset.from_text(f"{self._domain}.", TTL_SECONDS, "IN", "SOA", text)


def _rrsets(records: tuple[Record, ...]) -> list[dns.rrset.RRset]:
    grouped: dict[tuple[str, str], list[str]] = {}
    for record in records:
        grouped.setdefault((record.name, record.type), []).append(_text(record))
    return [
        dns.rrset.from_text(name.rstrip(".") + ".", TTL_SECONDS, "IN", kind, *texts)
        for (name, kind), texts in grouped.items()
    ]


def _text(record: Record) -> str:
    """A record's data in the form of a zone file."""
    if isinstance(record.data, tuple):
        priority, weight, port, target = record.data
        return f"{priority} {weight} {port} {target}."
    return f"{record.data}." if record.type in ("CNAME", "PTR", "NS") else record.data


def _format_error(data: bytes) -> bytes | None:
    """FORMERR for what has at least the header of a question."""
    if len(data) < _HEADER_BYTES or data[2] & 0x80:
        return None
    return data[:2] + bytes([0x80 | (data[2] & 0x79), 0x81]) + bytes(8)
