"""What an action writes for an environment."""

from __future__ import annotations

from pathlib import Path

from ruamel.yaml import YAML

from binderops.delivery.workspace import write_layer


def test_a_generated_layer_is_its_owners_alone_since_an_index_may_have_a_password(tmp_path: Path) -> None:
    path = tmp_path / "environments" / "lab" / "generated.yaml"
    for index in ("https://me:hidden@index.example/simple", "https://other.example/simple"):
        write_layer(path, {"global": {"machine": {"packageIndex": {"pip": index}}}})
        assert path.stat().st_mode & 0o777 == 0o600
        assert YAML().load(path)["global"]["machine"]["packageIndex"]["pip"] == index
    assert [entry.name for entry in path.parent.iterdir()] == ["generated.yaml"]
