"""The binder's configuration: the chart's `config`, then `extraConfig` by sorted key, as traitlets read it."""

from collections.abc import Mapping
from pathlib import Path

import yaml

_values = yaml.safe_load((Path(__file__).parent / "values.yaml").read_text()) or {}


def get_value(key, default=None):
    """The chart value at `key` ("config.BinderHub.base_url"); `default` where a part of the path is missing."""
    value = _values
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return default
        value = value[part]
    return value


for _section, _traits in get_value("config", {}).items():
    c[_section].update(_traits or {})  # noqa: F821 (traitlets gives `c` to this file)

for _key, _code in sorted((get_value("extraConfig") or {}).items()):
    if _code:
        exec(compile(_code, f"extraConfig.{_key}", "exec"))  # noqa: S102 (the operator's own program)
