"""From git-crypt: files and a key that git-crypt 0.7.0 itself wrote, recorded here."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binderops.errors import SealBrokenError, UsageError
from binderops.secrets.gitcrypt import decrypt, read_key, without_filter
from binderops.secrets.layers import open_layer
from binderops.secrets.values import ClearText, reveal_for_helm

CLEAR = b"binderhub:\n  registry:\n    password: an-old-password-of-theirs\n"
LOCKED = base64.b64decode(
    "AEdJVENSWVBUACowRIZ+FBlGVOYTZXl/z5fRzwILkqwjj0OczAt6Myb6fCGkPEMxG70VgJ+Ssthm37jDi1txXEWGdD77kAbt3ZMik4UzAipnDE2Zxw=="
)
KEY = base64.b64decode(
    "AEdJVENSWVBUS0VZAAAAAgAAAAAAAAABAAAABAAAAAAAAAADAAAAILvQS1yuGB3PRnOXx+1aq3gsTpXR4oVesrnXAfyqr7jEAAAABQAAAED4Y5JC"
    "//s3fvoWwLVrptX/+3uaNf0Fn2VFOpclI4rnC0/CGFUXLjJyrRaVR9B9EMdJEqcCPNbPV1PsRt4QzwlcAAAAAA=="
)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "exported.key"
    file.write_bytes(KEY)
    return file


@pytest.fixture
def tree(tmp_path: Path, repository: Any) -> Path:
    """Somebody's repository, locked."""
    other = type(repository)(tmp_path / "theirs")
    (other.root / "secrets/config").mkdir(parents=True)
    other.git("init", "-q")
    (other.root / ".gitattributes").write_text("secrets/** filter=git-crypt diff=git-crypt\n*.md text\n")
    (other.root / "secrets/config/prod.yaml").write_bytes(LOCKED)
    (other.root / "README.md").write_text("open\n")
    other.commit()
    return other.root  # type: ignore[no-any-return]


def test_the_recorded_file_opens(key_file: Path) -> None:
    assert decrypt(LOCKED, read_key(key_file), name="x") == ClearText(CLEAR)


def test_the_old_form_of_a_key(tmp_path: Path) -> None:
    position = KEY.index(b"\0\0\0\x20") + 4
    old = tmp_path / "old.key"
    old.write_bytes(KEY[position : position + 32] + KEY[-68:-4])
    assert decrypt(LOCKED, read_key(old), name="x") == ClearText(CLEAR)


@given(st.integers(min_value=10, max_value=len(LOCKED) - 1), st.integers(min_value=1, max_value=255))
def test_damage_is_seen(position: int, flip: int) -> None:
    from tempfile import NamedTemporaryFile

    with NamedTemporaryFile() as file:
        file.write(KEY)
        file.flush()
        key = read_key(Path(file.name))
    damaged = bytearray(LOCKED)
    damaged[position] ^= flip
    with pytest.raises(SealBrokenError):
        decrypt(bytes(damaged), key, name="x")


@given(st.binary(max_size=200).filter(lambda b: len(b) != 96))
def test_what_is_no_key(content: bytes) -> None:
    from tempfile import NamedTemporaryFile

    with NamedTemporaryFile() as file:
        for found in (content, KEY[:16] + content, KEY[: len(content) % len(KEY)]):
            file.seek(0)
            file.truncate()
            file.write(found)
            file.flush()
            with pytest.raises(UsageError, match="no exported git-crypt key"):
                read_key(Path(file.name))


def test_attributes_lose_git_crypt_only() -> None:
    before = "secrets/** filter=git-crypt diff=git-crypt\n*.md text\nx filter=git-crypt merge=union\n"
    assert without_filter(before) == "*.md text\nx merge=union\n"


def test_a_locked_tree_with_its_key(
    deployment: Any, tree: Path, key_file: Path, run: Any, as_person: Callable[..., None]
) -> None:
    as_person("ben")
    done = run("import", "--from", "git-crypt", "--tree", str(tree), "--key", str(key_file), "--output", "json")
    told = json.loads(done.stdout)
    assert told["files"][0]["file"] == "secret/config/prod.yaml"
    assert re.match(r"ben \(age1", told["files"][0]["readers"][0])
    assert told["rotate"] == ["secret/config/prod.yaml: binderhub.registry.password"]
    sealed = deployment.root / "secret/config/prod.yaml"
    assert (
        reveal_for_helm(open_layer(sealed).values)["binderhub"]["registry"]["password"] == "an-old-password-of-theirs"
    )
    assert "an-old-password" not in done.stdout + done.stderr + sealed.read_text()


def test_in_place_from_an_unlocked_tree(deployment: Any, run: Any, as_person: Callable[..., None]) -> None:
    as_person("ben")
    (deployment.root / ".gitattributes").write_text("secret/** filter=git-crypt diff=git-crypt\n")
    file = deployment.root / "secret/config/prod.yaml"
    file.parent.mkdir(parents=True)
    file.write_bytes(CLEAR)
    deployment.commit()
    assert run("import", "--from", "git-crypt").returncode == 0
    assert reveal_for_helm(open_layer(file).values)
    assert (deployment.root / ".gitattributes").read_text() == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "is locked"),
        (["--key", "/nonexistent"], "cannot be read"),
        (["--key", "README"], "no exported git-crypt key"),
        (["secrets/none.yaml"], "there is no secrets/none.yaml"),
        (["../keys/ana.txt"], "there is no"),
        (["--reader", "nobody"], "neither a reader's name nor"),
    ],
)
def test_what_an_import_refuses(deployment: Any, tree: Path, run: Any, arguments: list[str], words: str) -> None:
    (deployment.root / "README").write_text("no key\n")
    before = (deployment.root / ".sops.yaml").read_text()
    done = run("import", "--tree", str(tree), *arguments)
    assert done.returncode in {1, 2} and words in done.stderr
    assert (deployment.root / ".sops.yaml").read_text() == before
    assert not (deployment.root / "secret").exists()


def test_files_without_a_rule_go_to_the_readers_that_are_named(
    deployment: Any, tree: Path, key_file: Path, run: Any, as_person: Callable[..., None]
) -> None:
    deployment.rules({"staging": ["ana"]})
    arguments = ["import", "--tree", str(tree), "--key", str(key_file)]
    assert "for whom is secrets/config/prod.yaml?" in run(*arguments).stderr
    assert run(*arguments, "--reader", "ana").returncode == 0
    as_person("ana")
    assert open_layer(deployment.root / "secret/config/prod.yaml").values
    deployment.sops("updatekeys", "-y", "secret/config/prod.yaml")
