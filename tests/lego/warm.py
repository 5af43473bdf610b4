"""The controller's program in processes of its own, imported once: nine tenths of a start are imports.

Run as a program this is the parent of those processes: a line of JSON in is a line of JSON out. It forks, and what it
forks is the program from its first line on, with the environment and the output that it is given.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from binderops.lego.__main__ import main

ROOT = Path(__file__).parents[2]


class Warm:
    """The parent, as a test sees it."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.lego.warm"]
        pipe = subprocess.PIPE
        self._parent = subprocess.Popen(
            command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True, bufsize=1, start_new_session=True
        )

    def start(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> Program:
        """Start `python -m binderops.lego ARGUMENTS`; what it says is added to `log`."""
        return Program(self, self.ask(arguments=list(arguments), environment=dict(environment), log=str(log)))

    def ask(self, **question: Any) -> int:
        """The parent's answer: a number."""
        assert self._parent.stdin is not None and self._parent.stdout is not None
        self._parent.stdin.write(json.dumps(question) + "\n")
        return int(json.loads(self._parent.stdout.readline()))

    def close(self) -> None:
        """End the parent; whoever started a program has ended it."""
        assert self._parent.stdin is not None and self._parent.stdout is not None
        self._parent.stdin.close()
        self._parent.wait(timeout=10)
        self._parent.stdout.close()


class Program:
    """A process, with what tests use of `subprocess.Popen`."""

    def __init__(self, parent: Warm, pid: int) -> None:
        self.pid, self._parent, self._code = pid, parent, -1
        self._handle: int | None = os.pidfd_open(pid)

    def poll(self) -> int | None:
        """Its exit code (negative: the signal that ended it), None while it runs."""
        return self._ended(0)

    def wait(self, timeout: float) -> int:
        """Its exit code. TimeoutExpired when it does not end in time."""
        code = self._ended(timeout)
        if code is None:
            raise subprocess.TimeoutExpired("binderops.lego", timeout)
        return code

    def send_signal(self, number: int) -> None:
        """Nothing happens where it has ended."""
        if self.poll() is None and self._handle is not None:
            signal.pidfd_send_signal(self._handle, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _ended(self, seconds: float) -> int | None:
        if self._handle is None:
            return self._code
        if not select.select([self._handle], [], [], seconds)[0]:
            return None
        os.close(self._handle)
        self._handle, self._code = None, self._parent.ask(ended=self.pid)
        return self._code


def serve() -> None:
    """Answer until the input ends."""
    for line in sys.stdin:
        question = json.loads(line)
        if "ended" in question:
            answer = os.waitstatus_to_exitcode(os.waitpid(question["ended"], 0)[1])
        else:
            answer = os.fork() or _become(question)
        print(answer, flush=True)


def _become(question: Mapping[str, Any]) -> int:
    """The program, in the process that was forked."""
    for target, path in ((0, os.devnull), (1, question["log"]), (2, question["log"])):
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, target)
        os.close(opened)
    os.environ.clear()
    os.environ.update(question["environment"])
    sys.argv[1:] = question["arguments"]
    sys.exit(main())


if __name__ == "__main__":
    serve()
