"""What failed, in words that help the author of a repository: known messages of installers, and what to do about each.

The last lines that any pattern knows decide, and among the patterns that know them the first of the list.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

# Patterns look at no more of a line: some take time that grows with its square.
_LONGEST = 1000
# How many lines before a conclusion belong to it.
_BEFORE = 5
_PLACE = re.compile(r"\{(package|file|todo)\}")
ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


@dataclass(frozen=True)
class Explanation:
    """`id` is the stable name; `title` says what failed, `advice` what the author can do."""

    id: str
    title: str
    advice: str
    quote: str = ""
    """The line of the log that tells."""

    def to_json(self) -> dict[str, str]:
        """As it stands in the stream's last event."""
        return {"id": self.id, "title": self.title, "advice": self.advice, "quote": self.quote}


@dataclass(frozen=True)
class _Rule:
    id: str
    pattern: re.Pattern[str]
    title: str
    advice: str

    def explain(self, match: re.Match[str], line: str) -> Explanation:
        named = {key: value or "" for key, value in match.groupdict().items()}
        return Explanation(self.id, self.title.format(**named), self.advice.format(**named), line.strip()[:400])


def _rule(id: str, pattern: str, title: str, advice: str) -> _Rule:
    return _Rule(id, re.compile(pattern, re.IGNORECASE), title, advice)


_REGISTRY = _rule(
    "registry",
    r"the (?:registry(?:'s storage)?|token server) (?:cannot be reached|breaks off|did not answer within|"
    r"has no certificate)",
    "The service's own store of images is not in reach",
    "This is not your repository's fault. Try again in a few minutes; if it stays, tell the operator.",
)

