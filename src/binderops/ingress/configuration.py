"""nginx.conf from a Routing. The only place where text for nginx is made; every value comes from a parsed type.

Paths follow ingress.md's rules in nginx's own terms: `location = /foo` beside `location /foo/` for a Prefix, never a
bare `location /foo`, which would match /foobar.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from binderops.ingress import tls_configuration
from binderops.ingress.annotations import Options
from binderops.ingress.backends import Backend
from binderops.ingress.routing import Host, Location, Routing
from binderops.ingress.tls import Tls

GENERATION = "@generation@"  # stands for the digest of the configuration: the proxy puts it in, and asks nginx for it
CONNECTIONS = 16384  # of one worker; a request that is passed on has two
_NOTHING = 'return 404 "nothing is served at this address\\n";'


@dataclass(frozen=True)
class Settings:
    """What nginx needs from its surroundings. Ports are the container's own."""

    folder: Path
    http_port: int = 8080
    https_port: int = 8443
    public_tls_port: int = 0  # as browsers see it; 0: no TLS
    health_port: int = 9913
    metrics_port: int = 9914
    workers: int = 1
    requests_of_one: int = 2048  # at once from one address, event streams and websockets among them
    drain_seconds: int = 3600  # how long an old worker may live for its websockets after a reload
    ipv6: bool = False
    ssl_protocols: str = "TLSv1.2 TLSv1.3"
    hsts_max_age: int = 31_536_000
    hsts_include_subdomains: bool = False


def render(routing: Routing, settings: Settings, tls: Tls | None = None) -> str:
    """The whole nginx.conf; alike for alike input, so that a reload happens on change only. `tls` None: no TLS port."""
    lines = [*_head(settings), *_upstreams(routing), *_limit_zones(routing)]
    if tls is not None:
        lines += tls_configuration.head(settings, tls.default)
    for host in sorted(_named_hosts(routing, tls), key=lambda host: host.name):
        lines += _server(host, settings, tls)
    lines += _default_server(routing, settings, tls)
    lines += [*_health_server(settings), "}"]
    return "\n".join(lines) + "\n"


def quote(text: str) -> str:
    """A word as nginx reads it back unchanged; raises ValueError for what no parsed type can hold."""
    if "$" in text:  # nginx has no way to write it where it reads variables
        raise ValueError(f"{text!r} must not reach nginx.conf")
    return quote_path(text)


def quote_path(text: str) -> str:
    """The same for a location's path, where nginx reads no variables."""
    if re.search(r"[\x00-\x1f\x7f\"'\\;{}#\s]", text):
        raise ValueError(f"{text!r} must not reach nginx.conf")
    return f'"{text}"'


def _head(settings: Settings) -> list[str]:
    folder = settings.folder
    return [
        "daemon off;",
        f"worker_processes {settings.workers};",
        f"worker_shutdown_timeout {settings.drain_seconds}s;",
        f"pid {folder}/nginx.pid;",
        "error_log stderr warn;",
        f"events {{ worker_connections {CONNECTIONS}; }}",
        "http {",
        "  access_log off;",
        "  server_tokens off;",
        "  merge_slashes off;",
        "  default_type text/plain;",
        "  server_names_hash_bucket_size 512;",  # a name of 253 letters has to fit, or nginx refuses everything
        "  server_names_hash_max_size 8192;",
        "  variables_hash_max_size 2048;",
        "  large_client_header_buffers 4 32k;",
        "  client_header_timeout 60s;",
        "  client_body_timeout 120s;",
        "  keepalive_timeout 75s;",
        "  reset_timedout_connection on;",
        *(f"  {name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")),
        "  map $http_upgrade $connection_upgrade { default upgrade; '' ''; }",
        '  map "$scheme $http_host" $public_port { default $server_port; "~:(?<named>[0-9]+)$" $named;'
        ' "~^https [^:]+$" 443; "~^http [^:]+$" 80; }',
        # Who has an IPv6 network has all of its addresses (as far as they are written without "::" in its first half).
        '  map $remote_addr $client_network { default $remote_addr; "~^(?<network>(?:[0-9a-f]+:){4})" $network; }',
        "  limit_conn_zone $client_network zone=clients:10m;",
        f"  limit_conn clients {settings.requests_of_one};",
        "  proxy_http_version 1.1;",
        "  proxy_set_header Host $http_host;",
        "  proxy_set_header Upgrade $http_upgrade;",
        "  proxy_set_header Connection $connection_upgrade;",
        # What a client claims about itself is not passed on: the backend sees what this proxy saw.
        "  proxy_set_header X-Real-IP $remote_addr;",
        "  proxy_set_header X-Forwarded-For $remote_addr;",
        "  proxy_set_header X-Forwarded-Host $http_host;",
        "  proxy_set_header X-Forwarded-Port $public_port;",
        "  proxy_set_header X-Forwarded-Proto $scheme;",
        "  proxy_set_header X-Forwarded-Scheme $scheme;",
        "  proxy_set_header X-Scheme $scheme;",
        "  proxy_set_header X-Request-ID $request_id;",
        '  proxy_set_header Forwarded "";',
        '  proxy_set_header Proxy "";',
        "  proxy_redirect off;",
        "  proxy_next_upstream error timeout non_idempotent;",
        "  proxy_next_upstream_tries 2;",
    ]


