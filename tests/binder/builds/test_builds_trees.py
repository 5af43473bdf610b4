"""What a layer over an image must hold to show another commit."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from binderops.binder.builds.trees import (
    FILE,
    LINK,
    PROGRAM,
    SUBMODULE,
    changes,
    entries_of,
    environment_of,
    listing_of,
)
from binderops.errors import BuildError
from binderops.git.snapshots import Blob


class Texts:
    """A tree whose files are texts."""

    def __init__(self, files: dict[str, str], modes: dict[str, int] | None = None) -> None:
        self._files = files
        self.blobs = {path: Blob((modes or {}).get(path, FILE), text, len(text)) for path, text in files.items()}

    def read(self, paths: list[str]) -> list[bytes]:
        return [self._files[path].encode() for path in paths]

    def more(self) -> Iterator[tuple[str, bytes]]:
        yield from ()


@pytest.mark.parametrize(
    ("before", "after", "written", "removed"),
    [
        ({"a": "1"}, {"a": "1"}, [], []),
        ({"a": "1"}, {"a": "2", "b": ""}, ["a", "b"], []),
        ({"a": "1", "b": ""}, {"a": "1"}, [], ["b"]),
        # A folder that is gone is hidden as one, also below another that stays.
        ({"d/e/a": "", "d/e/b": "", "d/c": ""}, {"d/c": ""}, [], ["d/e"]),
        ({"d/e/a": "", "x": ""}, {"x": ""}, [], ["d"]),
        # A file in place of a folder, and a folder in place of a file, hide what was there by themselves.
        ({"d/a": ""}, {"d": "file"}, ["d"], []),
        ({"d": "file"}, {"d/a": ""}, ["d/a"], []),
    ],
)
def test_changes(before: dict[str, str], after: dict[str, str], written: list[str], removed: list[str]) -> None:
    found = changes(listing_of(Texts(before)), Texts(after))
    assert (found.written, found.removed) == (written, removed)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({".bashrc": "mine"}, {"a": ""}),  # the base has one too
        ({}, {".wh.a": ""}),
        ({}, {"a/.wh..wh..opq": ""}),
        ({}, {"../a": ""}),
        ({}, {".git/config": ""}),
    ],
)
def test_what_a_layer_cannot_say_is_built(before: dict[str, str], after: dict[str, str]) -> None:
    with pytest.raises(BuildError):
        changes(listing_of(Texts(before)), Texts(after))


def test_modes_are_those_of_a_checkout() -> None:
    files = {"a": "", "p": "", "l": "/etc/passwd", "start": ""}
    tree = Texts(files, {"p": PROGRAM, "l": LINK})
    found = {entry.name: (entry.mode & 0o777, entry.linkname) for entry, _ in entries_of(tree, list(files))}
    assert found == {"a": (0o644, ""), "p": (0o755, ""), "l": (0o644, "/etc/passwd"), "start": (0o755, "")}


def test_what_a_checkout_would_turn_into_something_else_has_no_environment_here() -> None:
    assert environment_of(Texts({"a": ""}), builder="1")
    assert environment_of(Texts({"a": ""}), builder="1") != environment_of(Texts({"a": ""}), builder="2")
    assert environment_of(Texts({"a": "x"}), builder="1") == environment_of(Texts({"b": "y"}), builder="1")
    assert not environment_of(Texts({"s": ""}, {"s": SUBMODULE}), builder="1")
    assert not environment_of(Texts({".gitmodules": ""}), builder="1")
    assert not environment_of(Texts({"d/.gitattributes": "*.csv filter=lfs diff=lfs"}), builder="1")
    assert not environment_of(Texts({"requirements.txt": "x"}, {"requirements.txt": LINK}), builder="1")
    assert environment_of(Texts({".gitattributes": "*.ipynb linguist-language=Python"}), builder="1")
