"""`secrets seal`: a file that lies in clear below secret/, sealed where it is."""

from __future__ import annotations

from pathlib import Path

from binderops.delivery.secrets_results import ChangeResult
from binderops.errors import UsageError
from binderops.secrets.editing import problem_of
from binderops.secrets.places import environments_with_secrets, name_of, owner_of
from binderops.secrets.sealed import is_sealed
from binderops.secrets.values import ClearText
from binderops.secrets.writing import seal_new


def seal_file(root: Path, path: Path) -> ChangeResult:
    """Seals one file for the readers of its creation rule."""
    name = name_of(root, path)
    if not path.is_file():
        raise UsageError(f"there is no file {name}", where=name)
    content = path.read_bytes()
    if is_sealed(content, name=name):
        raise UsageError(f"{name} is sealed already", where=name)
    clear = ClearText(content)
    del content
    problem = problem_of(clear, name=name)
    if problem is not None:
        raise problem
    seal_new(path, clear, root=root)
    return ChangeResult(
        environment=owner_of(root, path, environments_with_secrets(root)) or "",
        file=name,
        changed=(name,),
        notes=("if it was ever committed in clear, or lay on a shared disk, rotate what stands in it",),
    )
