"""Certificate authorities that a machine's network adds to those of an image.

Only the added ones travel (values, Secrets, each Helm revision keeps them); a program in an image joins them with the
image's own when it starts, since the variables below replace a bundle, they do not add to one.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path

ADDED_VARIABLE = "MACHINE_AUTHORITIES"
SYSTEM_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
# Each program reads its own variable for the same bundle.
BUNDLE_VARIABLES = (
    "SSL_CERT_FILE",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
)


def trust_added_authorities(
    environment: MutableMapping[str, str], target: Path, *, system: Path = SYSTEM_BUNDLE
) -> None:
    """Write `system` and the file that ADDED_VARIABLE names to `target`, and name it in every bundle variable.

    Nothing happens where no file is named, or an empty one.
    """
    added = Path(environment.get(ADDED_VARIABLE, ""))
    if not added.is_file() or not (text := added.read_text(encoding="utf-8").strip()):
        return
    own = system.read_text(encoding="utf-8").strip() if system.is_file() else ""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(f"{own}\n{text}\n".lstrip(), encoding="utf-8")
    environment.update(dict.fromkeys(BUNDLE_VARIABLES, str(target)))
