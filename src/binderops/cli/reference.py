"""The reference page of all commands, made from the commands themselves, so that none can be missing."""

from __future__ import annotations

from collections.abc import Iterator

import typer
from typer.core import TyperCommand, TyperGroup

from binderops.cli.app import app, register_commands


def commands_page() -> str:
    """docs/operate/commands.md."""
    register_commands()
    root = typer.main.get_command(app)
    lines = [
        "# Commands",
        "",
        "<!-- Made by scripts/reference.py from the commands themselves. -->",
        "",
        "Exit codes: 0 done; 1 refused or failed; 2 wrong usage; 130 interrupted. With `--output json` the result, or",
        '`{"error": {id, what, where, why, hint}}`, is one JSON document on standard output; progress goes to',
        "standard error.",
        "",
    ]
    for name, command in _commands(root, "binderops"):
        lines += _section(name, command)
    return "\n".join(lines)


def _commands(command: object, name: str) -> Iterator[tuple[str, TyperCommand]]:
    if isinstance(command, TyperGroup):
        for child_name, child in sorted(command.commands.items()):
            yield from _commands(child, f"{name} {child_name}")
    elif isinstance(command, TyperCommand):
        yield name, command


def _section(name: str, command: TyperCommand) -> list[str]:
    text, _, example = (command.help or "").partition("Example:")
    lines = [f"## {name}", "", " ".join(text.split()), ""]
    if example.strip():
        lines += ["```console", f"$ {' '.join(example.split())}", "```", ""]
    for parameter in command.params:
        shown = ", ".join(f"`{option}`" for option in parameter.opts)
        if parameter.param_type_name == "argument":
            shown = f"`{getattr(parameter, 'metavar', None) or str(parameter.name).upper()}`"
        help_text = getattr(parameter, "help", None) or ""
        default = parameter.default
        said = f" Default: `{getattr(default, 'value', default)}`." if _worth_showing(default) else ""
        lines.append(f"- {shown}: {help_text}{said}")
    return [*lines, ""]


def _worth_showing(default: object) -> bool:
    return default not in (None, False, True, (), ...) and str(default) not in {"", "."}
