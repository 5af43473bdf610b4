"""The ledger and a release, on a real API; and a kubeconfig that never touches a disk on its way to Helm."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from binderops.delivery.attempts import Attempt, recorded
from binderops.delivery.ledger import HEAD, Ledger
from binderops.delivery.records import Record
from binderops.delivery.served import COMMON_LABEL, STATE_LABEL, digest_from, label_of, read_live
from binderops.errors import LedgerError, NotFoundError, NotReadyError
from binderops.helm.releases import ReleaseDoor
from binderops.kube.client import Client
from binderops.kube.kinds import CONFIG_MAP
from binderops.state.chart import pack_chart
from binderops.state.settings import Environment
from binderops.target.protocol import Access


@pytest.fixture
def namespace() -> str:
    return "t-" + secrets.token_hex(4)


def making(**more: Any) -> Callable[[int, str], Record]:
    def made(number: int, previous: str) -> Record:
        told = {
            "environment": "staging", "action": "up", "verdict": "pass", "digest": "d", "common": "c", "revision": 1,
            "time": "2026-11-24T16:00:00Z", "who": "me@here",
        }  # fmt: skip
        return Record.model_validate({**told, "number": number, "previous": previous, **more})

    return made


async def test_records_are_chained_capped_and_kept(kubeconfig: dict[str, Any], namespace: str) -> None:
    async with Client.from_kubeconfig(kubeconfig) as client:
        ledger = Ledger(client, namespace, "staging", kept=3)
        with pytest.raises(NotFoundError):
            await client.get(CONFIG_MAP, HEAD, namespace)
        for _ in range(5):
            await ledger.append(making())
        records = await ledger.records()
        assert [found.number for found in records] == [3, 4, 5]
        assert records[2].previous == records[1].hash
        await client.delete(CONFIG_MAP, "proof-000005", namespace)
        with pytest.raises(LedgerError):
            await ledger.append(making())
        assert await ledger.begin_anew() == 2
        assert (await ledger.append(making())).number == 1


async def test_writers_at_the_same_time_all_get_their_place(kubeconfig: dict[str, Any], namespace: str) -> None:
    async with Client.from_kubeconfig(kubeconfig) as client:
        ledger = Ledger(client, namespace, "staging")
        await ledger.append(making())
        await asyncio.gather(*(ledger.append(making(who=f"writer {n}")) for n in range(3)))
        assert [found.number for found in await ledger.records()] == [1, 2, 3, 4]


async def test_an_attempt_is_recorded_whatever_comes_of_it(kubeconfig: dict[str, Any], namespace: str) -> None:
    access = Access(kubeconfig)

    def attempt(**more: Any) -> Attempt:
        return Attempt("staging", namespace, "up", "sha256:d", "sha256:c", **more)

    async with recorded(attempt(without_proof="a flood"), access) as passed:
        passed.revision = 7
    assert (passed.recorded.verdict, passed.recorded.without_proof, passed.recorded.revision) == ("pass", "a flood", 7)
    with pytest.raises(NotReadyError):
        async with recorded(attempt(conceal=lambda text: text.replace("hunter2", "***")), access):
            raise NotReadyError("the hub is down", why="password hunter2\nmore")
    with pytest.raises(KeyboardInterrupt):
        async with recorded(attempt(), access):
            raise KeyboardInterrupt
    async with Client.from_kubeconfig(kubeconfig) as client:
        records = await Ledger(client, namespace, "staging").records()
    assert [found.verdict for found in records] == ["pass", "fail"]
    error = records[1].error
    assert error is not None and (error.id, error.why) == ("delivery.not-ready", "password ***")


def test_a_digest_goes_into_a_label_whole() -> None:
    digest = "sha256:" + secrets.token_hex(32)
    assert len(label_of(digest)) == 52
    assert digest_from({"x": label_of(digest)}, "x") == digest
    assert digest_from({}, "x") == digest_from({"x": "short"}, "x") == digest_from({"x": "1" * 52}, "x") == ""


CHART = {
    "meta/Chart.yaml": "apiVersion: v2\nname: meta\nversion: 1.0.0\n",
    "meta/values.yaml": "global: {domain: one.localhost, publicPort: 8080}\ntext: default\n"
    "binderhub: {config: {BinderHub: {base_url: b}}}\n",
    "meta/templates/a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {text: {{ .Values.text }}}\n",
}


async def test_what_is_live_is_read_from_the_release_and_a_rollback_keeps_its_digests(
    kubeconfig: dict[str, Any], namespace: str, tmp_path: Path
) -> None:
    for name, text in CHART.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    chart = pack_chart(tmp_path, "meta").content
    digests = ["sha256:" + character * 64 for character in "ab"]
    environment = Environment.model_validate({"target": {"node": {}}, "namespace": namespace, "release": "one"})
    access = Access(kubeconfig)
    door = ReleaseDoor(kubeconfig, namespace)
    before = set(open_files())
    for digest, text in zip(digests, ("first", "second"), strict=True):
        labels = {STATE_LABEL: label_of(digest), COMMON_LABEL: label_of(digests[0])}
        await door.deploy("one", chart=chart, values={"text": text}, timeout=60, labels=labels)
    live = await read_live(access, environment)
    assert (live.digest, live.common, live.revision) == (digests[1], digests[0], 2)
    assert live.public.url == "http://one.localhost:8080/b/"
    assert [obj["data"]["text"] for obj in live.objects] == ["second"]
    await door.rollback("one", revision=1, timeout=60)
    live = await read_live(access, environment)
    assert (live.digest, live.revision) == (digests[0], 3)
    assert [obj["data"]["text"] for obj in live.objects] == ["first"]
    assert set(open_files()) == before
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"client-key-data" in path.read_bytes()]


def open_files() -> list[str]:
    """Temporary files of ours: a kubeconfig that was written somewhere would be among them."""
    return [entry.path for entry in os.scandir("/tmp") if entry.name.startswith(("kubeconfig", "helm", "tmp"))]
