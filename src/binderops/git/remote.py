"""What a reference of a remote repository is now, by `git ls-remote`, asked of a host that strangers may name."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urljoin
from urllib.request import getproxies_environment, proxy_bypass

from binderops.errors import GitError
from binderops.git import process
from binderops.git.hosts import Address, InternalHost, addresses_of

DEADLINE_SECONDS = 20.0
MOST_OUTPUT = 4 << 20
_MOST_REDIRECTS = 3
# What git itself may take: a server that sends references without end fills its memory, not ours.
_MEMORY_BYTES = 384 << 20
_PORTS = {"http": 80, "https": 443, "git": 9418, "ssh": 22}
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SCP_FORM = re.compile(r"([A-Za-z0-9_.-]+)@([A-Za-z0-9.-]+):(?!//)(.+)")
# What git-check-ref-format forbids, besides a leading dash, which would read as an option.
_BAD_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|\.lock(?:/|$)|^[-/.]|[/.]$")
# Narrower than any URL parser, so that all of them (ours, git's, curl's) read the same host.
_AUTHORITY = re.compile(
    r"(?P<user>[A-Za-z0-9._~!$&'()*+,;=%:-]*@)?"
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?)\.?)"
    r"(?::(?P<port>[0-9]{1,5}))?"
)
_REDIRECTED = re.compile(r"The requested URL returned error: 30[1278]")
_LOCATION = re.compile(r"Recv header: location: (\S+)", re.IGNORECASE)
_ASKED_FOR = "/info/refs?service=git-upload-pack"


@dataclass(frozen=True)
class RemoteUrl:
    """A repository's address with a protocol that is allowed, and the host and port that it names."""

    text: str
    protocol: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str, *, protocols: Sequence[str] = process.ALLOWED_PROTOCOLS) -> RemoteUrl:
        """Read a URL, or `user@host:path` as the ssh URL that it stands for; raises GitError."""
        if scp := _SCP_FORM.fullmatch(text):
            text = f"ssh://{scp[1]}@{scp[2]}/{scp[3].lstrip('/')}"
        protocol, separator, rest = text.partition("://")
        if not separator or protocol.lower() not in protocols:
            named = protocol if separator else ""
            raise GitError(f"Unsupported git url {text}, protocol {named} not in {', '.join(protocols)}")
        authority, slash, path = rest.partition("/")
        found = _AUTHORITY.fullmatch(authority)
        port = int((found and found["port"]) or _PORTS.get(protocol.lower(), 0))
        if not found or not slash or not 0 < port < 65536 or re.search(r"[\x00-\x20\x7f\\]", path):
            raise GitError(f"Unsupported git url {text!r}: it is not the address of a repository")
        return cls(text, protocol.lower(), found["v6"] or found["host"], port)

    def at(self, address: Address) -> str:
        """The URL with an address in the host's place."""
        literal = f"[{address}]" if address.version == 6 else str(address)
        return f"{self.protocol}://{literal}:{self.port}/{self.text.split('/', 3)[3]}"


def is_commit(text: str) -> bool:
    """Whether a text is a whole object name."""
    return _COMMIT.fullmatch(text) is not None


def check_ref(ref: str) -> str:
    """The name itself, if git could have made it; raises GitError."""
    if not ref or len(ref) > 255 or _BAD_REF.search(ref):
        raise GitError(f"{ref[:80]!r} is not a name that git allows for a branch or tag")
    return ref


async def ls_remote(
    url: RemoteUrl, ref: str, *, internal: Sequence[InternalHost] = (), deadline: float = DEADLINE_SECONDS
) -> str | None:
    """The object that a branch, tag, `HEAD` or `refs/…` names now, or None if the repository has no such name.

    The host must be public, or one of `internal`; so must each one that it redirects to. An annotated tag gives the tag
    object, not the commit: upstream BinderHub's tests pin that. Unlike there, `main` never means `refs/heads/x/main`.
    Raises GitError with git's own words if the repository cannot be read.
    """
    check_ref(ref)
    try:
        async with asyncio.timeout(deadline):
            for _ in range(_MOST_REDIRECTS + 1):
                addresses = await addresses_of(url.host, internal, by_proxy=has_proxy(url))
                answer = await _ask(url, ref, addresses)
                if not answer.redirected:
                    return _choose(answer.output, ref)
                url = _next(url, answer.redirected)
    except TimeoutError as error:
        raise GitError(f"the repository did not answer within {deadline:.0f} s", where=url.text) from error
    raise GitError(f"the repository redirects more than {_MOST_REDIRECTS} times", where=url.text)


