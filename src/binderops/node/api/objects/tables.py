"""`meta.k8s.io/v1` Tables: objects as `kubectl get` prints them.

kubectl asks for `as=Table`; the server prints, so columns and cells are kube-apiserver's printers'. A column with
priority 1 is shown by `-o wide` only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from binderops.node.api.objects.printing import NAME_COLUMN, Columns, age
from binderops.node.api.objects.printing_pods import PRINTERS as POD_PRINTERS
from binderops.node.api.objects.printing_resources import PRINTERS as RESOURCE_PRINTERS
from binderops.node.api.objects.printing_workloads import PRINTERS as WORKLOAD_PRINTERS
from binderops.node.api.objects.status import Object

Printer = tuple[Columns, Callable[[Object, datetime], list[Any]]]

PRINTERS: Mapping[str, Printer] = {**POD_PRINTERS, **WORKLOAD_PRINTERS, **RESOURCE_PRINTERS}


def table(
    objects: Sequence[Object],
    kind: str,
    *,
    now: datetime,
    list_meta: Object | None = None,
    include: str = "Metadata",
) -> Object:
    """A Table of objects of one kind. `include` is what each row carries: None, Metadata, or Object."""
    columns, cells = PRINTERS.get(kind, _GENERIC)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": dict(list_meta or {}),
        "columnDefinitions": column_definitions(columns),
        "rows": [_row(obj, cells(obj, now), include) for obj in objects],
    }


def column_definitions(columns: Columns) -> list[Object]:
    """Columns as a Table describes them; `*` behind a name marks one for `-o wide`, `#` one of integers."""
    definitions = []
    for name in columns:
        title = name.rstrip("*#")
        definitions.append(
            {
                "name": title,
                "type": "integer" if "#" in name else "string",
                "format": "name" if title == NAME_COLUMN else "",
                "description": "",
                "priority": 1 if "*" in name else 0,
            }
        )
    return definitions


def _row(obj: Object, cells: list[Any], include: str) -> Object:
    if include == "Object":
        return {"cells": cells, "object": obj}
    if include == "None":
        return {"cells": cells}
    partial = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj.get("metadata") or {}}
    return {"cells": cells, "object": partial}


def _generic_row(obj: Object, now: datetime) -> list[Any]:
    return [(obj.get("metadata") or {}).get("name", ""), age(obj, now)]


_GENERIC: Printer = ((NAME_COLUMN, "Age"), _generic_row)
