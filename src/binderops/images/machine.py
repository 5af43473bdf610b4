"""What this machine needs to reach package registries: its own CA, its index, its mirrors, its proxies.

Company networks have them all. They are found where pip, uv, npm and apt find them, are mounted while an image is
built, and never become part of one.
"""

from __future__ import annotations

import configparser
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

DEBIAN_MIRROR = "http://deb.debian.org/debian"
DEBIAN_SECURITY_MIRROR = "http://deb.debian.org/debian-security"
OWN_AUTHORITIES = "binderops-"
"""What names of files in the machine's store begin with that `binderops trust` put there: environments' local CAs. They
are nothing that builds and pods need, and trusting one must not change what runs."""
SYSTEM_CA_BUNDLES = (Path("/etc/ssl/certs/ca-certificates.crt"), Path("/etc/pki/tls/certs/ca-bundle.crt"))
_ADDED = "usr/local/share/ca-certificates"
_PUBLIC_PIP_INDEX = re.compile(r"https://pypi\.org/simple/?")
_PUBLIC_NPM_REGISTRY = re.compile(r"https://registry\.npmjs\.org/?")


@dataclass(frozen=True)
class MachineSettings:
    """What a build on this machine must be told; an empty field means that the public default is right."""

    ca_bundle: Path | None = None
    pip_index: str = ""
    npm_registry: str = ""
    debian_mirror: str = ""
    debian_security_mirror: str = ""
    http_proxy: str = ""
    https_proxy: str = ""
    no_proxy: str = ""

    def __repr__(self) -> str:
        """Shows addresses without the passwords that some carry."""
        fields = (f"{name}={without_password(str(value))!r}" for name, value in vars(self).items() if value)
        return f"MachineSettings({', '.join(fields)})"


def without_password(url: str) -> str:
    """Return `url` with the password of its authority, if it has one, replaced."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    authority = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{parts.username}:***@{authority[2]}"))


def detect_package_settings(
    environment: Mapping[str, str] | None = None, *, root: Path = Path("/"), home: Path | None = None
) -> MachineSettings:
    """Read what pip, uv, npm and apt would use here, their environment variables first, then their files.

    `root` and `home` are where the files are looked for. Unreadable or malformed files are passed over: their own
    program will complain about them.
    """
    env = os.environ if environment is None else environment
    home = Path(env.get("HOME", "/root")) if home is None else home
    pip = _pip_options(env, root, home)
    npm = _npm_options(root, home)
    pip_index = (
        env.get("UV_DEFAULT_INDEX") or env.get("UV_INDEX_URL") or env.get("PIP_INDEX_URL") or pip.get("index-url")
    )
    npm_registry = env.get("NPM_CONFIG_REGISTRY") or env.get("npm_config_registry") or npm.get("registry")
    debian = list(_debian_mirrors(root))
    proxies = _proxies(env)
    return MachineSettings(
        ca_bundle=_ca_bundle(env, root, configured=(pip.get("cert"), npm.get("cafile"))),
        pip_index=_unless(_PUBLIC_PIP_INDEX, pip_index or _uv_index(root, home)),
        npm_registry=_unless(_PUBLIC_NPM_REGISTRY, npm_registry),
        debian_mirror=next((m for m in debian if "security" not in m and m != DEBIAN_MIRROR), ""),
        debian_security_mirror=next((m for m in debian if "security" in m and m != DEBIAN_SECURITY_MIRROR), ""),
        http_proxy=proxies["http"],
        https_proxy=proxies["https"],
        no_proxy=proxies["none"],
    )


def _unless(public: re.Pattern[str], value: str | None) -> str:
    return "" if value is None or public.fullmatch(value.strip()) else value.strip()


def _ca_bundle(env: Mapping[str, str], root: Path, *, configured: tuple[str | None, ...]) -> Path | None:
    """The bundle that somebody named, else the system's when a CA was added to it, else none: images have their own."""
    named = (env.get(name) for name in ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"))
    for candidate in (*named, *configured):
        if candidate and Path(candidate).is_file():
            return Path(candidate)
    added = (root / _ADDED, root / "etc/pki/ca-trust/source/anchors")
    files = [file for folder in added if folder.is_dir() for file in folder.iterdir()]
    if any(not file.name.startswith(OWN_AUTHORITIES) for file in files):
        return next((path for path in SYSTEM_CA_BUNDLES if path.is_file()), None)
    return None


def bundle_text(bundle: Path, *, root: Path = Path("/")) -> str:
    """A bundle's certificates, without the local CAs of environments that this machine trusts."""
    text = bundle.read_text(encoding="utf-8", errors="replace")
    for file in sorted((root / _ADDED).glob(f"{OWN_AUTHORITIES}*.crt")):
        text = text.replace(file.read_text(encoding="utf-8", errors="replace").strip() + "\n", "")
    return text


def _pip_options(env: Mapping[str, str], root: Path, home: Path) -> dict[str, str]:
    # pip's own order, the later one wins: https://pip.pypa.io/en/stable/topics/configuration/#location
    named = env.get("PIP_CONFIG_FILE")
    files = [root / "etc/pip.conf", home / ".pip/pip.conf", home / ".config/pip/pip.conf"]
    options: dict[str, str] = {}
    for file in [*files, *([Path(named)] if named else [])]:
        parser = configparser.RawConfigParser()
        try:
            parser.read_string(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, configparser.Error):
            continue
        if parser.has_section("global"):
            options.update(parser.items("global"))
    return options


def _uv_index(root: Path, home: Path) -> str | None:
    for file in (home / ".config/uv/uv.toml", root / "etc/uv/uv.toml"):
        try:
            document = tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
            continue
        indexes = document.get("index", [])
        default = next((i.get("url") for i in indexes if isinstance(i, dict) and i.get("default")), None)
        found = default or document.get("index-url")
        if isinstance(found, str):
            return found
    return None


def _npm_options(root: Path, home: Path) -> dict[str, str]:
    options: dict[str, str] = {}
    for file in (root / "etc/npmrc", home / ".npmrc"):
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            continue
        pairs = (line.partition("=") for line in lines if not line.lstrip().startswith((";", "#")))
        options.update({key.strip(): value.strip() for key, equals, value in pairs if equals})
    return options


def _debian_mirrors(root: Path) -> Iterator[str]:
    """Addresses of Debian's own archives in apt's sources, in either of its two formats (sources.list(5))."""
    folder = root / "etc/apt"
    for file in [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*"))]:
        if file.suffix not in {".list", ".sources"}:
            continue
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        for match in re.finditer(r"^(?:deb\s+(?:\[[^]]*\]\s+)?|URIs:\s*)(\S+)", text, re.MULTILINE):
            url = match.group(1).rstrip("/")
            if urlsplit(url).path.rstrip("/").endswith(("/debian", "/debian-security")):
                yield url


def _proxies(env: Mapping[str, str]) -> dict[str, str]:
    def first(*names: str) -> str:
        return next((env[name] for name in names if env.get(name)), "")

    return {
        "http": first("http_proxy", "HTTP_PROXY") or _apt_proxy("http"),
        "https": first("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY"),
        "none": first("no_proxy", "NO_PROXY"),
    }


def _apt_proxy(scheme: str) -> str:
    try:
        shown = subprocess.run(
            ["apt-config", "shell", "PROXY", f"Acquire::{scheme}::Proxy"],
            capture_output=True, text=True, timeout=10, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    match = re.search(r"PROXY='([^']*)'", shown.stdout)
    return match.group(1) if match and match.group(1) not in {"false", "DIRECT"} else ""
