"""Label selectors (as text and as LabelSelector) and field selectors: parsed, matched, written.

The grammar of the text is that of apimachinery's `labels.Parse`: `a=b, c!=d, e in (x,y), f notin (z), g, !h, i>1, j<2`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

_TOKEN = re.compile(r"\s*(?:(==|!=|=|,|\(|\)|!|>|<)|([^\s,()!=<>]+))")


class Requirement(NamedTuple):
    """One condition: `operator` is one of In, NotIn, Exists, DoesNotExist, Gt, Lt."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether these labels meet it; a missing key meets NotIn, as in Kubernetes."""
        value = labels.get(self.key)
        match self.operator:
            case "Exists":
                return value is not None
            case "DoesNotExist":
                return value is None
            case "In":
                return value is not None and value in self.values
            case "NotIn":
                return value is None or value not in self.values
        try:
            difference = int(value or "") - int(self.values[0])
        except ValueError:
            return False
        return difference > 0 if self.operator == "Gt" else difference < 0

    def __str__(self) -> str:
        match self.operator:
            case "Exists":
                return self.key
            case "DoesNotExist":
                return f"!{self.key}"
            case "In" if len(self.values) == 1:
                return f"{self.key}={self.values[0]}"
            case "Gt":
                return f"{self.key}>{self.values[0]}"
            case "Lt":
                return f"{self.key}<{self.values[0]}"
        return f"{self.key} {self.operator.lower()} ({','.join(self.values)})"


class LabelSelector(NamedTuple):
    """A conjunction of requirements; an empty one matches everything, `NOTHING` matches nothing."""

    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels meet every requirement."""
        return not self.nothing and all(requirement.matches(labels) for requirement in self.requirements)

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))


EVERYTHING = LabelSelector()
NOTHING = LabelSelector(nothing=True)


def from_labels(labels: Mapping[str, str] | None) -> LabelSelector:
    """The selector of a Service: equality with each label; None or empty selects nothing."""
    if not labels:
        return NOTHING
    return LabelSelector(tuple(Requirement(key, "In", (value,)) for key, value in labels.items()))


def from_label_selector(selector: Mapping[str, Any] | None) -> LabelSelector:
    """A `metav1.LabelSelector`: None selects nothing, an empty one everything. ValueError for an unknown operator."""
    if selector is None:
        return NOTHING
    requirements = [Requirement(key, "In", (str(value),)) for key, value in (selector.get("matchLabels") or {}).items()]
    for expression in selector.get("matchExpressions") or ():
        operator, values = expression.get("operator"), tuple(expression.get("values") or ())
        if operator not in ("In", "NotIn", "Exists", "DoesNotExist"):
            raise ValueError(f"{operator!r} is not a label selector operator")
        if (operator in ("In", "NotIn")) != bool(values):
            raise ValueError(f"operator {operator} with values {list(values)!r}")
        requirements.append(Requirement(str(expression["key"]), operator, values))
    return LabelSelector(tuple(requirements))


def parse_labels(text: str | None) -> LabelSelector:
    """A selector from its text; None or "" matches everything. ValueError says what is wrong."""
    tokens = _tokens(text or "")
    requirements: list[Requirement] = []
    while tokens:
        requirements.append(_requirement(tokens))
        if tokens and tokens.pop(0) != ",":
            raise ValueError(f"unable to parse the label selector {text!r}: expected ','")
        elif not tokens and (text or "").rstrip().endswith(","):
            raise ValueError(f"unable to parse the label selector {text!r}: it ends with ','")
    return LabelSelector(tuple(requirements))


def parse_fields(text: str | None) -> tuple[Requirement, ...]:
    """A field selector (`metadata.name=a,status.phase!=Running`). ValueError says what is wrong."""
    requirements = []
    for term in filter(None, (part.strip() for part in (text or "").split(","))):
        match = re.fullmatch(r"([^=!\s]+)\s*(==|=|!=)\s*(.*)", term)
        if match is None:
            raise ValueError(f"unable to parse the field selector term {term!r}")
        path, operator, value = match.groups()
        requirements.append(Requirement(path, "NotIn" if operator == "!=" else "In", (value,)))
    return tuple(requirements)


def matches_fields(requirements: tuple[Requirement, ...], obj: Mapping[str, Any]) -> bool:
    """Whether an object's fields meet them; a missing field counts as "", as in Kubernetes."""
    return all(
        requirement.matches({requirement.key: field_value(obj, requirement.key)}) for requirement in requirements
    )


def field_value(obj: Mapping[str, Any], path: str) -> str:
    """The text of a field by its dotted path, "" where it is missing; booleans as `true` and `false`."""
    value: Any = obj
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _tokens(text: str) -> list[str]:
    tokens, position = [], 0
    while text[position:].strip():
        match = _TOKEN.match(text, position)
        if match is None:
            raise ValueError(f"unable to parse the label selector {text!r} at {text[position:]!r}")
        tokens.append(match.group(1) or match.group(2))
        position = match.end()
    return tokens


def _requirement(tokens: list[str]) -> Requirement:
    key = tokens.pop(0)
    if key == "!":
        if not tokens:
            raise ValueError("a label selector ends with '!'")
        return Requirement(_word(tokens), "DoesNotExist")
    _check_word(key)
    if not tokens or tokens[0] == ",":
        return Requirement(key, "Exists")
    operator = tokens.pop(0)
    if operator in ("=", "==", "!="):
        value = _word(tokens) if tokens and tokens[0] != "," else ""
        return Requirement(key, "NotIn" if operator == "!=" else "In", (value,))
    if operator in (">", "<"):
        return Requirement(key, "Gt" if operator == ">" else "Lt", (str(int(_word(tokens))),))
    if operator in ("in", "notin"):
        return Requirement(key, "In" if operator == "in" else "NotIn", _value_set(tokens))
    raise ValueError(f"{operator!r} is not a label selector operator")


def _value_set(tokens: list[str]) -> tuple[str, ...]:
    if not tokens or tokens.pop(0) != "(":
        raise ValueError("expected '(' in a label selector")
    values: list[str] = []
    expect_value = True
    while tokens:
        part = tokens.pop(0)
        if part == ")":
            return (*values, "") if expect_value else tuple(values)
        if part == ",":
            if expect_value:
                values.append("")
            expect_value = True
        else:
            _check_word(part)
            values.append(part)
            expect_value = False
    raise ValueError("expected ')' in a label selector")


def _word(tokens: list[str]) -> str:
    if not tokens:
        raise ValueError("a label selector ends too early")
    word = tokens.pop(0)
    _check_word(word)
    return word


def _check_word(word: str) -> None:
    if word in ("=", "==", "!=", ",", "(", ")", "!", ">", "<"):
        raise ValueError(f"unexpected {word!r} in a label selector")
