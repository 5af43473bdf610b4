"""An API that is killed and started again is waited for; one that stays away is named."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from tests.node_api import RunningApi

from binderops.errors import AlreadyExistsError, KubernetesError
from binderops.kube.client import Client
from binderops.kube.kinds import CONFIG_MAP
from binderops.kube.patience import when_back


def config_map(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}}


async def test_what_is_asked_while_it_is_away_is_done_once_it_is_back(tmp_path: Path) -> None:
    running = RunningApi(tmp_path)
    running.start()
    try:
        async with Client.from_kubeconfig(running.kubeconfig) as client:
            running.stop(signal.SIGKILL)
            with pytest.raises(KubernetesError, match="cannot be reached"):
                await client.create(config_map("lost"))
            asked = asyncio.create_task(when_back(lambda: client.create(config_map("kept"))))
            await asyncio.to_thread(running.start)
            assert (await asked)["metadata"]["name"] == "kept"
            assert await client.get(CONFIG_MAP, "kept", "default")
            began = time.monotonic()
            with pytest.raises(AlreadyExistsError):
                await when_back(lambda: client.create(config_map("kept")))
            assert time.monotonic() - began < 10, "an answer is an answer"
            running.stop(signal.SIGKILL)
            with pytest.raises(KubernetesError, match="cannot be reached"):
                await when_back(lambda: client.create(config_map("late")), seconds=0.6)
    finally:
        if running.process is not None and running.process.poll() is None:
            running.stop()
