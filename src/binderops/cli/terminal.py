"""Text of remote origin (logs, Events, errors), made harmless for the terminal of whoever reads it.

What a terminal obeys instead of showing lets a build's log move the cursor over earlier lines, set the window's title,
or type an answer back (CWE-150). Nothing is hidden but colours and movements: other sequences stay, as letters.
"""

from __future__ import annotations

import codecs
import json
import re
from typing import Any

# ECMA-48 5.4: a control sequence. In its 8-bit form it begins with U+009B.
_SEQUENCE = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]")
_UNFINISHED = re.compile(r"(?:\r|(?:\x1b\[?|\x9b)[0-?]{0,64}[ -/]{0,8})\Z")
_LINE_END = re.compile(r"\r\n?")
# Control characters but tab and newline, and those that reorder a line (Unicode UAX 9; CVE-2021-42574).
_OBEYED = "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
_CONTROL = re.compile(f"[{_OBEYED}]")


def shown(text: str) -> str:
    """The text without what a terminal would obey; a carriage return begins a new line."""
    return _CONTROL.sub("", _LINE_END.sub("\n", _SEQUENCE.sub("", text)))


def json_text(value: Any, *, indent: int | None = None) -> str:
    """JSON that is as harmless: it reads back as the same value, with each such character escaped."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    # json escapes what is below U+0020; newlines of the indentation are the only such characters left.
    return _CONTROL.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


class ShownStream:
    """The same for bytes that come in pieces: what a piece ends amid is held back for the next."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""

    def feed(self, chunk: bytes) -> str:
        """What may be printed now."""
        text = self._held + self._decoder.decode(chunk)
        unfinished = _UNFINISHED.search(text)
        self._held = unfinished.group() if unfinished else ""
        return shown(text[: len(text) - len(self._held)])

    def end(self) -> str:
        """What was held back, when nothing more comes."""
        text, self._held = self._held + self._decoder.decode(b"", final=True), ""
        return shown(text)
