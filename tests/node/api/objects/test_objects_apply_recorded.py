"""Server-side apply beside what Kubernetes' own field manager answered (data/README.md)."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from binderops.errors import KubernetesError
from binderops.kube.schemas import schema_of
from binderops.node.api.objects.apply import apply_patch, track_update, without_managed_fields

POD = schema_of("", "v1", "Pod")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
RECORDED = Path(__file__).parent / "data" / "apply-stories.jsonl.gz"
STORIES = [json.loads(line) for line in gzip.decompress(RECORDED.read_bytes()).splitlines()]


def step(live: dict[str, Any], told: dict[str, Any]) -> tuple[dict[str, Any], str]:
    try:
        if told["op"] == "apply":
            new = apply_patch(live, told["object"], manager=told["manager"], force=told["force"], schema=POD, now=NOW)
        else:
            new = track_update(live, told["object"], manager=told["manager"], schema=POD, now=NOW)
    except KubernetesError as error:
        return live, str(error.status["message"])
    return new, ""


def test_there_are_conflicts_and_successes_among_them() -> None:
    steps = [told for story in STORIES for told in story]
    assert len(steps) > 500
    assert 50 < sum(bool(told["error"]) for told in steps) < len(steps) / 2


@pytest.mark.parametrize("story", STORIES, ids=range(len(STORIES)))
def test_the_same_owners_objects_and_conflicts(story: list[dict[str, Any]]) -> None:
    live: dict[str, Any] = {"apiVersion": "v1", "kind": "Pod", "metadata": {}}
    for told in story:
        live, error = step(live, told)
        assert sorted(error.splitlines()) == sorted(told["error"].splitlines())
        entries = live["metadata"].get("managedFields", [])
        assert {f"{each['manager']}/{each['operation']}": each["fieldsV1"] for each in entries} == told["owners"]
        assert without_managed_fields(live) == told["live"]
