"""The ledger: an environment's records of proofs, kept in its own API as ConfigMaps of the release's namespace.

One ConfigMap a record (`proof-000017`, immutable), one that counts them (`proofs`). The newest KEPT stay; older ones
go, and the count remembers from which number on the chain must be whole.
"""

from __future__ import annotations

import asyncio
import getpass
import os
import random
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from binderops.delivery.records import Head, Record, Stored, read_chain
from binderops.errors import AlreadyExistsError, ConflictError, LedgerError, NotFoundError
from binderops.kube.client import Client
from binderops.kube.kinds import CONFIG_MAP
from binderops.kube.objects import name_of

KEPT = 100
LABEL = "binderops.dev/ledger"
HEAD = "proofs"
_ATTEMPTS = 20  # writers that may come between before this one gives up
_PAUSE = 0.1  # seconds at most between two attempts; they are spread, so that writers do not meet again
_READS = 3  # a chain that does not fit was perhaps read while somebody wrote: only one that stays so is broken


def utc_now() -> str:
    """The time of a record: ISO 8601, UTC, whole seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def who() -> str:
    """Who runs this: the person behind sudo where there is one, and the machine."""
    try:
        user = os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"


@dataclass(frozen=True)
class Ledger:
    """The records of one environment, in one namespace of its target; `kept` is how many stay."""

    client: Client
    namespace: str
    environment: str
    kept: int = KEPT

    async def records(self) -> list[Record]:
        """Every record that is kept, oldest first; raises LedgerError where the chain does not fit."""
        for _ in range(_READS - 1):
            try:
                return await self._read()
            except LedgerError:
                await asyncio.sleep(_PAUSE)
        return await self._read()

    async def _read(self) -> list[Record]:
        head = _head(await self._head_object())
        found = (await self.client.list(CONFIG_MAP, self.namespace, labels=f"{LABEL}=record")).items
        stored = [Stored(name_of(obj), str((obj.get("data") or {}).get("record", ""))) for obj in found]
        return read_chain(stored, head, where=self._where)

    async def append(self, made: Callable[[int, str], Record]) -> Record:
        """Adds a record; `made` gets its number and the hash of the one before. Raises LedgerError, KubernetesError."""
        for _ in range(_ATTEMPTS):
            records = await self.records()
            last = records[-1] if records else None
            record = made(last.number + 1 if last else 1, last.hash if last else "")
            try:
                await self._create(record)
            except AlreadyExistsError:  # another command recorded its proof meanwhile
                await asyncio.sleep(random.uniform(0, _PAUSE))  # noqa: S311
                continue
            await self._count(record, first=max(records[0].number if records else 1, record.number - self.kept + 1))
            for old in records:
                if old.number <= record.number - self.kept:
                    await self._delete(_name(old.number))
            return record
        raise LedgerError("the proof could not be recorded", where=self._where, why="others recorded at the same time")

    async def begin_anew(self) -> int:
        """Removes every record and the count; answers how many there were. For a chain that is broken."""
        found = (await self.client.list(CONFIG_MAP, self.namespace, labels=LABEL)).items
        for obj in found:
            await self._delete(name_of(obj))
        return len([obj for obj in found if name_of(obj) != HEAD])

    @property
    def _where(self) -> str:
        return f"{self.environment}: ConfigMaps {LABEL}=record in namespace {self.namespace}"

    async def _create(self, record: Record) -> None:
        try:
            await self.client.create(self._object(_name(record.number), "record", {"record": record.text}, frozen=True))
        except NotFoundError:
            # A first deployment that failed before Helm made the namespace is recorded as well.
            await self.client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}})
            await self.client.create(self._object(_name(record.number), "record", {"record": record.text}, frozen=True))

    async def _count(self, record: Record, *, first: int) -> None:
        """Counts the record, unless somebody counted a later one already."""
        wanted = self._object(HEAD, "head", {"count": str(record.number), "newest": record.hash, "first": str(first)})
        for _ in range(_ATTEMPTS):
            found = await self._head_object()
            head = _head(found)
            if head is not None and head.count >= record.number:
                return
            try:
                if found is None:
                    await self.client.create(wanted)
                else:
                    version = {"resourceVersion": found["metadata"]["resourceVersion"]}
                    await self.client.replace({**wanted, "metadata": {**wanted["metadata"], **version}})
                return
            except ConflictError:  # AlreadyExistsError is one
                await asyncio.sleep(random.uniform(0, _PAUSE))  # noqa: S311

    async def _head_object(self) -> dict[str, Any] | None:
        try:
            return await self.client.get(CONFIG_MAP, HEAD, self.namespace)
        except NotFoundError:
            return None

    async def _delete(self, name: str) -> None:
        try:
            await self.client.delete(CONFIG_MAP, name, self.namespace)
        except NotFoundError:
            return

    def _object(self, name: str, part: str, data: dict[str, str], *, frozen: bool = False) -> dict[str, Any]:
        metadata = {"name": name, "namespace": self.namespace, "labels": {LABEL: part}}
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "data": data,
            **({"immutable": True} if frozen else {}),
        }


def _name(number: int) -> str:
    return f"proof-{number:06d}"


def _head(found: dict[str, Any] | None) -> Head | None:
    if found is None:
        return None
    data = found.get("data") or {}
    try:
        return Head(count=int(data["count"]), newest=str(data["newest"]), first=int(data["first"]))
    except (KeyError, ValueError):
        return Head(count=-1, newest="", first=1)
