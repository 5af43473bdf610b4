"""What of a repository makes its environment, as far as a build and the binder must agree about it.

An environment is plain when a few files say all of it, and making it reads nothing else of the repository: no script,
no Dockerfile, no package in the repository itself. Then a commit that changes none of these files needs no build.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping

FOLDERS = (".binder", "binder")
# Each asks for something that is not a Python package from the index: its own buildpack knows how.
OTHER_BUILDPACKS = (
    "Dockerfile",
    "environment.yml",
    "Pipfile",
    "Pipfile.lock",
    "Project.toml",
    "JuliaProject.toml",
    "REQUIRE",
    "install.R",
    "DESCRIPTION",
    "default.nix",
)
REQUIREMENTS = "requirements.txt"
START = "start"
_SAY_ALL = (REQUIREMENTS, "apt.txt", START)
# What runs code of the repository, installs it, or may name a buildpack that does.
_READ_MORE = (*OTHER_BUILDPACKS, "postBuild", "setup.py", "pyproject.toml", "runtime.txt")
# All that says something about the environment, by their names in the folder that is looked into.
ENVIRONMENT_FILES = (*_SAY_ALL, *_READ_MORE)
# A name, extras, versions and markers (PEP 508), without addresses and paths. Options may name a file.
_PLAIN_REQUIREMENT = re.compile(
    r"\s*[A-Za-z0-9][A-Za-z0-9._-]*\s*(\[[A-Za-z0-9._,\s-]*\])?\s*([<>=!~][A-Za-z0-9.,*+!<>=~\s-]*)?(;[^@/\\:]*)?"
)


def plain_environment(names: Collection[str], read: Callable[[str], str | None]) -> Mapping[str, str] | None:
    """The files that say all of the environment, with their texts; None where making it reads more than they are.

    `names` are all files of the repository, by their paths; `read` gives a file's text, None for what is no plain file.
    """
    if any(folder in names for folder in FOLDERS):
        return None  # a link or a file where repo2docker looks for a folder
    folders = [folder for folder in FOLDERS if any(name.startswith(f"{folder}/") for name in names)]
    if len(folders) > 1:
        return None
    prefix = f"{folders[0]}/" if folders else ""
    if any(f"{prefix}{name}" in names for name in _READ_MORE):
        return None
    files: dict[str, str] = {}
    for name in _SAY_ALL:
        path = f"{prefix}{name}"
        if path in names:
            text = read(path)
            if text is None:
                return None
            files[path] = text
    return files if are_plain_requirements(files.get(f"{prefix}{REQUIREMENTS}", "")) else None


def are_plain_requirements(text: str) -> bool:
    """Whether a requirements.txt names packages of the index alone: no option, no address, no path."""
    lines = (re.sub(r"(^|\s)#.*$", "", line) for line in text.splitlines())
    return all(_PLAIN_REQUIREMENT.fullmatch(line) for line in lines if line.strip())
