"""The parts of a release's values that the binder reads besides `config`, as the chart gives them."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

from pydantic import BaseModel, ConfigDict, Field


class ImageName(BaseModel):
    """`{name, tag}`; a tag that is a digest is joined by @."""

    name: str = ""
    tag: str = ""

    @property
    def reference(self) -> str:
        """The whole name, "" where none is set."""
        separator = "@" if self.tag.startswith("sha256:") else ":"
        return f"{self.name}{separator}{self.tag}" if self.name and self.tag else self.name


class Images(BaseModel):
    """The platform's images that the binder speaks of."""

    build: ImageName = ImageName()
    notebook: ImageName = ImageName()


class Machine(BaseModel):
    """What was found out about the machine; empty on a cluster."""

    model_config = ConfigDict(populate_by_name=True)

    ca_certificates: str = Field(default="", alias="caCertificates")
    package_index: dict[str, str] = Field(default={}, alias="packageIndex")
    proxies: dict[str, str] = {}
    build_base_store: str = Field(default="", alias="buildBaseStore")


class Global(BaseModel):
    """`global` of the values: what all charts share."""

    model_config = ConfigDict(populate_by_name=True)

    domain: str = ""
    public_port: int = Field(default=80, alias="publicPort")
    public_tls_port: int = Field(default=0, alias="publicTlsPort")
    images: Images = Images()
    machine: Machine = Field(default_factory=lambda: Machine.model_validate({}))

    def url_of(self, host: str) -> str:
        """The public URL of a host of this environment."""
        scheme, port, usual = (
            ("https", self.public_tls_port, 443) if self.public_tls_port else ("http", self.public_port, 80)
        )
        return f"{scheme}://{host}{'' if port == usual else f':{port}'}/"


class InternalHostEntry(BaseModel):
    """`{host, cidr, ports}`: addresses that policies open; with a host, visitors may name it. Ports: the policy's."""

    host: str = ""
    cidr: IPv4Network | IPv6Network


class Egress(BaseModel):
    """`networkPolicy.egress` of the chart: of it only what the binder decides by itself."""

    model_config = ConfigDict(populate_by_name=True)

    internal_hosts: list[InternalHostEntry] = Field(default=[], alias="internalHosts")


class TrustedProxies(BaseModel):
    """`trustedProxies` of the chart: whose word is taken for who asks."""

    model_config = ConfigDict(populate_by_name=True)

    pod_labels: dict[str, str] = Field(default={}, alias="podLabels")
    cidrs: tuple[IPv4Network | IPv6Network, ...] = ()


class RegistrySettings(BaseModel):
    """`registry` of the chart: the one it runs (`name`), which builds push to, and the operator's own (`url`)."""

    enabled: bool = True
    name: str = ""
    url: str | None = None
