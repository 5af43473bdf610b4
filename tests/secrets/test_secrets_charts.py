"""What is generated reaches the Secrets that the charts would else make up themselves."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from binderops.cli.wiring import open_project
from binderops.state.deployment import load_deployment


@pytest.mark.parametrize("environment", ["staging", "prod"])
def test_generated_values_arrive(both: Any, as_person: Callable[..., None], environment: str) -> None:
    as_person("ana", "ben")
    root, project = open_project(both.root)
    deployment = load_deployment(root, project, environment)
    given = deployment.main.values_for_helm()["binderhub"]
    secrets = {
        one["metadata"]["name"]: {key: base64.b64decode(value).decode() for key, value in one.get("data", {}).items()}
        for one in deployment.objects
        if one["kind"] == "Secret"
    }
    hub = given["jupyterhub"]["hub"]
    assert secrets["hub"]["hub.config.ConfigurableHTTPProxy.auth_token"] == given["jupyterhub"]["proxy"]["secretToken"]
    assert secrets["hub"]["hub.config.JupyterHub.cookie_secret"] == hub["cookieSecret"]
    assert secrets["hub"]["hub.config.CryptKeeper.keys"] == hub["config"]["CryptKeeper"]["keys"][0]
    assert secrets["hub"]["hub.services.binder.apiToken"] == hub["services"]["binder"]["apiToken"]
    assert secrets["binder-local"]["token"] == given["localToken"]
    assert secrets["registry-token"]["tls.key"] == given["registryServer"]["tokenSigning"]["key"]
    assert secrets["registry-token"]["tls.crt"] == given["registryServer"]["tokenSigning"]["certificate"]
    (login,) = json.loads(secrets["registry-pull"][".dockerconfigjson"])["auths"].values()
    assert base64.b64decode(login["auth"]).decode() == f"pull:{given['registryServer']['pullPassword']}"
    assert given["config"]["BinderHub"]["build_token_secret"] in secrets["binder-secret"]["values.yaml"]


def test_two_renders_with_given_secrets_are_alike(both: Any, as_person: Callable[..., None]) -> None:
    as_person("ana")
    root, project = open_project(both.root)
    first, second = (load_deployment(root, project, "staging").objects for _ in range(2))
    assert first == second, "nothing is made up by the chart any more"
