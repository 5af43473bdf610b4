"""Strategic merge patches beside what Kubernetes' own library made of them (data/README.md)."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from binderops.kube.schemas import schema_of
from binderops.node.api.objects.strategic import strategic_merge

POD = schema_of("", "v1", "Pod")
RECORDED = Path(__file__).parent / "data" / "strategic-patches.jsonl.gz"
CASES = [json.loads(line) for line in gzip.decompress(RECORDED.read_bytes()).splitlines()]


def test_directives_are_among_them() -> None:
    text = json.dumps(CASES)
    assert all(word in text for word in ("$setElementOrder/", "$deleteFromPrimitiveList/", "$retainKeys", "$patch"))


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_the_same_result(case: dict[str, Any]) -> None:
    assert case["error"] == ""
    assert strategic_merge(case["live"], case["patch"], schema=POD) == case["after"]
