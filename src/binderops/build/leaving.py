"""A build's two secrets, taken out of its environment before anything of a repository is read.

A process's first environment stays readable at /proc/PID/environ, whatever it does to its variables later: by a link in
a repository, or by a RUN step that got out of its container. So the program starts itself a second time without them,
and hands them to itself in files that are in memory only and have no name (`handover` takes them). Which files these
are is all that the second environment says. What is imported here is imported twice: next to nothing.
"""

import os
import sys

GIT = "GIT_CREDENTIAL_ENV"
REGISTRY = "CONTAINER_ENGINE_REGISTRY_CREDENTIALS"
HANDED = "BINDEROPS_BUILD_HANDED"


def leave_environment() -> None:
    """Start this program anew without the secrets, if its environment holds one; then it does not return."""
    found = {name: value for name in (GIT, REGISTRY) if (value := os.environ.get(name))}
    if not found:
        return
    kept = {name: value for name, value in os.environ.items() if name not in (GIT, REGISTRY)}
    kept[HANDED] = ",".join(f"{name}:{file_of(value)}" for name, value in found.items())
    os.execve(sys.executable, sys.orig_argv, kept)  # noqa: S606


def file_of(value: str) -> int:
    """An open file with this text, which programs that are started inherit."""
    file = os.memfd_create("secret")
    os.write(file, os.fsencode(value))
    os.set_inheritable(file, True)
    return file
