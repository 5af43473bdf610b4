"""What the hub remembers of users that are gone is bounded, in each of JupyterHub's own caches."""

from __future__ import annotations

import importlib.util
import inspect
from types import ModuleType

import pytest
from jupyterhub import orm

from binderops.hub.scope_caches import ENTRIES, keep_small

USERS = 3 * ENTRIES


@pytest.fixture
def scopes() -> ModuleType:
    """`jupyterhub.scopes` anew: its caches are empty, and as large as upstream has them."""
    spec = importlib.util.find_spec("jupyterhub.scopes")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def launches(scopes: ModuleType) -> dict[str, int]:
    """What each cache holds after so many users of a launch each."""
    for number in range(USERS):
        user = orm.User(name=f"user-{number}")
        expanded = scopes.expand_scopes({"self"}, owner=user)
        assert f"access:servers!user=user-{number}" in expanded
        scopes.parse_scopes(expanded)
        scopes._expand_scope(f"read:users!user=user-{number}")
    held = {"_expand_scope": scopes._expand_scope.cache_info().currsize}
    for name in ("expand_scopes", "reduce_scopes", "parse_scopes", "unparse_scopes"):
        held[name] = len(inspect.getclosurevars(getattr(scopes, name)).nonlocals["cache"]._cache)
    return held


def test_users_that_are_gone_are_forgotten(scopes: ModuleType) -> None:
    bounded = keep_small(scopes)
    held = launches(scopes)
    assert set(held) <= set(bounded)
    assert all(entries <= ENTRIES for entries in held.values()), held


def test_without_it_each_user_is_remembered(scopes: ModuleType) -> None:
    held = launches(scopes)
    assert all(entries >= USERS for entries in held.values()), held


def test_every_cache_by_name_or_owner_is_bounded(scopes: ModuleType) -> None:
    """A new JupyterHub with another kind of cache is to be noticed here."""
    cached = {name for name, function in vars(scopes).items() if hasattr(function, "__wrapped__")}
    small = {
        name for name in cached if getattr(scopes, name).__dict__.get("cache_parameters", dict)().get("maxsize") == 128
    }
    assert cached - small == set(keep_small(scopes))
