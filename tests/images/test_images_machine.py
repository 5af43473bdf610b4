"""What pip, uv, npm and apt would use is found where they look, and passwords do not show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from binderops.images.machine import MachineSettings, detect_package_settings, without_password

Machine = Callable[..., MachineSettings]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A root folder and a home to write configuration into, and a way to look at them."""

    def detect(files: dict[str, str] | None = None, environment: dict[str, str] | None = None) -> MachineSettings:
        for name, text in (files or {}).items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return detect_package_settings(environment or {}, root=tmp_path, home=tmp_path / "home")

    return detect


def test_a_plain_machine_needs_nothing(machine: Machine) -> None:
    assert machine() == MachineSettings()


@pytest.mark.parametrize(
    ("files", "environment", "expected"),
    [
        ({"etc/pip.conf": "[global]\nindex-url = https://i.example/simple\n"}, {}, "https://i.example/simple"),
        ({"home/.config/pip/pip.conf": "[global]\nindex-url=https://h.example/\n"}, {}, "https://h.example/"),
        (
            {
                "etc/pip.conf": "[global]\nindex-url = https://i.example/simple\n",
                "home/.pip/pip.conf": "[global]\nindex-url=https://home.example/\n",
            },
            {},
            "https://home.example/",
        ),
        ({"etc/pip.conf": "[global]\nindex-url = https://i.example/\n"}, {"PIP_INDEX_URL": "https://e/"}, "https://e/"),
        ({}, {"UV_DEFAULT_INDEX": "https://u/", "PIP_INDEX_URL": "https://p/"}, "https://u/"),
        (
            {"home/.config/uv/uv.toml": '[[index]]\nurl = "https://uv.example/"\ndefault = true\n'},
            {},
            "https://uv.example/",
        ),
        ({}, {"PIP_INDEX_URL": "https://pypi.org/simple"}, ""),
        ({"etc/pip.conf": "not an ini file"}, {}, ""),
        ({"home/.config/uv/uv.toml": "= broken"}, {}, ""),
    ],
)
def test_pip_index(machine: Machine, files: dict[str, str], environment: dict[str, str], expected: str) -> None:
    assert machine(files, environment).pip_index == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("registry=https://n.example/\n", "https://n.example/"),
        ("; registry=https://commented/\nfund=false\n", ""),
        ("registry=https://registry.npmjs.org/\n", ""),
    ],
)
def test_npm_registry(machine: Machine, text: str, expected: str) -> None:
    assert machine({"home/.npmrc": text}).npm_registry == expected


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("etc/apt/sources.list", "deb http://deb.debian.org/debian bookworm main\n", ("", "")),
        (
            "etc/apt/sources.list",
            "deb [arch=amd64] http://m.example/debian bookworm main\n",
            ("http://m.example/debian", ""),
        ),
        (
            "etc/apt/sources.list.d/x.sources",
            "Types: deb\nURIs: http://m.example/debian-security/\nSuites: bookworm-security\n",
            ("", "http://m.example/debian-security"),
        ),
        ("etc/apt/sources.list.d/x.list", "deb https://packages.example/cloud stable main\n", ("", "")),
        ("etc/apt/sources.list", "# deb http://m.example/debian bookworm main\n", ("", "")),
    ],
)
def test_debian_mirrors(machine: Machine, name: str, text: str, expected: tuple[str, str]) -> None:
    found = machine({name: text})
    assert (found.debian_mirror, found.debian_security_mirror) == expected


def test_the_bundle_that_somebody_named_wins(machine: Machine, tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("x")
    assert machine({}, {"SSL_CERT_FILE": str(bundle)}).ca_bundle == bundle
    assert machine({"etc/pip.conf": f"[global]\ncert = {bundle}\n"}).ca_bundle == bundle
    assert machine({}, {"SSL_CERT_FILE": str(tmp_path / "missing")}).ca_bundle == bundle


def test_an_added_authority_is_in_the_systems_bundle(machine: Machine) -> None:
    found = machine({"usr/local/share/ca-certificates/company.crt": "x"})
    assert found.ca_bundle == Path("/etc/ssl/certs/ca-certificates.crt")


def test_proxies(machine: Machine) -> None:
    found = machine({}, {"http_proxy": "http://p:1", "NO_PROXY": "localhost"})
    assert (found.http_proxy, found.https_proxy, found.no_proxy) == ("http://p:1", "http://p:1", "localhost")


def test_passwords_do_not_show() -> None:
    settings = MachineSettings(pip_index="https://user:canary@index.example/simple")
    assert "canary" not in repr(settings)
    assert without_password("https://user:canary@index.example/simple") == "https://user:***@index.example/simple"
    assert without_password("https://index.example/simple") == "https://index.example/simple"
