from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binderops.errors import RegistryError
from binderops.oci.references import Reference

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "registry", "repository", "tag", "digest"),
    [
        ("registry.ns.svc:5000/r2d-x:abc", "registry.ns.svc:5000", "r2d-x", "abc", ""),
        (f"registry.ns.svc:5000/a/b:t@{DIGEST}", "registry.ns.svc:5000", "a/b", "t", DIGEST),
        (f"localhost/binderops/notebook@{DIGEST}", "localhost", "binderops/notebook", "", DIGEST),
        ("localhost:5000/x/y", "localhost:5000", "x/y", "", ""),
        ("jupyterhub/jupyterhub", "docker.io", "jupyterhub/jupyterhub", "", ""),
        ("debian:12", "docker.io", "library/debian", "12", ""),
        ("[::1]:5000/a", "[::1]:5000", "a", "", ""),
    ],
)
def test_names(text: str, registry: str, repository: str, tag: str, digest: str) -> None:
    assert Reference.parse(text) == Reference(registry, repository, tag, digest)


@pytest.mark.parametrize(
    "text",
    ["", "A/b", "a//b", "a:", "a:-x", "a@", "a@sha256:12", "reg.x:5000/", "-h.x/a", "a b", "a/../b", "x.y/a:t\n", "é"],
)
def test_what_is_not_a_name_is_refused(text: str) -> None:
    with pytest.raises(RegistryError):
        Reference.parse(text)


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except RegistryError:
        return
    assert Reference.parse(str(reference)) == reference