_RULES = (
    _rule(
        "dockerfile",
        r"(dockerfile parse error|unknown instruction|error parsing.*dockerfile|no FROM statement|"
        r"dockerfile.*(syntax|parse) error)",
        "The Dockerfile cannot be read",
        "Correct the instruction that the log quotes, and check that it builds with docker build or podman build.",
    ),
    _rule(
        "base-image",
        r"(manifest unknown|pull access denied|repository does not exist|initializing source docker://|"
        r"requested access to the resource is denied)",
        "An image that the Dockerfile starts from cannot be pulled",
        "Check the name and the tag in FROM, and that the image is public.",
    ),
    _rule(
        "no-matching-distribution",
        r"no matching distribution found for (?P<package>[^\s'\"\\]+)|"
        r"(?P<package2>[A-Za-z0-9._-]+) was not found in the package registry|"
        r"there (?:is|are) no versions? of (?P<package3>[A-Za-z0-9._=<>~!-]+)|"
        r"(?P<package5>[A-Za-z0-9._=<>~!-]+) has no (?:usable )?wheels|"
        r"distribution not found at: (?P<package6>\S+)|"
        r"(?:could not find a version that satisfies the requirement) (?P<package4>[^\s'\"\\(]+)",
        "No package in the index fits {package}",
        "Check the spelling and the version in your requirements. A version may also exist only for another Python "
        "than this service's: a Dockerfile can bring one.",
    ),
    _rule(
        "conflicting-versions",
        r"(resolutionimpossible|conflicting dependencies|requirements are unsatisfiable|cannot be used together|"
        r"incompatible.*requirements|because .* depends on .* conclude)",
        "Two of the required packages want different versions of a third",
        "The log names them. Loosen or remove one of the pins; installing the requirements on your own machine in an "
        "empty environment shows the same conflict.",
    ),
    _rule(
        "out-of-memory",
        r"(out of memory|oomkilled|cannot allocate memory|memoryerror|signal: killed|exit status 137|code 137)",
        "The build needed more memory than it may use",
        "Install smaller packages or prebuilt ones (wheels) instead of compiling, or ask the operator for more.",
    ),
    _rule(
        "processes",
        r"(resource temporarily unavailable|cannot fork|can't fork|can't start new thread)",
        "The build started more processes than it may have",
        "Limit how many jobs run at once (make -j4, MAX_JOBS=4).",
    ),
    _rule(
        "disk-limit",
        r"evicted: .*(ephemeral|emptydir)",
        "The build needed more disk than it may use",
        "Keep large data out of the repository and of its image: notebooks can fetch it. Or ask the operator for more.",
    ),
    _rule(
        "disk-full",
        r"no space left on device",
        "The disk of the builder is full",
        "This is not your repository's fault: tell the operator. Large data files in a repository make it likelier.",
    ),
    _rule(
        "registry-disk",
        r"the registry's disk is (?:full|read-only)",
        "The service's own store of images takes no more",
        "This is not your repository's fault: tell the operator. It works again once there is room.",
    ),
    _rule(
        "git-ref",
        r"(failed to check ?out ref|couldn't find remote ref|did not match any file|unknown revision|"
        r"reference is not a tree|remote ref .* not found)",
        "The branch, tag or commit is not in the repository",
        "Check the reference in the link. HEAD always means the default branch.",
    ),
    _rule(
        "submodule",
        r"fatal: (?:clone of|no url found for submodule path) '(?P<file>[^']{1,300})'",
        "The submodule {file} cannot be fetched",
        "Builds fetch from public hosts alone, by https, http or git: not from files, private networks or by ssh.",
    ),
    _rule(
        "link",
        r"(?P<file>\S{1,300}) leads out of the repository",
        "{file} is a link to something outside of the repository",
        "Builds read only what is in the repository: commit the file itself in place of the link.",
    ),
    _rule(
        "mount",
        r"the (?:mount|volume) at (?P<file>\S{1,300}) is refused",
        "What the Dockerfile mounts at {file} lies outside of its build",
        "A source of a mount must lie in the repository, in a stage or in an image that the Dockerfile names, and a "
        "cache's name must not hold two dots in a row.",
    ),
    _rule(
        "clone",
        r"(could not read username|repository .* not found|authentication failed|"
        r"could not read from remote repository)",
        "The repository cannot be fetched",
        "Check the address, and that the repository is public.",
    ),
    _REGISTRY,
    _rule(
        "network",
        r"(temporary failure in name resolution|could not resolve host|network is unreachable|connection refused|"
        r"connection timed out|connecttimeout|failed to establish a new connection|no route to host|dns error|"
        r"error sending request)",
        "The build could not reach a server that it needs",
        "Builds reach only what the operator allows. If the log names your own server, it may be blocked or down; try "
        "again later otherwise.",
    ),
    _rule(
        "compile",
        r"(failed building wheel|failed to build (?P<package>[A-Za-z0-9._-]+)|subprocess-exited-with-error|"
        r"command '?(gcc|cc|g\+\+|x86_64-linux-gnu-gcc)'? failed|metadata-generation-failed|unable to find gcc)",
        "A package had to be compiled, and that failed",
        "Choose a version that has a wheel for this Python, or list the compiler and libraries it needs in apt.txt.",
    ),
    _rule(
        "apt",
        r"unable to locate package (?P<package>\S+)",
        "Debian has no package {package}",
        "Check the names in apt.txt: one package a line, as `apt search` spells them.",
    ),
    _rule(
        "post-build",
        r"(post_?build.*(not found|permission denied|failed|non-zero|returned)|\./postBuild)",
        "The script postBuild failed",
        "It runs as the notebook's user, without root rights, and must be executable. The first command that fails "
        "ends it.",
    ),
    _rule(
        "unsupported-files",
        r"(?:^|failed: )(?P<file>[^;]{1,200}) is not supported here;.*what to do: (?P<todo>.+)",
        "{file} asks for what this service cannot build",
        "{todo}.",
    ),
    _rule(
        "unsupported-files",
        r"(no buildpack|cannot honou?r|not supported by this builder|is not supported here)",
        "The repository asks for something that this service cannot build",
        "The log says what. requirements.txt, pyproject.toml, setup.py, apt.txt, postBuild, start and a Dockerfile are "
        "understood.",
    ),
)  # fmt: skip

