"""The commands there are, for tests that must leave none out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer
from typer.core import TyperGroup

from binderops.cli.app import app, register_commands


def command_names() -> set[str]:
    """Every registered command, as typed: `secrets keys`."""
    register_commands()
    return set(_below(typer.main.get_command(app), ""))


def _below(group: Any, name: str) -> Iterator[str]:
    for child, found in group.commands.items():
        full = f"{name} {child}".strip()
        if isinstance(found, TyperGroup):
            yield from _below(found, full)
        else:
            yield full
