"""The verdict before a deploy: it counts while all that it is about is as it was, and for who could open it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from binderops.delivery import secrets_check
from binderops.delivery.secrets_check import check_secrets, refuse_shared
from binderops.errors import SecretsError
from binderops.state.project import load_project

TOKEN = "Zk3vQ9xT7mB2nW8rL5pD1sG6hJ4c"  # a credential by its look; of this test alone


class Counted:
    """`refuse_shared` of one environment, with how often a check ran for it."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.checks = root, 0

        def counting(*arguments: Any, **named: Any) -> Any:
            self.checks += 1
            return check_secrets(*arguments, **named)

        monkeypatch.setattr(secrets_check, "check_secrets", counting)

    def __call__(self, environment: str = "staging") -> int:
        """How many checks this one took."""
        before = self.checks
        refuse_shared(self.root, load_project(self.root), environment, now=datetime.now(UTC))
        return self.checks - before


@pytest.fixture
def asked(both: Any, as_person: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> Counted:
    """With a good verdict by somebody who opens both."""
    as_person("ana", "ben")
    found = Counted(both.root, monkeypatch)
    assert found() == 1
    assert found() == 0, "nothing changed: the verdict counts"
    assert found("prod") == 0
    return found


def test_a_credential_put_into_a_clear_layer_or_chart_after_a_good_verdict_is_refused(asked: Counted) -> None:
    for path in ("config/staging.yaml", "mybinder/values.yaml", "charts/nginx-ingress/values.yaml"):
        before = (asked.root / path).read_text()
        (asked.root / path).write_text(f"{before}\nplanted: {{password: {TOKEN}}}\n")
        with pytest.raises(SecretsError, match="stands in clear") as caught:
            asked()
        assert path in (caught.value.where or "")
        (asked.root / path).write_text(before)
    assert asked() == 1, "a bad verdict is asked again, until it is mended"


def test_whatever_changes_is_looked_at_once_more(both: Any, asked: Counted) -> None:
    (both.root / "note.md").write_text("a file that git does not know yet\n")
    assert (asked(), asked()) == (1, 0)
    (both.root / ".gitignore").write_text("mybinder/charts/\nconfig/\n")
    assert (asked(), asked()) == (1, 0)
    both.commit()
    assert (asked(), asked()) == (1, 0), "git's HEAD is part of it"
    with (both.root / "config/staging.yaml").open("a") as file:
        file.write("# a layer, though git ignores it\n")
    assert (asked(), asked()) == (1, 0)
    with (both.root / "binderops.yaml").open("a") as file:
        file.write("# a comment\n")
    assert (asked(), asked()) == (1, 0)


def test_a_verdict_without_the_keys_is_no_leave_to_deploy(both: Any, as_person: Any, asked: Counted, run: Any) -> None:
    as_person()
    assert run("check").returncode == 0, "closed files are checked closed"
    as_person("ana")
    assert (asked("staging"), asked("staging")) == (1, 0)
    as_person("ben")
    assert asked("prod") == 1, "ana's verdict did not see prod's values"


def test_what_history_holds_is_told_until_it_is_rotated(both: Any, as_person: Any, asked: Counted, run: Any) -> None:
    assert run("set", "staging", "binderhub.localToken", give=TOKEN).returncode == 0
    note = both.root / "note.md"
    note.write_text(f"the token is {TOKEN}\n")
    both.commit()
    note.unlink()
    both.commit()
    for _ in range(2):
        with pytest.raises(SecretsError, match="git's history"):
            asked()
    assert run("rotate", "staging", "binderhub.localToken").returncode == 0
    assert asked() == 1


def test_other_commands_quote_it(both: Any, asked: Counted) -> None:
    from typer.testing import CliRunner

    from binderops.cli.app import app, register_commands

    register_commands()

    def told(*arguments: str) -> str:
        return CliRunner().invoke(app, [*arguments, "--directory", str(both.root)], env={"COLUMNS": "200"}).stdout

    quoted = json.loads(told("state", "staging", "--output", "json"))["secrets"]
    assert (quoted["findings"], quoted["current"]) == ([], True) and quoted["checked"]
    assert "nothing found at" in told("status") and "files changed since" not in told("status")
    with (both.root / "config/staging.yaml").open("a") as file:
        file.write(f"# {TOKEN}\n")
    assert "files changed since: binderops secrets check" in told("state", "staging")
