"""The two keys that everybody has: they lie in examples/keys/, so that a clone runs staging and prod on one machine.

Whatever is sealed for them is public. A target that is not on this machine never gets it.
"""

from __future__ import annotations

import os
from pathlib import Path

from binderops.errors import SecretsError
from binderops.secrets.sealed import SealedFile

FOLDER = Path("examples/keys")

# Public halves of examples/keys/demonstration-staging.txt and -prod.txt (a test holds them together): known here, so
# that they are refused too where somebody copied them to another repository.
DEMONSTRATION_KEYS = {
    "age1tqscdmjqfv83uxukn9smj6s4pfqfnhmshpafe6ude8jxn93ukejqnn7x9x": "demonstration-staging",
    "age1jvcf9qwfxgz8yl7pnltjn2h9ta89jffm96xt5p56r88jl5cq35nsxxzjgd": "demonstration-prod",
}


def is_demonstration_key(recipient: str) -> bool:
    """Whether a recipient's secret half is public, in examples/keys/."""
    return recipient in DEMONSTRATION_KEYS


def refuse_elsewhere(sealed: SealedFile, *, on_this_machine: bool) -> None:
    """Raises SecretsError for a file that a demonstration key reads, unless its target is on this machine."""
    found = [recipient for recipient in sealed.recipients if is_demonstration_key(recipient)]
    if found and not on_this_machine:
        raise SecretsError(
            f"{sealed.name} is sealed for a demonstration key",
            where=sealed.name,
            why=f"the secret half of {DEMONSTRATION_KEYS[found[0]]} is public (examples/keys/), and this environment's "
            "target is not on this machine",
            hint=f"its values are public too: delete {sealed.name} and its rule in .sops.yaml, and make it anew for "
            "your own key (binderops secrets readers ENV --add KEY --name YOU; binderops secrets generate ENV)",
        )


def environment_for(sealed: SealedFile, path: Path) -> dict[str, str] | None:
    """The environment that lets sops open a demonstration file: the published identity beside the caller's own keys.

    None where the file is not for a demonstration key, or the repository has none.
    """
    names = [DEMONSTRATION_KEYS[recipient] for recipient in sealed.recipients if is_demonstration_key(recipient)]
    for folder in path.resolve().parents:
        identities = [folder / FOLDER / f"{name}.txt" for name in names]
        found = [file.read_text(encoding="utf-8") for file in identities if file.is_file()]
        if found:
            own = os.environ.get("SOPS_AGE_KEY", "")
            return {**os.environ, "SOPS_AGE_KEY": "\n".join([*filter(None, [own.strip()]), *found])}
    return None
