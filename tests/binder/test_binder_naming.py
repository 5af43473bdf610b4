"""Names: readable, and never shared by two repositories or two commits."""

from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binderops.binder.naming import build_name, image_name, user_name
from binderops.oci.references import is_repository, is_tag

PREFIX = "registry.ns.svc:5000/r2d-1-"
COMMIT = "50533eb470ee6c24e872043d30b2fee463d6943f"
TEXTS = st.text(min_size=1, max_size=300).filter(lambda text: text.isprintable())
REFS = st.from_regex(r"[0-9a-f]{12}|[0-9a-f]{40}", fullmatch=True) | TEXTS


def test_a_name_can_be_read_and_says_which_repository() -> None:
    image = image_name(PREFIX, "binder-examples-requirements", identity="gh:https://x/a/b", ref=COMMIT)
    digest = hashlib.sha256(b"gh:https://x/a/b").hexdigest()[:32]
    assert image == f"{PREFIX}binder-2dexamples-2drequirements-{digest}:{COMMIT}"
    name = hashlib.sha256(image.encode()).hexdigest()[:32]
    assert build_name("binder-examples-requirements", image) == f"build-binder-2dexamples-2drequ-{name}"


@given(TEXTS, TEXTS, REFS)
def test_every_name_is_one_that_kubernetes_and_registries_take(slug: str, identity: str, ref: str) -> None:
    image = image_name(PREFIX, slug, identity=identity, ref=ref)
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", build_name(slug, image))
    name, _, tag = image.partition("/")[2].rpartition(":")
    assert is_tag(tag)
    assert len(name) <= 255
    assert is_repository(name)


@given(st.tuples(TEXTS, REFS), st.tuples(TEXTS, REFS), st.sampled_from(["", "a-b-c", "A_b/c"]))
def test_what_differs_has_another_image_and_another_build(
    one: tuple[str, str], other: tuple[str, str], slug: str
) -> None:
    images = [image_name(PREFIX, slug, identity=identity, ref=ref) for identity, ref in (one, other)]
    assert (images[0] == images[1]) == (one == other)
    assert (build_name(slug, images[0]) == build_name(slug, images[1])) == (one == other)


@pytest.mark.parametrize("pair", [("a_b", "a-b"), ("A", "a"), ("_" + "0" * 32, "x/y"), ("v1.0", "V1.0")])
def test_refs_that_only_look_alike_are_kept_apart(pair: tuple[str, str]) -> None:
    assert len({image_name(PREFIX, "x", identity="x", ref=ref) for ref in pair}) == 2


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
