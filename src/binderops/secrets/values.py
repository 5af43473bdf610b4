"""The types that opened values live in, and the one way out of them.

Text made of a secret (repr, str, format, JSON, pickle, an exception's words) is a digest keyed by a key that this
process alone has: equal values look equal within one command, and nothing can be guessed from it afterwards.
"""

from __future__ import annotations

import base64
import copy
import hmac
import json
import os
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

Scalar = str | int | float | bool

_PROCESS_KEY: Final = os.urandom(32)
_SHORTEST_TO_CONCEAL: Final = 4  # a shorter value stands in too many innocent words


def _short_digest(content: bytes) -> str:
    return hmac.new(_PROCESS_KEY, content, "sha256").hexdigest()[:8]


class Secret(str):
    """One opened value. As text it *is* its digest (`<secret 1f0c9a2e>`); the value itself leaves by `reveal` only.

    It is a `str` so that whatever prints, joins, formats or serializes it meets the digest. Two secrets are equal when
    their values are.
    """

    __slots__ = ("_open",)
    _open: Callable[[], Scalar]

    def __new__(cls, value: Scalar) -> Secret:
        """Wraps a value; what is wrapped already stays as it is."""
        if isinstance(value, Secret):
            return value
        made = super().__new__(cls, f"<secret {_short_digest(_canonical(value))}>")
        made._open = lambda: value
        return made

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return False
        return hmac.compare_digest(_canonical(self._open()), _canonical(other._open()))

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(str(self))

    def __repr__(self) -> str:
        return str.__str__(self)

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self

    def __reduce_ex__(self, protocol: object) -> tuple[type[str], tuple[str]]:
        return (str, (str.__str__(self),))


class ClearText:
    """The bytes of an opened file, on their way between a pipe and a parser. Text made of it tells its size only."""

    __slots__ = ("_open",)

    _open: Callable[[], bytes]

    def __init__(self, content: bytes) -> None:
        self._open = lambda: content

    def __repr__(self) -> str:
        return f"<clear text, {len(self)} bytes>"

    def __len__(self) -> int:
        return len(self._open())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ClearText) and hmac.compare_digest(self._open(), other._open())

    def __hash__(self) -> int:
        return hash(_short_digest(self._open()))

    def __reduce_ex__(self, protocol: object) -> tuple[type[str], tuple[str]]:
        return (str, (repr(self),))


def digest_text(content: bytes) -> str:
    """The digest by which this process tells contents apart."""
    return hmac.new(_PROCESS_KEY, content, "sha256").hexdigest()


def reveal(secret: Secret) -> Scalar:
    """The value itself. Within this room only (a test holds that): everybody else goes through `reveal_for_helm`."""
    return secret._open()


def reveal_bytes(clear: ClearText) -> bytes:
    """The bytes themselves. Within this room only."""
    return clear._open()


def reveal_for_helm(tree: Any) -> Any:
    """A copy of a tree of values with every secret opened: the one exit, on the way to Helm."""
    if isinstance(tree, Secret):
        return reveal(tree)
    if isinstance(tree, Mapping):
        return {key: reveal_for_helm(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [reveal_for_helm(value) for value in tree]
    return copy.deepcopy(tree)


def wrap(tree: Any) -> Any:
    """A copy of a tree with every leaf in a Secret; null stays null, and maps and lists keep their shape."""
    if isinstance(tree, Mapping):
        return {str(key): wrap(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [wrap(value) for value in tree]
    if tree is None or isinstance(tree, Secret):
        return tree
    return Secret(tree if isinstance(tree, str | int | float | bool) else str(tree))


def secrets_in(tree: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Secret]]:
    """Every secret of a tree with its path; list items go by their index."""
    if isinstance(tree, Secret):
        yield path, tree
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from secrets_in(value, (*path, str(key)))
    elif isinstance(tree, list | tuple):
        for index, value in enumerate(tree):
            yield from secrets_in(value, (*path, str(index)))


def conceal(text: str, secrets: Iterable[Secret]) -> str:
    """`text` with each of the secrets replaced by its digest, in whatever form it stands there.

    For words that come from outside: Helm quoting the line of a template, a program's standard error. Forms: as it is,
    JSON, base64, percent-encoded, and each line of a value of several lines.
    """
    found = {form: str(secret) for secret in secrets for form in _forms(secret)}
    for form in sorted(found, key=len, reverse=True):
        text = text.replace(form, found[form])
    return text


def _forms(secret: Secret) -> set[str]:
    value = reveal(secret)
    if isinstance(value, bool):
        return set()
    plain = value if isinstance(value, str) else json.dumps(value)
    raw = plain.encode("utf-8", "surrogatepass")
    forms = {
        plain,
        json.dumps(plain)[1:-1],
        base64.b64encode(raw).decode(),
        urllib.parse.quote_from_bytes(raw, safe=""),
    }
    forms |= {line.strip() for line in plain.splitlines() if len(line.strip()) >= 2 * _SHORTEST_TO_CONCEAL}
    return {form for form in forms if len(form) >= _SHORTEST_TO_CONCEAL}


def _canonical(value: Scalar) -> bytes:
    """Its bytes for comparing; the number 1 is not the text "1"."""
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else b"\0json:" + json.dumps(value).encode()
