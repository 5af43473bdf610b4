"""What a full or read-only disk makes of a command: words and an exit code, no traceback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer
from tests.disks import fail, fill, small_disk

from binderops.cli.app import Output, perform
from binderops.cli.disk import with_disk_named
from binderops.errors import ImageError, StateError


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path, 8 << 20) as mounted:
        yield mounted


@pytest.mark.root
@pytest.mark.parametrize(
    ("spoil", "named"),
    [(lambda disk: fill(disk / "others"), "the disk is full"), (fail, "the disk is read-only")],
    ids=["full", "read-only"],
)
def test_a_command_names_the_disk(
    disk: Path, spoil: Callable[[Path], None], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(disk)

    async def action(_: object) -> None:
        (disk / "state").mkdir()

    with pytest.raises(typer.Exit) as ended:
        perform(action, output=Output.text, show=lambda _: None)  # type: ignore[type-var]
    told = "".join(capsys.readouterr())
    assert ended.value.exit_code == 1
    assert named in told and "df -h" in told and "Traceback" not in told


def test_what_a_program_said_of_the_disk_gets_the_same_advice() -> None:
    for error in (ImageError("building failed", why="podman exited with 125: write /x: no space left on device"),):
        told = with_disk_named(error)
        assert told is error and "make room" in str(told)


def test_others_are_left_as_they_are() -> None:
    assert with_disk_named(OSError(2, "No such file")) is None
    given = StateError("no", hint="that way")
    assert with_disk_named(given) is given and given.hint == "that way"
    found = with_disk_named(ExceptionGroup("several", [ValueError(), OSError(28, "No space left on device", "/x")]))
    assert found is not None and found.where == "/x"
