"""Where people reach an environment: the part of its values that the tool itself must know."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class PublicSettings(BaseModel):
    """`global.domain`, `global.publicPort`, `global.publicTlsPort`."""

    model_config = ConfigDict(extra="ignore", alias_generator=to_camel, populate_by_name=True)

    domain: str = Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    public_port: int = Field(default=80, ge=1, le=65535)
    public_tls_port: int = Field(default=0, ge=0, le=65535)

    @property
    def url(self) -> str:
        """The binder's own address, with a slash at its end."""
        if self.public_tls_port:
            return f"https://{self.domain}{_port(self.public_tls_port, usual=443)}/"
        return f"http://{self.domain}{_port(self.public_port, usual=80)}/"

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports that the machine must have free."""
        return tuple(port for port in (self.public_port, self.public_tls_port) if port)


def _port(port: int, *, usual: int) -> str:
    return "" if port == usual else f":{port}"
