"""runc, so that it also runs processes inside containers with a user namespace whose network is not that namespace's.

Before version 1.2, `runc exec` joins the user namespace first, and may then no longer join a network namespace that
belongs to the machine ("error executing setns process"). A pod's network does belong to the machine, so that nothing in
the pod can undo its policies. So the network is joined before runc begins, and runc is shown a state of the container
without it. crun joins what it may before the user namespace, and needs none of this.
"""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

from binderops.errors import MachineError

STATES = Path("/run/runc")
"""Where runc, run by root, keeps its containers' states."""

_SCRIPT = r"""#!/bin/sh
PATH=/usr/sbin:/usr/bin:/sbin:/bin
verb= id=
for word do
  [ "$word" != exec ] || verb=exec
  id=$word
done
[ "$verb" = exec ] || exec %(runc)s "$@"
state=%(states)s/$id/state.json
# The state is one line of JSON; a quote in a value is escaped there, so no value looks like a namespace's entry.
network=$(sed -n '/{"type":"NEWUSER",/s/.*{"type":"NEWNET","path":"\([^"]\{1,\}\)"}.*/\1/p' "$state" 2>/dev/null)
[ -n "$network" ] && root=$(mktemp -d %(run)s/exec-XXXXXXXX) || exec %(runc)s "$@"
mkdir "$root/$id" &&
  sed -e 's/,{"type":"NEWNET","path":"[^"]*"}//' -e 's/{"type":"NEWNET","path":"[^"]*"},//' \
    "$state" >"$root/$id/state.json" &&
  nsenter --net="$network" %(runc)s --root "$root" "$@"
code=$?
rm -rf "$root"
exit $code
"""


def runc_script(run: Path, *, states: Path = STATES) -> str:
    """The program to use as runc; `run` holds what it shows of a container, for as long. MachineError without runc."""
    program = shutil.which("runc")
    if program is None:
        raise MachineError("runc is not installed", hint="apt-get install runc")
    paths = {"states": states, "run": run, "runc": program}
    return _SCRIPT % {name: shlex.quote(str(path)) for name, path in paths.items()}
