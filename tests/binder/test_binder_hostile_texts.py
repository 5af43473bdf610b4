"""Links, references, paths and log lines made of shell, HTML and terminal escapes: texts, wherever they are shown."""

from __future__ import annotations

import asyncio
import json
import re
from html.parser import HTMLParser
from urllib.parse import quote, urlsplit

import pytest
from tests.binder.conftest import Served

from binderops.binder.naming import build_name, image_name, user_name
from binderops.errors import GitError
from binderops.git.remote import RemoteUrl, check_ref
from binderops.oci.references import is_repository, is_tag

TEXTS = [
    "$(touch /tmp/taken)",
    "`id`;id&&id|id",
    "'; rm -rf / #",
    "--upload-pack=touch /tmp/taken",
    "-oProxyCommand=touch",
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</title><svg/onload=alert(1)>",
    "'-alert(1)-'",
    "\u2028alert(1)//",
    "{{7*7}}{% raw %}",
    "javascript:alert(1)",
    "\x1b[2J\x1b]0;taken\x07",
    "\x9b31m",
    "\u202etxt.exe",
    "a\r\nSet-Cookie: taken=1",
    "a\nb",
    "\x00",
    "../../../etc/passwd",
    "..%2f..%2fetc",
    "%s%n%(name)s{0}",
    "\U0001f600 é",
    "x" * 600,
]
# What a browser sends, and what only a program of one's own does.
AS_SENT = [quote(text, safe="") for text in TEXTS] + [
    text for text in TEXTS if text.isascii() and re.fullmatch(r"[!-~]+", text) and "?" not in text and "#" not in text
]


class Page(HTMLParser):
    """What a browser would run of a page, and what its heading says."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.handlers: list[str] = []
        self.scripts: list[dict[str, str | None]] = []
        self.heading = ""
        self._in_heading = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.handlers += [name for name, value in attrs if name.startswith("on") or (value or "").startswith("javasc")]
        if tag == "script":
            self.scripts.append(dict(attrs))
        self._in_heading = self._in_heading or tag == "h1"

    def handle_endtag(self, tag: str) -> None:
        self._in_heading = self._in_heading and tag != "h1"

    def handle_data(self, data: str) -> None:
        self.heading += data if self._in_heading else ""


async def raw(url: str, path: str) -> tuple[str, str]:
    """Head and body of an answer to a path that no client has put in order."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {address.netloc}\r\nConnection: close\r\n\r\n".encode("latin-1"))
    async with asyncio.timeout(10):
        head, _, body = (await reader.read()).decode(errors="replace").partition("\r\n\r\n")
    writer.close()
    return head, body


async def test_a_launch_page_shows_what_its_link_names_and_runs_nothing_of_it(served: Served) -> None:
    usual = Page()
    usual.feed((await raw(served.url, "/v2/gh/a/b/HEAD"))[1])
    for spec in AS_SENT:
        head, body = await raw(served.url, f"/v2/gh/a/b/{spec}")
        assert head.startswith("HTTP/1.1 404" if "%0A" in spec else "HTTP/1.1 200"), (spec, head)
        assert "taken" not in head.lower()
        if "%0A" in spec:
            continue
        page = Page()
        page.feed(body)
        assert page.tags == usual.tags, spec
        assert page.handlers == [], spec
        assert [set(script) for script in page.scripts] == [set(script) for script in usual.scripts]
        assert page.heading == f"a/b/{spec}", spec
        config = json.loads(body[body.index("window.pageConfig = ") + 20 : body.index(";</script>")])
        assert config["buildToken"]


@pytest.mark.parametrize("text", TEXTS)
def test_names_made_of_them_are_valid_and_lead_nowhere(text: str) -> None:
    image = image_name("registry.ns.svc:5000/r2d-", text, identity=text, ref=text)
    name, _, tag = image.partition("/")[2].rpartition(":")
    assert is_repository(name) and is_tag(tag) and len(name) <= 255
    # A pod's name and its label `name`, and a folder's in /var/log and of the kubelet.
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", build_name(text, image))
    assert re.fullmatch(r"[a-z0-9.~@_-]{1,41}", user_name(f"https://github.com/{quote(text)}/{text}"))


@pytest.mark.parametrize("text", [*TEXTS, "", "a..b", "a b", "@{-1}", "x.lock"])
def test_git_is_never_given_what_it_would_take_for_more_than_a_name(text: str) -> None:
    try:
        accepted = check_ref(text)
    except GitError as error:
        # It says so without the letters that a log or a terminal would obey.
        assert not re.search(r"[\x00-\x1f\x7f-\x9f]", error.what)
    else:
        assert accepted == text and text[0] not in "-/." and not re.search(r"[\x00-\x20\x7f]|\.\.", text)


@pytest.mark.parametrize(
    "url",
    [
        "--upload-pack=touch /tmp/taken",
        "ext::sh -c id",
        "file:///etc",
        "/etc",
        "ssh://-oProxyCommand=id/x",
        "https://host/a\nb",
        "https://host\x1b[2J/a",
        "https://ho st/a",
        "https://-host/a",
        "http://a@b@169.254.169.254/x",
        "git://host:99999/x",
    ],
)
def test_addresses_that_are_none_are_refused(url: str) -> None:
    with pytest.raises(GitError) as told:
        RemoteUrl.parse(url)
    assert told.value.what
