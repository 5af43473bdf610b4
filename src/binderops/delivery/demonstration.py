"""Every command's first question where a target is not on this machine: may a demonstration key read what goes there?

Whatever such a key reads is public. So nothing is asked of, told about or sent to that target, whichever command it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from binderops.errors import BinderOpsError, SecretsError
from binderops.secrets.demonstration import is_demonstration_key, refuse_elsewhere
from binderops.secrets.formats import is_secret_path
from binderops.secrets.places import environment_file, environments_with_secrets, name_of, owned_files, owner_of
from binderops.secrets.rules import RULES_FILE, find_rules
from binderops.secrets.sealed import SealedFile, read_sealed
from binderops.state.layers import sealed_paths
from binderops.state.project import Project


def refuse_demonstration(root: Path, project: Project, environment: str) -> None:
    """Raises SecretsError where a demonstration key reads a file of an environment elsewhere, or would by its rule.

    Needs no key. Files that are missing or damaged are left to the command, which tells more about them.
    """
    if project.environment(environment).target.node is not None:
        return
    for sealed in _sealed_files(root, project, environment):
        refuse_elsewhere(sealed, on_this_machine=False)
    own = name_of(root, environment_file(root, environment))
    if any(is_demonstration_key(key) for key in find_rules(root).recipients(own)):
        raise SecretsError(
            f"{own} is to be sealed for a demonstration key",
            where=RULES_FILE,
            why=f"its secret half is public (examples/keys/), and the target of {environment} is not on this machine",
            hint=f"put your own key into the rule for {own}",
        )


def refuse_file(root: Path, project: Project, path: Path) -> None:
    """The same for the environment that a file belongs to, if it belongs to one."""
    names = {*environments_with_secrets(root), *project.environments}
    owner = owner_of(root, path, tuple(sorted(names)))
    if owner in project.environments:
        refuse_demonstration(root, project, owner)


def _sealed_files(root: Path, project: Project, name: str) -> Iterator[SealedFile]:
    for path in dict.fromkeys(_paths(root, project, name)):
        try:
            yield read_sealed(path, name=name_of(root, path))
        except SecretsError:
            continue


def _paths(root: Path, project: Project, name: str) -> Iterator[Path]:
    environment = project.environment(name)
    for layers in (environment.layers, *(first.layers for first in environment.before)):
        for pattern in layers:
            try:
                yield from sealed_paths(root, [pattern], owner=name)
            except BinderOpsError:  # a layer that is missing
                continue
    yield from owned_files(root, name)
    kubeconfig = environment.target.cluster.kubeconfig if environment.target.cluster else None
    if kubeconfig and is_secret_path(kubeconfig):
        yield root / kubeconfig
