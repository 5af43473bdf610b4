"""The build pod's program: repo2docker's arguments in, its JSON log lines out, an exit code of 0 or 1.

The last line of a failed build has the phase `failed` and says why in the words of what failed: an installer's own
last lines, git's, the registry's. No traceback is shown for what a repository can cause.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from repo2docker.app import Repo2Docker
from repo2docker.contentproviders import Git
from repo2docker.contentproviders.base import ContentProviderException
from repo2docker.engine import ContainerEngineException
from repo2docker.utils import R2dState

from binderops.authorities import trust_added_authorities
from binderops.build.artifact import LocalArtifact
from binderops.build.configuration import git_environment
from binderops.build.handover import Secrets, close_memory
from binderops.build.links import refuse_links_that_lead_out
from binderops.build.options import chosen, parse
from binderops.build.places import PodPlaces
from binderops.build.providers import careful
from binderops.build.pushing import Login
from binderops.build.stock import Unclaimed, probing
from binderops.build.uv_buildpack import UvBuildPack
from binderops.errors import BinderOpsError

Fetch = Callable[[str, str, str], None]


def main(argv: Sequence[str]) -> int:
    """Build as the arguments say; returns the exit code."""
    secrets = Secrets.taken(os.environ)
    trust_added_authorities(os.environ, PodPlaces().authorities)
    os.environ.update(git_environment(secrets.git, argv[-1] if argv else ""))
    try:
        application = _application(argv, secrets)
    except BinderOpsError as error:
        print(json.dumps({"message": f"{error}\n", "phase": "failed"}), flush=True)  # noqa: T201
        return 1
    return _run(application)


def _application(argv: Sequence[str], secrets: Secrets) -> Repo2Docker:
    application, said = parse(argv)
    # The engine is given the application and nothing else (`BuildahEngine`).
    application.login = Login.from_json(secrets.registry)
    application.fetch = partial(_fetch, application, application.fetch, secrets)
    local = LocalArtifact.known_as(application.login)
    own = chosen(application)
    stock = application.trait_defaults("buildpacks")
    if own.content_providers is None:
        application.content_providers = [local, *map(careful, application.content_providers)]
    else:
        # An operator's own may claim any address, also one that looks like git's.
        listed = [careful(each) if each is Git else each for each in own.content_providers]
        application.content_providers = [local, *listed]
    if own.buildpacks is None:
        application.buildpacks = [UvBuildPack, *map(probing, application.buildpacks)]
    else:
        application.buildpacks = [probing(each) if each in stock else each for each in own.buildpacks]
    if own.default_buildpack is None:
        application.buildpacks = [*application.buildpacks, Unclaimed]
    else:
        application.default_buildpack = own.default_buildpack
    application.initialize()
    if said:
        application.log.info(said, extra={"phase": R2dState.BUILDING})
    return application


def _fetch(application: Repo2Docker, fetch: Fetch, secrets: Secrets, url: str, ref: str, checkout: str) -> None:
    """As repo2docker fetches; then nothing of what was fetched is read before the secrets are out of reach."""
    fetch(url, ref, checkout)
    secrets.forget_git()
    close_memory()
    refuse_links_that_lead_out(Path(checkout), Path(checkout) / application.subdir)


def _run(application: Repo2Docker) -> int:
    try:
        application.start()
    except (ContainerEngineException, ContentProviderException, BinderOpsError, ValueError, RuntimeError) as error:
        return _failed(application, str(error))
    except subprocess.CalledProcessError as error:
        return _failed(application, f"{error.cmd[0]} failed with exit code {error.returncode}.")
    except SystemExit as error:
        # repo2docker has said why, but not with the phase that ends a stream.
        return _failed(application, "The build ended early.") if error.code else 0
    except Exception as error:
        application.log.info("".join(traceback.format_exception(error)), extra={"phase": R2dState.BUILDING})
        return _failed(application, f"The builder itself failed: {type(error).__name__}: {error}")
    finally:
        application.close_handlers()
    return 0


def _failed(application: Repo2Docker, message: str) -> int:
    sys.stdout.flush()
    application.log.error(f"{message.rstrip()}\n", extra={"phase": R2dState.FAILED})
    return 1
