"""What others do to the kernel's rules is heard; what a node does to its own is not."""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from binderops.node.config import NodeConfig
from binderops.node.network.firewalls import ufw
from binderops.node.network.firewalls.changes import RuleChanges, changed_tables
from binderops.node.network.names import node_table

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


@pytest.fixture
def table() -> Iterator[str]:
    name = f"heard-{secrets.token_hex(4)}"
    yield name
    subprocess.run(["nft", "delete", "table", "inet", name], capture_output=True, timeout=20, check=False)


async def nft(*command: str) -> None:
    await asyncio.to_thread(subprocess.run, ["nft", *command], capture_output=True, timeout=20, check=True)


class Heard(RuleChanges):
    """Notes what it decides of each change, whosoever else changes rules meanwhile."""

    def __init__(self, own: str) -> None:
        super().__init__(own)
        self.decided: dict[str, list[tuple[int, bool]]] = {}

    def _concerns(self, kind: int, table: str) -> bool:
        concerns = super()._concerns(kind, table)
        self.decided.setdefault(table, []).append((kind, concerns))
        return concerns


async def until_heard(changes: Heard, table: str, number: int) -> list[tuple[int, bool]]:
    async with asyncio.timeout(20):
        while len(changes.decided.get(table, [])) < number:
            changes.event.clear()
            await asyncio.sleep(0.01)
    return changes.decided[table]


async def test_each_change_of_anothers_table_is_heard(table: str) -> None:
    with Heard("binderops-own") as changes:
        await nft("add", "table", "inet", table)
        await nft("add", "chain", "inet", table, "c")
        await nft("add", "rule", "inet", table, "c", "accept")
        await nft("delete", "table", "inet", table)
        decided = await until_heard(changes, table, 4)
    # What is deleted together is told together, and the first of it is enough.
    assert [kind for kind, _ in decided][:3] == [0, 3, 6] and decided[3][0] in {8, 5, 2}
    assert all(concerns for _, concerns in decided)


async def test_of_its_own_tables_a_node_hears_only_that_one_is_gone() -> None:
    own = node_table(f"h{secrets.token_hex(3)}")
    with Heard(own) as changes:
        await nft("add", "table", "ip", own)
        await nft("add", "chain", "ip", own, "c")
        await nft("delete", "table", "ip", own)
        assert await until_heard(changes, own, 4) == [(0, False), (3, False), (5, False), (2, True)]


def test_a_message_that_is_cut_short_says_nothing() -> None:
    whole = bytes.fromhex("24000000000a00000000000000000000010000000c0001006c65616b7300000000000000")
    assert list(changed_tables(whole)) == [(0, "leaks")]
    for length in range(len(whole)):
        assert list(changed_tables(whole[:length])) in ([], [(0, "leaks"[: max(0, length - 24)])], [(0, "leaks")])
    assert list(changed_tables(b"\0" * 64)) == []


def test_a_ufw_that_is_off_is_not_asked(config: NodeConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[object] = []
    monkeypatch.setattr(ufw, "run_program", lambda *words, **_: asked.append(words))
    switch = tmp_path / "ufw.conf"
    monkeypatch.setattr(ufw, "_SWITCH", switch)
    switch.write_text("# ENABLED=yes\nENABLED=no\n")
    assert list(ufw.Ufw(config).missing()) == [] and asked == []
    switch.unlink()
    assert list(ufw.Ufw(config).missing()) == [] and asked == []
