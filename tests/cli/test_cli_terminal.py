"""What strangers' programs write reaches the operator's terminal as text, and never as commands to it."""

from __future__ import annotations

import io
import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from binderops.cli.console import ConsoleProgress, show_error, show_lines, show_table
from binderops.cli.terminal import ShownStream, json_text, shown
from binderops.errors import BinderOpsError

CASES = [
    ("plain", "plain"),
    ("a\tb\n", "a\tb\n"),
    ("\x1b[31mred\x1b[0m", "red"),
    ("\x1b[1;38;5;196mred\x1b[m", "red"),
    ("\x1b[2J\x1b[Hcleared", "cleared"),
    ("ok\x1b[1A\x1b[2Kforged", "okforged"),
    ("\x1b]0;title\x07", "]0;title"),
    ("\x1b]52;c;cm0gLXJmIC8=\x1b\\", "]52;c;cm0gLXJmIC8=\\"),
    ("\x1b]8;;http://evil/\x1b\\link", "]8;;http://evil/\\link"),
    ("\x1bP+q544e\x1b\\", "P+q544e\\"),
    ("\x1b[6n", ""),
    ("\x9b31mred", "red"),
    ("\x9d0;title\x9c", "0;title"),
    ("\x1bc", "c"),
    ("10 %\r20 %\r\ndone", "10 %\n20 %\ndone"),
    ("bell\x07 back\x08 form\x0c nul\x00 del\x7f", "bell back form nul del"),
    ("user\u202etxt.exe", "usertxt.exe"),
    ("\u2066a\u2069\u200f", "a"),
    ("naïve ✓ 日本 👩\u200d🔬", "naïve ✓ 日本 👩\u200d🔬"),
    ("\x1b", ""),
    ("\x1b[", "["),
    ("\x1b\x1b[31m[31m", "[31m"),
]
HOSTILE = "\x1b[2J\x1b]0;taken\x07[red]markup[/red]\x9b31m\u202e"


def harmless(text: str) -> bool:
    return not any(
        letter in "\u202e\u2066" or (unicodedata.category(letter) in {"Cc", "Zl", "Zp"} and letter not in "\t\n")
        for letter in text
    )


@pytest.mark.parametrize(("given_text", "expected"), CASES)
def test_what_is_shown(given_text: str, expected: str) -> None:
    assert shown(given_text) == expected


@given(st.text(alphabet=st.sampled_from("\x1b\x9b[]m;31A\r\n\t\x07 ab\u202e")))
def test_nothing_that_a_terminal_obeys_is_left_and_nothing_is_made_of_what_is(text: str) -> None:
    assert harmless(shown(text))
    assert shown(shown(text)) == shown(text)


@given(st.text(alphabet=st.sampled_from("\x1b\x9b[m;31A\r\n\tabé日")), st.integers(min_value=1, max_value=5))
def test_pieces_are_shown_as_the_whole_would_be(text: str, size: int) -> None:
    stream, data = ShownStream(), text.encode()
    pieces = [stream.feed(data[start : start + size]) for start in range(0, len(data), size)]
    assert "".join(pieces) + stream.end() == shown(text)


def test_a_sequence_without_end_is_not_held_back_for_ever() -> None:
    stream = ShownStream()
    assert len(stream.feed(b"\x1b[" + b"1" * 1000)) > 900


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_json_reads_back_and_has_nothing_to_obey(text: str) -> None:
    written = json_text({"a": [text]}, indent=2)
    assert json.loads(written) == {"a": [text]}
    assert harmless(written)


def test_every_way_out_of_the_console_is_filtered(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    error = BinderOpsError(HOSTILE, where=HOSTILE, why=f"{HOSTILE}\n{HOSTILE}", hint=HOSTILE)
    for as_json in (False, True):
        show_error(error, as_json=as_json)
    show_lines([(HOSTILE, HOSTILE)])
    show_table(("A",), [(HOSTILE,)])
    progress = ConsoleProgress()
    monkeypatch.setattr("binderops.cli.console.time.monotonic", iter(range(0, 10_000, 100)).__next__)
    progress.begin("step")
    progress.say("step", HOSTILE)
    progress.end("step", HOSTILE)
    printed = capsys.readouterr()
    assert printed.out.count("taken") == 8
    assert printed.err.count("taken") == 7
    assert "[red]markup[/red]" in printed.out
    assert harmless(printed.out + printed.err)


def test_a_running_step_on_a_terminal_is_filtered() -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=120)
    progress = ConsoleProgress(terminal)
    progress.begin("step")
    progress.say("step", f"before{HOSTILE}after")
    progress.end("step", "done")
    assert isinstance(terminal.file, io.StringIO)
    written = terminal.file.getvalue()
    assert "before]0;taken[red]markup[/red]after" in written
    assert "\x1b[2J" not in written
    assert "\x1b]0" not in written
