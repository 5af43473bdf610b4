from __future__ import annotations

import pytest

from binderops.oci.scopes import Scope
from binderops.oci.tokens import Grants

BUILD = Grants(pull=frozenset({"binderops/notebook", "local/hello"}), push=frozenset({"r2d-x-hello"}))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("repository:a/b:pull,push", Scope("a/b", frozenset({"pull", "push"}))),
        ("repository:a:*", Scope("a", frozenset({"*"}))),
        ("repository:a:", Scope("a", frozenset())),
        ("registry:catalog:*", None),
        ("repository:A:pull", None),
        ("repository:../x:pull", None),
        ("", None),
    ],
)
def test_scopes(text: str, expected: Scope | None) -> None:
    assert Scope.parse(text) == expected


@pytest.mark.parametrize(
    ("grants", "asked", "granted"),
    [
        (BUILD, "repository:r2d-x-hello:pull,push", "repository:r2d-x-hello:pull,push"),
        (BUILD, "repository:r2d-x-hello:*", None),
        (BUILD, "repository:r2d-x-hello:delete,push", "repository:r2d-x-hello:push"),
        (BUILD, "repository:binderops/notebook:pull,push", "repository:binderops/notebook:pull"),
        (BUILD, "repository:r2d-x-other:pull", None),
        (Grants(pull_anything=True), "repository:r2d-x-other:pull,push", "repository:r2d-x-other:pull"),
        (Grants(), "repository:a:pull", None),
    ],
)
def test_only_what_is_allowed_is_granted(grants: Grants, asked: str, granted: str | None) -> None:
    scope = Scope.parse(asked)
    assert scope is not None
    assert [str(each) for each in grants.allowed([scope])] == ([granted] if granted else [])


def test_a_credential_carries_grants_but_never_pull_anything() -> None:
    assert Grants.from_claims(BUILD.to_claims()) == BUILD
    assert not Grants.from_claims({**BUILD.to_claims(), "pull_anything": True}).pull_anything
