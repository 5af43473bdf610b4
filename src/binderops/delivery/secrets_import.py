"""`secrets import --from git-crypt`: file by file, for named readers, with the list of what must be rotated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from binderops.delivery.secrets_results import ImportedFile, ImportResult
from binderops.errors import SecretsError, UsageError
from binderops.secrets import demonstration
from binderops.secrets.editing import problem_of
from binderops.secrets.formats import is_secret_path
from binderops.secrets.gitcrypt import GitCryptKey, decrypt, protected_files, read_key, without_filter
from binderops.secrets.identities import is_recipient
from binderops.secrets.layers import open_layer
from binderops.secrets.places import owner_of, secret_folder
from binderops.secrets.rules import RULES_FILE, Rules, load_rules
from binderops.secrets.sealed import is_sealed
from binderops.secrets.sharing import candidates
from binderops.secrets.values import ClearText
from binderops.secrets.writing import seal_new, write_whole
from binderops.state.project import Project


def import_git_crypt(
    root: Path,
    tree: Path,
    *,
    project: Project,
    key_file: Path | None,
    readers: Sequence[str],
    names: Sequence[str],
) -> ImportResult:
    """Seals what git-crypt protects in `tree` for sops, under the same names here.

    A file goes to the readers of its creation rule; one without a rule to `readers` (names or keys), and a rule for it
    is written. Nothing is written before every file could be opened.
    """
    key = read_key(key_file) if key_file else None
    rules = load_rules(root / RULES_FILE)
    keys = tuple(_key_of(rules, word) for word in readers)
    wanted = list(names) or protected_files(tree)
    if not wanted:
        raise UsageError(
            "git-crypt protects nothing there", where=str(tree), why="no filter=git-crypt in .gitattributes"
        )
    opened = [(name, _clear(tree, name, key)) for name in wanted]
    for name, _ in opened:
        if not rules.covers(_target(root, name)):
            if not keys:
                raise UsageError(
                    f"for whom is {name}?",
                    where=RULES_FILE,
                    why="no creation rule fits it",
                    hint="--reader NAME_OR_KEY, once for each; one file at a time where readers differ",
                )
            rules.with_rule(_target(root, name), keys)
        _refuse_public(root, project, rules, _target(root, name))
    write_whole(root / RULES_FILE, rules.text().encode())
    files = [_seal(root, name, clear) for name, clear in opened]
    notes = tuple(_clean_up(root, tree, all_files=not names))
    return ImportResult(
        files=tuple(file for file, _ in files),
        rotate=tuple(path for _, paths in files for path in paths),
        notes=notes,
    )


def _refuse_public(root: Path, project: Project, rules: Rules, target: str) -> None:
    owner = owner_of(root, root / target, tuple(project.environments))
    elsewhere = owner is not None and project.environment(owner).target.node is None
    if elsewhere and any(demonstration.is_demonstration_key(key) for key in rules.recipients(target)):
        raise SecretsError(
            f"{target} would be sealed for a demonstration key",
            where=RULES_FILE,
            why=f"its secret half is public (examples/keys/), and the target of {owner} is not on this machine",
            hint="--reader with a key of your own, or another rule",
        )


def _key_of(rules: Rules, word: str) -> str:
    found = rules.reader(word)
    if found is None and not is_recipient(word):
        raise UsageError(f"{word} is neither a reader's name nor an age recipient", where=RULES_FILE)
    return found.key if found else word


def _clear(tree: Path, name: str, key: GitCryptKey | None) -> ClearText:
    path = tree / name
    if not path.is_file() or not path.resolve().is_relative_to(tree.resolve()):
        raise UsageError(f"there is no {name}", where=str(tree))
    content = path.read_bytes()
    if is_sealed(content, name=name):
        raise UsageError(f"{name} is sealed by sops already", where=name, hint="name the files that are not")
    clear = decrypt(content, key, name=name)
    problem = problem_of(clear, name=name)
    if problem is not None:
        raise problem
    return clear


def _target(root: Path, name: str) -> str:
    """The same name; `secret/` and `secrets/` become the one that this repository has."""
    if not is_secret_path(name):
        return name
    return f"{secret_folder(root).name}/{name.partition('/')[2]}"


def _seal(root: Path, name: str, clear: ClearText) -> tuple[ImportedFile, list[str]]:
    target = _target(root, name)
    sealed = seal_new(root / target, clear, root=root)
    readers = tuple(load_rules(root / RULES_FILE).named(one) for one in sealed.recipients)
    imported = ImportedFile(source=name, file=target, keys=len(sealed.leaves), readers=readers)
    if demonstration.environment_for(sealed, root / target) is None and not _can_open(root / target, target):
        return imported, [f"{target}: everything"]
    layer = open_layer(root / target, name=target)
    return imported, [f"{target}: {one.path}" for one in candidates(layer) if one.is_credential]


def _can_open(path: Path, name: str) -> bool:
    try:
        open_layer(path, name=name)
    except SecretsError:
        return False
    return True


def _clean_up(root: Path, tree: Path, *, all_files: bool) -> Iterator[str]:
    yield "git's history keeps what git-crypt sealed, for everybody who ever had its key: rotate what is listed"
    attributes = root / ".gitattributes"
    if tree.resolve() != root.resolve():
        return
    if all_files and attributes.exists():
        before = attributes.read_text(encoding="utf-8")
        after = without_filter(before)
        if after != before:
            write_whole(attributes, after.encode())
            yield "git-crypt is taken out of .gitattributes: git must not seal a sealed file again"
    yield "when all is committed: remove .git-crypt/, and run `binderops secrets merge-driver --install`"
