"""The commands: read flags, call one action, print its one result. Wires a target; holds no logic."""

from __future__ import annotations


def main() -> None:
    """The `binderops` program."""
    from binderops.cli.app import run

    run()
