"""The Dockerfile that the uv buildpack writes: from the notebook base, one step for each environment file."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from binderops.build.uv_files import EnvironmentFiles

USER_NAME, USER_ID = "jovyan", 1000
# uv's cache lies outside the image, in this repository's own cache folder.
_CACHE = f"--mount=type=cache,id=uv,target=/tmp/uv-cache,uid={USER_ID},gid={USER_ID},mode=0755"
# Where the requirements of a plain environment lie while they are installed, and stay.
_APART = "/usr/share/binderops/environment"
_APT = """\
RUN if [ -r /run/machine/apt.conf ]; then export APT_CONFIG=/run/machine/apt.conf; fi; \\
    apt-get update -qq \\
    && DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends {packages} \\
    && apt-get clean && rm -rf /var/lib/apt/lists/*"""


@dataclass(frozen=True)
class Recipe:
    """What a Dockerfile is made of."""

    base: str
    files: EnvironmentFiles
    target: str = f"/home/{USER_NAME}"
    labels: Mapping[str, str] = field(default_factory=dict)
    appendix: str = ""

    def render(self) -> str:
        """Return the Dockerfile's text."""
        return "\n".join([*self._instructions(), ""])

    def _instructions(self) -> Iterator[str]:
        yield f"FROM {self.base}"
        yield "USER root"
        if packages := self.files.debian_packages():
            yield _APT.format(packages=shlex.join(packages))
        is_plain = self.files.is_plain()
        if is_plain:
            yield from self._install_apart()
        if self.target != f"/home/{USER_NAME}":
            yield f"RUN install -o {USER_ID} -g {USER_ID} -d {shlex.quote(self.target)}"
        yield f"ENV REPO_DIR={json.dumps(self.target)}"
        yield f"WORKDIR {self.target}"
        yield f"COPY --chown={USER_ID}:{USER_ID} {json.dumps(['./', self.target + '/'])}"
        yield f"USER {USER_NAME}"
        if not is_plain:
            yield from self._install()
        if script := self.files.path("postBuild"):
            yield f"RUN chmod +x {shlex.quote(script)} && {shlex.quote('./' + script)}"
        if script := self.files.path("start"):
            yield f"RUN chmod +x {shlex.quote(script)}"
            yield f"ENTRYPOINT {json.dumps(['/usr/bin/tini', '-g', '--', f'{self.target}/{script}'])}"
        for name, value in sorted(self.labels.items()):
            yield f"LABEL {json.dumps(name)}={_quoted(value)}"
        if self.appendix:
            yield self.appendix

    def _install_apart(self) -> Iterator[str]:
        """Before the content is there: it has no part in a plain environment, not even by settings of its own."""
        if requirements := self.files.path("requirements.txt"):
            yield f"COPY {json.dumps([requirements, f'{_APART}/{requirements}'])}"
            yield f"WORKDIR {_APART}"
            yield f"USER {USER_NAME}"
            yield from self._install()
            yield "USER root"

    def _install(self) -> Iterator[str]:
        requirements = self.files.path("requirements.txt")
        arguments = [*(["-r", requirements] if requirements else []), *(["."] if self.files.is_package() else [])]
        if arguments:
            yield f"RUN {_CACHE} UV_CACHE_DIR=/tmp/uv-cache install-requirements {shlex.join(arguments)}"


def _quoted(value: str) -> str:
    # A Dockerfile expands $ in labels: a branch may be named so.
    return json.dumps(value, ensure_ascii=False).replace("$", "\\$")
