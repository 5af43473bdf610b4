"""What a repository may not get of its build pod: by links that the builder reads, and by mounts of RUN steps.

Three canaries stand in the pod's first environment: the git host's credential, the registry's, and one that nothing
guards, which shows that a probe works. A fourth lies on the machine: who breaks out of a step is still in the pod.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.build.conftest import GIT_PASSWORD, Guard
from tests.oci.docker_registry import OWN_PASSWORD, OWN_USER, DockerRegistry

from binderops.binder.builds.explain import explain_log

pytestmark = [pytest.mark.podman, pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(600)]

GIT, REGISTRY, OTHER = GIT_PASSWORD, "canary-of-the-registry", "canary-that-nothing-guards"
MACHINE = "canary-on-the-machine"
NO_LINK_CHECK: Guard = ("links.py", "    inside = ", "    return\n    inside = ")
NO_MOUNT_CHECK: Guard = ("runtime.py", "        check(configuration,", "        (lambda *_: None)(configuration,")
NO_HANDOVER: Guard = ("leaving.py", "    if not found:\n", "    if found or not found:\n")
OPEN_MEMORY: Guard = ("handover.py", "    with suppress(", "    return\n    with suppress(")


def environment(registry: str) -> dict[str, str]:
    login = {"registry": registry, "username": "build", "password": REGISTRY}
    return {
        "CONTAINER_ENGINE_REGISTRY_CREDENTIALS": json.dumps(login),
        "GIT_CREDENTIAL_ENV": rf"username=u\npassword={GIT}",
        "OF_THE_OPERATOR": OTHER,
    }


def found_in(text: str) -> set[str]:
    return {canary for canary in (GIT, REGISTRY, OTHER, MACHINE) if canary in text}


def test_a_link_that_leads_out_is_refused_and_nothing_is_told_of_what_it_leads_to(
    pods: Any, git_server: Any, registry: str
) -> None:
    # repo2docker says a runtime.txt whole that it does not understand.
    url, commit = git_server.add("link", {"index.ipynb": "{}"}, {"runtime.txt": "/proc/1/environ"})

    def built(*without: Guard) -> Any:
        return pods.build(url, commit, f"{registry}/r2d-link:1", environment=environment(registry), without=without)

    assert found_in(built(NO_LINK_CHECK, NO_HANDOVER).text) == {GIT, REGISTRY, OTHER}
    assert found_in(built(NO_LINK_CHECK).text) == {OTHER}
    guarded = built()
    assert found_in(guarded.text) == set()
    assert "runtime.txt leads out of the repository" in guarded.failure
    assert "commit the file itself" in guarded.failure
    assert explain_log([guarded.text]).id == "link"


# Put in runc's place: reads what the builder itself may read, and goes on as runc.
THIEF = """\
#!/usr/bin/python3
import glob, os, sys
def steal():
    canaries = [text[::-1] for text in ("GIT", "REGISTRY", "OTHER", "MACHINE")]
    found = set()
    def look(content):
        found.update(canary for canary in canaries if canary.encode() in content)
    for process in glob.glob("/proc/[0-9]*"):
        if process == "/proc/%d" % os.getpid():
            continue
        for path in (process + "/environ", process + "/cmdline", *glob.glob(process + "/fd/*")):
            try:
                if os.path.isfile(path):
                    look(open(path, "rb").read())
            except OSError:
                pass
        try:
            with open(process + "/maps") as maps, open(process + "/mem", "rb", 0) as memory:
                for line in maps:
                    start, end = (int(part, 16) for part in line.split()[0].split("-"))
                    try:
                        memory.seek(start)
                        look(memory.read(end - start))
                    except (OSError, OverflowError, ValueError):
                        pass
        except OSError:
            pass
    for where, folders, names in os.walk("/"):
        # The pod once more, where buildah mounted it for the step; and what is no file on a disk.
        folders[:] = [name for name in folders if name not in ("mnt", "proc", "sys", "usr", "opt", "base", "overlay")]
        for path in (os.path.join(where, name) for name in names):
            if not os.path.islink(path) and os.path.isfile(path) and os.path.getsize(path) < 1 << 20:
                look(open(path, "rb").read())
    with open("/found", "w") as file:
        file.write("THIEF FOUND " + " ".join(sorted(found)) + " END")
