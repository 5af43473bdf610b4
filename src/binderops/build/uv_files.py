"""Which files of a repository the uv buildpack honours, which it must leave to others, and what they say.

A repository is claimed only when every environment file that repo2docker would honour is honoured here too. Files are
looked for as repo2docker does: in `binder/` or `.binder/` where there is one, else at the top.
Source: https://repo2docker.readthedocs.io/en/latest/configuration/
"""

from __future__ import annotations

import re
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from binderops.errors import BuildError
from binderops.repository import FOLDERS, OTHER_BUILDPACKS, plain_environment

_RUNTIME = re.compile(r"python-(\d+)\.(\d+)(?:\.(\d+))?")
_PACKAGE_NAME = re.compile(r"[a-z0-9][a-z0-9.+-]*(?:=[A-Za-z0-9.+:~-]+)?")


@dataclass(frozen=True)
class EnvironmentFiles:
    """The environment files of one checkout; paths are relative to its top."""

    top: Path

    @property
    def folder(self) -> str:
        """`binder`, `.binder` or empty (the top)."""
        found = [name for name in FOLDERS if (self.top / name).is_dir()]
        if len(found) > 1:
            raise BuildError("The repository has both a binder and a .binder folder: one must go.")
        return found[0] if found else ""

    def path(self, name: str) -> str | None:
        """The path of an environment file, if it is there."""
        relative = f"{self.folder}/{name}" if self.folder else name
        return relative if (self.top / relative).is_file() else None

    def text(self, name: str) -> str:
        """Its text, empty if it is not there."""
        path = self.path(name)
        return (self.top / path).read_text(encoding="utf-8", errors="replace") if path else ""

    def unsupported(self) -> str | None:
        """Why the uv buildpack cannot honour this repository, or None when it can."""
        for name in OTHER_BUILDPACKS:
            if path := self.path(name):
                return path
        runtime = self.text("runtime.txt").strip()
        if runtime and not self._has_python(runtime):
            return f"runtime.txt ({runtime})"
        if self.is_package() and not self._fits_requires_python():
            return "pyproject.toml (requires-python)"
        return None

    def is_plain(self) -> bool:
        """Whether the environment is made without reading anything else of the repository."""
        folders = [self.top, *(self.top / name for name in FOLDERS if not (self.top / name).is_symlink())]
        names = {
            str(path.relative_to(self.top))
            for folder in folders
            if folder.is_dir()
            for path in folder.iterdir()
            if path.is_symlink() or not path.is_dir()
        }
        return plain_environment(names, self._plain_text) is not None

    def _plain_text(self, path: str) -> str | None:
        file = self.top / path
        return None if file.is_symlink() else file.read_text(encoding="utf-8", errors="replace")

    def is_package(self) -> bool:
        """Whether the repository itself is installed: by a setup.py, or a pyproject.toml that says how it is built."""
        document = self._pyproject()
        has_setup = (self.top / "setup.py").is_file()
        return not self.folder and (has_setup or ("project" in document and "build-system" in document))

    def debian_packages(self) -> list[str]:
        """The packages of apt.txt; raises BuildError for what is not one."""
        lines = (line.partition("#")[0].strip() for line in self.text("apt.txt").splitlines())
        names = sorted({name for line in lines for name in line.split()})
        for name in names:
            if not _PACKAGE_NAME.fullmatch(name):
                raise BuildError(f"apt.txt: {name!r} is not the name of a Debian package.")
        return names

    def _has_python(self, runtime: str) -> bool:
        match = _RUNTIME.fullmatch(runtime)
        if not match:
            return False
        wanted = tuple(int(part) for part in match.groups() if part is not None)
        return sys.version_info[: len(wanted)] == wanted

    def _fits_requires_python(self) -> bool:
        wanted = self._pyproject().get("project", {}).get("requires-python", "")
        try:
            return SpecifierSet(wanted).contains(".".join(map(str, sys.version_info[:3])))
        except (InvalidSpecifier, TypeError):
            # pip says better than we could what is wrong with it.
            return True

    def _pyproject(self) -> dict[str, dict[str, str]]:
        file = self.top / "pyproject.toml"
        if self.folder or not file.is_file():
            return {}
        try:
            return tomllib.loads(file.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise BuildError(f"pyproject.toml cannot be read: {error}") from error
