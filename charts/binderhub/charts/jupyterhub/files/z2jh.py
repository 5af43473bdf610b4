"""What the chart was given, for jupyterhub_config.py and for hub.extraConfig: its values, secrets and object names."""

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import yaml

HERE = Path(os.environ.get("Z2JH_DIRECTORY", "/usr/local/etc/jupyterhub"))
# What the operator keeps in a Secret of their own (hub.existingSecret) stands before what the chart wrote.
SECRETS = (HERE / "existing-secret", HERE / "secret")


def _merged(base, over):
    """`over` laid on `base`: maps merge, everything else is replaced."""
    if not isinstance(base, Mapping) or not isinstance(over, Mapping):
        return over
    return {**base, **{key: _merged(base.get(key), value) for key, value in over.items()}}


@lru_cache(maxsize=1)
def _values():
    values = {}
    for folder in reversed(SECRETS):
        file = folder / "values.yaml"
        if file.exists():
            values = _merged(values, yaml.safe_load(file.read_text()) or {})
    return values


def get_config(key, default=None):
    """The chart value at `key` ("singleuser.memory.limit"); `default` where a part of the path is missing."""
    value = _values()
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return default
        value = value[part]
    return value


def get_secret_value(key, default=None):
    """The text under `key` in hub.existingSecret, else in the Secret hub."""
    for folder in SECRETS:
        file = folder / key
        if file.exists():
            return file.read_text()
    return default


def get_name(name):
    """The object name that the chart gave to `name` ("hub-pvc", "proxy-api", …)."""
    return (HERE / "config" / name).read_text()


def get_name_env(name, suffix=""):
    """The value of Kubernetes' own variable for a Service: get_name_env("proxy-api", "_SERVICE_PORT")."""
    return os.environ[get_name(name).upper().replace("-", "_") + suffix]


def set_config_if_not_none(section, trait, key):
    """Set `section.trait` to the chart value at `key`, unless that is null or missing."""
    value = get_config(key)
    if value is not None:
        setattr(section, trait, value)
