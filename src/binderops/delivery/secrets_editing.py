"""`secrets edit`: one environment's file, or any sealed file of the repository, in the operator's own editor."""

from __future__ import annotations

from collections.abc import Sequence

from binderops.delivery.secrets_place import SecretsPlace
from binderops.delivery.secrets_results import ChangeResult
from binderops.secrets.editing import Again, edit
from binderops.secrets.sealed import SealedFile
from binderops.secrets.sharing import refresh_digests


def edit_environment(place: SecretsPlace, *, editor: Sequence[str], again: Again) -> ChangeResult:
    """Edits `secret/config/ENV.yaml`; says which keys changed, and what must restart."""
    before = place.sealed()
    if not edit(place.file, root=place.root, editor=editor, again=again):
        return ChangeResult(environment=place.environment, file=place.name, notes=("nothing changed",))
    after = place.sealed()
    old, new = _texts(before), _texts(after)
    changed = [path for path, text in new.items() if old.get(path) != text]
    known = [found for path in changed if (found := place.purpose(path))]
    return ChangeResult(
        environment=place.environment,
        file=place.name,
        changed=tuple(".".join(path) for path in changed),
        removed=tuple(".".join(path) for path in old if path not in new),
        restarts=tuple(sorted({app for found in known for app in found.restarts})),
        notes=refresh_digests(place.root, place.environment),
    )


def _texts(sealed: SealedFile) -> dict[tuple[str, ...], str]:
    return {leaf.path: leaf.text for leaf in sealed.leaves}
