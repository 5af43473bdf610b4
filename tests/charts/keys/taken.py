"""Whether the API takes an object: by the schemas, and by the rules that the node's own API has."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tests.charts.conftest import NAMESPACE, Object

from binderops.kube.schemas import schema_of, validate
from binderops.node.api.objects import validation
from binderops.node.api.objects.writes import prepare_create

_NOW = datetime(2026, 1, 1, tzinfo=UTC)


def refusals(obj: Mapping[str, Any]) -> list[str]:
    """Why the API would refuse to create this object, each with its place; empty where it takes it."""
    where = f"{obj['kind']} {obj['metadata'].get('name')}"
    found = [f"{finding.path}: {finding.message}" for finding in validate(obj)]
    if not found:
        group, _, version = obj["apiVersion"].rpartition("/")
        schema = schema_of(group, version, obj["kind"])
        prepared = prepare_create(_placed(obj), schema=schema, manager="test", now=_NOW)
        found = [f"{cause.field}: {cause.message}" for cause in validation.validate(prepared, schema=schema)]
    return [f"{where}: {words}" for words in found]


def _placed(obj: Mapping[str, Any]) -> Object:
    return {**obj, "metadata": {"namespace": NAMESPACE, **obj["metadata"]}}
