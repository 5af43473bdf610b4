"""Which format a file is in: by its name, as sops decides."""

from __future__ import annotations

from enum import StrEnum
from pathlib import PurePath

SECRET_FOLDERS = ("secret", "secrets")


class Format(StrEnum):
    """A format of sops, by the word that its --input-type takes."""

    yaml = "yaml"
    json = "json"
    binary = "binary"


def format_of(name: str) -> Format:
    """By the extension; what is neither YAML nor JSON is binary, as sops has it."""
    match PurePath(name).suffix.lower():
        case ".yaml" | ".yml":
            return Format.yaml
        case ".json":
            return Format.json
        case _:
            return Format.binary


def is_secret_path(path: PurePath | str) -> bool:
    """Whether a path, relative to the repository, lies where sealed files do: `secret/` and `secrets/` both."""
    return PurePath(path).parts[:1] != () and PurePath(path).parts[0] in SECRET_FOLDERS
