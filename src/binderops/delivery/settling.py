"""What Helm began and did not finish is settled before anything else is asked of it.

Helm refuses to act while the newest revision says that somebody is at work on it, and nobody takes that back when Helm
is ended. Two things tell whether somebody is: our own commands hold the release (`holding`) and note what they let Helm
begin; of other programs only the record's age is known.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

from binderops.delivery.holding import Hold
from binderops.delivery.progress import Step
from binderops.helm.storage import Unfinished, forget_failed, mark_failed, unfinished
from binderops.kube.client import Client
from binderops.kube.kinds import Object
from binderops.state.release import ReleaseState

_LOOK_AGAIN_SECONDS = 1.0
_CLOCKS = timedelta(seconds=30)  # by which the clock of the API may differ from a command's


async def settle(client: Client, hold: Hold, *, namespace: str, release: str, timeout: float, step: Step) -> str | None:
    """Ends what was cut off, by marking it failed: Helm then goes on from the last revision that was deployed.

    Answers with words about it, None where there was nothing. Another program's work is waited for until its record is
    `timeout` seconds old: then it counts as cut off, too.
    """
    seen, since = None, time.monotonic()
    while (found := await unfinished(client, namespace, release)) is not None:
        if seen != (seen := found):
            since = time.monotonic()
        # One's own watching counts as well: the clock that dated the record may be wrong.
        age = max((datetime.now(UTC) - found.touched).total_seconds(), time.monotonic() - since)
        ours = _is_left(found, hold)
        if not ours and age < timeout:
            step.say(
                f"another program is at work on {release}: {found.action} to revision {found.revision}, begun at "
                f"{found.created:%H:%M:%S} UTC; waiting until it ends, or has not moved for {timeout:.0f} s"
            )
        elif await mark_failed(client, found):
            await hold.done()
            whose = "" if ours else f" {age:.0f} s ago, of another program"
            return f"revision {found.revision}, {found.action} that was cut off{whose}, was marked failed"
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)
    if hold.left is not None:
        await hold.done()
    return None


async def begin_anew(client: Client, state: ReleaseState) -> bool:
    """Whether Helm is to install again what it never finished installing: where hooks are for installs alone.

    Else it goes on by an upgrade, which also removes what the chart has no more, but leaves such hooks out for ever.
    """
    if not any(_is_for_installs_alone(obj) for obj in state.objects):
        return False
    return await forget_failed(client, state.namespace, state.release)


def _is_for_installs_alone(obj: Object) -> bool:
    annotations = (obj.get("metadata") or {}).get("annotations") or {}
    events = {event.strip() for event in str(annotations.get("helm.sh/hook") or "").split(",")}
    return any(f"{when}-install" in events and f"{when}-upgrade" not in events for when in ("pre", "post"))


def _is_left(found: Unfinished, hold: Hold) -> bool:
    """Whether it is what a holder before us let Helm begin."""
    if hold.left is None or hold.left.until is None or hold.left.revision != found.revision:
        return False
    return found.created <= hold.left.until + _CLOCKS
