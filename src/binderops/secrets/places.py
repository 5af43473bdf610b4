"""Where sealed files lie in a deployment repository: `secret/` and `secrets/` are both understood."""

from __future__ import annotations

from pathlib import Path

from binderops.secrets.formats import SECRET_FOLDERS

COMMON = "common"  # secret/config/common/*.yaml: confidential, but opening nothing
DIGESTS_SUFFIX = ".digests.yaml"
DRAFT_SUFFIX = ".draft"
_DIGEST_KEY = "digests.key"


def secret_folder(root: Path) -> Path:
    """The repository's `secret/`, or `secrets/` where it has that one."""
    return next((root / name for name in SECRET_FOLDERS if (root / name).is_dir()), root / SECRET_FOLDERS[0])


def environment_file(root: Path, environment: str) -> Path:
    """`secret/config/ENV.yaml`, whether or not it exists yet."""
    return secret_folder(root) / "config" / f"{environment}.yaml"


def digests_file(root: Path, environment: str) -> Path:
    """The slow digests of an environment's credentials, in clear beside its sealed file."""
    return secret_folder(root) / "config" / f"{environment}{DIGESTS_SUFFIX}"


def digest_key_file(root: Path) -> Path:
    """The key of those digests, sealed to the readers of every environment."""
    return secret_folder(root) / "config" / _DIGEST_KEY


def environments_with_secrets(root: Path) -> tuple[str, ...]:
    """The environments that have a sealed file."""
    found = sorted((secret_folder(root) / "config").glob("*.yaml"))
    return tuple(path.stem for path in found if path.is_file() and not path.name.endswith(DIGESTS_SUFFIX))


def common_files(root: Path) -> tuple[Path, ...]:
    """Files that several environments read."""
    return tuple(sorted(path for path in (secret_folder(root) / "config" / COMMON).glob("*.yaml") if path.is_file()))


def other_sealed_files(root: Path) -> tuple[Path, ...]:
    """Whatever else lies in `secret/`: kubeconfigs, CI keys. Hidden files, digests and their key are none."""
    folder = secret_folder(root)
    known = {environment_file(root, name) for name in environments_with_secrets(root)} | {digest_key_file(root)}
    return tuple(
        sorted(
            path
            for path in folder.rglob("*")
            if path.is_file()
            and path not in known
            and not path.name.startswith(".")
            and not path.name.endswith((DIGESTS_SUFFIX, ".md"))
            and path.parent != folder / "config" / COMMON
        )
    )


def owner_of(root: Path, path: Path, environments: tuple[str, ...]) -> str | None:
    """Which environment a sealed file belongs to: by its name, or by a folder of its path (`secret/prod/ci.key`)."""
    parts = path.relative_to(root).parts
    words = {part.split(".")[0] for part in parts[1:]}
    return next((name for name in environments if name in words), None)


def owned_files(root: Path, environment: str) -> tuple[Path, ...]:
    """An environment's sealed files: its values first, then whatever else is its own."""
    names = environments_with_secrets(root)
    own = environment_file(root, environment)
    others = [path for path in other_sealed_files(root) if owner_of(root, path, names) == environment]
    return ((own,) if own.exists() else ()) + tuple(others)


def name_of(root: Path, path: Path) -> str:
    """A path as rules and messages have it: relative to the repository, with slashes."""
    try:
        return path.resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        return str(path)