_UNKNOWN = Explanation(
    "build-failed",
    "The image could not be built",
    "The last lines of the log say why. Building the repository on your own machine with repo2docker shows the same.",
)


def explain_log(messages: Iterable[str]) -> Explanation:
    """What the end of a build's log means."""
    lines = [line[:_LONGEST] for message in messages for line in ANSI.sub("", message).splitlines() if line.strip()]
    for last in reversed(range(len(lines))):
        if any(rule.pattern.search(lines[last]) for rule in _RULES):
            return _explain_lines(lines[max(last - _BEFORE, 0) : last + 1])
    return _UNKNOWN


def _explain_lines(lines: list[str]) -> Explanation:
    """Installers say the reason first and the conclusion last: the more telling pattern stands first in the list."""
    for rule in _RULES:
        for line in reversed(lines):
            if match := rule.pattern.search(line):
                return _with_package(rule, match, line)
    return _UNKNOWN


def explain_text(text: str) -> Explanation | None:
    """What a refusal before any build means, or None where its text already says it all."""
    for rule in _REFUSALS:
        if match := rule.pattern.search(text):
            return rule.explain(match, text)
    return None


def _with_package(rule: _Rule, match: re.Match[str], line: str) -> Explanation:
    groups = {name: value for name, value in match.groupdict().items() if value}
    package = next((value for name, value in groups.items() if name.startswith("package")), "what is asked for")
    words = {"package": package, "file": groups.get("file", ""), "todo": _sentence(groups.get("todo", ""))}
    title, advice = (_PLACE.sub(lambda place: words[place[1]], text) for text in (rule.title, rule.advice))
    return Explanation(rule.id, title, advice, line.strip()[:400])


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].strip()


_REFUSALS = (
    _rule(
        "upload-not-found",
        r"no folder was uploaded under this name",
        "There is no uploaded folder of this name",
        "Upload it with `binderops launch PATH`: it is named after the folder.",
    ),
    _rule(
        "ref-not-found",
        r"could not resolve ref for",
        "There is no such repository, branch, tag or commit",
        "Check the address and the reference, and that the repository is public. HEAD always means the default branch.",
    ),
    _REGISTRY,
    _rule(
        "repository-unreachable",
        r"error resolving ref for",
        "The repository's server did not answer as expected",
        "Check the address. If it is right, the server may be down, or not reachable from here: try again in a while.",
    ),
    _rule(
        "spec",
        r"(spec is not of the form|no provider found|unsupported git url|is no name for|not the name of)",
        "The link does not name a repository",
        "Make a new link on the home page: choose where the repository lies, and paste its address.",
    ),
    _rule(
        "not-allowed",
        r"(is not allowed to launch|are not allowed)",
        "This service does not launch this repository",
        "Its operator decides which repositories may run here: ask them.",
    ),
    _rule(
        "too-many",
        r"too many users",
        "Every place is taken",
        "Try again in a few minutes: places become free when others leave.",
    ),
    _rule(
        "rate-limit",
        r"rate limit exceeded",
        "Too many launches from your network",
        "Wait a while. Launching from the repository's own page here, not by a script, does not count.",
    ),
    _rule(
        "start-ended",
        r"server ended before it answered.*exit code (?P<code>\d+)",
        "The image is there, but its server ended at once, with exit code {code}",
        "A Dockerfile's image must have jupyterlab installed (exit codes 126 to 128: the command is not there), start "
        "what it is given as arguments, and run as a user that is not root.",
    ),
    _rule(
        "start",
        r"(took too long to launch|failed to launch|failed to create temporary user|spawn failed)",
        "The image is there, but its server did not start",
        "Try again. If it happens every time: a Dockerfile's image must have jupyterlab installed and run as a user "
        "that is not root.",
    ),
)