if "create" in sys.argv and not os.path.exists("/found"):
    steal()
os.execv("/usr/sbin/runc.real", ["runc", *sys.argv[1:]])
"""
# By a link of the repository, of an earlier stage, and by the name of a cache.
WAYS = {
    "context": "type=bind,source=root,target=/pod,rw",
    "stage": "type=bind,from=before,source=root-link,target=/pod,rw",
    "cache": "type=cache,id=../../../../..,target=/pod",
}


def breaking_out(way: str) -> dict[str, str]:
    thief = THIEF
    for name, canary in (("GIT", GIT), ("REGISTRY", REGISTRY), ("OTHER", OTHER), ("MACHINE", MACHINE)):
        thief = thief.replace(f'"{name}"', f'"{canary[::-1]}"')
    mount = f"--mount={WAYS[way]}"
    dockerfile = f"""\
FROM localhost/binderops/notebook AS before
USER root
RUN ln -s / /root-link
FROM localhost/binderops/notebook
USER root
COPY thief /thief
RUN {mount} ls -d /pod/var/lib/containers/storage && cp /pod/usr/sbin/runc /pod/usr/sbin/runc.real
RUN {mount} install -m 755 /thief /pod/usr/sbin/new && mv /pod/usr/sbin/new /pod/usr/sbin/runc
RUN true
RUN {mount} cat /pod/found
"""
    return {"Dockerfile": dockerfile, "thief": thief}


def test_who_breaks_out_of_a_step_finds_no_credential(pods: Any, git_server: Any, registry: str) -> None:
    url, commit = git_server.add("thief", breaking_out("context"), {"root": "/"})
    (pods.folder / "planted").write_text(MACHINE)

    def stolen(*without: Guard) -> set[str]:
        image = f"{registry}/r2d-thief:1"
        built = pods.build(url, commit, image, environment=environment(registry), without=[NO_MOUNT_CHECK, *without])
        assert "THIEF FOUND" in built.text, built.text
        return found_in(built.text.partition("THIEF FOUND")[2].partition("END")[0])

    assert stolen(NO_HANDOVER, OPEN_MEMORY) == {GIT, REGISTRY, OTHER}
    assert stolen(OPEN_MEMORY) == {REGISTRY, OTHER}
    assert stolen() == {OTHER}


@pytest.mark.parametrize("way", WAYS)
def test_a_mount_that_leads_out_is_refused(pods: Any, git_server: Any, registry: str, way: str) -> None:
    url, commit = git_server.add(f"mounts-{way}", breaking_out(way), {"root": "/"})

    def built(*without: Guard) -> Any:
        return pods.build(url, commit, f"{registry}/r2d-mounts:1", environment=environment(registry), without=without)

    assert f"THIEF FOUND {OTHER} END" in built(NO_MOUNT_CHECK).text
    guarded = built()
    assert "the mount at /pod is refused" in guarded.failure
    assert explain_log([guarded.text]).title == "What the Dockerfile mounts at /pod lies outside of its build"
    assert "/var/lib/containers/storage\n" not in guarded.text


ALLOWED = """\
FROM localhost/binderops/notebook AS before
USER root
RUN mkdir /made && echo of-a-stage > /made/file
FROM localhost/binderops/notebook
USER root
VOLUME /kept
RUN --mount=type=bind,source=data,target=/data cat /data/file
RUN --mount=type=bind,source=data/file,target=/one cat /one
RUN --mount=type=bind,source=inner,target=/inner,rw cat /inner/file && echo changed > /inner/file
RUN --mount=type=bind,from=before,source=/made,target=/made cat /made/file
RUN --mount=type=bind,from=localhost/binderops/notebook,source=/,target=/base ls -d /base/opt/notebook
RUN --mount=type=cache,target=/cache echo of-a-cache > /cache/file
RUN --mount=type=cache,target=/cache cat /cache/file
RUN --mount=type=cache,id=a/b,target=/cache echo named > /cache/file && cat /cache/file
RUN --mount=type=tmpfs,target=/scratch mount | grep /scratch && test -d /sys/class && getent hosts localhost
RUN echo of-a-volume > /kept/file && cat /kept/file
"""


def test_mounts_that_stay_inside_are_as_ever(pods: Any, git_server: Any, registry: str) -> None:
    files = {"Dockerfile": ALLOWED, "data/file": "of-the-context\n"}
    url, commit = git_server.add("mounts-inside", files, {"inner": "data"})
    built = pods.build(url, commit, f"{registry}/r2d-mounts-inside:1")
    assert built.code == 0, built.text
    said = {line.strip() for line in built.text.splitlines()}
    words = {"of-the-context", "of-a-stage", "of-a-cache", "named", "of-a-volume", "/base/opt/notebook"}
    assert words <= said, built.text


SHARED = """FROM localhost/binderops/notebook
USER root
RUN --mount=type=cache,id=shared,target=/cache echo "first: $(ls /cache)." && echo x > /cache/of-{name}
RUN --mount=type=cache,id=shared,target=/cache echo "then: $(ls /cache)."
"""


def test_another_repositorys_cache_is_not_there(pods: Any, git_server: Any, registry: str) -> None:
    """A cache of one name lasts from step to step, which share the pod's store: as builds would that shared one."""
    for name in ("one", "other"):
        url, commit = git_server.add(f"cache-{name}", {"Dockerfile": SHARED.replace("{name}", name)})
        built = pods.build(url, commit, f"{registry}/r2d-cache-{name}:1")
        assert built.code == 0, built.text
        said = [line.strip() for line in built.text.splitlines()]
        assert f"then: of-{name}." in said, built.text
        assert "first: ." in said, built.text


