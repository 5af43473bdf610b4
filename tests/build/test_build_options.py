"""Options of repo2docker that an operator adds: what would be dropped in silence is refused in words."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from repo2docker.buildpacks import DockerBuildPack
from repo2docker.contentproviders.base import ContentProvider

from binderops.build.handover import Secrets
from binderops.build.main import _application, main
from binderops.build.uv_buildpack import UvBuildPack

# As the binder gives them (binder.builds.manifest).
BINDERS = (
    "--ref=abc", "--image=r.svc:5000/x:1", "--no-clean", "--no-run", "--json-logs", "--user-name=jovyan",
    "--user-id=1000", "--push",
)  # fmt: skip
URL = "https://example.org/a.git"


class OwnProvider(ContentProvider):  # type: ignore[misc]
    """An operator's own, for addresses that look like git's."""

    def detect(self, source: str, ref: str | None = None, extra_args: object = None) -> dict[str, str]:
        return {"claimed": source}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The program changes its environment; a configuration file is looked for in the current folder."""
    monkeypatch.setattr(os, "environ", os.environ.copy())
    monkeypatch.chdir(tmp_path)


def application(*options: str) -> Any:
    return _application([*BINDERS, *options, URL], Secrets())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--own"], ["argument --own", "repo2docker_extra_args"]),
        (["--own=yes"], ["--own", "no such option"]),
        (["--subdir"], ["the following arguments are required: repo"]),
        (["stray"], ["stray", "no option"]),
        (["--version"], ["cannot be taken"]),
        (["--env", "A=1"], ["you also need to run"]),
        (["--build-memory-limit=1G"], ["build engine"]),
        (["--Repo2Docker.user_id=many"], ["cannot be taken", "user_id"]),
        (["--Repo2Docker.user_id=1001"], ["Repo2Docker.user_id", "the binder says it"]),
        (["--engine=docker"], ["--engine", "the binder says it"]),
        (["--Repo2Docker.engine=docker"], ["Repo2Docker.engine", "the binder says it"]),
        (["--no-push"], ["--no-push"]),
        (["--no-build"], ["--no-build"]),
        (["--run"], ["--run"]),
        (["--cache-from=x"], ["--cache-from", "builds keep no layers"]),
        (["--Repo2Docker.platform=linux/arm64"], ["Repo2Docker.platform", "machines that build"]),
        (["--Repo2Docker.base_image=own"], ["Repo2Docker.base_image", "global.images.notebook"]),
        (["--Repo2Docker.extra_build_kwargs=cpu_quota=1"], ["KubernetesBuildExecutor.resources"]),
        (["--Repo2Docker.volumes=/a=/b"], ["cannot be taken"]),
        (["--Repo2Docker.nonsense=1"], ["Repo2Docker.nonsense", "no such option"]),
        (["--BuildahEngine.nonsense=1"], ["BuildahEngine.nonsense", "nothing of a build"]),
        (["--config=/nowhere.py"], ["--config=/nowhere.py", "no such file"]),
        (["--Repo2Docker.buildpacks=nowhere.Own"], ["Repo2Docker.buildpacks names nowhere.Own", "not there"]),
        (["--Repo2Docker.buildpacks=os.path"], ["Repo2Docker.buildpacks names os.path", "no class"]),
    ],
)  # fmt: skip
def test_what_nothing_would_obey_is_refused(
    options: list[str], words: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*BINDERS, *options, URL]) == 1
    written = capfd.readouterr()
    (line,) = (written.out + written.err).splitlines()
    told = json.loads(line)
    assert told["phase"] == "failed"
    assert [word for word in words if word not in told["message"]] == [], told["message"]


def test_a_broken_configuration_file_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "own.py").write_text("c.Repo2Docker.labels = {\n")
    assert main([*BINDERS, f"--config={tmp_path}/own.py", URL]) == 1
    assert "cannot be loaded" in json.loads(capfd.readouterr().out)["message"]


def test_nothing_said_is_ours() -> None:
    made = application()
    assert [made.content_providers[0].__name__, made.content_providers[-1].__name__] == ["LocalArtifact", "Git"]
    names = [each.__name__ for each in made.buildpacks]
    assert (names[0], names[-1]) == ("UvBuildPack", "Unclaimed")
    assert {"DockerBuildPack", "CondaBuildPack"} < set(names)


def test_a_configuration_file_chooses_and_its_order_stays(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from tests.build.test_build_options import OwnProvider\n"
        "from repo2docker.buildpacks import CondaBuildPack, DockerBuildPack\n"
        "c.Repo2Docker.content_providers = [OwnProvider, 'repo2docker.contentproviders.Git']\n"
        "c.Repo2Docker.buildpacks = [DockerBuildPack, CondaBuildPack]\n"
        "c.Repo2Docker.default_buildpack = 'binderops.build.uv_buildpack.UvBuildPack'\n"
        "c.Repo2Docker.labels = {'own': 'yes'}\n"
        "c.OwnProvider.anything = 1\n"
    )
    made = application(f"--config={tmp_path}/own.py")
    assert [each.__name__ for each in made.content_providers] == ["LocalArtifact", "OwnProvider", "Git"]
    assert made.content_providers[1]().detect(URL) == {"claimed": URL}
    assert made.buildpacks[0] is DockerBuildPack
    assert [each.__name__ for each in made.buildpacks] == ["DockerBuildPack", "CondaBuildPack"]
    assert made.default_buildpack is UvBuildPack
    assert made.labels == {"own": "yes"}


def test_names_on_the_command_line_are_imported() -> None:
    made = application("--Repo2Docker.buildpacks=repo2docker.buildpacks.DockerBuildPack")
    assert [each.__name__ for each in made.buildpacks] == ["DockerBuildPack", "Unclaimed"]
