"""The pod made ready: buildah's configuration, what RUN steps are given, which providers and buildpacks are asked."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
from repo2docker.app import Repo2Docker
from repo2docker.buildpacks import BuildPack, CondaBuildPack, DockerBuildPack
from repo2docker.contentproviders import Git
from repo2docker.contentproviders.base import ContentProvider

from binderops.build import providers, runtime, stock
from binderops.build.configuration import base_reference, configure, git_environment
from binderops.build.handover import Secrets
from binderops.build.machine import prepare_runtime, run_step_environment
from binderops.build.places import PodPlaces
from binderops.build.processes import stream_lines
from binderops.build.pushing import Login, base_repository_of, is_plain_http
from binderops.build.uv_buildpack import UvBuildPack
from binderops.errors import BuildError

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.fixture
def places(tmp_path: Path) -> PodPlaces:
    return PodPlaces(containers=tmp_path / "containers", base=tmp_path / "base", run=tmp_path / "run")


def test_configuration_is_well_formed_and_private(places: PodPlaces) -> None:
    (places.base / "overlay-images").mkdir(parents=True)
    variables = configure(places, {})
    storage = tomllib.loads(Path(variables["CONTAINERS_STORAGE_CONF"]).read_text())["storage"]
    assert storage["options"]["additionalimagestores"] == [str(places.base)]
    assert tomllib.loads(Path(variables["CONTAINERS_CONF"]).read_text())["engine"]["runtime"] == str(
        places.run / "runtime"
    )
    registries = tomllib.loads(Path(variables["CONTAINERS_REGISTRIES_CONF"]).read_text())
    assert registries["registry"] == [{"prefix": "*.svc", "insecure": True}]
    assert not [name for name in variables if "AUTH" in name], "RUN steps are a part of what these are for"


def test_without_a_base_store_none_is_named(places: PodPlaces) -> None:
    variables = configure(places, {})
    storage = tomllib.loads(Path(variables["CONTAINERS_STORAGE_CONF"]).read_text())["storage"]
    assert storage["options"]["additionalimagestores"] == []


def test_the_base_is_named_as_its_store_names_it(places: PodPlaces) -> None:
    pinned = f"localhost/binderops/notebook@sha256:{'ab' * 32}"
    assert base_reference(places, pinned) == pinned
    (places.base / "overlay-images").mkdir(parents=True)
    assert base_reference(places, pinned) == "localhost/binderops/notebook:abababababab"
    assert base_reference(places, "quay.io/x/notebook:1") == "quay.io/x/notebook:1"


def test_run_steps_get_the_machines_settings_and_nothing_else(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.crt"
    bundle.write_text("PEM")
    pod = {
        "PIP_INDEX_URL": "https://i/",
        "SSL_CERT_FILE": str(bundle),
        "CONTAINER_ENGINE_REGISTRY_CREDENTIALS": "canary",
        "GIT_CREDENTIAL_ENV": "canary",
        "REPO_ARTIFACT": "canary",
    }
    given = run_step_environment(pod)
    assert given["PIP_INDEX_URL"] == "https://i/"
    assert given["SSL_CERT_FILE"] == given["PIP_CERT"] == "/run/machine/ca.crt"
    assert "canary" not in json.dumps(given)


def test_a_plain_machine_gives_nothing_but_has_its_mounts_looked_at(places: PodPlaces) -> None:
    places.run.mkdir(parents=True)
    assert prepare_runtime(places, {"SSL_CERT_FILE": "/missing"}) == str(places.run / "runtime")
    configuration: dict[str, Any] = {"process": {"env": ["A=b"]}}
    runtime.add_to(configuration, json.loads(places.runtime_settings.read_text()))
    assert configuration == {"process": {"env": ["A=b"]}}


def test_the_wrapper_changes_what_is_created_and_becomes_runc(places: PodPlaces, tmp_path: Path) -> None:
    places.run.mkdir(parents=True)
    wrapper = prepare_runtime(places, {"PIP_INDEX_URL": "https://i/", "DEBIAN_MIRROR": "http://m/debian"})
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "runc").write_text('#!/bin/sh\necho "runc $@"\n')
    (tools / "runc").chmod(0o755)
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "config.json").write_text(json.dumps({"process": {"env": ["PIP_INDEX_URL=own", "A=b"]}, "mounts": []}))
    environment = {"PATH": f"{tools}:/usr/bin:/bin"}

    def call(*arguments: str) -> str:
        ran = subprocess.run(
            [wrapper, *arguments], env=environment, capture_output=True, text=True, timeout=20, check=True
        )
        return ran.stdout.strip()

    before = (bundle / "config.json").read_text()
    assert call("state", "x") == "runc state x"
    assert (bundle / "config.json").read_text() == before
    assert call("create", "--bundle", str(bundle), "x") == f"runc create --bundle {bundle} x"
    changed = json.loads((bundle / "config.json").read_text())
    assert changed["process"]["env"] == ["PIP_INDEX_URL=own", "A=b"]
    assert changed["mounts"][0]["destination"] == "/run/machine"
    assert "deb http://m/debian bookworm main" in (places.machine / "sources.list").read_text()


def test_an_images_own_variables_win() -> None:
    configuration: dict[str, Any] = {"process": {"env": ["PIP_INDEX_URL=theirs"]}}
    runtime.add_to(configuration, {"env": {"PIP_INDEX_URL": "ours", "X": "1"}, "source": "/s", "target": "/t"})
    assert configuration["process"]["env"] == ["PIP_INDEX_URL=theirs", "X=1"]
    assert configuration["mounts"][0]["options"][:2] == ["bind", "ro"]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("protocol=https\nhost=git.example", True),
        ("protocol=https\nhost=git.example:8443", False),
        ("protocol=http\nhost=git.example", False),
        # What a submodule, an .lfsconfig or a redirect may name.
        ("protocol=https\nhost=evil.example", False),
        ("protocol=https\nhost=git.example.evil.example", False),
    ],
)
def test_git_gets_credentials_from_memory_and_only_for_the_repositorys_host(asked: str, told: bool) -> None:
    environment = {"GIT_CREDENTIAL_ENV": r"username=u\npassword=%canary"}
    secrets = Secrets.taken(environment)
    assert environment == {}
    variables = {
        **git_environment(secrets.git, "https://me@git.example/a/b.git"),
        "PATH": "/usr/bin:/bin",
        "HOME": "/nonexistent",
    }
    filled = subprocess.run(
        ["git", "credential", "fill"], input=f"{asked}\n\n", env=variables,
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert ("username=u\npassword=%canary\n" in filled.stdout) == told
    assert "canary" not in filled.stdout or told
    secrets.forget_git()
    assert secrets.git is None
    assert "credential" not in json.dumps(git_environment(secrets.git, "https://git.example/a"))


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("file:///proc/self/cwd", "transport 'file' not allowed"),
        ("ext::sh -c touch% {taken}", "transport 'ext' not allowed"),
        ("ssh://-oProxyCommand=touch/x", "transport 'ssh' not allowed"),
        ("--upload-pack=touch {taken}", "No url found for submodule path"),
    ],
)
def test_submodules_that_name_no_server_are_refused(tmp_path: Path, url: str, complaint: str) -> None:
    updated = _updated_submodule(tmp_path, url)
    assert updated.returncode != 0
    assert complaint in updated.stderr
    assert not (tmp_path / "taken").exists()


def test_where_git_may_it_reads_the_files_and_starts_the_programs_that_submodules_name(tmp_path: Path) -> None:
    read = _updated_submodule(tmp_path, "file:///proc/self/cwd", GIT_ALLOW_PROTOCOL="file")
    assert read.returncode == 0, read.stderr
    assert (tmp_path / "repository/a/.gitmodules").exists()
    (tmp_path / "other").mkdir()
    _updated_submodule(tmp_path / "other", "ext::sh -c touch% {taken}", GIT_ALLOW_PROTOCOL="ext")
    assert (tmp_path / "other/taken").exists()


def _updated_submodule(place: Path, url: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A repository that is its own submodule by its first commit, as the URL says, updated as repo2docker does."""
    from tests.git.git_server import git

    folder = place / "repository"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    url = url.format(taken=place / "taken")
    (folder / ".gitmodules").write_text(f'[submodule "a"]\n\tpath = a\n\turl = {url}\n')
    git(folder, "add", ".gitmodules")
    git(folder, "commit", "-qm", "a commit")
    git(folder, "update-index", "--add", "--cacheinfo", f"160000,{git(folder, 'rev-parse', 'HEAD')},a")
    git(folder, "commit", "-qm", "a submodule")
    environment = {**git_environment(), "PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "LC_ALL": "C", **variables}
    return subprocess.run(
        ["git", "submodule", "update", "--init", "--recursive"], cwd=folder, env=environment,
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("host", "plain"),
    [
        ("registry.ns.svc:5000", True),
        ("127.0.0.1:5000", True),
        ("localhost", True),
        ("quay.io", False),
        ("svc.io:5000", False),
    ],
)
def test_only_services_speak_plain_http(host: str, plain: bool) -> None:
    assert is_plain_http(host) is plain


def test_a_credential_goes_only_to_its_registry() -> None:
    document = {"registry": "r.svc:5000", "username": "build", "password": "canary"}
    login = Login.from_json(json.dumps(document))
    assert login.for_host("r.svc:5000").password == "canary"
    assert login.for_host("other.svc:5000").password == ""
    with pytest.raises(BuildError, match="not a JSON object"):
        Login.from_json("[1")


def test_the_base_is_mounted_only_within_one_registry() -> None:
    environment = {"BASE_REPOSITORY": "r.svc:5000/binderops/notebook"}
    assert base_repository_of(environment, "r.svc:5000") == "binderops/notebook"
    assert base_repository_of(environment, "quay.io") == ""
    assert base_repository_of({}, "") == ""


class _Asks(ContentProvider):  # type: ignore[misc]
    """A provider that goes wrong as those that fetch lists of hosts do."""

    def detect(self, source: str, ref: str | None = None, extra_args: object = None) -> dict[str, str]:
        if source == "raise":
            raise ConnectionError("no route")
        if source == "hang":
            time.sleep(60)
        return {"claimed": source}


def test_providers_do_not_ask_about_git_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "_DETECT_SECONDS", 0.2)
    provider = providers.careful(_Asks)()
    assert provider.detect("https://git.example/a.git") is None
    assert provider.detect("https://github.com/a/b") is None
    assert provider.detect("raise") is None
    assert provider.detect("hang") is None
    assert provider.detect("10.5281/zenodo.1") == {"claimed": "10.5281/zenodo.1"}
    assert providers.careful(Git).__name__ == "Git"


