"""Build pods, whole: repositories in, images in a registry out, and what a hostile one gets to see."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.build.conftest import GIT_PASSWORD
from tests.disks import fill_but, small_disk

from binderops.binder.builds.explain import explain_log
from binderops.oci.manifests import OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST, Manifest, encode
from binderops.oci.registry import Registry

pytestmark = [pytest.mark.podman, pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(600)]

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def manifest_of(registry: str, name: str) -> dict[str, Any]:
    answer = httpx.get(f"http://{registry}/v2/{name}/manifests/1", headers={"Accept": OCI_MANIFEST})
    assert answer.status_code == 200
    return dict(answer.json())


def test_requirements(pods: Any, git_server: Any, registry: str) -> None:
    url, commit = git_server.add("hello", EXAMPLES / "hello")
    image = f"{registry}/r2d-hello:1"
    built = pods.build(url, commit, image)
    assert built.code == 0, built.text
    assert {"fetching", "building", "pushing"} <= {event.get("phase") for event in built.events}
    assert "Copying blob" not in built.text
    ran = pods.run(
        image, "sh", "-c", "id -un; pwd; ls; python -c 'import cowsay, jupyterlab; print(cowsay.__version__)'"
    )
    assert ran.stdout.split() == ["jovyan", "/home/jovyan", "hello.ipynb", "requirements.txt", "6.1"], ran.stderr


def test_nothing_of_the_machine_stays_in_an_image(pods: Any, git_server: Any, registry: str) -> None:
    url, commit = git_server.add("plain", EXAMPLES / "notebook-only")
    image = f"{registry}/r2d-plain:1"
    assert pods.build(url, commit, image).code == 0
    ran = pods.run(image, "sh", "-c", "env; find /run/machine -type f")
    assert ran.returncode == 0, ran.stderr
    variables = {line.partition("=")[0] for line in ran.stdout.splitlines()}
    assert "REPO_DIR" in variables
    assert not {"SSL_CERT_FILE", "PIP_CERT", "PIP_INDEX_URL"} & variables
    assert "ca.crt" not in ran.stdout
    config = manifest_of(registry, "r2d-plain")["config"]["digest"]
    text = httpx.get(f"http://{registry}/v2/r2d-plain/blobs/{config}").text
    assert "SSL_CERT_FILE" not in text


def test_layers_of_the_base_are_neither_compressed_nor_sent_again(pods: Any, git_server: Any, registry: str) -> None:
    layout = pods.state / "images/build-base/storage/oci-layout"
    index = json.loads((layout / "index.json").read_bytes())
    blob = layout / "blobs/sha256" / index["manifests"][0]["digest"].removeprefix("sha256:")
    base = [layer["digest"] for layer in json.loads(blob.read_bytes())["layers"]]
    url, commit = git_server.add("twice", {"a": "one"})
    assert pods.build(url, commit, f"{registry}/r2d-twice:1").code == 0
    assert [layer["digest"] for layer in manifest_of(registry, "r2d-twice")["layers"]][: len(base)] == base

    again = pods.build(url, commit, f"{registry}/r2d-twice:1")
    assert again.text.count("Layer already exists") == len([d for d in base if size_of(layout, d) >= 1_000_000])
    mounted = pods.build(
        url, commit, f"{registry}/r2d-mounted:1", environment={"BASE_REPOSITORY": f"{registry}/r2d-twice"}
    )
    assert "Mounted from the base" in mounted.text
    assert "Pushing (" not in mounted.text


def test_a_first_build_sends_no_byte_of_a_base_that_was_seeded(pods: Any, git_server: Any, registry: str) -> None:
    base = f"{registry}/binderops/notebook"
    seeded = pods.seed(f"{base}:1")
    assert seeded.returncode == 0, seeded.stdout + seeded.stderr
    assert "sent" not in pods.seed(f"{base}:1").stdout
    layers = manifest_of(registry, "binderops/notebook")["layers"]

    url, commit = git_server.add("first", {"a": "one"})
    built = pods.build(url, commit, f"{registry}/r2d-first:1", environment={"BASE_REPOSITORY": base})
    assert built.code == 0, built.text
    assert manifest_of(registry, "r2d-first")["layers"][: len(layers)] == layers
    assert built.text.count("Mounted from the base") == len([each for each in layers if each["size"] >= 1_000_000])
    assert "Pushing (" not in built.text


def size_of(layout: Path, digest: str) -> int:
    return (layout / "blobs/sha256" / digest.removeprefix("sha256:")).stat().st_size


def test_conflicting_pins_get_a_kernel_of_their_own(pods: Any, git_server: Any, registry: str) -> None:
    url, commit = git_server.add("own-kernel", EXAMPLES / "own-kernel")
    image = f"{registry}/r2d-own-kernel:1"
    built = pods.build(url, commit, image)
    assert built.code == 0, built.text
    assert "an environment of their own" in built.text
    script = (
        "python -c 'import jupyter_client; print(jupyter_client.__version__)'; command -v jupyter-lab;"
        " jupyter nbconvert --to notebook --execute --stdout index.ipynb | grep -o '7[.]4[.]9'"
    )
    assert pods.run(image, "sh", "-c", script).stdout.split() == ["7.4.9", "/opt/notebook/bin/jupyter-lab", "7.4.9"]


def test_every_environment_file(pods: Any, git_server: Any, registry: str) -> None:
    files = {
        "binder/apt.txt": "figlet # a small one\n",
        "binder/requirements.txt": "cowsay==6.1\n",
        "binder/postBuild": "#!/bin/sh\nset -e\nfiglet hi > /home/jovyan/figure\npip --version > pip\n",
        "binder/start": '#!/bin/sh\nexport FROM_START=yes\nexec "$@"\n',
        "requirements.txt": "this is not looked at",
    }
    url, commit = git_server.add("every", files)
    image = f"{registry}/r2d-every:1"
    built = pods.build(url, commit, image, "--appendix", "LABEL appended=yes")
    assert built.code == 0, built.text
    ran = pods.run(image, "sh", "-c", "echo $FROM_START; test -s figure && echo figure; cut -d' ' -f1 pip; id -u")
    assert ran.stdout.split() == ["yes", "figure", "pip", "1000"], ran.stderr
    inspected = json.loads(pods.podman("image", "inspect", image).stdout)[0]["Labels"]
    assert inspected["appended"] == "yes"
    assert inspected["repo2docker.ref"] == commit


def test_options_that_an_operator_adds_show_in_the_image(pods: Any, git_server: Any, registry: str) -> None:
    files = {"part/requirements.txt": "cowsay==6.1", "part/inside.txt": "", "requirements.txt": "not looked at"}
    url, commit = git_server.add("options", files)
    appendix = "ARG OPERATOR\nLABEL operator=$OPERATOR"
    options = (
        "--label=own=a label", "--build-arg=OPERATOR=one argument", "--appendix", appendix, "--subdir=part",
        "--target-repo-dir=/srv/own", "--Repo2Docker.labels=traits=taken",
    )  # fmt: skip
    image = f"{registry}/r2d-options:1"
    built = pods.build(url, commit, image, *options)
    assert built.code == 0, built.text
    ran = pods.run(image, "sh", "-c", "pwd; ls; python -c 'import cowsay; print(cowsay.__version__)'")
    assert ran.stdout.split() == ["/srv/own", "inside.txt", "requirements.txt", "6.1"], ran.stderr
    labels = json.loads(pods.podman("image", "inspect", image).stdout)[0]["Labels"]
    assert {name: labels.get(name) for name in ("own", "operator", "traits")} == {
        "own": "a label",
        "operator": "one argument",
        "traits": "taken",
    }
    refused = pods.build(url, commit, f"{registry}/r2d-options:2", "--own=yes").failure
    assert "the option --own of repo2docker would change nothing" in refused


def test_buildpacks_are_the_operators_where_it_names_them(pods: Any, git_server: Any, registry: str) -> None:
    url, commit = git_server.add("buildpacks", {"requirements.txt": "", "index.ipynb": "{}"})
    image, only = f"{registry}/r2d-buildpacks:1", "--Repo2Docker.buildpacks=repo2docker.buildpacks.DockerBuildPack"
    assert "no buildpack of repo2docker takes" in pods.build(url, commit, image, only).failure
    default = "--Repo2Docker.default_buildpack=binderops.build.uv_buildpack.UvBuildPack"
    built = pods.build(url, commit, image, only, default)
    assert built.code == 0, built.text


def test_a_dockerfile_sees_the_machines_index_but_keeps_nothing(pods: Any, git_server: Any, registry: str) -> None:
    steps = ("FROM localhost/binderops/notebook", "RUN pip install --no-cache-dir cowsay==6.1", "RUN env > /tmp/env")
    url, commit = git_server.add("dockerfile", {"Dockerfile": "\n".join(steps)})
    image = f"{registry}/r2d-dockerfile:1"
    built = pods.build(url, commit, image)
    assert built.code == 0, built.text
    assert "DockerBuildPack" in built.text
    ran = pods.run(image, "sh", "-c", "cat /tmp/env; echo ---; env")
    during, after = ran.stdout.split("---")
    assert ("SSL_CERT_FILE=/run/machine/ca.crt" in during) is bool(pods.authorities)
    assert "SSL_CERT_FILE" not in after


@pytest.mark.parametrize(
    ("name", "files", "reason"),
    [
        ("missing", {"requirements.txt": "no-such-package-of-binderops"}, "was not found in the package registry"),
        ("version", {"requirements.txt": "cowsay==99.1"}, "there is no version of cowsay==99.1"),
        ("script", {"postBuild": "#!/bin/sh\necho broken on purpose >&2\nexit 3\n"}, "broken on purpose"),
        ("syntax", {"Dockerfile": "FRO localhost/x\n"}, "FRO"),
        ("apt", {"apt.txt": "no_such;package\n"}, "is not the name of a Debian package"),
    ],
)  # fmt: skip
def test_the_last_line_says_why(
    pods: Any, git_server: Any, registry: str, name: str, files: dict[str, str], reason: str
) -> None:
    url, commit = git_server.add(f"broken-{name}", files)
    built = pods.build(url, commit, f"{registry}/r2d-broken-{name}:1")
    assert reason in built.failure
    assert "Traceback" not in built.text
    assert httpx.get(f"http://{registry}/v2/r2d-broken-{name}/manifests/1").status_code == 404


def test_a_private_repository_is_fetched_with_its_credential(pods: Any, git_server: Any, registry: str) -> None:
    url, commit = git_server.add("private", {"index.ipynb": "{}"})
    image = f"{registry}/r2d-private:1"
    assert "Failed to clone repository" in pods.build(url, commit, image).failure
    wrong = pods.build(url, commit, image, environment={"GIT_CREDENTIAL_ENV": r"username=u\npassword=wrong"})
    assert "Failed to clone repository" in wrong.failure
    known = {"GIT_CREDENTIAL_ENV": rf"username=u\npassword={GIT_PASSWORD}"}
    built = pods.build(url, commit, image, environment=known)
    assert built.code == 0, built.text
    assert GIT_PASSWORD not in built.text


def test_a_missing_commit_is_named(pods: Any, git_server: Any, registry: str) -> None:
    url, _ = git_server.add("ref", {"a": "b"})
    assert "0" * 40 in pods.build(url, "0" * 40, f"{registry}/r2d-ref:1").failure
    assert "no-such-repository" in pods.build(f"{url}-no-such-repository.git", "HEAD", f"{registry}/r2d-ref:1").failure


HOSTILE = r"""FROM localhost/binderops/notebook
USER root
RUN cat /proc/1/cmdline | tr '\0' ' ' > /seen-init; ls /proc | grep -c '^[0-9]' > /seen-processes
RUN ls -d /base /var/lib/containers/storage /run/binderops-build > /seen-paths 2>&1 || true
RUN mount -t tmpfs x /mnt > /seen-mount 2>&1 && echo mounted >> /seen-mount || true
RUN cat /proc/self/uid_map > /seen-map; (cat /proc/*/environ || true) 2>/dev/null | tr '\0' '\n' > /seen-environ
RUN ln -s / /root-link
RUN --mount=type=bind,from=localhost/binderops/notebook,source=/,target=/b,rw ls /b > /seen-bind; touch /b/planted
USER jovyan
"""


def test_a_hostile_dockerfile_sees_only_its_own_container(pods: Any, git_server: Any, registry: str) -> None:
    url, commit = git_server.add("hostile", {"Dockerfile": HOSTILE})
    image = f"{registry}/r2d-hostile:1"
    credential = json.dumps({"registry": registry, "username": "build", "password": "canary-of-the-registry"})
    built = pods.build(url, commit, image, environment={"CONTAINER_ENGINE_REGISTRY_CREDENTIALS": credential})
    assert built.code == 0, built.text
    ran = pods.podman("run", "--rm", "--network=none", "--tls-verify=false", "--user=0", image,
        "sh", "-c", "for f in /seen-*; do echo \"== $f\"; cat $f; done")  # fmt: skip
    seen = {part.partition("\n")[0]: part.partition("\n")[2] for part in ran.stdout.split("== ")[1:]}
    assert "canary" not in ran.stdout
    assert int(seen["/seen-processes"]) < 6
    assert "200000" in seen["/seen-map"]
    assert seen["/seen-paths"].count("No such file") == 3
    assert "mounted" not in seen["/seen-mount"]
    assert not list((pods.state / "images/build-base/storage/overlay").glob("*/diff/planted"))


@pytest.fixture
def artifact(registry: str) -> str:
    """Uploaded content, as the binder stores it."""

    async def upload() -> str:
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as archive:
            entry = tarfile.TarInfo("notes/uploaded.txt")
            entry.size = 5
            archive.addfile(entry, io.BytesIO(b"hello"))
        async with Registry(registry, insecure=True) as opened:
            layer = await opened.push_blob("local/demo", gzip.compress(content.getvalue()), OCI_LAYER_GZIP)
            config = await opened.push_blob("local/demo", b"{}", OCI_CONFIG)
            document = {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": config.to_json(),
                "layers": [layer.to_json()],
            }
            await opened.put_manifest("local/demo", "abc", Manifest(OCI_MANIFEST, encode(document)))
        return f"{registry}/local/demo:abc"

    return asyncio.run(upload())


def test_uploaded_content(pods: Any, registry: str, artifact: str) -> None:
    image = f"{registry}/r2d-local:1"
    built = pods.build("local:demo", "abc", image, environment={"REPO_ARTIFACT": artifact})
    assert built.code == 0, built.text
    assert "Picked LocalArtifact content provider" in built.text
    assert pods.run(image, "cat", "/home/jovyan/notes/uploaded.txt").stdout == "hello"
    gone = pods.build("local:demo", "abc", image, environment={"REPO_ARTIFACT": artifact + "d"})
    assert "the uploaded content is gone" in gone.failure


def test_a_registry_that_refuses_is_named(pods: Any, git_server: Any) -> None:
    url, commit = git_server.add("nowhere", {"a": "b"})
    failure = pods.build(url, commit, "127.0.0.1:9/r2d-nowhere:1").failure
    assert "The image could not be pushed" in failure
    assert "127.0.0.1:9" in failure


def test_a_full_disk_is_named_and_the_same_build_goes_on_once_there_is_room(
    pods: Any, git_server: Any, registry: str, tmp_path: Path
) -> None:
    fat = {"postBuild": "#!/bin/sh\ndd if=/dev/zero of=$HOME/fat bs=1M count=48\n", "index.ipynb": "{}"}
    url, commit = git_server.add("fat", fat)
    image = f"{registry}/r2d-fat:1"
    with small_disk(tmp_path, 256 << 20) as disk:
        fill_but(disk / "others", 24 << 20)
        built = pods.build(url, commit, image, place=disk)
        assert built.code != 0
        explained = explain_log([built.text])
        assert explained.id == "disk-full", built.text
        assert httpx.get(f"http://{registry}/v2/r2d-fat/tags/list").status_code == 404, "nothing half was pushed"
        (disk / "others").unlink()
        built = pods.build(url, commit, image, place=disk)
        assert built.code == 0, built.text
    assert httpx.get(f"http://{registry}/v2/r2d-fat/tags/list").json()["tags"] == ["1"]
