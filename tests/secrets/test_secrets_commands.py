"""The commands on a real repository: small diffs, both ways with sops by hand, and what each refuses."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from binderops.secrets.layers import open_layer
from binderops.secrets.values import reveal_for_helm

AsPerson = Callable[..., None]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def staging(deployment: Any, as_person: AsPerson, run: Run) -> Path:
    as_person("ana")
    assert run("generate", "staging").returncode == 0
    deployment.commit()
    return deployment.root / "secret/config/staging.yaml"  # type: ignore[no-any-return]


def changed_lines(deployment: Any, path: Path) -> list[str]:
    diff = deployment.git("diff", "-U0", "--", str(path))
    return [line for line in diff.splitlines() if line.startswith("+") and not line.startswith("+++")]


def values(path: Path) -> Any:
    return reveal_for_helm(open_layer(path).values)


def test_generate_makes_what_is_missing_and_only_that(deployment: Any, staging: Path, run: Run) -> None:
    made = values(staging)["binderhub"]
    assert re.fullmatch("[0-9a-f]{64}", made["jupyterhub"]["proxy"]["secretToken"])
    assert re.fullmatch("[0-9a-f]{64}", made["jupyterhub"]["hub"]["config"]["CryptKeeper"]["keys"][0])
    assert "BEGIN EC PRIVATE KEY" in made["registryServer"]["tokenSigning"]["key"]
    assert run("generate", "staging").stdout.count("nothing is missing") == 1
    run("set", "staging", "binderhub.localToken", "--unset")
    again = run("generate", "staging", "--output", "json")
    assert json.loads(again.stdout)["changed"] == ["binderhub.localToken"]
    assert values(staging)["binderhub"]["jupyterhub"] == made["jupyterhub"]


def test_a_change_shows_as_itself_in_git(deployment: Any, staging: Path, run: Run) -> None:
    assert run("set", "staging", "binderhub.localToken", give="another-Value-1234567890\n").returncode == 0
    lines = changed_lines(deployment, staging)
    names = [line.split(":")[0].strip("+ ") for line in lines]
    assert [name for name in names if name != "lastmodified"] == ["localToken", "mac"]  # it has seconds only
    assert values(staging)["binderhub"]["localToken"] == "another-Value-1234567890"
    entries = changed_lines(deployment, deployment.root / "secret/config/staging.digests.yaml")
    assert len(entries) == 2


def test_lists_dots_and_types(deployment: Any, staging: Path, run: Run) -> None:
    run("set", "staging", r"binderhub.extraFiles.a\.conf.mode", "--json", give="420")
    run("set", "staging", "binderhub.jupyterhub.hub.config.CryptKeeper.keys[0]", give="f" * 64)
    shorter = {'[3, [4, {"a": []}], 5]': 3, "[3]": 1, '[3, "x"]': 2, '"no list"': 7, "[true]": 1}
    for given, length in shorter.items():
        done = run("set", "staging", "binderhub.list", "--json", give=given)
        assert done.returncode == 0, done.stderr
        assert values(staging)["binderhub"]["list"] == json.loads(given) and len(json.loads(given)) == length
    assert "empty list" in run("set", "staging", "binderhub.list", "--json", give="[]").stderr
    found = values(staging)["binderhub"]
    assert found["extraFiles"] == {"a.conf": {"mode": 420}}
    assert found["jupyterhub"]["hub"]["config"]["CryptKeeper"]["keys"] == ["f" * 64]


@pytest.mark.parametrize(
    ("arguments", "give", "words"),
    [
        (["set", "staging", "a.b"], "", "standard input is empty"),
        (["set", "staging", "a..b"], "x", "is no key path"),
        (["set", "staging", "sops.mac"], "x", "is no key path"),
        (["set", "staging", "a.b", "--json"], "{", "not JSON"),
        (["set", "stagin", "a.b"], "x", "did you mean 'staging'?"),
        (["rotate", "staging", "binderhub.nothing"], "", "has no key"),
        (["set", "prod", "a.b"], "x", "no creation rule|none of your keys"),
        (["merge-driver", "a", "b"], "", "BASE OURS THEIRS NAME"),
        (["import", "--from", "vault"], "", "nothing is known"),
        (["readers", "staging", "--add", "age1nonsense", "--name", "eve"], "", "no age recipient"),
        (["readers", "staging", "--remove", "ana"], "", "the only reader"),
        (["readers", "staging", "--remove", "eve"], "", "does not read"),
    ],
)
def test_refusals(staging: Path, run: Run, arguments: list[str], give: str, words: str) -> None:
    before = staging.read_bytes()
    done = run(*arguments, give=give)
    if arguments[:2] == ["set", "prod"]:
        assert done.returncode == 0, "a new file needs no private key"
        return
    assert done.returncode in {1, 2}
    assert re.search(words, done.stderr), done.stderr
    assert staging.read_bytes() == before
    assert "Traceback" not in done.stderr


def test_after_sops_by_hand_everything_works_and_the_other_way_round(deployment: Any, staging: Path, run: Run) -> None:
    deployment.sops(
        "set",
        "secret/config/staging.yaml",
        '["binderhub"]["localToken"]',
        json.dumps("by-hand-" + os.urandom(20).hex()),
    )
    assert "by-hand" in values(staging)["binderhub"]["localToken"]
    assert run("check").returncode == 0
    deployment.sops("rotate", "-i", "secret/config/staging.yaml")
    assert run("set", "staging", "binderhub.registry.username", give="a").returncode == 0
    deployment.rules({"staging": ["ana", "cleo"], "prod": ["ben"]})
    deployment.sops("updatekeys", "-y", "secret/config/staging.yaml")
    assert json.loads(run("readers", "staging", "--output", "json").stdout)["readers"][1]["name"] == "cleo"
    assert run("rotate", "staging", "binderhub.localToken").returncode == 0
    shown = deployment.sops(
        "decrypt", "--extract", '["binderhub"]["registry"]["username"]', "secret/config/staging.yaml"
    )
    assert shown == "a"
    assert run("check").returncode == 0


def test_keys_tells_types_and_ages_without_a_key(
    deployment: Any, staging: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SOPS_AGE_KEY")
    told = json.loads(run("keys", "staging", "--output", "json").stdout)
    token = next(one for one in told["keys"] if one["path"] == "binderhub.localToken")
    assert token["type"] == "str" and token["changed"] and token["where"].startswith("secret/config/staging.yaml:")
    assert told["missing"] == []


def test_rotate_says_what_restarts(deployment: Any, staging: Path, run: Run) -> None:
    before = values(staging)["binderhub"]["registryServer"]["tokenSigning"]
    done = json.loads(run("rotate", "staging", "binderhub.registryServer.tokenSigning.key", "--output", "json").stdout)
    after = values(staging)["binderhub"]["registryServer"]["tokenSigning"]
    assert before["key"] != after["key"] and before["certificate"] != after["certificate"]
    assert done["restarts"] == ["binder", "registry"]


def test_readers_come_and_go(deployment: Any, staging: Path, run: Run, as_person: AsPerson) -> None:
    cleo = deployment.person("cleo").key
    assert run("readers", "staging", "--add", cleo, "--name", "cleo").returncode == 0
    as_person("cleo")
    assert values(staging)
    assert "# who reads what" in (deployment.root / ".sops.yaml").read_text()
    as_person("ana")
    before = staging.read_text()
    done = run("readers", "staging", "--remove", "cleo")
    assert done.returncode == 0 and "history" in done.stdout and "binderhub.localToken" in done.stdout
    kept = set(re.findall(r"ENC\[.*", before)) & set(re.findall(r"ENC\[.*", staging.read_text()))
    assert not kept, "a new data key: every value is sealed anew"
    as_person("cleo")
    assert "this file is for ana" in run("set", "staging", "a.b", give="x").stderr
    assert cleo not in (deployment.root / ".sops.yaml").read_text()


def test_who_cannot_open_the_file_adds_nobody(deployment: Any, staging: Path, run: Run, as_person: AsPerson) -> None:
    as_person("ben")
    rules, before = (deployment.root / ".sops.yaml").read_text(), staging.read_bytes()
    assert run("readers", "staging", "--add", deployment.person("ben").key, "--name", "ben").returncode == 1
    assert ((deployment.root / ".sops.yaml").read_text(), staging.read_bytes()) == (rules, before)


EDITOR = """\
import pathlib, sys
file = pathlib.Path(sys.argv[-1])
text = file.read_text()
{body}
"""


def editor(tmp_path: Path, body: str) -> str:
    script = tmp_path / "editor.py"
    script.write_text(EDITOR.format(body=body))
    return f"{sys.executable} {script}"


def in_memory() -> list[Path]:
    return list(Path("/dev/shm").glob("binderops-edit-*"))


def test_edit_keeps_comments_and_makes_a_small_diff(
    deployment: Any, as_person: AsPerson, run: Run, tmp_path: Path
) -> None:
    as_person("ana")
    staging = deployment.seal("secret/config/staging.yaml", "# why\na: one\nb:\n    - two\n    - three\nc: four\n")
    deployment.commit()
    body = "file.write_text(text.replace('two', 'TWO') + 'd: 5\\n'); assert oct(file.stat().st_mode)[-3:] == '600'"
    done = run("edit", "staging", "--editor", editor(tmp_path, body), "--output", "json")
    assert json.loads(done.stdout)["changed"] == ["b.0", "d"], done.stderr
    assert values(staging) == {"a": "one", "b": ["TWO", "three"], "c": "four", "d": 5}
    assert len([line for line in changed_lines(deployment, staging) if "lastmodified" not in line]) == 3
    assert "# why" in deployment.sops("decrypt", "secret/config/staging.yaml")
    assert not in_memory()
    assert "nothing changed" in run("edit", "staging", "--editor", "true").stdout


@pytest.mark.parametrize(
    ("saved", "words"),
    [
        ("a: b: c", "not valid YAML"),
        ("a: 1\\na: 2", "stands twice"),
        ("1: a", "a key is not text"),
        ("a: yes", "YAML 1.1 reads this word"),
        ("- a", "no single mapping"),
    ],
)
def test_a_bad_save_is_kept_sealed_for_the_next_edit(
    deployment: Any, staging: Path, run: Run, tmp_path: Path, saved: str, words: str
) -> None:
    before = staging.read_bytes()
    note = "# canary-unsaved\\n"
    done = run("edit", "staging", "--editor", editor(tmp_path, f"file.write_text('{note}{saved}\\n')"))
    assert done.returncode == 1 and words in done.stderr
    assert staging.read_bytes() == before and not in_memory()
    draft = staging.parent / ".staging.yaml.draft"
    assert draft.exists() and b"canary-unsaved" not in draft.read_bytes()
    body = "assert 'canary-unsaved' in text; file.write_text('a: mended\\n')"
    assert run("edit", "staging", "--editor", editor(tmp_path, body)).returncode == 0
    assert values(staging) == {"a": "mended"} and not draft.exists()


def test_a_killed_edit_leaves_no_clear_text_and_loses_nothing(
    deployment: Any, staging: Path, tmp_path: Path, program: list[str]
) -> None:
    saved = tmp_path / "saved"
    body = f"file.write_text('a: canary-killed\\n'); open({str(saved)!r}, 'w').close(); import time; time.sleep(60)"
    command = [*program, "edit", "staging", "--editor", editor(tmp_path, body)]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, cwd=deployment.root, process_group=0, **quiet)  # type: ignore[call-overload]
    wait_for(saved.exists)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    draft = staging.parent / ".staging.yaml.draft"
    wait_for(lambda: draft.exists() and not in_memory())
    os.killpg(process.pid, signal.SIGKILL)
    assert "canary-killed" not in "".join(p.read_text(errors="replace") for p in staging.parent.iterdir())
    again = [*program, "edit", "staging", "--editor", "cat"]
    shown = subprocess.run(again, cwd=deployment.root, capture_output=True, text=True, timeout=30, check=False)
    assert "canary-killed" in shown.stdout, "the next edit goes on from the draft"


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)


def test_two_changes_at_once_are_both_kept(deployment: Any, staging: Path, program: list[str]) -> None:
    started = [
        subprocess.Popen(
            [*program, "set", "staging", f"binderhub.extra.k{number}"],
            cwd=deployment.root, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
        )
        for number in range(3)
    ]  # fmt: skip
    for process in started:
        process.communicate(b"value", timeout=60)
        assert process.returncode == 0
    assert set(values(staging)["binderhub"]["extra"]) == {"k0", "k1", "k2"}


def test_seal_a_file_that_lies_in_clear(deployment: Any, as_person: AsPerson, run: Run) -> None:
    as_person("ana")
    plain = deployment.root / "secret/config/staging.yaml"
    plain.parent.mkdir(parents=True)
    plain.write_text("a: b\n")
    assert "seal secret/config/staging.yaml" in run("keys", "staging").stderr
    assert run("seal", str(plain)).returncode == 0
    assert values(plain) == {"a": "b"}


def test_a_new_key_is_private_and_never_overwrites(run: Run, deployment: Any, tmp_path: Path) -> None:
    done = json.loads(run("new-key", "--output", "json").stdout)
    assert oct(Path(done["file"]).stat().st_mode)[-3:] == "600" and done["recipient"].startswith("age1")
    assert "there is a key already" in run("new-key").stderr


def test_two_environments_begin_with_readers_of_their_own(deployment: Any, run: Run, as_person: AsPerson) -> None:
    (deployment.root / ".sops.yaml").unlink()
    for name, environment in (("ana", "staging"), ("ben", "prod")):
        as_person(name)
        key = deployment.person(name).key
        assert run("readers", environment, "--add", key, "--name", name).returncode == 0
        assert run("generate", environment).returncode == 0
    assert "secrets.digests" in run("check").stdout, "ben does not read the key of the digests yet"
    as_person("ana")
    run("check")
    as_person("ben")
    run("check")
    for names in (("ana",), ("ben",), ("ana", "ben")):
        as_person(*names)
        done = run("check")
        assert done.returncode == 0, done.stdout