@dataclass(frozen=True)
class _Answer:
    output: str = ""
    redirected: str = ""
    """Where the server says that the repository is."""


async def _ask(url: RemoteUrl, ref: str, addresses: Sequence[Address]) -> _Answer:
    settings, asked, environment = pinned(url, addresses)
    status, output, complaint = await _run(settings, asked, ref, environment)
    if status != 0 and _REDIRECTED.search(complaint):
        # Git does not say where to; it shows the headers to who asks once more.
        shown = {**environment, "GIT_TRACE_CURL": "2", "GIT_TRACE_CURL_NO_DATA": "1"}
        _, _, headers = await _run(settings, asked, ref, shown)
        if location := _LOCATION.search(headers):
            return _Answer(redirected=location[1])
    if status != 0:
        raise GitError(complaint.strip()[:1000] or f"git exited with {status}", where=url.text)
    return _Answer(output)


def pinned(url: RemoteUrl, addresses: Sequence[Address]) -> tuple[list[str], str, dict[str, str]]:
    """Settings, URL and environment of a call that connects to these addresses, whatever the name means then."""
    environment = process.environment([url.protocol])
    if url.protocol == "git":
        return [], url.at(addresses[0]), {**environment, "GIT_OVERRIDE_VIRTUAL_HOST": f"{url.host}:{url.port}"}
    settings = ["http.followRedirects=false"]
    if url.host not in map(str, addresses):
        literals = ",".join(f"[{address}]" if address.version == 6 else str(address) for address in addresses)
        settings += [f"http.curloptResolve={url.host}:{url.port}:{literals}"] if literals else []
    return settings, url.text, environment


def has_proxy(url: RemoteUrl) -> bool:
    """Whether git (by curl's rules) leaves the connection to a proxy."""
    return url.protocol in getproxies_environment() and not proxy_bypass(f"{url.host}:{url.port}")


async def _run(settings: Sequence[str], url: str, ref: str, environment: dict[str, str]) -> tuple[int, str, str]:
    """Git's exit status, what it printed and what it complained of."""

    def too_much(limit: int) -> GitError:
        return GitError(
            f"the repository answers with more than {limit >> 20} MiB of references",
            where=url,
            hint="name a commit, or a reference whose name few others end with",
        )

    said = await process.run(
        process.command("ls-remote", "--", url, ref, settings=settings),
        limits=[f"--as={_MEMORY_BYTES}"],
        environment=environment,
        most=(MOST_OUTPUT, 1 << 20),
        too_much=too_much,
    )
    return said.status, said.output.decode(errors="replace"), said.complaint.decode(errors="replace")


def _next(url: RemoteUrl, location: str) -> RemoteUrl:
    """The repository's address that a redirect leads to; raises GitError where it leads to none."""
    target = urljoin(url.text, location)
    repository, found, _ = target.partition(_ASKED_FOR)
    if not found:
        raise GitError("the address redirects to what is no repository", where=url.text)
    # From https to http would show the request to everybody on the way.
    protocols = ["https"] if url.protocol == "https" else ["http", "https"]
    return RemoteUrl.parse(repository, protocols=protocols)


def _choose(output: str, ref: str) -> str | None:
    named = {name: value for value, _, name in (line.partition("\t") for line in output.splitlines())}
    candidates = (ref, f"refs/heads/{ref}", f"refs/tags/{ref}", f"refs/{ref}", f"refs/remotes/{ref}")
    found = next((named[name] for name in candidates if name in named), None)
    return found if found and is_commit(found) else None
