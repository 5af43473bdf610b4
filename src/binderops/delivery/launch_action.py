"""`launch`: a folder, a git URL or a spec, through the public name, as a user would."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote, urlencode, urljoin

from binderops.delivery.certificates_trust import trust_of
from binderops.delivery.launching import Launched, launch
from binderops.delivery.progress import Progress, running
from binderops.delivery.proving import launch_folder, local_token
from binderops.delivery.results import LaunchResult
from binderops.delivery.workspace import Workspace
from binderops.errors import BinderOpsError, UsageError

_SPEC = re.compile(r"^[a-z]{2,12}/.+/.+$")
_URL = re.compile(r"^(https?|git|ssh)://|^[\w.-]+@[\w.-]+:")


async def launch_anything(workspace: Workspace, what: str, *, ref: str, progress: Progress) -> LaunchResult:
    """Launches and follows the log; the result's `url` opens the server (with its token, as on the launch page)."""
    deployment = workspace.deployment()
    with running(progress, "launch") as step:

        def told(phase: str, text: str) -> None:
            step.say(f"{phase}: {text}" if phase else text)

        folder = Path(what)
        launched: Launched
        if what.strip() and folder.is_dir():  # Path("") is the current folder
            launched = await launch_folder(deployment, workspace.target.access(), folder=folder, on_event=told)
        else:
            spec = spec_of(what, ref)
            launched = await launch(
                deployment.public.url,
                spec,
                on_event=told,
                timeout=deployment.environment.timeout,
                authorization=await _operator(workspace),
                trust=await trust_of(deployment, workspace.target.access()),
            )
        step.summary = f"{launched.result.spec} in {launched.result.seconds:.1f} s"
    opened = urljoin(launched.server_url, "lab") + "?" + urlencode({"token": launched.token})
    return launched.result.model_copy(update={"url": opened})


async def _operator(workspace: Workspace) -> str | None:
    """The release's token where this user may read it: visitors are limited to some launches an hour."""
    try:
        return f"token {await local_token(workspace.deployment(), workspace.target.access())}"
    except (BinderOpsError, OSError):
        return None


def spec_of(what: str, ref: str) -> str:
    """The binder's spec for a git URL or a spec; raises UsageError for anything else."""
    if _URL.match(what):
        github = re.fullmatch(r"https://github\.com/([^/]+)/([^/]+?)(?:\.git)?/?", what)
        if github:
            return f"gh/{github[1]}/{github[2]}/{quote(ref, safe='')}"
        return f"git/{quote(what, safe='')}/{quote(ref, safe='')}"
    if _SPEC.match(what):
        return what
    raise UsageError(
        f"{what!r} is neither a folder nor a repository",
        hint="name a folder, a git URL (https://…), or a spec such as gh/USER/REPO/REF",
    )
