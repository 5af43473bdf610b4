"""Looks for secrets in bytes that should hold none: files, objects, git's history."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from binderops.secrets.strength import canonical, estimated_bits
from binderops.secrets.values import Secret, digest_text, reveal

_SHORTEST = 8
_LEAST_BITS = 30  # a weak credential is a finding of its own; looked for here, it would be met in innocent words


class Finder:
    """Searches for all of them at once, as they are and in base64."""

    def __init__(self, secrets: Mapping[str, Secret]) -> None:
        self._names: dict[str, str] = {}
        forms: list[bytes] = []
        for name, secret in secrets.items():
            for form in _forms(secret):
                self._names.setdefault(_key(form), name)
                forms.append(re.escape(form))
        longest_first = sorted(forms, key=lambda form: -len(form))
        self._pattern: Any = re.compile(b"|".join(longest_first)) if forms else None

    def __bool__(self) -> bool:
        return self._pattern is not None

    def __repr__(self) -> str:
        return f"<finder of {len(self._names)} forms>"

    def search(self, content: bytes) -> Iterator[tuple[str, int]]:
        """(which secret, line), each secret once."""
        seen: set[str] = set()
        if self._pattern is None:
            return
        for found in self._pattern.finditer(content):
            name = self._names[_key(found[0])]
            if name not in seen:
                seen.add(name)
                yield name, content.count(b"\n", 0, found.start()) + 1


def _forms(secret: Secret) -> set[bytes]:
    value = reveal(secret)
    if not isinstance(value, str) or len(canonical(value)) < _SHORTEST or estimated_bits(value) < _LEAST_BITS:
        return set()
    texts = {value.strip(), canonical(value)}
    forms = {form.encode() for text in texts for form in (text, json.dumps(text)[1:-1])}
    forms |= {base64.b64encode(form.encode()) for text in texts for form in (text, text + "\n")}
    if "-----BEGIN" in canonical(value):  # a PEM block may be indented: its longest line is what is looked for
        forms.add(max(canonical(value).split(), key=len).encode())
    return forms


def _key(form: bytes) -> str:
    return digest_text(form)
