"""Helm, ended in the middle of an install, an upgrade and a rollback, by Ctrl-C and by kill -9; and the next one."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.delivery.interrupting import Small, asked, small_release, until
from tests.node_api import RunningApi

from binderops.delivery.ledger import Ledger
from binderops.delivery.records import Record
from binderops.kube.client import Client
from binderops.kube.kinds import CONFIG_MAP, JOB, LEASE, PERSISTENT_VOLUME_CLAIM
from binderops.kube.objects import name_of


@pytest.fixture
def small(running_api: RunningApi, tmp_path: Path) -> Iterator[Small]:
    with small_release(tmp_path, running_api) as found:
        yield found


def cut(small: Small, *command: str, hook: str, number: signal.Signals, status: str) -> None:
    """Ends a command while Helm waits for a hook of the chart; Helm's record then says that it is still at work."""
    begun = small.begin(*command)
    until(lambda: small.hook_runs(hook) or begun.process.poll() is not None, hook)
    assert begun.process.poll() is None, begun.told()
    (child,) = Path(f"/proc/{begun.process.pid}/task/{begun.process.pid}/children").read_text().split()
    begun.end(number)
    until(lambda: not Path(f"/proc/{child}/exe").exists(), "Helm to end with the command", seconds=5)
    assert small.history()[-1][1] == status, "Helm was not ended in the middle"


@pytest.mark.parametrize(("hook", "number"), [("pre-install", signal.SIGINT), ("post-install", signal.SIGKILL)])
def test_an_install_that_was_cut_off_is_gone_on_with(small: Small, hook: str, number: signal.Signals) -> None:
    small.write(hooks=[hook])
    cut(small, "deploy", hook=hook, number=number, status="pending-install")
    claims = [claim["metadata"]["uid"] for claim in small.list(PERSISTENT_VOLUME_CLAIM)]
    assert bool(claims) == (hook == "post-install")
    small.write(words="second")
    told = small.bring()
    assert "revision 1, an install that was cut off" in told
    assert (small.history(), small.words()) == ([(1, "superseded"), (2, "deployed")], "second")
    if claims:
        assert [claim["metadata"]["uid"] for claim in small.list(PERSISTENT_VOLUME_CLAIM)] == claims, "no data is lost"


def test_hooks_for_installs_alone_are_run_by_whoever_goes_on(small: Small) -> None:
    small.write(hooks=["post-install"])
    cut(small, "deploy", hook="post-install", number=signal.SIGKILL, status="pending-install")
    (claim,) = small.list(PERSISTENT_VOLUME_CLAIM)
    before = small.get(JOB, "post-install")["metadata"]["uid"]
    small.write(words="second", hooks=["post-install"])
    command = small.begin("deploy")
    until(lambda: small.hook_runs("post-install", but=before), "the hook to be run again")
    small.complete("post-install")
    assert "✓ release" in command.until("✓ release")
    assert (small.history(), small.words()) == ([(1, "deployed")], "second")
    assert small.get(PERSISTENT_VOLUME_CLAIM, "data")["metadata"]["uid"] == claim["metadata"]["uid"]
    small.write(words="third", hooks=["post-install"])
    assert "✓ release" in small.bring()
    assert small.history() == [(1, "superseded"), (2, "deployed")]


@pytest.mark.parametrize(
    ("hook", "number", "wanted"),
    [
        ("pre-upgrade", signal.SIGKILL, True),
        ("post-upgrade", signal.SIGINT, True),
        ("post-upgrade", signal.SIGKILL, False),
    ],
)
def test_an_upgrade_that_was_cut_off_is_gone_on_with(
    small: Small, hook: str, number: signal.Signals, *, wanted: bool
) -> None:
    """With more objects than before, which the next state has as well, or has not."""
    small.write()
    small.bring()
    small.write(words="second", hooks=[hook], more=True)
    cut(small, "deploy", hook=hook, number=number, status="pending-upgrade")
    assert small.words() == ("second" if hook == "post-upgrade" else "first")
    small.write(words="third", more=wanted)
    told = small.bring()
    assert "revision 2, an upgrade that was cut off" in told
    assert small.history() == [(1, "superseded"), (2, "failed"), (3, "deployed")]
    assert small.words() == "third"
    assert ("more" in {name_of(found) for found in small.list(CONFIG_MAP)}) == wanted
    assert ("was removed: ConfigMap more" in told) == (not wanted)
    assert {name_of(claim) for claim in small.list(PERSISTENT_VOLUME_CLAIM)} == {"data", "more"}, "no data is lost"
    assert "unchanged" in small.bring(), "and then nothing is left to do"


@pytest.mark.parametrize(("again", "number"), [("deploy", signal.SIGKILL), ("rollback", signal.SIGINT)])
def test_a_rollback_that_was_cut_off_is_gone_on_with(small: Small, again: str, number: signal.Signals) -> None:
    small.write(hooks=["post-rollback"])
    small.bring()
    small.write(words="second", hooks=["post-rollback"])
    small.bring()
    for revision in (1, 2):
        _say_proven(small, revision)
    cut(small, "rollback", hook="post-rollback", number=number, status="pending-rollback")
    assert small.words() == "first"
    if again == "deploy":
        small.write(words="third")
        told = small.bring()
        expected = ("third", [(1, "superseded"), (2, "superseded"), (3, "failed"), (4, "deployed")])
    else:
        before = small.get(JOB, "post-rollback")["metadata"]["uid"]
        command = small.begin("rollback")
        until(lambda: small.hook_runs("post-rollback", but=before), "the hook to be run again")
        small.complete("post-rollback")
        told = command.until("✓ release")
        command.end(signal.SIGINT)
        assert "revision 4 is 1 again" in told, told
        expected = ("first", [(1, "superseded"), (2, "superseded"), (3, "failed"), (4, "deployed")])
    assert "revision 3, a rollback that was cut off" in told
    assert (small.words(), small.history()) == expected


def test_an_uninstall_that_was_cut_off_is_gone_on_with(small: Small) -> None:
    small.write(hooks=["pre-delete"])
    small.bring()
    cut(small, "purge", hook="pre-delete", number=signal.SIGKILL, status="uninstalling")
    small.write(words="second")
    assert "revision 1, an uninstall that was cut off" in small.bring()
    assert (small.history(), small.words()) == ([(1, "superseded"), (2, "deployed")], "second")
    purge = small.begin("purge")
    assert purge.process.wait(60) == 0, purge.told()
    assert (small.history(), small.list(LEASE)) == ([], [])
    assert small.begin("purge").process.wait(60) == 0, "twice is no mistake"


def _say_proven(small: Small, revision: int) -> None:
    """A record as a proof leaves it: nothing is proven of a chart that serves no launches."""

    def made(number: int, previous: str) -> Record:
        return Record(
            number=number, environment="far", action="deploy", verdict="pass", digest="", common="", revision=revision,
            time="2026-11-30T12:00:00Z", who="test", previous=previous,
        )  # fmt: skip

    async def say(client: Client) -> None:
        await Ledger(client, small.namespace, "far").append(made)

    asked(small.api, say)
