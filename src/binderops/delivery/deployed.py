"""Which images the revisions of an environment run: noted beside it, so that nobody removes what a rollback needs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from binderops.delivery.workspace import Workspace, write_private
from binderops.errors import BinderOpsError, StateError
from binderops.helm.releases import KEPT_REVISIONS
from binderops.images.lockfile import read_lock

_FILE = "images.json"


class Deployed(BaseModel):
    """One revision and the digests of this machine's images that it was deployed with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    revision: int
    digests: tuple[str, ...]


_LIST = TypeAdapter(list[Deployed])


def note_images(workspace: Workspace, revision: int, *, again: int | None = None) -> None:
    """Note what a revision runs: the present lock's images, or those of the revision that it is `again`.

    Nothing for a cluster, whose images lie in a registry. What cannot be written is left: then nothing is removed.
    """
    if workspace.environment.target.node is None:
        return
    try:
        noted = _read(_path(workspace))
        digests = _locked(workspace) if again is None else _of(noted, again)
        if not digests:  # of a revision that was never noted: from now on nobody knows
            _path(workspace).unlink(missing_ok=True)
            return
        # Later ones are of a release that was there before: Helm counts anew.
        kept = [entry for entry in noted if entry.revision < revision][-(KEPT_REVISIONS - 1) :]
        _path(workspace).parent.mkdir(parents=True, exist_ok=True)
        write_private(_path(workspace), _LIST.dump_json([*kept, Deployed(revision=revision, digests=digests)]))
    except (OSError, BinderOpsError):
        return


def deployed_images(state: Path) -> set[str] | None:
    """The digests that any environment of this state folder may still run; None where one has nothing noted."""
    found: set[str] = set()
    for folder in state.glob("environments/*"):
        try:
            noted = _read(folder / _FILE)
        except (OSError, StateError):
            return None
        if not noted:
            return None  # deployed before anything was noted, or never whole
        found |= {digest for entry in noted for digest in entry.digests}
    return found


def _locked(workspace: Workspace) -> tuple[str, ...]:
    return tuple(sorted(image.digest for image in read_lock(workspace.image_lock).images.values()))


def _of(noted: Iterable[Deployed], revision: int) -> tuple[str, ...]:
    return next((entry.digests for entry in noted if entry.revision == revision), ())


def _path(workspace: Workspace) -> Path:
    return workspace.generated_layer.parent / _FILE


def _read(path: Path) -> list[Deployed]:
    try:
        return _LIST.validate_json(path.read_bytes())
    except FileNotFoundError:
        return []
    except ValidationError as error:
        raise StateError("the list of deployed images cannot be read", where=str(path), why=str(error)) from error
