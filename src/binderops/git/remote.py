"""What a reference of a remote repository is now, by `git ls-remote`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass

from binderops.errors import GitError
from binderops.git import process

DEADLINE_SECONDS = 20.0
_MOST_OUTPUT = 4 << 20
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SCP_FORM = re.compile(r"([A-Za-z0-9_.-]+)@([A-Za-z0-9.-]+):(?!//)(.+)")
# What git-check-ref-format forbids, besides a leading dash, which would read as an option.
_BAD_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|\.lock(?:/|$)|^[-/.]|[/.]$")


@dataclass(frozen=True)
class RemoteUrl:
    """A repository's address with a protocol that is allowed."""

    text: str
    protocol: str

    @classmethod
    def parse(cls, text: str, *, protocols: Sequence[str] = process.ALLOWED_PROTOCOLS) -> RemoteUrl:
        """Read a URL, or `user@host:path` as the ssh URL that it stands for; raises GitError."""
        if scp := _SCP_FORM.fullmatch(text):
            text = f"ssh://{scp[1]}@{scp[2]}/{scp[3].lstrip('/')}"
        protocol, separator, rest = text.partition("://")
        if not separator or protocol.lower() not in protocols:
            named = protocol if separator else ""
            raise GitError(f"Unsupported git url {text}, protocol {named} not in {', '.join(protocols)}")
        if not rest or rest.startswith(("-", "/")) or re.search(r"[\x00-\x20\x7f]", text):
            raise GitError(f"Unsupported git url {text!r}: it is not the address of a repository")
        if "@-" in rest.partition("/")[0]:
            raise GitError(f"Unsupported git url {text!r}: its host begins with a dash")
        return cls(text, protocol.lower())


def is_commit(text: str) -> bool:
    """Whether a text is a whole object name."""
    return _COMMIT.fullmatch(text) is not None


def check_ref(ref: str) -> str:
    """The name itself, if git could have made it; raises GitError."""
    if not ref or len(ref) > 255 or _BAD_REF.search(ref):
        raise GitError(f"{ref[:80]!r} is not a name that git allows for a branch or tag")
    return ref


async def ls_remote(url: RemoteUrl, ref: str, *, deadline: float = DEADLINE_SECONDS) -> str | None:
    """The object that a branch, tag, `HEAD` or `refs/…` names now, or None if the repository has no such name.

    An annotated tag gives the tag object, not the commit: upstream BinderHub's tests pin that. Unlike there, `main`
    never means `refs/heads/x/main`. Raises GitError with git's own words if the repository cannot be read.
    """
    arguments = process.command("ls-remote", "--", url.text, check_ref(ref))
    program = await asyncio.create_subprocess_exec(
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=process.environment([url.protocol]),
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(deadline):
            assert program.stdout and program.stderr
            output, complaint = await asyncio.gather(program.stdout.read(_MOST_OUTPUT), program.stderr.read(65536))
            # A server that sends without end would hold the pipe and the program.
            if len(output) < _MOST_OUTPUT:
                await program.wait()
    except TimeoutError as error:
        raise GitError(f"the repository did not answer within {deadline:.0f} s", where=url.text) from error
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()
    if program.returncode != 0:
        raise GitError(complaint.decode(errors="replace").strip()[:1000] or f"git exited with {program.returncode}")
    return _choose(output.decode(errors="replace"), ref)


def _choose(output: str, ref: str) -> str | None:
    named = {name: value for value, _, name in (line.partition("\t") for line in output.splitlines())}
    candidates = (ref, f"refs/heads/{ref}", f"refs/tags/{ref}", f"refs/{ref}", f"refs/remotes/{ref}")
    found = next((named[name] for name in candidates if name in named), None)
    return found if found and is_commit(found) else None
