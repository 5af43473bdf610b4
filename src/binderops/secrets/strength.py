"""How hard a value is to guess, and whether it opens anything.

The estimate is a lower bound that is easy to explain: characters times the bits of the smallest alphabet that holds
them, never more than what is left after compression; words count as words of a list (13 bits each, diceware's).
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import string
import zlib
from collections.abc import Sequence

GENERATED_BITS = 128  # what is generated has at least as much
WEAK_BITS = 100  # below: a finding. GitLab's personal tokens (20 characters) have 119

_WORD_BITS = math.log2(7776)
_WORDS = re.compile(r"[A-Za-z]{1,14}(?:[ _.\-]?[A-Za-z]{1,14})*[\W\d_]{0,6}")
_OPENS_SOMETHING = re.compile(
    r"(pass(word|wd|phrase)?|secret|(?<!image)pullsecret|secret_?token|token|api_?key|access_?key|private_?key"
    r"|signing_?key|secret_?key|client_?secret|cookie_?secret|auth|credentials?|keys?|crypt_?key|htpasswd|key_?data)$",
    re.I,
)
_NAMES_SOMETHING = re.compile(
    r"(secret_?name|_?name|user(name)?|_?file|_?path|_?url|pull_?secrets|_?id|public_?key)$", re.I
)
_PEM_SECRET = re.compile(r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----|AGE-SECRET-KEY-")
_WELL_KNOWN = frozenset(
    {"changeme", "change-me", "password", "secret", "admin", "example", "todo", "replaceme", "hunter2"}
)
_ALPHABETS = (
    string.digits,
    string.hexdigits.lower(),
    string.ascii_lowercase,
    string.ascii_uppercase,
    string.ascii_lowercase + string.digits,
    string.ascii_letters,
    string.ascii_letters + string.digits,
    string.ascii_letters + string.digits + "+/=_-",
    string.printable,
)


def estimated_bits(value: str) -> float:
    """How many bits a guesser has to try at least, by the rules above; 0 for what everybody tries first."""
    text = canonical(value).strip()
    if not text or text.lower() in _WELL_KNOWN:
        return 0.0
    if _PEM_SECRET.search(text):
        return 256.0
    if _WORDS.fullmatch(text) and (words := _split_words(text)):
        return len(words) * _WORD_BITS + 3.3 * sum(not character.isalpha() for character in text)
    bits = math.log2(next((len(set(a)) for a in _ALPHABETS if set(text) <= set(a)), 4096))
    compressed = 8.0 * max(0, len(zlib.compress(text.encode(), 9)) - 8)
    distinct = len(set(text)) * math.log2(max(2, len(text)))
    return min(len(text) * bits, max(compressed, 8.0), max(distinct, 1.0) * 8)


def looks_like_credential(path: Sequence[str], value: str) -> bool:
    """Whether a value opens something: by the name of its key, by what it holds, or because it looks random."""
    if _PEM_SECRET.search(value):
        return True
    names = [part for part in path if not part.isdigit()]
    if names and _NAMES_SOMETHING.search(names[-1]) and not looks_random(value):
        return False
    if names and opens_by_name(names):
        return bool(value.strip())
    return looks_random(value)


def opens_by_name(path: Sequence[str]) -> bool:
    """Whether the last name of a key path says that its value opens something."""
    names = [part for part in path if not part.isdigit()]
    return bool(names) and bool(_OPENS_SOMETHING.search(names[-1])) and not _NAMES_SOMETHING.search(names[-1])


def looks_random(value: str) -> bool:
    """Whether a text is what a generator makes: one piece, long, no words, letters and digits mixed."""
    text = value.strip()
    if len(text) < 20 or re.search(r"\s", text) or not re.fullmatch(r"[A-Za-z0-9+/=_\-.]+", text):
        return False
    if re.fullmatch(r"(sha256:)?[0-9a-f]{64}", text) and text.startswith("sha256:"):
        return False
    runs = re.findall(r"[A-Za-z]+|\d+", text)
    mixed = any(c.isdigit() for c in text) and any(c.isalpha() for c in text)
    return mixed and len(runs) >= len(text) / 6 and estimated_bits(text) >= 80


def canonical(value: str) -> str:
    """The value without what two files may write differently: space around it, base64 of a readable text."""
    text = value.strip()
    if len(text) >= 12 and len(text) % 4 == 0 and re.fullmatch(r"[A-Za-z0-9+/]+={0,2}", text):
        try:
            decoded = base64.b64decode(text, validate=True).decode("ascii")
        except (binascii.Error, UnicodeDecodeError):
            return text
        if all(character in string.printable for character in decoded):
            return decoded.strip()
    return text


def _split_words(text: str) -> list[str]:
    """The words of a passphrase; none where a run of letters is too long, or too mixed, to be one."""
    found = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", text)
    letters = sum(map(len, found))
    return found if found and letters / len(found) >= 3 else []
