"""Which package indexes need an opening in the builds' policy."""

from __future__ import annotations

import pytest

from binderops.target.egress import private_openings


@pytest.mark.parametrize(
    ("urls", "openings"),
    [
        (["https://10.1.2.3/simple"], [{"cidr": "10.1.2.3/32", "port": 443}]),
        (["http://172.20.0.9:3141/root/pypi"], [{"cidr": "172.20.0.9/32", "port": 3141}]),
        (["http://user:word@192.168.7.7/x", "http://192.168.7.7/y"], [{"cidr": "192.168.7.7/32", "port": 80}]),
        (["https://100.64.0.9/simple"], [{"cidr": "100.64.0.9/32", "port": 443}]),
        (["https://203.0.113.9/simple", "https://127.0.0.1:8080"], []),
        (["", "not a url", "https://does-not-exist.invalid/"], []),
    ],
)
def test_openings(urls: list[str], openings: list[dict[str, object]]) -> None:
    assert private_openings(urls) == openings