def _backends(routing: Routing) -> Iterator[Backend]:
    found = {location.backend for host in routing.hosts.values() for location in host.locations.values()}
    if routing.default_backend is not None:
        found.add(routing.default_backend)
    yield from sorted(found, key=lambda backend: backend.upstream)


def _upstreams(routing: Routing) -> Iterator[str]:
    for backend in _backends(routing):
        if not backend.endpoints:
            continue
        yield f"  upstream {quote(backend.upstream)} {{"
        for address, port in backend.endpoints:
            host = f"[{address}]" if ":" in address else address
            yield f"    server {host}:{port} max_fails=0;"
        yield "    keepalive 32;"
        yield "  }"


def _limit_zones(routing: Routing) -> Iterator[str]:
    for name, options in sorted(_limited(routing).items()):
        if options.limit_connections:
            yield f"  limit_conn_zone $binary_remote_addr zone=conn_{name}:1m;"
        if options.limit_rps:
            yield f"  limit_req_zone $binary_remote_addr zone=rate_{name}:1m rate={options.limit_rps}r/s;"


def _limited(routing: Routing) -> dict[str, Options]:
    return {
        _zone(location): location.options
        for host in routing.hosts.values()
        for location in host.locations.values()
        if location.options.limit_connections or location.options.limit_rps
    }


def _zone(location: Location) -> str:
    # Not the names themselves: those of two Ingresses could become one, with the limits of either.
    return hashlib.sha256("/".join(location.ingress).encode()).hexdigest()[:16]


def _named_hosts(routing: Routing, tls: Tls | None) -> Iterator[Host]:
    """The hosts of rules, and those that stand in spec.tls alone: they lead where their name would lead without TLS."""
    yield from (host for host in routing.hosts.values() if host.name)
    for name in sorted(set(tls.hosts if tls else ()) - set(routing.hosts)):
        above = routing.hosts.get("*." + name.partition(".")[2]) or _unnamed(routing)
        yield Host(name, above.locations)


def _server(host: Host, settings: Settings, tls: Tls | None) -> Iterator[str]:
    files = tls.find(host.name) if tls else None
    yield "  server {"
    yield from _listen(settings, tls)
    yield f"    server_name {_server_name(host.name)};"
    if tls is not None and files and files != tls.default:
        yield from (f"    {line}" for line in tls_configuration.certificates(files))
    yield from _locations(host, settings, tls, has_tls=bool(files))
    yield "  }"


def _default_server(routing: Routing, settings: Settings, tls: Tls | None) -> Iterator[str]:
    yield "  server {"
    yield from _listen(settings, tls, " default_server")
    yield "    server_name _;"
    yield from _locations(_unnamed(routing), settings, tls, has_tls=False)
    yield "  }"


def _unnamed(routing: Routing) -> Host:
    """What serves the names that nobody asked for."""
    host = Host("", dict(routing.hosts[""].locations) if "" in routing.hosts else {})
    if ("/", False) not in host.locations and routing.default_backend is not None:
        host.locations["/", False] = Location("/", False, routing.default_backend, Options(), ("", ""))
    return host


