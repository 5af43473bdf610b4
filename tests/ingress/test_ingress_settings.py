"""The controller's ConfigMap: typed, and what is not known is named."""

from __future__ import annotations

import pytest

from binderops.ingress.settings import DEFAULT_SETTINGS, SUPPORTED_SETTINGS, parse_settings

GOOD = {
    "proxy-body-size": ("8m", 8),
    "proxy-connect-timeout": ("7", 7),
    "proxy-read-timeout": ("90", 90),
    "proxy-send-timeout": ("2m", 120),
    "proxy-buffering": ("on", True),
    "proxy-request-buffering": ("true", True),
    "ssl-redirect": ("false", False),
    "force-ssl-redirect": ("true", True),
    "hsts": ("true", True),
    "hsts-max-age": ("600", 600),
    "hsts-include-subdomains": ("true", True),
    "ssl-protocols": ("TLSv1.3", "TLSv1.3"),
    "worker-shutdown-timeout": ("240s", 240),
}


@pytest.mark.parametrize("name", SUPPORTED_SETTINGS)
def test_each_setting_arrives_and_a_value_of_another_type_is_refused(name: str) -> None:
    text, expected = GOOD[name]
    settings, refusals = parse_settings({name: text})
    field = name.replace("-", "_")
    assert getattr(settings.options if hasattr(settings.options, field) else settings, field) == expected
    assert refusals == []
    for attack in (f"{text}; evil", "", "}\nevil", "TLSv1 TLSv1.1"):
        settings, refusals = parse_settings({name: attack})
        assert (settings, [found.annotation for found in refusals]) == (DEFAULT_SETTINGS, [name])


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("use-forwarded-headers", "never passed on"),
        ("http-snippet", "raw nginx configuration"),
        ("server-snippet", "raw nginx configuration"),
        ("ssl-ciphers", "intermediate profile"),
        ("no-such-setting", "not known"),
    ],
)
def test_refused_by_name(name: str, why: str) -> None:
    settings, refusals = parse_settings({name: "true", "hsts": "true"})
    assert settings.options.hsts
    assert [(found.annotation, why in found.why) for found in refusals] == [(name, True)]
