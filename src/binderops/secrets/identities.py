"""Which age keys are at hand, where sops looks for them; told by their public halves only.

Places, in sops' order: SSH keys (`SOPS_AGE_SSH_PRIVATE_KEY_FILE`, `~/.ssh/id_ed25519`, `~/.ssh/id_rsa`), then
`SOPS_AGE_KEY`, `SOPS_AGE_KEY_FILE`, `SOPS_AGE_KEY_CMD`, and `$XDG_CONFIG_HOME/sops/age/keys.txt`.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyrage

from binderops.errors import UsageError

_COMMAND_SECONDS = 30


def recipients_at_hand(environment: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """The recipients (public keys) of the identities that sops would find; what cannot be read is left out."""
    found = os.environ if environment is None else environment
    return tuple(
        dict.fromkeys([*_ssh_keys(found), *(_public(text) for text in _identity_lines(found) if _public(text))])
    )


def new_identity() -> tuple[str, str]:
    """A new X25519 identity: (the secret line `AGE-SECRET-KEY-1…`, its recipient `age1…`)."""
    made = pyrage.x25519.Identity.generate()
    return str(made), str(made.to_public())


def write_new_identity(path: Path | None = None) -> tuple[Path, str]:
    """A new identity in a file of mode 0600, by default where sops looks for it; never over one that is there."""
    target = path or keys_file()
    secret, recipient = new_identity()
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise UsageError(
            "there is a key already",
            where=str(target),
            why="it may be the only one that opens something",
            hint="binderops secrets readers shows what it opens; --file makes another",
        ) from None
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(f"# public key: {recipient}\n{secret}\n")
    return target, recipient


def is_recipient(text: str) -> bool:
    """Whether it is a recipient that age takes: `age1…`, or an SSH public key."""
    reader = pyrage.ssh.Recipient if text.startswith(("ssh-ed25519 ", "ssh-rsa ")) else pyrage.x25519.Recipient
    try:
        reader.from_str(text)
    except Exception:  # pyrage has one error per kind of key, with no common root
        return False
    return True


def keys_file(environment: Mapping[str, str] | None = None) -> Path:
    """Where sops looks for a person's own identities by default."""
    found = os.environ if environment is None else environment
    base = found.get("XDG_CONFIG_HOME") or str(Path(found.get("HOME", "~")).expanduser() / ".config")
    return Path(base) / "sops" / "age" / "keys.txt"


def _identity_lines(environment: Mapping[str, str]) -> Iterator[str]:
    yield from environment.get("SOPS_AGE_KEY", "").splitlines()
    for path in (environment.get("SOPS_AGE_KEY_FILE"), str(keys_file(environment))):
        if path:
            yield from _text(Path(path)).splitlines()
    if command := environment.get("SOPS_AGE_KEY_CMD"):
        try:
            done = subprocess.run(
                shlex.split(command), capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False
            )
        except (OSError, ValueError, subprocess.TimeoutExpired):
            return
        yield from done.stdout.splitlines()


def _public(line: str) -> str:
    if not line.strip().startswith("AGE-SECRET-KEY-1"):
        return ""
    try:
        return str(pyrage.x25519.Identity.from_str(line.strip()).to_public())
    except pyrage.IdentityError:
        return ""


def _ssh_keys(environment: Mapping[str, str]) -> Iterator[str]:
    home = Path(environment.get("HOME", "~")).expanduser() / ".ssh"
    named = environment.get("SOPS_AGE_SSH_PRIVATE_KEY_FILE")
    for path in (Path(named) if named else None, home / "id_ed25519", home / "id_rsa"):
        if path is not None:
            kind, _, rest = _text(path.with_name(path.name + ".pub")).strip().partition(" ")
            if rest:
                yield f"{kind} {rest.split(' ')[0]}"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