def test_a_stock_buildpack_names_what_is_out_of_reach(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[str] = []

    def answers(url: str) -> bool:
        asked.append(url)
        return "docker.io" in url

    monkeypatch.setattr(stock, "_answers", answers)
    buildpack = stock.probing(CondaBuildPack)
    assert buildpack.__name__ == "CondaBuildPack"
    (tmp_path / "environment.yml").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BuildError, match=r"environment\.yml is not supported here") as refused:
        buildpack(base_image="buildpack-deps:24.04").render({})
    assert "conda.anaconda.org" in str(refused.value)
    assert "registry-1.docker.io" not in str(refused.value)
    assert len(asked) == 2
    assert stock.probing(DockerBuildPack) is DockerBuildPack
    assert issubclass(buildpack, BuildPack)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"runtime.txt": "r-4.1\n", "install.R": ""}, ["install.R is not supported here", "Dockerfile"]),
        ({"runtime.txt": "r-4.1"}, ["runtime.txt (r-4.1)", "R or Julia version alone", "Dockerfile"]),
        ({"runtime.txt": "r-4.1-2022-01-01"}, ["runtime.txt (r-4.1-2022-01-01)", "RBuildPack", "packagemanager.posit"]),
        ({"DESCRIPTION": "Package: x"}, ["DESCRIPTION", "RBuildPack"]),
        ({"Project.toml": ""}, ["Project.toml", "JuliaProjectTomlBuildPack", "julialang", "Dockerfile"]),
        ({"REQUIRE": ""}, ["REQUIRE", "JuliaRequireBuildPack"]),
        ({"runtime.txt": "julia-1.6"}, ["runtime.txt (julia-1.6)"]),
        ({"runtime.txt": "python-2.7"}, ["runtime.txt (python-2.7)", f"has Python {HERE}", f"write python-{HERE}"]),
        ({"binder/environment.yml": ""}, ["binder/environment.yml", "conda.anaconda.org", "requirements.txt"]),
        ({"pyproject.toml": '[project]\nrequires-python="<3"\n[build-system]\n', "setup.py": ""}, ["requires-python"]),
    ],
)  # fmt: skip
def test_what_is_refused_names_the_file_and_what_to_do(
    files: dict[str, str], words: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As repo2docker picks and renders, with every server out of reach."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stock, "_answers", lambda url: False)
    listed: list[Any] = [UvBuildPack, *map(stock.probing, Repo2Docker().buildpacks), stock.Unclaimed]
    picked = next(found for found in (kind(base_image="buildpack-deps:24.04") for kind in listed) if found.detect())
    with pytest.raises(BuildError) as refused:
        picked.render({})
    said = str(refused.value)
    assert [word for word in words if word not in said] == [], said


def test_output_is_streamed_and_progress_bars_folded() -> None:
    script = r"printf 'one\n 10%%\r 99%%\rdone\nlast'"
    assert list(stream_lines(["sh", "-c", script], environment={})) == ["one\n", "done\n", "last\n"]


def test_an_error_is_an_error() -> None:
    lines = stream_lines(["sh", "-c", "echo x; exit 3"], environment={})
    assert next(lines) == "x\n"
    with pytest.raises(subprocess.CalledProcessError):
        next(lines)


def test_a_silent_program_is_stopped() -> None:
    started = time.monotonic()
    with pytest.raises(BuildError, match="said nothing"):
        list(stream_lines([sys.executable, "-c", "import time; time.sleep(60)"], environment={}, silence_seconds=0.3))
    assert time.monotonic() - started < 10


def test_a_flood_of_lines_waits_for_its_reader() -> None:
    lines = stream_lines(["timeout", "1.5", "yes"], environment={})
    first = next(lines)
    time.sleep(1.6)  # the program's own time: a reader that took all of it would hold millions of lines by now
    with pytest.raises(subprocess.CalledProcessError):
        for rest, line in enumerate(lines):
            assert line == first
            assert rest < 100_000
