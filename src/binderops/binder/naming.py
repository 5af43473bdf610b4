"""Names of images, build pods and temporary users.

The formulas are BinderHub's, byte for byte, since images that a registry already holds are found again by them.
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
_SUFFIX_LETTERS = string.ascii_lowercase + string.digits


def image_name(prefix: str, slug: str, ref: str) -> str:
    """The image of one repository at one resolved ref."""
    safe = _safe_slug(slug, _LONGEST_IMAGE - len(prefix))
    return f"{prefix}{safe}:{ref}".replace("_", "-").lower()


def build_name(slug: str, ref: str) -> str:
    """The name of the pod that builds it: two requests for the same build get the same name."""
    ref_part = _safe_slug(ref, 6, hash_length=2)[:6]
    return f"build-{_safe_slug(slug, _LONGEST_LABEL - 6 - 6 - 1)}-{ref_part}".lower()


def user_name(repo_url: str) -> str:
    """A new name for a temporary user, recognizable by the repository: at most 40 letters, and 8 random ones."""
    path = urlsplit(repo_url).path.strip("/").lower().removesuffix(".git")
    readable = re.sub(r"[^a-z0-9.~@_-]", "-", path.replace("/", "-"))
    if len(readable) > _LONGEST_USER:
        readable = f"{readable[:15]}-{readable[-15:]}"
    suffix = "".join(secrets.choice(_SUFFIX_LETTERS) for _ in range(8))
    return f"{readable.lstrip('-') or 'binder'}-{suffix}"


def _safe_slug(slug: str, limit: int, *, hash_length: int = 6) -> str:
    digest = hashlib.sha256(slug.encode()).hexdigest()[:hash_length]
    return f"{_escape(slug)[: limit - hash_length - 1]}-{digest}".lower()


def _escape(slug: str) -> str:
    return "".join(chr(byte) if byte in _SAFE else f"-{byte:X}" for byte in slug.encode())
