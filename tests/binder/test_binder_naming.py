"""Names, with the vectors that upstream gave when it was run."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binderops.binder.naming import build_name, image_name, user_name
from binderops.oci.references import is_repository, is_tag

A = "a" * 40
COMMIT = "50533eb470ee6c24e872043d30b2fee463d6943f"
REVISION = "7daa381aae8409bfe28193e2ed8f767c26371237"
VECTORS = [
    (
        "binder-examples-requirements",
        COMMIT,
        "",
        f"binder-2dexamples-2drequirements-55ab5c:{COMMIT}",
        "build-binder-2dexamples-2drequirements-55ab5c-505-2c",
    ),
    (
        "Foo_Bar-repo.git_",
        "abc123",
        "gcr.io/p/r2d-",
        "gcr.io/p/r2d-foo-5fbar-2drepo-2egit-5f-3978d2:abc123",
        "build-foo-5fbar-2drepo-2egit-5f-3978d2-abc-6c",
    ),
    (
        "https://github.com/a/b.git",
        A,
        "localhost:5000/x/",
        f"localhost:5000/x/https-3a-2f-2fgithub-2ecom-2fa-2fb-2egit-6784ef:{A}",
        "build-https-3a-2f-2fgithub-2ecom-2fa-2fb-2egit-6784ef-aaa-e3",
    ),
    (
        "gitlab_-org-gitlab_-foss",
        "b" * 40,
        "r2d_A-",
        f"r2d-a-gitlab-5f-2dorg-2dgitlab-5f-2dfoss-a53a80:{'b' * 40}",
        "build-gitlab-5f-2dorg-2dgitlab-5f-2dfoss-a53a80-bbb-e2",
    ),
    ("zenodo-3242074", "3242074", "", "zenodo-2d3242074-b993d2:3242074", "build-zenodo-2d3242074-b993d2-324-ea"),
    (
        "dataverse-dvn-2ftjclkp",
        "3035124.v3.0",
        "",
        "dataverse-2ddvn-2d2ftjclkp-a1371f:3035124.v3.0",
        "build-dataverse-2ddvn-2d2ftjclkp-a1371f-303-21",
    ),
    (
        "ckan-my-sample-dataset-001",
        "my-sample-dataset-001.v1712023831",
        "",
        "ckan-2dmy-2dsample-2ddataset-2d001-5226f9:my-sample-dataset-001.v1712023831",
        "build-ckan-2dmy-2dsample-2ddataset-2d001-5226f9-my--31",
    ),
    (
        "8a658f7f63b13768d1e75fa2464f5092",
        REVISION,
        "",
        f"8a658f7f63b13768d1e75fa2464f5092-ae58b0:{REVISION}",
        "build-8a658f7f63b13768d1e75fa2464f5092-ae58b0-7da-c7",
    ),
    ("Rick-Morty (Fake)", "1a2b3c4d5e6f", "", "rick-2dmorty-a104b7:1a2b3c4d5e6f", None),
]


@pytest.mark.parametrize(("slug", "ref", "prefix", "image", "build"), VECTORS)
def test_vectors(slug: str, ref: str, prefix: str, image: str, build: str | None) -> None:
    assert build is None or build_name(slug, ref) == build
    if slug != "Rick-Morty (Fake)":  # its vector is of a provider that escapes its slug first
        assert image_name(prefix, slug, ref) == image


@given(st.text(min_size=1, max_size=300), st.from_regex(r"[0-9a-f]{40}", fullmatch=True))
def test_every_slug_gives_names_that_kubernetes_and_registries_take(slug: str, ref: str) -> None:
    try:
        slug.encode()
    except UnicodeEncodeError:
        return
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", build_name(slug, ref))
    name, _, tag = image_name("registry.ns.svc:5000/r2d-x-", slug, ref).partition("/")[2].rpartition(":")
    assert is_tag(tag)
    assert len(name) <= 255
    # The formula is upstream's: where an escape ends in a dash beside the hash, the name is still a repository's.
    assert is_repository(name)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://github.com/Binder-Examples/Requirements.git", r"binder-examples-requirements-[a-z0-9]{8}"),
        ("https://github.com/" + "a" * 20 + "/" + "b" * 20, rf"{'a' * 15}-{'b' * 15}-[a-z0-9]{{8}}"),
        ("local:hello", r"hello-[a-z0-9]{8}"),
    ],
)
def test_user_names(url: str, expected: str) -> None:
    name = user_name(url)
    assert re.fullmatch(expected, name)
    assert len(name) <= 40
    assert user_name(url) != name
