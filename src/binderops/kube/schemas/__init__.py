"""Kubernetes' own schemas: one source for discovery, types, merge rules and checks.

The documents are those of a real kube-apiserver, recorded with their version (`kubernetes-openapi-v3.json.gz`,
descriptions removed). They lack defaults that the server sets in code; those stand in `node.api.objects.defaults`.
"""

from __future__ import annotations

from binderops.kube.schemas.checking import Finding, findings, validate
from binderops.kube.schemas.schema import ANY, Schema, definition, schema_of
from binderops.kube.schemas.served import Resource, discovery, document, openapi_index, version

__all__ = [
    "ANY",
    "Finding",
    "Resource",
    "Schema",
    "definition",
    "discovery",
    "document",
    "findings",
    "openapi_index",
    "schema_of",
    "validate",
    "version",
]
