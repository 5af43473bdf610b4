"""Who is at work on a release: two commands at once, a helm of the operator's own, a holder elsewhere, a hold lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.delivery.interrupting import Small, small_release, until
from tests.node_api import RunningApi

from binderops.delivery.holder import Holder
from binderops.delivery.holding import forget, held, lease_name
from binderops.delivery.progress import Silent, Step
from binderops.errors import DeliveryError, NotFoundError
from binderops.kube.client import Client
from binderops.kube.kinds import LEASE

ELSEWHERE = "somebody@far 1 1 another-kernel/1"


@pytest.fixture
def small(running_api: RunningApi, tmp_path: Path) -> Iterator[Small]:
    with small_release(tmp_path, running_api) as found:
        yield found


@pytest.fixture
async def client(running_api: RunningApi) -> AsyncIterator[Client]:
    async with Client.from_kubeconfig(running_api.kubeconfig) as found:
        yield found


@pytest.fixture
def namespace() -> str:
    return "t-" + secrets.token_hex(4)


def holding(client: Client, namespace: str, *, timeout: float = 30) -> Any:
    return held(client, namespace, "some", timeout=timeout, step=Step(Silent(), "release"), make_namespace=True)


async def hand_to(client: Client, namespace: str, holder: str, *, seconds: int) -> None:
    """The Lease is somebody's, from now on."""
    lease = await client.get(LEASE, lease_name("some"), namespace)
    lease["spec"] |= {"holderIdentity": holder, "leaseDurationSeconds": seconds}
    await client.replace(lease)


def operators_helm(small: Small, program: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """A helm program that somebody else runs."""
    kept = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    kept |= {"KUBECONFIG": str(small.api.kubeconfig), "HELM_CACHE_HOME": str(small.root / "helm")}
    process = subprocess.Popen(
        [str(program), *arguments, "mybinder", "small", "--namespace", small.namespace, "-f", "values.yaml"],
        cwd=small.root,
        env=kept,
        stdout=subprocess.DEVNULL,
    )
    small.running.append(process)
    return process


def test_the_second_of_two_commands_waits_and_says_for_whom(small: Small) -> None:
    small.write(hooks=["post-install"])
    first = small.begin("deploy")
    until(lambda: small.hook_runs("post-install"), "the first to let Helm begin")
    second = small.begin("deploy")
    assert f"process {first.process.pid}" in second.until("waiting for another command")
    small.complete("post-install")
    assert "✓ release" in first.until("✓ release")
    told = second.until("✓ release")
    assert "all ready, unchanged" in told, told
    assert small.history() == [(1, "deployed")]


def test_an_operators_helm_is_waited_for(small: Small, stock_programs: Any) -> None:
    small.write()
    small.bring()
    small.write(words="theirs", hooks=["post-upgrade"])
    theirs = operators_helm(small, stock_programs.helm, "upgrade")
    until(lambda: small.hook_runs("post-upgrade"), "their helm to begin")
    small.write(words="ours")
    ours = small.begin("deploy")
    assert "an upgrade to revision 2, begun at" in ours.until("another program is at work")
    small.complete("post-upgrade")
    assert theirs.wait(30) == 0
    assert "✓ release" in ours.until("✓ release")
    assert small.history() == [(1, "superseded"), (2, "superseded"), (3, "deployed")]
    assert small.words() == "ours"


def test_an_operators_helm_that_ended_in_the_middle_is_gone_on_from(small: Small, stock_programs: Any) -> None:
    small.write(hooks=["post-install"])
    theirs = operators_helm(small, stock_programs.helm, "install", "--create-namespace")
    until(lambda: small.hook_runs("post-install"), "their helm to begin")
    theirs.kill()
    theirs.wait(30)
    small.write(words="ours", timeout=10)
    told = small.bring()
    assert "an install that was cut off" in told and "of another program" in told
    assert small.words() == "ours"


async def test_a_process_of_this_kernel_that_is_gone_holds_nothing(client: Client, namespace: str) -> None:
    gone = await asyncio.create_subprocess_exec("/bin/cat", stdin=asyncio.subprocess.PIPE)
    mine = Holder.mine()
    started = int(Path(f"/proc/{gone.pid}/stat").read_text().rpartition(")")[2].split()[19])
    theirs = Holder("me@here", gone.pid, started, mine.kernel)
    assert not theirs.has_ended()
    async with holding(client, namespace):
        pass
    await hand_to(client, namespace, theirs.text, seconds=3600)
    with pytest.raises(DeliveryError, match=f"process {gone.pid}"):
        async with holding(client, namespace, timeout=1):
            pass
    gone.kill()
    async with asyncio.timeout(10):
        await gone.wait()
    async with holding(client, namespace, timeout=1):
        pass
    assert not Holder("me@here", mine.pid, mine.started, "another-kernel/1").has_ended()
    assert Holder("me@here", mine.pid, mine.started - 1, mine.kernel).has_ended(), "its number is another's by now"


async def test_a_holder_elsewhere_is_waited_for_as_long_as_it_renews(client: Client, namespace: str) -> None:
    async with holding(client, namespace):
        pass
    await hand_to(client, namespace, ELSEWHERE, seconds=2)

    async def renews() -> None:
        while True:
            lease = await client.get(LEASE, lease_name("some"), namespace)
            stamp = f"2001-01-01T00:00:00.{secrets.randbelow(10**6):06d}Z"  # of a clock that is wrong
            await client.replace({**lease, "spec": {**lease["spec"], "renewTime": stamp}})
            await asyncio.sleep(0.5)

    other = asyncio.create_task(renews())
    try:
        with pytest.raises(DeliveryError, match="somebody@far"):
            async with holding(client, namespace, timeout=5):
                pass
    finally:
        other.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await other
    async with holding(client, namespace, timeout=10) as hold:
        assert hold.lease["spec"]["holderIdentity"] == Holder.mine().text


async def test_whoever_loses_the_hold_ends(client: Client, namespace: str) -> None:
    with pytest.raises(DeliveryError, match="no longer holds"):
        async with holding(client, namespace):
            await hand_to(client, namespace, ELSEWHERE, seconds=3600)
            await asyncio.sleep(60)
    lease = await client.get(LEASE, lease_name("some"), namespace)
    assert lease["spec"]["holderIdentity"] == ELSEWHERE, "and leaves it to the other"
    await forget(client, namespace, "some")
    with pytest.raises(NotFoundError):
        await client.get(LEASE, lease_name("some"), namespace)


async def test_a_hold_is_given_up_however_the_work_ends(client: Client, namespace: str) -> None:
    with pytest.raises(ZeroDivisionError):
        async with holding(client, namespace):
            raise ZeroDivisionError
    assert "holderIdentity" not in (await client.get(LEASE, lease_name("some"), namespace))["spec"]
    with pytest.raises(NotFoundError):
        async with held(client, "t-none", "some", timeout=1, step=Step(Silent(), "x")):
            pass
