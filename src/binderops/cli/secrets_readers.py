"""`secrets new-key | readers | seal | import | merge-driver`: keys, who reads what, and how files come and merge."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from binderops.cli.app import FAILED, HERE, DirectoryOption, Output, OutputOption, perform
from binderops.cli.console import ConsoleProgress, show_lines, show_table
from binderops.cli.secrets import place_of, secrets, show_change
from binderops.cli.wiring import open_project
from binderops.delivery import secrets_readers
from binderops.delivery.demonstration import refuse_demonstration, refuse_file
from binderops.delivery.secrets_import import import_git_crypt
from binderops.delivery.secrets_results import ChangeResult, ImportResult, KeyResult, MergeResult, ReadersResult
from binderops.delivery.secrets_sealing import seal_file
from binderops.errors import UsageError
from binderops.secrets.identities import write_new_identity
from binderops.secrets.merging import install, merge
from binderops.state.project import find_root


@secrets.command("new-key")
def new_key(
    file: Annotated[Path | None, typer.Option("--file", help="Where; else where sops looks for your keys.")] = None,
    output: OutputOption = Output.text,
) -> None:
    """Make an age key of your own, and print its public half, which a reader adds.

    Example: binderops secrets new-key
    """

    async def action(progress: ConsoleProgress) -> KeyResult:
        path, recipient = write_new_identity(file)
        return KeyResult(file=str(path), recipient=recipient)

    perform(action, output=output, show=lambda result: show_lines([("file", result.file), ("key", result.recipient)]))


@secrets.command("readers")
def readers(
    environment: Annotated[
        str | None, typer.Argument(metavar="[ENV]", help="One environment; all where none is named.")
    ] = None,
    add: Annotated[str | None, typer.Option("--add", metavar="KEY", help="A public key to add.")] = None,
    name: Annotated[str, typer.Option("--name", help="Whose key it is.")] = "",
    reason: Annotated[str, typer.Option("--reason", help="Why it may read more than one environment.")] = "",
    remove: Annotated[
        str | None, typer.Option("--remove", metavar="NAME_OR_KEY", help="A reader to take away.")
    ] = None,
    directory: DirectoryOption = HERE,
    output: OutputOption = Output.text,
) -> None:
    """Show who can open what; add or remove a reader, which seals the environment's files anew.

    Example: binderops secrets readers staging --add age1… --name ana
    """

    async def action(progress: ConsoleProgress) -> ReadersResult:
        if add is None and remove is None:
            root, project = open_project(directory)
            if environment is not None:
                refuse_demonstration(root, project, environment)
            return secrets_readers.list_readers(root, environment=environment)
        if environment is None or (add and remove):
            raise UsageError("one environment and one change at a time", hint="readers ENV --add KEY --name NAME")
        place = place_of(directory, environment)
        if add is not None:
            return secrets_readers.add(place, add, name=name, reason=reason)
        return secrets_readers.remove(place, remove or "")

    def show(result: ReadersResult) -> None:
        for one in result.readers:
            mark = " (you)" if one.yours else " (demonstration: public)" if one.demonstration else ""
            reason = f"; {one.reason}" if one.reason else ""
            show_lines([("reader", f"{one.name or '-'}{mark}: {', '.join(one.files)}{reason}"), ("", one.key)])
        show_lines([*(("sealed", one) for one in result.changed), *(("note", one) for one in result.notes)])

    perform(action, output=output, show=show)


@secrets.command("seal")
def seal(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file in clear, below secret/.")],
    output: OutputOption = Output.text,
) -> None:
    """Seal a file that lies in clear, for the readers whom .sops.yaml names for it.

    Example: binderops secrets seal secret/config/prod.yaml
    """

    async def action(progress: ConsoleProgress) -> ChangeResult:
        root, project = open_project(file.resolve().parent)
        refuse_file(root, project, file.resolve())
        return seal_file(root, file.resolve())

    perform(action, output=output, show=show_change)


@secrets.command("import")
def import_(
    files: Annotated[list[str] | None, typer.Argument(metavar="[FILE]...", help="Which files; all by default.")] = None,
    source: Annotated[str, typer.Option("--from", help="What sealed them: git-crypt.")] = "git-crypt",
    tree: Annotated[Path | None, typer.Option("--tree", help="The repository; this one by default.")] = None,
    key: Annotated[
        Path | None, typer.Option("--key", help="The exported key, where the tree is locked (git-crypt export-key).")
    ] = None,
    reader: Annotated[
        list[str] | None, typer.Option("--reader", help="A name or key, for files that no rule of .sops.yaml fits.")
    ] = None,
    directory: DirectoryOption = HERE,
    output: OutputOption = Output.text,
) -> None:
    """Seal with sops what git-crypt sealed, and list what must be rotated, since git's history keeps it.

    Example: binderops secrets import --from git-crypt --tree ../mybinder.org-deploy --key ~/exported.key
    """

    async def action(progress: ConsoleProgress) -> ImportResult:
        if source != "git-crypt":
            raise UsageError(f"nothing is known of {source!r}", hint="--from git-crypt")
        root, project = open_project(directory)
        return import_git_crypt(
            root, tree or root, project=project, key_file=key, readers=reader or [], names=files or []
        )

    def show(result: ImportResult) -> None:
        show_table(("FILE", "KEYS", "READERS"), [(one.file, one.keys, ", ".join(one.readers)) for one in result.files])
        show_lines([*(("rotate", path) for path in result.rotate), *(("note", note) for note in result.notes)])

    perform(action, output=output, show=show)


@secrets.command("merge-driver")
def merge_driver(
    versions: Annotated[
        list[str] | None, typer.Argument(metavar="[BASE OURS THEIRS NAME]", help="As git gives them.")
    ] = None,
    install_it: Annotated[bool, typer.Option("--install", help="Let git use it, in this clone.")] = False,
    directory: DirectoryOption = HERE,
    output: OutputOption = Output.text,
) -> None:
    """Git's three-way merge of sealed files, key by key. Conflicts are named; the file stays ours, sealed and whole.

    Example: binderops secrets merge-driver --install
    """

    async def action(progress: ConsoleProgress) -> MergeResult:
        if install_it:
            program = shutil.which(sys.argv[0]) or str(Path(sys.argv[0]).resolve())
            return MergeResult(file="", changed=install(find_root(directory), program))
        if not versions or len(versions) != 4:
            raise UsageError("git calls it with BASE OURS THEIRS NAME", hint="merge-driver --install")
        base, ours, theirs, name = versions
        root, project = open_project(directory)
        refuse_file(root, project, root / name)
        found = merge(Path(base), Path(ours), Path(theirs), name=name, root=root)
        return MergeResult(
            file=name, changed=tuple(found.taken), conflicts=tuple(found.conflicts), notes=tuple(found.notes)
        )

    def show(result: MergeResult) -> None:
        lines = [("changed", one) for one in result.changed]
        lines += [("conflict", f"{one}: both changed it; ours stays. binderops secrets set ENV KEY, then git add")
                  for one in result.conflicts]  # fmt: skip
        show_lines([*lines, *(("note", note) for note in result.notes)])

    if perform(action, output=output, show=show).conflicts:
        raise typer.Exit(FAILED)
