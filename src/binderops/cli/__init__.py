"""The commands: read flags, call one action, print its one result. Wires a target; holds no logic."""

from __future__ import annotations


def main() -> None:
    """The `binderops` program."""
    # Imports take a second or two: a Ctrl-C meanwhile is one like any other. Nothing is imported before this line.
    try:
        from binderops.cli.app import run

        run()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
