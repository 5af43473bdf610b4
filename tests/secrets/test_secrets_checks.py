"""Nothing shared, weak or in clear: seen by who opens both environments, one of them, or none."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from binderops.cli.wiring import open_project
from binderops.delivery.secrets_check import check_secrets, refuse_shared
from binderops.delivery.secrets_verdict import last_verdict
from binderops.errors import SecretsError
from binderops.secrets.sharing import SCRYPT, refresh_digests, slow_digests
from binderops.secrets.values import ClearText, Secret

AsPerson = Callable[..., None]
TOKEN = os.urandom(32).hex()
OTHER = os.urandom(32).hex()


def plant(deployment: Any, as_person: AsPerson, environment: str, key: str, value: str) -> None:
    """By hand, with sops; then a reader of that environment brings its digests up to date."""
    as_person("ana" if environment == "staging" else "ben")
    index = "".join(f"[{json.dumps(part)}]" for part in key.split("."))
    deployment.sops("set", f"secret/config/{environment}.yaml", index, json.dumps(value))
    refresh_digests(deployment.root, environment)


def findings(deployment: Any, *, now: datetime | None = None) -> list[tuple[str, str]]:
    root, project = open_project(deployment.root)
    found = check_secrets(root, project, now=now or datetime.now(UTC)).findings
    return [(one.id, f"{one.what} | {one.where} | {one.why}") for one in found]


def ids(deployment: Any, **options: Any) -> list[str]:
    return sorted({one for one, _ in findings(deployment, **options)})


@pytest.mark.parametrize("who", [("ana", "ben"), ("ana",), ("ben",), ()])
def test_a_good_repository_has_no_findings_for_anybody(both: Any, as_person: AsPerson, who: tuple[str, ...]) -> None:
    as_person(*who)
    assert findings(both) == []


@pytest.mark.parametrize("who", [("ana", "ben"), ("ana",), ("ben",), ()])
def test_the_same_token_in_both_is_seen_by_everybody(both: Any, as_person: AsPerson, who: tuple[str, ...]) -> None:
    plant(both, as_person, "staging", "binderhub.localToken", TOKEN)
    plant(both, as_person, "prod", "binderhub.jupyterhub.proxy.secretToken", TOKEN)
    as_person(*who)
    found = findings(both)
    assert {one for one, _ in found} == {"secrets.shared"}
    assert any("binderhub.localToken" in text and "binderhub.jupyterhub.proxy.secretToken" in text for _, text in found)
    assert TOKEN not in str(found)
    root, project = open_project(both.root)
    with pytest.raises(SecretsError, match=r"is not deployed.*is used in"):
        refuse_shared(root, project, "prod", now=datetime.now(UTC))


def test_base64_and_a_newline_do_not_hide_it(both: Any, as_person: AsPerson) -> None:
    import base64

    plant(both, as_person, "staging", "binderhub.localToken", "a-Passphrase-0f-Theirs-9812")
    hidden = base64.b64encode(b"a-Passphrase-0f-Theirs-9812\n").decode()
    plant(both, as_person, "prod", "binderhub.localToken", hidden)
    as_person("ana")
    assert ids(both) == ["secrets.shared"]


def test_equal_values_that_open_nothing_are_fine(both: Any, as_person: AsPerson) -> None:
    for environment in ("staging", "prod"):
        plant(both, as_person, environment, "binderhub.registry.username", "robot")
    as_person("ana", "ben")
    assert findings(both) == []


@pytest.mark.usefixtures("full_cost")
def test_a_guess_costs_fifty_milliseconds() -> None:
    key = ClearText(b"k" * 32)
    times = []
    for number in range(3):
        began = time.process_time()
        slow_digests([Secret(f"guess-{number}")], key)
        times.append(time.process_time() - began)
    assert min(times) >= 0.05, (times, SCRYPT)


def test_digests_tell_nothing_without_their_key(both: Any) -> None:
    key = both.root / "secret/config/digests.key"
    told = json.loads(key.read_text())
    readers = {one["recipient"] for one in told["sops"]["age"]}
    assert readers == {both.person("ana").key, both.person("ben").key}


def test_stale_and_false_digests_are_findings(both: Any, as_person: AsPerson) -> None:
    as_person("ben")
    both.sops("set", "secret/config/prod.yaml", '["binderhub"]["localToken"]', json.dumps(OTHER))
    as_person("ana")
    assert ids(both) == ["secrets.digests"]
    as_person("ben")
    assert findings(both) == [], "a reader brings them up to date by looking"
    file = both.root / "secret/config/prod.digests.yaml"
    text = file.read_text()
    line = next(line for line in text.splitlines() if "digest: " in line and "none" not in line)
    file.write_text(text.replace(line, f"  digest: {'0' * 32}"))
    assert ids(both) == ["secrets.digests"]


WEAK = ["hunter2", "password", "correct horse battery", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "12345678901234567890"]
STRONG = [TOKEN, "ghp_" + "a8Kd93LmZq" * 3 + "x1Y2z3", "glpat-x7Kd93LmZq4T8vNw2RpB", "Xk9-f2Lq_81mZ.vB7nT4sQw"]


@pytest.mark.parametrize("value", WEAK)
def test_what_can_be_guessed_is_a_finding(both: Any, as_person: AsPerson, value: str) -> None:
    plant(both, as_person, "staging", "binderhub.registry.password", value)
    found = findings(both)
    assert [one for one, _ in found] == ["secrets.weak"]
    assert value not in str(found).replace("registry.password", "")


@pytest.mark.parametrize("value", STRONG, ids=range(len(STRONG)))
def test_what_generators_and_forges_make_is_strong_enough(both: Any, as_person: AsPerson, value: str) -> None:
    plant(both, as_person, "staging", "binderhub.registry.password", value)
    assert findings(both) == []


def test_a_reader_of_both_needs_a_reason(both: Any, as_person: AsPerson, run: Any) -> None:
    as_person("ana")
    cleo = both.person("cleo").key
    assert run("readers", "staging", "--add", cleo, "--name", "cleo").returncode == 0
    as_person("ben")
    done = run("readers", "prod", "--add", cleo, "--name", "cleo")
    assert "reads staging too" in done.stdout
    as_person("cleo")
    assert ids(both) == ["secrets.reader-of-both"]
    run("readers", "prod", "--add", cleo, "--name", "cleo", "--reason", "on call alone")
    assert findings(both) == []


def test_readers_that_the_rules_do_not_name(both: Any, as_person: AsPerson) -> None:
    as_person("ana")
    both.sops("rotate", "-i", "--add-age", both.person("eve").key, "secret/config/staging.yaml")
    found = dict(findings(both))
    assert f"{both.person('eve').key} opens it, and no rule says so" in found["secrets.readers"]


def test_what_several_environments_share_opens_nothing(both: Any, as_person: AsPerson) -> None:
    both.rules({"staging": ["ana"], "prod": ["ben"], "config/common/": ["ana", "ben"]})
    clear = (
        "opens_nothing_unencrypted:\n  - binderhub.config.BinderHub.ban_networks\nbinderhub:\n  config:\n"
        "    BinderHub:\n      ban_networks:\n        203.0.113.0/24: mining\n      more: {}\n"
    )
    as_person("ana", "ben")
    both.seal("secret/config/common/bans.yaml", clear.replace("{}", '"word"'))
    assert ids(both) == ["secrets.undeclared"]
    both.seal("secret/config/common/bans.yaml", clear.replace("more: {}", f"apiToken: {TOKEN}"))
    assert ids(both) == ["secrets.common-credential", "secrets.undeclared"]
    both.seal("secret/config/common/bans.yaml", clear)
    assert findings(both) == []
    as_person()
    both.seal("secret/config/common/bans.yaml", clear.replace("more: {}", f"apiToken: {TOKEN}"))
    assert "secrets.common-credential" in ids(both), "by its name, without a key"


def test_kubeconfigs_fall_under_the_rule(both: Any, as_person: AsPerson) -> None:
    both.rules({"staging": ["ana"], "prod": ["ben"], "^secret/staging/": ["ana"], "^secret/prod/": ["ben"]})
    config = "apiVersion: v1\nkind: Config\nusers:\n  - name: x\n    user:\n      token: {}\n"
    both.seal("secret/staging/kubeconfig", config.format(TOKEN))
    both.seal("secret/prod/kubeconfig", config.format(TOKEN))
    as_person("ana", "ben")
    assert ids(both) == ["secrets.shared"]
    as_person("ana")
    assert ids(both) == ["secrets.shared"]
    as_person("ben")
    both.seal("secret/prod/kubeconfig", config.format(OTHER))
    refresh_digests(both.root, "prod")
    as_person("ana")
    assert findings(both) == []


def test_credentials_in_clear(both: Any, as_person: AsPerson) -> None:
    plant(both, as_person, "staging", "binderhub.localToken", TOKEN)
    layer = both.root / "config/staging.yaml"
    layer.write_text(layer.read_text().replace("binderhub:\n", f"binderhub:\n  registry:\n    password: {OTHER}\n", 1))
    (both.root / "notes.md").write_text(f"\nthe token is {TOKEN}\n")
    found = findings(both)
    places = [text for one, text in found if one == "secrets.clear"]
    assert any("binderhub.registry.password" in text and "config/staging.yaml:" in text for text in places)
    assert any("binderhub.localToken" in text and "notes.md:2" in text for text in places)
    assert TOKEN not in str(found) and OTHER not in str(found)


def test_credentials_in_rendered_objects(both: Any, as_person: AsPerson) -> None:
    plant(both, as_person, "staging", "binderhub.extraEnv.CANARY_TOKEN", TOKEN)
    found = dict(findings(both))
    assert "Deployment/binder" in found["secrets.object"]
    assert TOKEN not in str(found)


def test_git_remembers_what_was_taken_out(both: Any, as_person: AsPerson) -> None:
    plant(both, as_person, "staging", "binderhub.localToken", TOKEN)
    (both.root / "notes.md").write_text(f"{TOKEN}\n")
    both.commit("a slip")
    (both.root / "notes.md").unlink()
    both.commit("taken out")
    assert ids(both) == ["secrets.history"]
    assert ids(both) == ["secrets.history"], "it is told until it is rotated"
    verdict = last_verdict(both.root)
    assert verdict is not None and (verdict.findings, verdict.commit) == (("secrets.history",), None)
    plant(both, as_person, "staging", "binderhub.localToken", OTHER)
    assert findings(both) == []
    root, project = open_project(both.root)
    plant(both, as_person, "staging", "binderhub.localToken", TOKEN)
    again = check_secrets(root, project, now=datetime.now(UTC), whole_history=True)
    assert [one.id for one in again.findings] == ["secrets.history"]


def test_without_a_key_what_is_in_clear_is_checked(both: Any, as_person: AsPerson, run: Any) -> None:
    as_person("ana")
    run("set", "staging", "binderhub.localToken", "--unset")
    run("set", "staging", "binderhub.jupyterhub.proxy.secretTokn", give=TOKEN)
    as_person()
    found = dict(findings(both))
    assert "binderhub.localToken is not in secret/config/staging.yaml" in found["secrets.missing"]
    assert "no chart knows binderhub.jupyterhub.proxy.secretTokn" in found["secrets.unknown-key"]


def test_clocks_versions_words_and_plain_files(both: Any, as_person: AsPerson) -> None:
    as_person("ana", "ben")
    assert ids(both, now=datetime.now(UTC) - timedelta(days=1)) == ["secrets.future"]
    prod = both.root / "secret/config/prod.yaml"
    before = prod.read_text()
    prod.write_text(before.replace("version: 3.11.0", "version: 4.2.0"))
    assert ids(both) == ["secrets.newer-sops"]
    prod.write_text(before)
    both.sops("set", "secret/config/prod.yaml", '["binderhub"]["jupyterhub"]["debug"]', '{"enabled": "on"}')
    assert "secrets.boolean" in ids(both)
    prod.write_text("binderhub: {}\n")
    assert "secrets.not-sealed" in ids(both)
    prod.write_text(before.replace("localToken", "localTokem"))
    assert "secrets.broken" in ids(both)
    prod.write_text("<<<<<<< HEAD\n" + before)
    assert "secrets.unreadable" in ids(both)


def test_fifty_credentials_in_each_environment_are_all_good(both: Any, as_person: AsPerson) -> None:
    from binderops.checks.secrets_files import read_secret_files
    from binderops.checks.secrets_seals import seals
    from binderops.checks.secrets_shared import shared

    as_person("ana", "ben")
    both.rules({"staging": ["ana"], "prod": ["ben"]})
    for environment in ("staging", "prod"):
        clear = "".join(f"k{number}: {{token: {os.urandom(24).hex()}}}\n" for number in range(50))
        both.seal(f"secret/config/{environment}.yaml", clear)
        refresh_digests(both.root, environment)
    files = read_secret_files(both.root, {"staging": True, "prod": True})
    assert [*seals(files, now=datetime.now(UTC)), *shared(files)] == []


def test_no_file_of_the_check_is_left_in_clear(both: Any, as_person: AsPerson, tmp_path: Path) -> None:
    plant(both, as_person, "staging", "binderhub.localToken", TOKEN)
    findings(both)
    left = [path for path in tmp_path.rglob("*") if path.is_file() and TOKEN in path.read_text(errors="replace")]
    assert left == []
