"""Names of images, build pods and temporary users.

BinderHub's names are recognizable in them, but not the same: those keep six digits of a hash over a text that two
repositories can share (`a-b/c` and `a/b-c`), and an image that carries a stranger's name is a stranger's code.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
from urllib.parse import urlsplit

_SAFE = frozenset((string.ascii_letters + string.digits).encode())
_LONGEST_IMAGE = 255
_LONGEST_LABEL = 63
_LONGEST_USER = 32
# 128 bits: nobody finds a repository whose name meets another's.
_DIGITS = 32
_PLAIN_REF = re.compile(r"[a-z0-9][a-z0-9.-]{0,127}")
_SUFFIX_LETTERS = string.ascii_lowercase + string.digits


def image_name(prefix: str, slug: str, *, identity: str, ref: str) -> str:
    """The image of one repository at one resolved ref: another one for every other `identity` or `ref`.

    `identity` tells the repository from all others, of every provider; `slug` makes the name readable.
    """
    limit = _LONGEST_IMAGE - len(prefix) - _DIGITS - 1
    return f"{prefix.replace('_', '-')}{_escape(slug)[:limit]}-{_digest(identity)}".lower() + f":{_tag(ref)}"


def build_name(slug: str, image: str) -> str:
    """The name of the pod that builds an image: two requests for the same image get the same name."""
    return f"build-{_escape(slug)[: _LONGEST_LABEL - len('build--') - _DIGITS]}-{_digest(image)}".lower()


def user_name(repo_url: str) -> str:
    """A new name for a temporary user, recognizable by the repository: at most 40 letters, and 8 random ones."""
    path = urlsplit(repo_url).path.strip("/").lower().removesuffix(".git")
    readable = re.sub(r"[^a-z0-9.~@_-]", "-", path.replace("/", "-"))
    if len(readable) > _LONGEST_USER:
        readable = f"{readable[:15]}-{readable[-15:]}"
    suffix = "".join(secrets.choice(_SUFFIX_LETTERS) for _ in range(8))
    return f"{readable.lstrip('-') or 'binder'}-{suffix}"


def _tag(ref: str) -> str:
    # No tag that is a ref itself begins with _.
    return ref if _PLAIN_REF.fullmatch(ref) else f"_{_digest(ref)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def _escape(slug: str) -> str:
    return "".join(chr(byte) if byte in _SAFE else f"-{byte:X}" for byte in slug.encode())