def _listen(settings: Settings, tls: Tls | None, suffix: str = "") -> Iterator[str]:
    ports = [(settings.http_port, "")] + ([(settings.https_port, " ssl http2")] if tls else [])
    for port, how in ports:
        yield f"    listen {port}{how}{suffix};"
        if settings.ipv6:
            yield f"    listen [::]:{port}{how}{suffix};"


def _server_name(name: str) -> str:
    if name.startswith("*."):
        # One label, not several and not the apex: nginx's own wildcard would match a.b.example.org too.
        return f'"~^[^.]+{re.escape(name.removeprefix("*")).replace(chr(92) + "-", "-")}$"'
    return quote(name)


def _locations(host: Host, settings: Settings, tls: Tls | None, *, has_tls: bool) -> Iterator[str]:
    patterns: dict[str, Location | None] = {}
    for location in host.locations.values():
        if location.exact:
            patterns[f"= {quote_path(location.path)}"] = location
            if location.path.endswith("/") and location.path != "/":
                # Beside a location that ends in a slash nginx redirects the path without it; Exact means exact.
                bare = location.path.rstrip("/") or "/"
                patterns.setdefault(f"= {quote_path(bare)}", _match(host, bare))
    for location in host.locations.values():
        if location.exact:
            continue
        if location.path == "/":
            patterns['"/"'] = location
            continue
        if (location.path, True) not in host.locations:
            patterns[f"= {quote_path(location.path)}"] = location
        patterns[quote_path(location.path + "/")] = location
    for pattern, served in sorted(patterns.items()):
        yield f"    location {pattern} {{"
        if served and tls is not None:
            yield from (
                f"      {line}" for line in tls_configuration.location(settings, served.options, has_tls=has_tls)
            )
        yield from (f"      {line}" for line in (_proxied(served) if served else (_NOTHING,)))
        yield "    }"
    if '"/"' not in patterns:
        yield f'    location "/" {{ {_NOTHING} }}'


def _match(host: Host, path: str) -> Location | None:
    """The location that serves a path by the rules of Ingress: Exact first, then the longest Prefix."""
    exact = host.locations.get((path, True))
    if exact is not None:
        return exact
    prefixes = [
        location
        for location in host.locations.values()
        if not location.exact and (location.path in {"/", path} or path.startswith(location.path + "/"))
    ]
    return max(prefixes, key=lambda location: len(location.path), default=None)


def _proxied(location: Location) -> Iterator[str]:
    options = location.options
    if not options.closed:
        yield from (f"allow {network};" for network in options.whitelist_source_range)
    if options.whitelist_source_range or options.closed:
        yield "deny all;"
    if options.limit_connections:
        yield f"limit_conn conn_{_zone(location)} {options.limit_connections};"
    if options.limit_rps:
        yield f"limit_req zone=rate_{_zone(location)} burst={options.limit_rps * 5} nodelay;"
    if options.enable_cors:
        yield 'add_header Access-Control-Allow-Origin "*" always;'
    if not location.backend.endpoints:
        yield 'return 503 "no pod is ready to answer here; try again in a moment\\n";'
        return
    yield f"client_max_body_size {options.proxy_body_size}m;"
    yield f"proxy_connect_timeout {options.proxy_connect_timeout}s;"
    yield f"proxy_read_timeout {options.proxy_read_timeout}s;"
    yield f"proxy_send_timeout {options.proxy_send_timeout}s;"
    yield f"proxy_buffering {'on' if options.proxy_buffering else 'off'};"
    yield f"proxy_request_buffering {'on' if options.proxy_request_buffering else 'off'};"
    # Without a URI: nginx then passes the request's path on as it came, %2F included.
    yield f"proxy_pass {quote('http://' + location.backend.upstream)};"


def _health_server(settings: Settings) -> Iterator[str]:
    yield "  server {"
    yield f"    listen {settings.health_port};"
    yield '    location = /healthz { return 200 "ok\\n"; }'
    yield f'    location = /generation {{ return 200 "{GENERATION}"; }}'
    yield f"    location = /metrics {{ proxy_pass http://127.0.0.1:{settings.metrics_port}; }}"
    yield "    location = /connections { stub_status; }"
    yield "  }"
