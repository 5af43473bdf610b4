"""Which certificates of this machine's bundle an image lacks: those that its distribution does not ship."""

from __future__ import annotations

import binascii
import re
import ssl
from collections.abc import Iterator
from pathlib import Path

# Where Debian's package ca-certificates has what every image of ours has too. A CA that an operator added lies in
# /usr/local/share/ca-certificates, or beside this folder (update-ca-certificates(8)).
DISTRIBUTIONS = Path("/usr/share/ca-certificates/mozilla")
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def added_authorities(bundle: str, *, distributions: Path = DISTRIBUTIONS) -> str:
    """Those certificates of `bundle` (PEM text, as what is returned) that the folder `distributions` lacks, each once.

    All of them where there is no such folder: on another distribution nothing is known of what images lack.
    """
    files = sorted(distributions.glob("*.crt")) if distributions.is_dir() else []
    known = {der for file in files for der, _ in _certificates(file.read_text(encoding="utf-8", errors="replace"))}
    added = {der: pem for der, pem in _certificates(bundle) if der not in known}
    return "".join(f"{pem}\n" for pem in added.values())


def _certificates(text: str) -> Iterator[tuple[bytes, str]]:
    """DER and PEM of each certificate; comments between them, and what is no base64, are passed over."""
    for found in _CERTIFICATE.findall(text):
        try:
            der = ssl.PEM_cert_to_DER_cert(found)
        except (binascii.Error, ValueError):
            continue
        if der:
            yield der, found
