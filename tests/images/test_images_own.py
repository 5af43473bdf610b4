"""The operator's own images: which there are, in which order, what they are refused for; built, kept and rebuilt."""

from __future__ import annotations

from pathlib import Path

import pytest

from binderops.errors import ImageError
from binderops.images.definitions import BASE, clone_of_this_project
from binderops.images.own import PLATFORM, own_images, refuse_unplaced

BASED = "FROM localhost/binderops/base\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository without images."""
    return tmp_path / "repository"


def write(root: Path, **files: str) -> None:
    """Writes images/NAME/Containerfile for each NAME; a name with a slash is a whole path."""
    for name, content in files.items():
        path = root / "images" / (name if "/" in name else f"{name}/Containerfile")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def found(root: Path) -> list[str]:
    return [image.name for image in own_images(root, sources=clone_of_this_project())]


def test_this_repositorys_own_are_the_platforms() -> None:
    assert found(clone_of_this_project().root) == []


def test_each_comes_after_those_that_it_starts_from(root: Path) -> None:
    write(root, a="FROM localhost/binderops/b\n", b=f"# not localhost/binderops/a\n{BASED}", c="FROM example.org/x\n")
    write(root, d="FROM localhost/binderops/b AS b\nFROM example.org/localhost/binderops/z\nCOPY --from=b /x /x\n")
    names = found(root)
    assert sorted(names) == ["a", "b", "c", "d"]
    assert names.index("b") < names.index("a")
    parents = {image.name: image.parents for image in own_images(root, sources=clone_of_this_project())}
    assert parents == {"a": ("b",), "b": ("base",), "c": (), "d": ("b",)}


def test_a_dockerfile_does_and_all_files_below_count(root: Path) -> None:
    write(root, **{"tool/Dockerfile": BASED, "tool/deep/file": "x", "tool/__pycache__/x.pyc": "x"})
    (image,) = own_images(root, sources=clone_of_this_project())
    assert (image.recipe, sorted(image.files)) == ("Dockerfile", ["Dockerfile", "deep/file"])


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (
            {"a": "FROM localhost/binderops/nowhere\n"},
            "starts from localhost/binderops/nowhere, which is no image here",
        ),
        ({"a": "FROM localhost/binderops/b\n", "b": "FROM localhost/binderops/a\n"}, "in a circle"),
        ({"notebook": BASED}, "cannot be named notebook"),
        ({"debian": BASED}, "cannot be named debian"),
        ({"Tool": BASED}, "cannot be named Tool"),
        ({"tool/readme": "x"}, "it has no Containerfile or Dockerfile"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refused_by_name(root: Path, files: dict[str, str], words: str) -> None:
    write(root, **files)
    with pytest.raises(ImageError, match=words):
        found(root)


def test_a_symbolic_link_is_refused(root: Path) -> None:
    write(root, tool=BASED)
    (root / "images/tool/key").symlink_to("/etc/shadow")
    with pytest.raises(ImageError, match="the image tool holds a symbolic link") as refused:
        found(root)
    assert refused.value.where == "images/tool/key"


def test_a_copy_of_the_platforms_is_the_platforms_until_it_differs(root: Path) -> None:
    source = clone_of_this_project().root / "images" / BASE.name
    for path in source.iterdir():
        write(root, **{f"base/{path.name}": path.read_text()})
    assert found(root) == []
    write(root, **{"base/uv.txt": "other"})
    with pytest.raises(ImageError, match="cannot be named base"):
        found(root)


def test_folders_and_binderops_yaml_agree(root: Path) -> None:
    write(root, tool=BASED)
    images = own_images(root, sources=clone_of_this_project())
    refuse_unplaced(images, [*PLATFORM, "tool"])
    with pytest.raises(ImageError, match="no place in the values for the image tool") as refused:
        refuse_unplaced(images, PLATFORM)
    assert refused.value.hint == "add `tool: [extra.tool.image]`"
    with pytest.raises(ImageError, match="there is no image too"):
        refuse_unplaced(images, ["tool", "too"])
