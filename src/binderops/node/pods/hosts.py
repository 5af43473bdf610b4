"""resolv.conf and /etc/hosts of a pod."""

from __future__ import annotations

from pathlib import Path

from binderops.kube.kinds import Object
from binderops.kube.objects import name_of, namespace_of, spec_of

HOST_RESOLV_CONF = Path("/etc/resolv.conf")
MAXIMUM_HOSTNAME = 63


def hostname(pod: Object) -> str:
    """The pod's host name: `spec.hostname`, else its name, cut to what the kernel takes."""
    return str(spec_of(pod).get("hostname") or name_of(pod))[:MAXIMUM_HOSTNAME].rstrip("-.")


def domain(pod: Object, cluster_domain: str) -> str:
    """What follows the host name in the pod's full name, "" without a subdomain."""
    subdomain = spec_of(pod).get("subdomain")
    return f"{subdomain}.{namespace_of(pod)}.svc.{cluster_domain}" if subdomain else ""


def hosts_file(pod: Object, address: str, cluster_domain: str) -> str:
    """The text of /etc/hosts, as the kubelet writes it."""
    own = hostname(pod)
    full = domain(pod, cluster_domain)
    lines = [
        "# Kubernetes-managed hosts file.",
        "127.0.0.1\tlocalhost",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        f"{address}\t{f'{own}.{full} ' if full else ''}{own}",
    ]
    aliases = spec_of(pod).get("hostAliases") or []
    if aliases:
        lines += ["", "# Entries added by HostAliases."]
        lines += [f"{alias['ip']}\t{' '.join(alias.get('hostnames') or [])}" for alias in aliases]
    return "\n".join(lines) + "\n"


def resolv_conf(pod: Object, *, dns_address: str, cluster_domain: str, host_text: str | None = None) -> str:
    """The text of resolv.conf, by dnsPolicy and dnsConfig."""
    policy = str(spec_of(pod).get("dnsPolicy") or "ClusterFirst")
    servers: list[str] = []
    search: list[str] = []
    options: dict[str, str] = {}
    if policy == "None":
        pass
    elif policy == "Default":
        servers, search, options = _parse(HOST_RESOLV_CONF.read_text() if host_text is None else host_text)
    else:
        servers = [dns_address]
        search = [f"{namespace_of(pod)}.svc.{cluster_domain}", f"svc.{cluster_domain}", cluster_domain]
        options = {"ndots": "5"}
    config = spec_of(pod).get("dnsConfig") or {}
    servers += [server for server in config.get("nameservers") or [] if server not in servers]
    search += [name for name in config.get("searches") or [] if name not in search]
    options.update({str(option["name"]): str(option.get("value") or "") for option in config.get("options") or []})
    lines = [f"nameserver {server}" for server in servers]
    if search:
        lines.append("search " + " ".join(search))
    if options:
        lines.append("options " + " ".join(f"{name}:{value}" if value else name for name, value in options.items()))
    return "\n".join(lines) + "\n"


def _parse(text: str) -> tuple[list[str], list[str], dict[str, str]]:
    servers: list[str] = []
    search: list[str] = []
    options: dict[str, str] = {}
    for line in text.splitlines():
        words = line.split("#")[0].split()
        if not words:
            continue
        if words[0] == "nameserver" and len(words) > 1:
            servers.append(words[1])
        elif words[0] in ("search", "domain"):
            search = words[1:]
        elif words[0] == "options":
            for word in words[1:]:
                name, _, value = word.partition(":")
                options[name] = value
    return servers, search, options
