"""Options of repo2docker that an operator adds: each does what it does there, or is refused in words.

repo2docker itself drops some in silence: a configuration file that is not there, options of classes that it does not
know. Others would be dropped here, where buildah builds in a pod, from the notebook base.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

from repo2docker.__main__ import get_argparser, make_r2d
from repo2docker.app import Repo2Docker
from traitlets.utils.importstring import import_item

from binderops.errors import BuildError

ENGINE = "buildah"
_KEY = "config.KubernetesBuildExecutor.repo2docker_extra_args"
_ASK = f"this service's operator can change {_KEY}"

_BINDERS = "the binder says it of each build"
_RUNS = "a build runs no server: what servers are given is jupyterhub.singleuser"
_CACHES = "builds keep no layers of one another; those of the notebook base are there already"
# Traits, and the flags of the command line that set them, which nothing would obey.
_WITHOUT_EFFECT = {
    **dict.fromkeys(("repo", "ref", "output_image_spec", "json_logs", "user_id", "user_name"), _BINDERS),
    **dict.fromkeys(("engine", "push", "run", "dry_run", "cleanup_checkout"), _BINDERS),
    **dict.fromkeys(("volumes", "ports", "all_ports", "environment", "run_cmd", "extra_run_kwargs"), _RUNS),
    "base_image": "images start from global.images.notebook, and config.BuildExecutor.appendix adds to them",
    "build_memory_limit": "what a build may use is config.KubernetesBuildExecutor.resources",
    "cache_from": _CACHES,
    "extra_build_kwargs": "what a build may use is config.KubernetesBuildExecutor.resources",
    "platform": "images are built for the machines that build them",
}
# What traitlets says of a word with two dashes and a value that it does not know, and goes on.
_UNKNOWN = re.compile(r"Unrecognized alias: '(.+?)'")


@dataclass(frozen=True)
class Chosen:
    """What replaces repo2docker's lists, as the operator wrote it; None where nothing was said."""

    content_providers: list[type] | None
    buildpacks: list[type] | None
    default_buildpack: type | None


def parse(argv: Sequence[str]) -> tuple[Repo2Docker, str]:
    """Return repo2docker with its options, and what it said of them. Raises BuildError for what would be dropped."""
    said = io.StringIO()
    try:
        # What is printed here is no line of the build's log, which is JSON.
        with redirect_stdout(said), redirect_stderr(said):
            given, _ = get_argparser().parse_known_args(list(argv))
            application = make_r2d(["--engine", ENGINE, *argv])
    except SystemExit as error:
        why = said.getvalue().strip().rpartition("\n")[2]
        raise _refused("the options of repo2docker cannot be taken", why) from error
    except ValueError as error:
        raise _refused("the options of repo2docker cannot be taken", str(error)) from error
    dropped = [(f"--{name}", "repo2docker has no such option") for name in _UNKNOWN.findall(said.getvalue())]
    for option, why in (*dropped, *_flags(application, given, argv), *_traits(application)):
        raise _refused(f"the option {option} of repo2docker would change nothing", why)
    return application, said.getvalue()


def chosen(application: Repo2Docker) -> Chosen:
    """Return the classes that options name, imported. Raises BuildError where one cannot be."""
    default = _named(application, "default_buildpack")
    return Chosen(
        _named(application, "content_providers"), _named(application, "buildpacks"), default[0] if default else None
    )


def _flags(application: Repo2Docker, given: Any, argv: Sequence[str]) -> Iterator[tuple[str, str]]:
    if application.engine != ENGINE:
        yield "--engine", _BINDERS
    if given.repo != argv[-1] or given.cmd:
        yield given.repo, "this is no option, and no value of one"
    if given.config != get_argparser().get_default("config") and not application.loaded_config_files:
        yield f"--config={given.config}", "there is no such file in the build's image, or it cannot be loaded"
    for flag, is_given, why in (
        ("--no-build", application.dry_run, _BINDERS),
        ("--no-push", not application.push, _BINDERS),
        ("--run", application.run, _BINDERS),
        ("--volume", given.volumes, _RUNS),
        ("--editable", given.editable, _RUNS),
        ("--cache-from", given.cache_from, _CACHES),
    ):
        if is_given:
            yield flag, why


def _traits(application: Repo2Docker) -> Iterator[tuple[str, str]]:
    """Options `Class.trait=value`, of the command line and of a configuration file."""
    own = {kind.__name__ for listed in vars(chosen(application)).values() for kind in _mro(listed)}
    known = {kind.__name__ for kind in _mro(Repo2Docker)}
    traits = Repo2Docker.class_traits(config=True)
    for section, options in application.config.items():
        for name in options:
            if section in known and name not in traits:
                yield f"{section}.{name}", "repo2docker has no such option"
            elif section in known and name in _WITHOUT_EFFECT:
                yield f"{section}.{name}", _WITHOUT_EFFECT[name]
            elif section not in known | own:
                yield f"{section}.{name}", "nothing of a build is configured by that name"


def _mro(listed: list[type] | type | None) -> list[type]:
    return [kind for each in (listed if isinstance(listed, list) else [listed]) if each for kind in each.mro()]


def _named(application: Repo2Docker, trait: str) -> list[type] | None:
    if trait not in application.config.Repo2Docker:
        return None
    value = getattr(application, trait)
    return [_imported(each, trait) for each in (value if isinstance(value, list) else [value])]


def _imported(value: object, trait: str) -> type:
    """A class: a configuration file may hold it, the command line its name."""
    try:
        found = import_item(value) if isinstance(value, str) else value
    except (ImportError, ValueError) as error:
        raise _refused(f"Repo2Docker.{trait} names {value}, which is not there", str(error)) from error
    if not isinstance(found, type):
        raise _refused(f"Repo2Docker.{trait} names {value}", "it is no class")
    return found


def _refused(what: str, why: str) -> BuildError:
    return BuildError(what, where=_KEY, why=why, hint=_ASK)
