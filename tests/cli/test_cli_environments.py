"""`env`, `state`, `explain`, `new environment`, and the answers to mistakes; output held by golden files.

A golden file is written anew by BINDEROPS_GOLDEN=write; what differs between machines and commits is masked.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from binderops.secrets.identities import new_identity
from binderops.secrets.sealed import read_sealed

GOLDEN = Path(__file__).parent / "golden"
Run = Callable[..., Any]


def agrees(name: str, text: str) -> None:
    """Compares with the golden file of that name."""
    told = re.sub(r"\b[0-9a-f]{12,64}\b", "DIGEST", "\n".join(line.rstrip() for line in text.splitlines()) + "\n")
    told = re.sub(r"(/\S+)+/repository", "REPOSITORY", told)
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("BINDEROPS_GOLDEN") == "write":
        path.write_text(told)
    assert told == path.read_text()


def test_env_names_every_environment(run: Run) -> None:
    done = run("env")
    assert done.returncode == 0, done.stderr
    agrees("env", done.stdout)
    told = json.loads(run("env", "--output", "json").stdout)["environments"]
    assert [(found["environment"], found["promotes_to"], found["waits_for"]) for found in told] == [
        ("local", [], []),
        ("staging", ["prod"], []),
        ("prod", [], ["staging"]),
    ]


def test_status_of_what_never_ran_is_no_failure_unless_asked_for(run: Run) -> None:
    done = run("status")
    assert done.returncode == 0, done.stderr
    agrees("status", done.stdout)
    assert run("status", "staging").returncode == 1


def test_state_tells_parts_and_digests(run: Run) -> None:
    agrees("state", run("state", "staging").stdout)
    staging, prod = (json.loads(run("state", name, "--output", "json").stdout) for name in ("staging", "prod"))
    assert staging["common"] == prod["common"] and staging["digest"] != prod["digest"]
    assert staging["digest"] in run("state", "staging").stdout


@pytest.mark.parametrize(
    ("name", "key"),
    [("domain", "global.domain"), ("sealed", "binderhub.localToken"), ("default", "nginx-ingress.enabled")],
)
def test_explain_tells_which_layer_sets_a_key(run: Run, name: str, key: str) -> None:
    done = run("explain", "staging", key)
    assert done.returncode == 0, done.stderr
    agrees(f"explain-{name}", done.stdout)


def test_explain_of_a_key_that_nothing_sets_names_near_ones(run: Run) -> None:
    done = run("explain", "staging", "binderhub.domain")
    assert done.returncode == 2
    agrees("explain-unknown", done.stderr)


def test_a_new_environment_is_written_and_the_rest_of_the_file_stays(run: Run, repository: Path) -> None:
    before = (repository / "binderops.yaml").read_text()
    with (repository / ".sops.yaml").open("a") as rules:
        rule = (repository / ".sops.yaml").read_text().split("creation_rules:\n")[1].split("  - path_regex")[1]
        rules.write("  - path_regex" + rule.replace("staging", "demo"))
    done = run("new", "environment", "demo", "--like", "staging")
    assert done.returncode == 0, done.stderr
    agrees("new", done.stdout)
    after = (repository / "binderops.yaml").read_text()
    assert after.startswith(before)
    agrees("new-lines", after.removeprefix(before))
    clear = (repository / "config/demo.yaml").read_text()
    assert "domain: demo.localhost" in clear and "publicPort: 12080" in clear
    sealed = (repository / "secret/config/demo.yaml").read_text()
    assert sealed.count("ENC[AES256_GCM") > 5
    theirs = set(re.findall(r"ENC\[[^]]*\]", (repository / "secret/config/staging.yaml").read_text()))
    assert not theirs & set(re.findall(r"ENC\[[^]]*\]", sealed))
    told = json.loads(run("env", "--output", "json").stdout)["environments"]
    assert [found["environment"] for found in told] == ["local", "staging", "prod", "demo"]


def test_a_new_environment_is_sealed_for_the_reader_that_is_named(run: Run, repository: Path) -> None:
    told = json.loads(run("new", "environment", "one", "--like", "staging", "--output", "json").stdout)
    assert "secret/config/one.yaml" not in told["written"]
    assert "binderops secrets readers one --add KEY --name WHO" in " ".join(told["left"])
    key = new_identity()[1]
    done = run("new", "environment", "two", "--like", "staging", "--reader", key, "--reader-name", "ana")
    assert done.returncode == 0, done.stderr
    sealed = read_sealed(repository / "secret/config/two.yaml")
    assert sealed.recipients == (key,)
    assert {leaf.path[-1] for leaf in sealed.leaves} >= {"secretToken", "cookieSecret", "apiToken", "pullPassword"}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("new", "environment", "prod", "--like", "staging"), 2, "there is an environment 'prod' already"),
        (("new", "environment", "De_mo", "--like", "staging"), 2, "cannot be called 'De_mo'"),
        (("new", "environment", "demo", "--like", "stagin"), 2, "did you mean 'staging'?"),
        (("state", "stagin"), 2, "did you mean 'staging'?"),
        (("deploy", "staging"), 1, "the target of staging does not run"),
        (("verify", "staging"), 1, "node staging was never started"),
        (("rollback", "prod"), 1, "node prod was never started"),
        (("ledger", "prod"), 1, "node prod was never started"),
        (("deploy", "prod", "--without-proof", " "), 2, "--without-proof wants a reason"),
        (("kubeconfig", "staging"), 1, "node staging was never started"),
    ],
)
def test_mistakes_get_an_answer(run: Run, arguments: tuple[str, ...], code: int, words: str) -> None:
    done = run(*arguments, "--output", "json")
    told = json.loads(done.stdout)["error"]
    assert (done.returncode, words in f"{told['what']} {told['hint']}") == (code, True), told


def test_a_mistake_in_the_file_names_line_and_key(run: Run, repository: Path) -> None:
    path = repository / "binderops.yaml"
    path.write_text(path.read_text().replace("promotesTo", "promoteTo"))
    done = run("env")
    assert done.returncode == 1
    agrees("mistake", done.stderr)
