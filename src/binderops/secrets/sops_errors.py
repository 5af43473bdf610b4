"""What sops says when it fails, in our words.

Its own text is not passed on where it may quote values: the parser's errors quote the first letters of what they
trip over, and a MAC mismatch prints hashes of the clear text.
"""

from __future__ import annotations

import re

from binderops.errors import NotAReaderError, NotSealedError, SealBrokenError, SecretsError
from binderops.secrets.values import ClearText, reveal_bytes

_EXIT_MAC, _EXIT_NO_KEY = 51, 128  # sops: cmd/sops/codes/codes.go
_MAY_QUOTE_CLEAR_TEXT = frozenset({"encrypt", "set", "edit"})


def explained(verb: str, code: int, complaint: ClearText, *, name: str) -> SecretsError:
    """The error for one failed call of `sops VERB` on `name`."""
    text = reveal_bytes(complaint).decode(errors="replace").strip()
    if code == _EXIT_MAC or "MAC mismatch" in text:
        return SealBrokenError(
            f"{name} was changed without its key",
            where=name,
            why="its message authentication code does not fit its values: a hand edit, a merge, or damage",
            hint=f"take the last good version from git; `git log -p {name}` shows what changed it",
        )
    if "sops metadata not found" in text:
        return NotSealedError(f"{name} is not sealed", where=name, hint=f"binderops secrets seal {name}")
    if code == _EXIT_NO_KEY or "Failed to get the data key" in text:
        return NotAReaderError(
            f"none of your keys opens {name}",
            where=name,
            why=_key_reason(text),
            hint="ask one of its readers to add you",
        )
    if "no matching creation rules" in text or "config file not found" in text:
        return SecretsError(
            f"no creation rule of .sops.yaml fits {name}",
            where=".sops.yaml",
            why="so sops does not know for whom to seal it",
            hint=f"binderops secrets readers ENV add KEY, or a rule whose path_regex matches {name}",
        )
    if found := re.search(r'mapping key ".*?" already defined at line (\d+)', text):
        line = re.search(r"line (\d+): mapping key", text)
        return SecretsError(
            f"{name}: a key stands twice",
            where=f"{name}:{line[1]}" if line else name,
            why=f"it stands at line {found[1]} already",
        )
    if "non-string key" in text:
        return SecretsError(
            f"{name}: a key is not text", where=name, why="sops seals text keys only", hint="put the key in quotes"
        )
    if "Cipher" in text or "message authentication failed" in text:
        return SealBrokenError(
            f"a value of {name} cannot be opened",
            where=name,
            why="it was moved to another key, or changed",
            hint="take the last good version from git",
        )
    return SecretsError(
        f"sops {verb} failed on {name}", where=name, why=_words(verb, text), hint=f"exit code {code} of sops"
    )


def _key_reason(text: str) -> str | None:
    if found := re.search(r"SOPS_AGE_KEY_FILE file:?\s+open\s+(?:\|\s+)?(\S+):", re.sub(r"\s+\|\s+", " ", text)):
        return f"the file of SOPS_AGE_KEY_FILE, {found[1]}, cannot be read"
    if "malformed" in text or "unknown identity type" in text:
        return "the file of your keys holds what is no age identity"
    if "did not match any" in text:
        return None
    return "no identity was found where sops looks for one"


def _words(verb: str, text: str) -> str | None:
    if verb in _MAY_QUOTE_CLEAR_TEXT:
        line = re.search(r"line (\d+)", text)
        return f"at line {line[1]}" if line else None
    return text.splitlines()[-1][:300] if text else None
