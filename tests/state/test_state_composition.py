"""Digests: what changes them, what does not, and that no key is needed to tell them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from binderops.errors import SecretsError
from binderops.secrets.values import Secret
from binderops.state.deployment import Deployment, load_deployment
from binderops.state.project import load_project

REPOSITORY = Path(__file__).parents[2]
LOCK = "global: {images: {platform: {name: localhost/x, tag: 'sha256:%s'}}}\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of this repository's deployment."""
    for part in ("mybinder", "charts", "config", "secret", "examples"):
        shutil.copytree(REPOSITORY / part, tmp_path / part)
    for name in ("binderops.yaml", ".sops.yaml"):
        shutil.copy(REPOSITORY / name, tmp_path / name)
    return tmp_path


def load(root: Path, name: str, *generated: str, opened: bool = False) -> Deployment:
    paths = []
    for number, text in enumerate(generated):
        paths.append(root / f"generated-{number}.yaml")
        paths[-1].write_text(text)
    return load_deployment(root, load_project(root), name, generated=paths, opened=opened)


def digests(root: Path, name: str = "staging", *generated: str) -> tuple[str, str]:
    found = load(root, name, *(generated or (LOCK % ("a" * 64),)))
    return found.digest, found.common


def test_staging_and_prod_have_a_common_part_and_states_of_their_own(root: Path) -> None:
    staging, prod = digests(root, "staging"), digests(root, "prod")
    assert staging[1] == prod[1]
    assert staging[0] != prod[0]


def test_this_repositorys_environments_differ_in_few_leaves(root: Path) -> None:
    from binderops.state.values import leaves

    for name in ("staging", "prod"):
        clear = next(found for found in load(root, name).layers.documents if found.name == f"config/{name}.yaml")
        assert 0 < len(list(leaves(clear.values))) <= 15


def append(root: Path, path: str, text: str) -> None:
    with (root / path).open("a") as file:
        file.write(text)


@pytest.mark.parametrize(
    ("path", "text", "whole", "common"),
    [
        ("mybinder/values.yaml", "more: 1\n", True, True),
        ("mybinder/templates/x.yaml", "a: b\n", True, True),
        ("charts/nginx-ingress/values.yaml", "\nmore: 1\n", True, True),
        ("config/staging.yaml", "more: 1\n", True, False),
        ("config/staging.yaml", "# a comment\n", False, False),
        ("config/prod.yaml", "more: 1\n", False, False),
        ("README.md", "text", False, False),
        ("mybinder/charts/stale-0.1.0.tgz", "text", False, False),
    ],
)
def test_what_a_change_of_a_file_changes(root: Path, path: str, text: str, whole: bool, common: bool) -> None:
    before = digests(root)
    append(root, path, text)
    after = digests(root)
    assert (before[0] != after[0], before[1] != after[1]) == (whole, common)


def test_images_are_common_and_what_a_machine_says_is_not(root: Path) -> None:
    lock, other = LOCK % ("a" * 64), LOCK % ("b" * 64)
    first = digests(root, "staging", lock, "global: {machine: {caCertificates: here}}\n")
    elsewhere = digests(root, "staging", lock, "global: {machine: {caCertificates: there}}\n")
    assert first[1] == elsewhere[1] and first[0] != elsewhere[0]
    assert digests(root, "staging", other)[1] != first[1]
    assert digests(root, "prod", other)[1] == digests(root, "staging", other)[1]


def test_the_same_files_give_the_same_digests_elsewhere_and_with_a_key(root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    copy.mkdir()
    for part in ("mybinder", "charts", "config", "secret", "examples"):
        shutil.copytree(root / part, copy / part)
    for name in ("binderops.yaml", ".sops.yaml"):
        shutil.copy(root / name, copy / name)
    closed, opened = load(root, "staging"), load(copy, "staging", opened=True)
    assert (closed.digest, closed.common) == (opened.digest, opened.common)


def test_a_sealed_value_counts_and_its_metadata_does_not(root: Path) -> None:
    before = digests(root)
    path = root / "secret/config/staging.yaml"
    text = path.read_text()
    path.write_text(text.replace("version: 3.11.0", "version: 3.10.2"))
    assert digests(root) == before
    path.write_text(text.replace("data:", "data:AAAA", 1))
    after = digests(root)
    assert after[0] != before[0] and after[1] == before[1]


def test_opened_values_stay_closed_until_helm(root: Path) -> None:
    deployment = load(root, "staging", opened=True)
    token = deployment.computed["binderhub"]["localToken"]
    assert token.startswith("<secret ")
    opened = deployment.main.values_for_helm()["binderhub"]["localToken"]
    assert len(opened) >= 32 and opened not in repr(deployment) + str(deployment.values)
    assert deployment.main.concealed(f"line 3: token {opened}") == f"line 3: token {Secret(opened)}"
    names = {(found["kind"], found["metadata"]["name"]) for found in deployment.objects}
    assert ("Secret", "binder-local") in names


def test_a_template_that_quotes_a_secret_does_not_show_it(root: Path) -> None:
    (root / "mybinder/templates/bad.yaml").write_text('{{ fail (printf "bad: %s" .Values.binderhub.localToken) }}\n')
    deployment = load(root, "staging", opened=True)
    opened = deployment.main.values_for_helm()["binderhub"]["localToken"]
    with pytest.raises(Exception, match="does not render") as caught:
        _ = deployment.objects
    assert opened not in str(caught.value)
    assert "<secret " in str(caught.value)


def test_a_plain_file_where_sealed_ones_belong_is_refused(root: Path) -> None:
    (root / "secret/config/staging.yaml").write_text("binderhub: {localToken: in clear}\n")
    with pytest.raises(SecretsError, match="is not sealed"):
        load(root, "staging")


def test_releases_that_come_before_count_as_well(root: Path) -> None:
    before = digests(root)
    for name, content in {
        "charts/first/Chart.yaml": "apiVersion: v2\nname: first\nversion: 1.0.0\n",
        "charts/first/templates/a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
        "data: {t: {{ .Values.t }}}\n",
        "config/first.yaml": "t: from its layer\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    text = (root / "binderops.yaml").read_text()
    first = "    before: [{release: first, chart: charts/first, namespace: first, layers: [config/first*.yaml]}]\n"
    (root / "binderops.yaml").write_text(text.replace("    promotesTo: [prod]\n", f"    promotesTo: [prod]\n{first}"))
    deployment = load(root, "staging")
    assert [found.release for found in deployment.before] == ["first"]
    assert digests(root)[0] != before[0] and digests(root)[1] == before[1]
    assert [found["data"] for found in deployment.before[0].objects] == [{"t": "from its layer"}]
