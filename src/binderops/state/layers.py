"""The layers of an environment, found and read: globs expanded, sealed ones opened or, without a key, looked at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from binderops.errors import ValuesError
from binderops.secrets.formats import is_secret_path
from binderops.secrets.layers import open_layers
from binderops.secrets.sealed import SealedFile, read_sealed
from binderops.state.documents import Document, read_document
from binderops.state.locked_images import place_images
from binderops.state.settings import PROJECT_FILE
from binderops.state.values import Layers


def read_layers(
    root: Path,
    patterns: Sequence[str],
    *,
    owner: str,
    generated: Sequence[Path] = (),
    images: Mapping[str, Sequence[str]] | None = None,
    opened: bool = True,
    on_this_machine: bool = True,
) -> Layers:
    """Reads the layers that `owner` (environments.ENV) names. `generated` ones stand below those that people wrote.

    `images` is binderops.yaml's: where in the values what a generated layer says of an image goes.

    With `opened` False no key is needed: sealed layers give no values, only what stands for them in the file.
    """
    documents = [place_images(read_document(path), images or {}) for path in generated if path.exists()]
    paths = [path for pattern in patterns for path in expand(root, pattern, owner=owner)]
    sealed = [path for path in paths if _is_sealed(root, path)]
    names = [shown(root, path) for path in sealed]
    if opened:
        layers = open_layers(sealed, names=names, on_this_machine=on_this_machine)
        found = {
            path: Document(name=layer.name, values=layer.values, lines=layer.lines, sealed=_stand_ins(layer.sealed))
            for path, layer in zip(sealed, layers, strict=True)
        }
    else:
        found = {path: _closed(read_sealed(path, name=name)) for path, name in zip(sealed, names, strict=True)}
    documents += [found.get(path) or read_document(path, name=shown(root, path)) for path in paths]
    return Layers(tuple(documents))


def expand(root: Path, pattern: str, *, owner: str) -> list[Path]:
    """The files of one entry of `layers`; a plain name must be there, a glob may find none."""
    if any(character in pattern for character in "*?["):
        return sorted(path for path in root.glob(pattern) if path.is_file())
    path = root / pattern
    if not path.is_file():
        raise ValuesError(
            f"the layer {pattern} of {owner} is missing",
            where=PROJECT_FILE,
            hint=f"create {pattern}, or take it out of the layers of {owner}",
        )
    return [path]


def shown(root: Path, path: Path) -> str:
    """A path as people are told it: from the repository's root."""
    return path.relative_to(root).as_posix()


def sealed_paths(root: Path, patterns: Iterable[str], *, owner: str) -> list[Path]:
    """Which of the layers are sealed."""
    return [path for pattern in patterns for path in expand(root, pattern, owner=owner) if _is_sealed(root, path)]


def _is_sealed(root: Path, path: Path) -> bool:
    # What lies below secret/ must be sealed, and is refused by the secrets room if it is not.
    return is_secret_path(path.relative_to(root))


def _closed(sealed: SealedFile) -> Document:
    return Document(name=sealed.name, values={}, lines=sealed.lines, sealed=_stand_ins(sealed))


def _stand_ins(sealed: SealedFile) -> tuple[tuple[tuple[str, ...], str], ...]:
    return tuple((leaf.path, leaf.text) for leaf in sealed.leaves)
