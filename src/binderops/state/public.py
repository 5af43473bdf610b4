"""Where people reach an environment: the part of its values that the tool itself must know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.alias_generators import to_camel

from binderops.state.values import get_path

# Ports that browsers never ask for pages: "bad port" in the Fetch standard (https://fetch.spec.whatwg.org/#port-blocking).
BLOCKED_PORTS = frozenset((
    1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109, 110,
    111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530, 531, 532,
    540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061,
    6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
))  # fmt: skip


_BASE_URL = "binderhub.config.BinderHub.base_url"


class PublicSettings(BaseModel):
    """`global.domain`, `global.publicPort`, `global.publicTlsPort`, and the path below which the binder is."""

    model_config = ConfigDict(extra="ignore", alias_generator=to_camel, populate_by_name=True)

    domain: str = Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    public_port: int = Field(default=80, ge=1, le=65535)
    public_tls_port: int = Field(default=0, ge=0, le=65535)
    base_url: str = Field(default="/", pattern=r"^[A-Za-z0-9._~/-]*$")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> PublicSettings:
        """As a release's values say; pydantic's ValidationError where they are wrong (`key_of` tells which key)."""
        base = get_path(values, _BASE_URL)
        return cls.model_validate((values.get("global") or {}) | {"baseUrl": "/" if base is None else base})

    @staticmethod
    def key_of(name: str) -> tuple[str, ...]:
        """Where one of these settings stands in the values; `name` as in an error's place."""
        return tuple(_BASE_URL.split(".")) if name == "baseUrl" else ("global", name)

    @field_validator("public_port", "public_tls_port")
    @classmethod
    def _browsers_go_there(cls, port: int) -> int:
        if port in BLOCKED_PORTS:
            raise ValueError(f"browsers refuse to open pages at port {port} (the Fetch standard blocks it)")
        return port

    @field_validator("base_url")
    @classmethod
    def _as_the_binder_takes_it(cls, path: str) -> str:
        return f"/{path.strip('/')}/" if path.strip("/") else "/"

    @property
    def url(self) -> str:
        """The binder's own address, with a slash at its end."""
        if self.public_tls_port:
            return f"https://{self.domain}{_port(self.public_tls_port, usual=443)}{self.base_url}"
        return f"http://{self.domain}{_port(self.public_port, usual=80)}{self.base_url}"

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports that the machine must have free."""
        return tuple(port for port in (self.public_port, self.public_tls_port) if port)


def _port(port: int, *, usual: int) -> str:
    return "" if port == usual else f":{port}"
