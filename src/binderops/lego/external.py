"""Certificates that somebody else puts into a Secret: looked at, told about, never touched."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime, timedelta

from binderops.kube.kinds import Object
from binderops.lego.pairs import covers, names_of, read_pair


def findings(
    secret: Object | None, names: Sequence[str], *, now: datetime
) -> tuple[list[tuple[str, str]], datetime | None]:
    """What is wrong with such a Secret: (reason, words); and when its certificate ends, if it can be read."""
    if secret is None:
        return [("CertificateMissing", "there is no such Secret: whoever holds the certificate has to make it")], None
    data = secret.get("data") or {}
    try:
        pair = read_pair(*(base64.b64decode(data.get(key) or "") for key in ("tls.crt", "tls.key")))
    except ValueError as error:
        return [("CertificateUnusable", str(error))], None
    end, found = pair.leaf.not_valid_after_utc, []
    if not covers(pair.leaf, names):
        missing = ", ".join(name for name in names if not covers(pair.leaf, [name]))
        held = ", ".join(sorted(names_of(pair.leaf))[:5]) or "no name at all"
        found.append(("CertificateNames", f"it does not cover {missing} (it is for {held})"))
    if end <= now:
        found.append(("CertificateExpired", f"it ended at {end:%F %T}"))
    elif end - now < min(timedelta(days=21), (end - pair.leaf.not_valid_before_utc) / 3):
        found.append(("CertificateExpiring", f"it ends at {end:%F %T}, and whoever holds it has to replace it"))
    return found, end
