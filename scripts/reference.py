"""Writes the pages that are made from the files: commands, overview, schema. `--check` fails where one is stale."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from values_keys import counted, keys_page

from binderops.cli.reference import commands_page
from binderops.state.overview import overview_page
from binderops.state.project import json_schema

ROOT = Path(__file__).parents[1]


def pages() -> dict[Path, str]:
    """Path -> text of every generated page."""
    return {
        ROOT / "docs/operate/commands.md": commands_page(),
        ROOT / "docs/operate/values-keys.md": keys_page(ROOT),
        ROOT / "docs/overview.md": overview_page(ROOT),
        ROOT / "docs/binderops.schema.json": json.dumps(json_schema(), indent=2) + "\n",
    }


def main() -> int:
    """Writes, or with --check compares; 1 where a page is stale."""
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if "--check" in sys.argv:
        for path in stale:
            sys.stderr.write(f"{path.relative_to(ROOT)} is stale: run `make reference`\n")
        return 1 if stale else 0
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(pages()[path], encoding="utf-8")
    sys.stdout.write(f"keys of the values: {counted(ROOT)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
