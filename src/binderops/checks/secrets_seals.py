"""Each sealed file by itself: whether it is one, whose it is, when, by which sops; most of it without any key."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from binderops.checks import Finding
from binderops.checks.secrets_files import COMMON_OWNER, SecretFile, SecretFiles
from binderops.errors import SecretsError
from binderops.secrets.demonstration import is_demonstration_key
from binderops.secrets.layers import DECLARATION
from binderops.secrets.sealed import SealedFile
from binderops.secrets.sharing import bits_of, boolean_words
from binderops.secrets.sops import find_sops
from binderops.secrets.strength import WEAK_BITS, opens_by_name

_CLOCK_SLACK = timedelta(minutes=5)


def seals(files: SecretFiles, *, now: datetime) -> Iterator[Finding]:
    """What is wrong with single files."""
    for file in files.files:
        if file.error is not None and not file.is_closed:
            error = file.error
            identity = {"secrets.not-sealed": "secrets.not-sealed", "secrets.broken": "secrets.broken"}.get(
                error.reference, "secrets.unreadable"
            )
            if file.sealed and any(map(is_demonstration_key, file.sealed.recipients)) and identity.endswith("able"):
                identity = "secrets.demonstration"
            yield Finding(identity, error.what, error.where or file.name, error.why or "", error.hint or "")
        if file.sealed is not None:
            yield from _metadata(file.name, file.sealed, now=now)
            yield from _readers(files, file, file.sealed)
            if file.owner == COMMON_OWNER:
                yield from _common(file, file.sealed)
        yield from _values(file)
    yield from _readers_of_both(files)


def _metadata(name: str, sealed: SealedFile, *, now: datetime) -> Iterator[Finding]:
    if sealed.last_modified and sealed.last_modified > now + _CLOCK_SLACK:
        yield Finding(
            "secrets.future",
            f"{name} was sealed in the future",
            sealed.place(()),
            f"lastmodified is {sealed.last_modified.isoformat()}: this clock, or that of its last writer, is wrong",
            "set the clocks; the next change writes the right time",
        )
    newer = tuple(int(part) for part in sealed.version.split(".")[:2] if part.isdigit())
    try:
        own = find_sops().version
    except SecretsError:
        return
    if newer > own[:2]:
        yield Finding(
            "secrets.newer-sops",
            f"{name} was written by sops {sealed.version}",
            sealed.place(()),
            f"this machine's is {'.'.join(map(str, own))}; newer kinds of readers or comments may not be understood",
            "install a newer sops",
        )


def _readers(files: SecretFiles, file: SecretFile, sealed: SealedFile) -> Iterator[Finding]:
    if not files.rules.covers(file.name):
        return
    wanted = set(files.rules.recipients(file.name))
    extra, missing = set(sealed.recipients) - wanted, wanted - set(sealed.recipients)
    if extra or missing:
        told = [f"{files.rules.named(key)} opens it, and no rule says so" for key in sorted(extra)]
        told += [f"{files.rules.named(key)} should open it, and cannot" for key in sorted(missing)]
        yield Finding(
            "secrets.readers",
            f"the readers of {file.name} are not those of .sops.yaml",
            file.name,
            "; ".join(told),
            f"sops updatekeys {file.name}",
        )


def _common(file: SecretFile, sealed: SealedFile) -> Iterator[Finding]:
    declared = {leaf.text for leaf in sealed.leaves if leaf.path[0] == DECLARATION and leaf.kind == "clear"}
    credentials = {one.path for one in file.credentials}
    for leaf in sealed.leaves:
        path = ".".join(leaf.path)
        if leaf.path[0] == DECLARATION or not leaf.is_sealed:
            continue
        if not any(path == entry or path.startswith(f"{entry}.") for entry in declared):
            yield Finding(
                "secrets.undeclared",
                f"{path} is common to several environments, and no declaration says that it opens nothing",
                f"{file.name}:{leaf.line}",
                "what several environments share may be confidential, never a credential",
                f"list {path} under {DECLARATION} in the file, or give each environment its own",
            )
        if path in credentials or opens_by_name(leaf.path):
            yield Finding(
                "secrets.common-credential",
                f"{path} looks like a credential, and stands in a common file",
                f"{file.name}:{leaf.line}",
                "a credential of several environments would open all of them",
                "give each environment its own, in secret/config/ENV.yaml",
            )


def _values(file: SecretFile) -> Iterator[Finding]:
    if file.layer is None:
        return
    for one in file.credentials:
        bits = bits_of(one.secret)
        if bits < WEAK_BITS:
            yield Finding(
                "secrets.weak",
                f"{one.path} can be guessed",
                one.where,
                f"about {bits:.0f} bits by its form; {WEAK_BITS} are the least here, generated ones have 256",
                f"binderops secrets rotate {file.owner} {one.path}",
            )
    for path, where in boolean_words(file.layer):
        yield Finding(
            "secrets.boolean",
            f"{path} is a word that YAML 1.1 reads as true or false",
            where,
            "sops seals it as text, while Helm would have read the unsealed file's as a boolean",
            "write true or false, if a boolean is meant",
        )


def _readers_of_both(files: SecretFiles) -> Iterator[Finding]:
    opens: dict[str, dict[str, str]] = {}
    for file in files.files:
        if file.sealed is not None and file.owner in files.environments:
            for recipient in file.sealed.recipients:
                opens.setdefault(recipient, {})[file.owner] = file.name
    for recipient, owners in sorted(opens.items()):
        reader = files.rules.reader(recipient)
        if len(owners) > 1 and not (reader and reader.reason):
            yield Finding(
                "secrets.reader-of-both",
                f"{files.rules.named(recipient)} reads {' and '.join(sorted(owners))}",
                ", ".join(sorted(owners.values())),
                "one lost laptop would open both",
                "a key for each environment; or, if it must be, `reason: …` beside the key under readers in .sops.yaml",
            )
