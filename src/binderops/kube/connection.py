"""The configured HTTP session to one Kubernetes API: kubeconfig or service account, TLS, tokens; and its errors.

lightkube reads the configuration and authenticates (client certificates, tokens, token files read again when they
rotate, exec plugins). Requests are made here and not by its client, which decodes objects into classes and drops what
we need: the Status of an error, the answer to a deletion, bookmarks.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import httpx2
import msgspec
import yaml
from lightkube.config.client_adapter import ConnectionParams
from lightkube.config.kubeconfig import KubeConfig, SingleConfig
from lightkube.core.exceptions import ConfigError

from binderops.errors import (
    AlreadyExistsError,
    ConflictError,
    ForbiddenError,
    GoneError,
    InvalidError,
    KubernetesError,
    NotFoundError,
)

CONNECT_SECONDS = 10.0
_BY_CODE: Mapping[int, type[KubernetesError]] = {
    400: InvalidError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    410: GoneError,
    422: InvalidError,
}


def load_kubeconfig(source: Path | Mapping[str, Any], context: str | None) -> SingleConfig:
    """One context of a kubeconfig, a file or its content. KubernetesError if it is not usable."""
    where = str(source) if isinstance(source, Path) else "a kubeconfig"
    try:
        config = (KubeConfig.from_file(source) if isinstance(source, Path) else KubeConfig.from_dict(dict(source))).get(
            context
        )
    except (
        ConfigError,
        KeyError,
        TypeError,
        AttributeError,
        OSError,
        msgspec.ValidationError,
        yaml.YAMLError,
    ) as error:
        raise KubernetesError("the kubeconfig cannot be used", reason="Config", where=where, why=str(error)) from error
    if config is None or config.user is None:
        raise KubernetesError("the kubeconfig names no user", reason="Config", where=where)
    return config


def load_service_account() -> SingleConfig:
    """What a pod finds mounted. KubernetesError outside a pod."""
    try:
        config = KubeConfig.from_service_account().get()
    except (ConfigError, KeyError) as error:
        raise KubernetesError(
            "there is no service account mounted here", reason="Config", why=str(error), hint="run inside a pod"
        ) from error
    assert config is not None
    return config


def open_session(config: SingleConfig) -> httpx2.AsyncClient:
    """A session for the configuration. The environment's proxies are ignored: an API is on this machine or ours."""
    parameters = ConnectionParams(timeout=httpx2.Timeout(CONNECT_SECONDS), trust_env=False)
    try:
        arguments = parameters.httpx_params(config)
    except (ConfigError, OSError, ValueError) as error:
        raise KubernetesError(
            "the kubeconfig's certificates cannot be used", reason="Config", why=str(error)
        ) from error
    # Each watch holds a connection for as long as it lasts, so the pool must not be what limits them.
    # Idle ones are kept for a while: in a burst, a TLS handshake for each request would cost more than the requests.
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=32, keepalive_expiry=30)
    return httpx2.AsyncClient(**arguments, limits=limits, follow_redirects=False)


def certificate_authority(config: SingleConfig) -> str:
    """The PEM text of the configuration's CA, "" if it names none."""
    if config.cluster.certificate_auth_data:
        return base64.b64decode(config.cluster.certificate_auth_data).decode("ascii")
    if config.cluster.certificate_auth:
        return Path(config.abs_file(config.cluster.certificate_auth)).read_text(encoding="ascii")
    return ""


def raise_status(status: Mapping[str, Any], *, code: int, where: str) -> NoReturn:
    """Raise the error that a Status (of an answer, or of a watch's ERROR event) stands for."""
    code = int(status.get("code") or code)
    reason = str(status.get("reason") or "")
    kind = _BY_CODE.get(code, KubernetesError)
    if code == 409 and reason == "AlreadyExists":
        kind = AlreadyExistsError
    message = str(status.get("message") or f"the API answered {code}")
    raise kind(message, code=code, reason=reason, status=dict(status), where=where)


def raise_answer(code: int, content: bytes, *, where: str) -> NoReturn:
    """Raise the error for an answer that is not 2xx; a body that is no Status is quoted, shortened."""
    try:
        body = msgspec.json.decode(content)
    except msgspec.DecodeError:
        body = None
    if not isinstance(body, dict) or body.get("kind") != "Status":
        body = {"message": f"the API answered {code}: {content[:300].decode(errors='replace').strip()}"}
    raise_status(body, code=code, where=where)


def unreachable(error: Exception, *, where: str) -> KubernetesError:
    """The error for an API that could not be reached, or broke off."""
    return KubernetesError(
        "the Kubernetes API cannot be reached",
        reason="Unreachable",
        where=where,
        why=f"{type(error).__name__}: {error}".rstrip(": "),
    )


def late(seconds: float, *, where: str) -> KubernetesError:
    """The error for an API that did not answer within the deadline."""
    return KubernetesError(
        "the Kubernetes API did not answer in time", reason="Timeout", where=where, why=f"waited {seconds:g} s"
    )
