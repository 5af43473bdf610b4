"""docs/operate/values-keys.md: every key of the charts' values, whether it is honoured, without effect, or refused.

Made from the same files as the schemas (values.shape.yaml, refused.yaml, the binder's traits), so that the page, the
schema and what a deploy says cannot differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refusals import words

from binderops.binder import traits
from charts import refused_of, schema_for

# Chart → where its values stand below the meta chart's.
CHARTS = {
    "mybinder": "",
    "charts/binderhub": "binderhub.",
    "charts/binderhub/charts/jupyterhub": "binderhub.jupyterhub.",
    "charts/nginx-ingress": "nginx-ingress.",
    "charts/kube-lego": "kube-lego.",
}
HONOURED, WITHOUT_EFFECT, REFUSED = "honoured", "without effect", "refused"
# Keys that are maps of other keys on this page: those of a dependent chart, what all charts share, what the meta chart
# reads of another's values.
_ELSEWHERE = {
    "mybinder": ("nginx-ingress", "kube-lego", "binderhub.*"),
    "binderhub": ("global", "jupyterhub", "networkPolicy", "hpa"),
    "jupyterhub": ("global",),
    "nginx-ingress": ("global",),
    "kube-lego": ("global",),
}
# How the meaning of a key begins in values.shape.yaml where nothing here depends on it.
_REASONS = ("on one machine:", "without effect:")
_HEAD = """\
# Keys of the values

Made from the charts' files (`make reference`). Every key is *honoured*, *without effect* (accepted, since no user
could notice, with the reason; "on one machine" means that it is in force on a cluster), or *refused* by name, with what
to use instead. `*` stands for every other key. A key that stands nowhere here is refused by the schema, with its name.

"""


@dataclass(frozen=True)
class Key:
    """One key: where it stands, what it takes, and what becomes of it."""

    path: str
    takes: str
    verdict: str
    why: str = ""


def keys_page(root: Path) -> str:
    """The page's text."""
    found = {chart: keys_of(root / chart) for chart in CHARTS}
    lines = [_HEAD, "| chart | honoured | without effect | refused |", "|---|---|---|---|"]
    for chart, keys in found.items():
        lines.append(f"| {Path(chart).name} | {_counts(keys)} |")
    lines.append(f"| all | {_counts([key for keys in found.values() for key in keys])} |")
    for chart, keys in found.items():
        prefix = CHARTS[chart]
        lines += ["", f"## {Path(chart).name}" + (f" (below `{prefix.rstrip('.')}`)" if prefix else ""), ""]
        lines += ["| key | takes | |", "|---|---|---|"]
        lines += [f"| `{key.path}` | {key.takes} | {_cell(key)} |" for key in keys]
    return "\n".join(lines) + "\n"


def counted(root: Path) -> str:
    """How many keys there are of each kind."""
    keys = all_keys(root).values()
    kinds = (HONOURED, WITHOUT_EFFECT, REFUSED)
    return ", ".join(f"{sum(key.verdict == kind for key in keys)} {kind}" for kind in kinds)


def all_keys(root: Path) -> dict[str, Key]:
    """Every key of the page by where it stands below the meta chart's values."""
    return {prefix + key.path: key for chart, prefix in CHARTS.items() for key in keys_of(root / chart)}


def keys_of(chart: Path) -> list[Key]:
    """The keys of one chart, in the order of its file."""
    refused = {entry["key"]: entry for entry in refused_of(chart).get("keys", [])}
    leaves = _leaves(schema_for(chart), "", tuple(refused))
    return [_judged(path, leaf, refused) for path, leaf in leaves if path not in _ELSEWHERE[chart.name]]


def _leaves(
    schema: Mapping[str, Any], path: str, refused: tuple[str, ...], reason: str = ""
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every key that holds no others; a reason why a key is without effect holds for those in it.

    What is refused below a map that is open otherwise stands beside that map.
    """
    meaning = str(schema.get("description", ""))
    reason = meaning if meaning.startswith(_REASONS) else reason
    properties = schema.get("properties")
    if not properties:
        yield path, {**schema, "description": reason or meaning}
        yield from ((key, {}) for key in refused if key.startswith(f"{path}."))
        return
    for name, child in properties.items():
        yield from _leaves(child, f"{path}.{name}" if path else name, refused, reason)
    if schema.get("additionalProperties") is not False:
        yield f"{path}.*", {"description": reason or meaning}


def _judged(path: str, leaf: Mapping[str, Any], refused: Mapping[str, Mapping[str, Any]]) -> Key:
    takes, meaning = _takes(leaf), str(leaf.get("description", ""))
    parts = path.split(".")
    for entry in (refused.get(".".join(parts[:end])) for end in range(len(parts), 0, -1)):
        if entry:
            return Key(path, takes, REFUSED, words(entry, quote="`"))
    for end in range(len(parts), 0, -1):
        for switch in (f"{'.'.join(parts[:end])}.{name}" for name in ("enabled", "create")):
            # `when: set`: the name is gone, not what it switched.
            if switch in refused and refused[switch].get("when") != "set":
                return Key(path, takes, WITHOUT_EFFECT, f"belongs to `{switch}`, which is refused")
    if parts[0] == "config" and len(parts) == 3:
        return _trait(path, parts[1], parts[2])
    if meaning.startswith(_REASONS):
        return Key(path, takes, WITHOUT_EFFECT, meaning.removeprefix("without effect: "))
    return Key(path, takes, HONOURED, meaning)


def _trait(path: str, name: str, trait: str) -> Key:
    if (name, trait) in traits.REFUSED:
        allowed, reason = traits.REFUSED[name, trait]
        return Key(path, f"only {str(allowed).lower()}", REFUSED, reason)
    if (name, trait) in traits.RELEASE_NAMESPACE:
        why = words({"use": "nothing", "why": traits.RELEASE_NAMESPACE[name, trait]})
        return Key(path, "only the release's namespace", REFUSED, why)
    if (name, trait) in traits.WITHOUT_EFFECT:
        return Key(path, "any", WITHOUT_EFFECT, traits.WITHOUT_EFFECT[name, trait])
    if (name, trait) in traits.ALIASES:
        return Key(path, "any", HONOURED, f"old name of `config.{'.'.join(traits.ALIASES[name, trait])}`")
    field = traits.CLASSES[name].model_fields[trait]
    takes = str(getattr(field.annotation, "__name__", field.annotation)).split("[")[0]
    variable = next((known for known, place in traits.FROM_ENVIRONMENT.items() if place == (name, trait)), "")
    return Key(path, takes, HONOURED, f"where it is not set: `{variable}` of `extraEnv`" if variable else "")


def _takes(leaf: Mapping[str, Any]) -> str:
    if "enum" in leaf:
        return ", ".join(map(str, leaf["enum"]))
    found = leaf.get("type", "any")
    return " or ".join(found) if isinstance(found, list) else str(found)


def _cell(key: Key) -> str:
    verdict = "" if key.verdict == HONOURED else f"**{key.verdict}**"
    return ": ".join(filter(None, (verdict, key.why.replace("|", "\\|"))))


def _counts(keys: list[Key]) -> str:
    return " | ".join(
        str(sum(key.verdict == verdict for key in keys)) for verdict in (HONOURED, WITHOUT_EFFECT, REFUSED)
    )
