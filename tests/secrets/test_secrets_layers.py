"""Sealed layers, opened by the real sops with real age keys."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from binderops.errors import NotAReaderError, NotSealedError, SealBrokenError, SecretsError
from binderops.secrets import sops
from binderops.secrets.layers import open_layer, open_layers
from binderops.secrets.sealed import read_sealed
from binderops.secrets.values import ClearText, Secret, reveal_for_helm, secrets_in

CLEAR = """\
# why
hub:
  cookieSecret: 1f2e
  number: 12
  ratio: 1.50
  on_it: true
  "null": nothing
  empty: ""
  none: null
list: [a, 2, {deep: x}]
yes_word: yes
text: |
  two
  lines
"8080": port
ümlaut: ä
"""
AsPerson = Callable[..., None]


@pytest.fixture
def staging(repository: Any, as_person: AsPerson) -> Path:
    as_person("ana")
    return repository.seal("secret/config/staging.yaml", CLEAR)  # type: ignore[no-any-return]


def test_every_leaf_is_a_secret_with_its_place(staging: Path) -> None:
    layer = open_layer(staging, name="secret/config/staging.yaml")
    assert reveal_for_helm(layer.values) == {
        "hub": {
            "cookieSecret": "1f2e", "number": 12, "ratio": 1.5, "on_it": True, "null": "nothing", "empty": "",
            "none": None,
        },
        "list": ["a", 2, {"deep": "x"}],
        "yes_word": "yes",
        "text": "two\nlines\n",
        "8080": "port",
        "ümlaut": "ä",
    }  # fmt: skip
    assert all(isinstance(secret, Secret) for _, secret in secrets_in(layer.values))
    assert "1f2e" not in repr(layer) + str(layer.values) + json.dumps(layer.values)
    assert layer.place(("hub", "number")).startswith("secret/config/staging.yaml:")
    line = int(layer.place(("hub", "number")).rpartition(":")[2])
    assert staging.read_text().splitlines()[line - 1].strip().startswith("number: ENC[")
    assert layer.place(("hub", "absent")) == layer.place(("hub",))


def test_without_a_key_paths_types_and_readers_are_known(repository: Any, staging: Path) -> None:
    sealed = read_sealed(staging)
    kinds = {".".join(leaf.path): leaf.kind for leaf in sealed.leaves}
    assert kinds["hub.cookieSecret"] == "str"
    assert kinds["hub.number"] == "int"
    assert kinds["hub.ratio"] == "float"
    assert kinds["hub.on_it"] == "bool"
    assert kinds["hub.empty"] == "empty"
    assert kinds["hub.none"] == "null"
    assert kinds["list.2.deep"] == "str"
    assert sealed.recipients == (repository.person("ana").key,)
    assert sealed.version and sealed.last_modified is not None and sealed.groups == 1
    assert sealed.rule == ("unencrypted_suffix", "_unencrypted")


def test_json_and_binary_files(repository: Any, as_person: AsPerson) -> None:
    as_person("ana")
    repository.rules({"secret/": ["ana"]})
    found = open_layer(repository.seal("secret/config/more.json", '{"a": {"b": [1, "x"]}}'))
    assert reveal_for_helm(found.values) == {"a": {"b": [1, "x"]}}
    opened = open_layer(repository.seal("secret/kubeconfig", "apiVersion: v1\n"))
    assert reveal_for_helm(opened.values) == {"data": "apiVersion: v1\n"}


@pytest.mark.parametrize("folder", ["secret", "secrets"])
def test_both_names_of_the_folder(repository: Any, as_person: AsPerson, folder: str) -> None:
    as_person("ana")
    assert reveal_for_helm(open_layer(repository.seal(f"{folder}/config/staging.yaml", "a: b\n")).values) == {"a": "b"}


def test_identities_as_sops_takes_them(
    repository: Any, staging: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = repository.person("ana").file
    monkeypatch.delenv("SOPS_AGE_KEY")
    monkeypatch.setenv("SOPS_AGE_KEY_FILE", str(file))
    assert open_layer(staging).values
    monkeypatch.delenv("SOPS_AGE_KEY_FILE")
    monkeypatch.setenv("SOPS_AGE_KEY_CMD", f"cat {file}")
    assert open_layer(staging).values
    monkeypatch.delenv("SOPS_AGE_KEY_CMD")
    default = tmp_path / "home/.config/sops/age/keys.txt"
    default.parent.mkdir(parents=True)
    default.write_text(file.read_text())
    assert open_layer(staging).values


def test_an_ssh_key_is_an_identity(repository: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private = tmp_path / "id"
    private.write_bytes(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.OpenSSH, s.NoEncryption()))
    private.chmod(0o600)
    public = key.public_key().public_bytes(s.Encoding.OpenSSH, s.PublicFormat.OpenSSH).decode()
    private.with_suffix(".pub").write_text(public + " someone@laptop\n")
    sealed = repository.root / "x.yaml"
    sealed.write_bytes(sops.encrypt(ClearText(b"a: b\n"), name="x.yaml", recipients=[public]))
    monkeypatch.setenv("SOPS_AGE_SSH_PRIVATE_KEY_FILE", str(private))
    assert reveal_for_helm(open_layer(sealed).values) == {"a": "b"}


def test_the_wrong_reader_learns_who_the_right_ones_are(repository: Any, staging: Path, as_person: AsPerson) -> None:
    as_person("ben")
    with pytest.raises(NotAReaderError) as caught:
        open_layer(staging, name="secret/config/staging.yaml")
    assert caught.value.why is not None
    assert "this file is for ana (age1" in caught.value.why
    assert "your keys are ben (age1" in caught.value.why
    assert "AGE-SECRET-KEY" not in str(caught.value)


def test_no_key_at_all(staging: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOPS_AGE_KEY")
    with pytest.raises(NotAReaderError, match="your keys are none"):
        open_layer(staging)
    monkeypatch.setenv("SOPS_AGE_KEY_FILE", "/nonexistent/key")
    with pytest.raises(NotAReaderError, match="/nonexistent/key, cannot be read"):
        open_layer(staging)


DAMAGES: dict[str, tuple[Callable[[str], str], type[SecretsError], str]] = {
    "moved": (lambda t: t.replace("cookieSecret", "cookieSecrot"), SealBrokenError, "cannot be opened"),
    "taken away": (lambda t: re.sub(r"    number: .*\n", "", t), SealBrokenError, "without its"),
    "in clear": (lambda t: CLEAR, NotSealedError, "not sealed"),
    "conflict": (lambda t: t.replace("    number", "<<<<<<< HEAD\n    number"), SecretsError, "conflict markers"),
    "twice": (lambda t: "hub: 1\n" + t, SecretsError, "stands twice"),
    "number as a key": (lambda t: "8080: 1\n" + t, SecretsError, "a key is not text"),
    "several documents": (lambda t: t + "---\na: b\n", SecretsError, "several YAML documents"),
    "not YAML": (lambda t: t + "  - [\n", SecretsError, "not valid YAML"),
    "empty": (lambda t: "", NotSealedError, "not sealed"),
    "bytes": (lambda t: "\x00\x01", SecretsError, "not valid YAML"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_get_their_answer(staging: Path, damage: str) -> None:
    change, kind, words = DAMAGES[damage]
    staging.write_text(change(staging.read_text()))
    with pytest.raises(kind, match=words) as caught:
        open_layer(staging, name="secret/config/staging.yaml")
    assert (caught.value.where or "").startswith("secret/config/staging.yaml")
    assert "1f2e" not in str(caught.value)


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SecretsError, match="generate"):
        open_layer(tmp_path / "secret/config/none.yaml")


def test_a_hanging_sops_is_stopped(staging: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOPS_AGE_KEY")
    monkeypatch.setenv("SOPS_AGE_KEY_CMD", "sleep 600")
    monkeypatch.setattr(sops, "DEADLINE_SECONDS", 0.5)
    began = time.monotonic()
    with pytest.raises(SecretsError, match="did not answer"):
        open_layer(staging)
    assert time.monotonic() - began < 10


def test_several_groups_of_keys(repository: Any, as_person: AsPerson) -> None:
    ana, ben = repository.person("ana").key, repository.person("ben").key
    (repository.root / ".sops.yaml").write_text(
        f"creation_rules:\n  - shamir_threshold: 2\n    key_groups:\n      - age: [{ana}]\n      - age: [{ben}]\n"
    )
    path = repository.seal("secret/config/staging.yaml", "a: b\n")
    assert read_sealed(path).groups == 2
    assert read_sealed(path).recipients == (ana, ben)
    as_person("ana", "ben")
    assert reveal_for_helm(open_layer(path).values) == {"a": "b"}
    as_person("ana")
    with pytest.raises(NotAReaderError):
        open_layer(path)


def test_both_environments_open_side_by_side(repository: Any, as_person: AsPerson) -> None:
    as_person("ana", "ben")
    clear = "".join(f"k{number}: value-{number}\n" for number in range(50))
    paths = [repository.seal(f"secret/config/{name}.yaml", clear) for name in ("staging", "prod")]
    open_layers(paths)
    times = []
    for _ in range(5):
        began = time.perf_counter()
        opened = open_layers(paths)
        times.append(time.perf_counter() - began)
        assert [len(layer.values) for layer in opened] == [50, 50]
    assert min(times) < 0.2, times
