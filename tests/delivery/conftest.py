"""A real API for the ledger and for releases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from tests.node_api import RunningApi


@pytest.fixture(scope="module")
def running_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApi]:
    """The API of a node of this module's own, without anything else of the node."""
    running = RunningApi(tmp_path_factory.mktemp("node"))
    running.start()
    yield running
    running.stop()


@pytest.fixture
def kubeconfig(running_api: RunningApi) -> dict[str, Any]:
    """The administrator's, as content."""
    content: dict[str, Any] = yaml.safe_load(running_api.kubeconfig.read_text())
    return content
