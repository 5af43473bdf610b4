"""Field validation at decoding: unknown and duplicate fields (Strict, Warn, Ignore), and values of a wrong type.

A wrong type is always refused, since Go's decoder could not read it. The sentences are kube-apiserver's, which clients
show to people and some (Helm) match.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NoReturn

from binderops.kube.schemas import Finding, Schema, findings
from binderops.node.api.objects.status import Object, bad_request, unprocessable

MODES = ("Strict", "Warn", "Ignore")

_GO_TYPES = {"string": "string", "boolean": "bool", "number": "float64", "integer": "int64"}


def check_fields(
    obj: Object, schema: Schema, *, mode: str, duplicates: Sequence[str] = (), patched: bool = False
) -> list[str]:
    """The warnings for unknown and duplicate fields in mode Warn; InvalidError in mode Strict, and for wrong types.

    `patched` says that the object is the result of a patch: the real server then answers 422 instead of 400.
    """
    if mode not in MODES:
        raise bad_request(f'fieldValidation: Unsupported value: "{mode}": supported values: "Ignore", "Strict", "Warn"')
    found = list(findings(obj, schema))
    for finding in found:
        if finding.rule == "type":
            _refuse(obj, _type_error(obj, finding), patched=patched)
    sentences = [f'duplicate field "{path}"' for path in duplicates]
    sentences += [f'unknown field "{each.path}"' for each in found if each.rule == "unknown-field"]
    if sentences and mode == "Strict":
        _refuse(obj, f"strict decoding error: {', '.join(sentences)}", patched=patched)
    return sentences if mode == "Warn" else []


def _refuse(obj: Object, reason: str, *, patched: bool) -> NoReturn:
    if patched:
        message = f"patch: Invalid value: {reason}"
        causes = [{"reason": "FieldValueInvalid", "message": f"Invalid value: {reason}", "field": "patch"}]
        raise unprocessable(f' "" is invalid: {message}', details={"causes": causes})
    kind = obj.get("kind", "")
    version = str(obj.get("apiVersion", "")).rpartition("/")[2]
    raise bad_request(f'{kind} in version "{version}" cannot be handled as a {kind}: {reason}')


def _type_error(obj: Object, finding: Finding) -> str:
    """As Go's decoder says it."""
    if "is expected here" not in finding.message:
        return f"{finding.path}: {finding.message}"
    wanted = re.sub(r"^an? | is expected here.*", "", finding.message)
    got = finding.message.rpartition(" not ")[2].split()[-1]
    go_type = {"integer": "int32", "list": "[]interface {}", "object": "map[string]interface {}"}.get(
        wanted, _GO_TYPES.get(wanted, wanted)
    )
    path = re.sub(r"\[\d+\]", "", finding.path)
    names = {"integer": "number", "list": "array", "boolean": "bool"}
    where = f"{obj.get('kind', '')}.{path}"
    return f"json: cannot unmarshal {names.get(got, got)} into Go struct field {where} of type {go_type}"