def test_a_base_in_the_builds_own_registry_is_read_with_its_credential_and_steps_have_none(
    pods: Any, git_server: Any, tmp_path: Path
) -> None:
    registry = DockerRegistry.with_password(tmp_path)
    registry.start()
    try:
        host = f"registry.tests.svc:{registry.running.host.rpartition(':')[2]}"
        login = json.dumps({"registry": host, "username": OWN_USER, "password": OWN_PASSWORD})
        known = {"CONTAINER_ENGINE_REGISTRY_CREDENTIALS": login}
        url, commit = git_server.add("own-base", {"Dockerfile": "FROM localhost/binderops/notebook\n"})
        made = pods.build(url, commit, f"{host}/base:1", environment=known)
        assert made.code == 0, made.text
        look = "RUN cat /proc/*/environ /proc/*/cmdline | tr '\\0' '\\n'; find / -xdev -name auth.json\n"
        url, commit = git_server.add("from-own", {"Dockerfile": f"FROM {host}/base:1\nUSER root\n{look}"})
        built = pods.build(url, commit, f"{host}/from-own:1", environment=known)
        assert built.code == 0, built.text
        assert OWN_PASSWORD not in built.text
        anonymous = pods.build(url, commit, f"{host}/from-own:2")
        assert "authentication required" in anonymous.failure
        wrong = {"CONTAINER_ENGINE_REGISTRY_CREDENTIALS": login.replace(OWN_PASSWORD, "wrong")}
        failure = pods.build(url, commit, f"{host}/from-own:2", environment=wrong).failure
        assert f"It failed at: FROM {host}/base:1" in failure
    finally:
        registry.stop()


def test_a_volume_whose_name_means_more_shows_nothing(pods: Any, git_server: Any, registry: str) -> None:
    # buildah lays the folder of a volume under an overlay, whose options are one text to the kernel.
    dockerfile = """\
FROM localhost/binderops/notebook
USER root
RUN mkdir -p /kept "/kept,lowerdir=/run"
VOLUME ["/kept,lowerdir=/run"]
RUN ls -d /kept*/run/binderops-b?ild
"""
    url, commit = git_server.add("volume", {"Dockerfile": dockerfile})
    unguarded = pods.build(url, commit, f"{registry}/r2d-volume:1", without=[NO_MOUNT_CHECK])
    assert "/kept,lowerdir=/run/binderops-build\n" in unguarded.text, unguarded.text
    guarded = pods.build(url, commit, f"{registry}/r2d-volume:1")
    assert "the volume at /kept,lowerdir=/run is refused" in guarded.failure
    assert "/kept,lowerdir=/run/binderops-build\n" not in guarded.text
