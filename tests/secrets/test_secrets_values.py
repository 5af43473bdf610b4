"""Text made of a secret, in every way there is, is a digest; there is one way out."""

from __future__ import annotations

import base64
import copy
import json
import logging
import pickle
import re
import traceback
from pathlib import Path

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from binderops.secrets.values import ClearText, Secret, conceal, reveal_for_helm, secrets_in, wrap

CANARY = "canary-5f2b0c"
SECRET = Secret(CANARY)


class _Model(BaseModel):
    token: str


FORMS = {
    "str": lambda: str(SECRET),
    "repr": lambda: repr(SECRET),
    "format": lambda: f"{SECRET}{SECRET!r}{SECRET:>40}",
    "percent": lambda: "%s %r" % (SECRET, SECRET),  # noqa: UP031
    "join": lambda: ",".join([SECRET, "x"]),
    "concatenation": lambda: "a" + SECRET + "b",
    "slice": lambda: SECRET[0:] + SECRET.upper() + SECRET.strip(),
    "encode": lambda: SECRET.encode().decode(),
    "json": lambda: json.dumps({"a": [SECRET]}),
    "json indented": lambda: json.dumps({"a": [SECRET]}, indent=1),
    "msgspec": lambda: msgspec.json.encode({"a": SECRET}, enc_hook=str).decode(),
    "pickle": lambda: pickle.dumps(SECRET).decode("latin-1") + str(pickle.loads(pickle.dumps(SECRET))),
    "pydantic": lambda: _Model(token=SECRET).model_dump_json() + repr(_Model(token=SECRET)),
    "yaml": lambda: yaml.dump({"a": SECRET}),
    "exception": lambda: str(ValueError(SECRET)) + repr(KeyError(SECRET)),
    "traceback": lambda: "".join(traceback.format_exception(ValueError(SECRET))),
    "locals": lambda: str([*map(repr, {"token": SECRET}.values())]) + repr(vars(type("A", (), {"s": SECRET}))["s"]),
    "logging": lambda: logging.LogRecord("n", 10, "f", 1, "told %s", (SECRET,), None).getMessage(),
    "clear text": lambda: repr(ClearText(CANARY.encode())) + str(ClearText(CANARY.encode())),
    "pickled clear text": lambda: pickle.dumps(ClearText(CANARY.encode())).decode("latin-1"),
}


@pytest.mark.parametrize("form", FORMS)
def test_text_is_a_digest(form: str) -> None:
    text = FORMS[form]()
    assert CANARY not in text
    assert CANARY.encode() not in text.encode()
    assert base64.b64encode(CANARY.encode()).decode().rstrip("=") not in text
    assert "clear text" in text or re.search(r"<secret [0-9a-f]{8}>", text, re.I)


def test_there_is_one_way_out() -> None:
    tree = wrap({"a": [CANARY, 1, True, None, {"b": 2.5}], "c": ""})
    assert {type(secret) for _, secret in secrets_in(tree)} == {Secret}
    assert reveal_for_helm(tree) == {"a": [CANARY, 1, True, None, {"b": 2.5}], "c": ""}
    assert isinstance(reveal_for_helm(tree)["a"][2], bool)


def test_copies_keep_the_value_and_equality_is_the_values() -> None:
    assert reveal_for_helm(copy.deepcopy({"a": SECRET}))["a"] == CANARY
    assert Secret(CANARY) == SECRET
    assert Secret("other") != SECRET
    assert SECRET != CANARY
    assert str(SECRET) != SECRET
    assert Secret(1) != Secret("1 ")
    assert len({SECRET, Secret(CANARY)}) == 1


@given(st.text(min_size=4, max_size=60), st.text(max_size=40))
def test_conceal_takes_every_form_out(value: str, around: str) -> None:
    secret = Secret(value)
    encoded = base64.b64encode(value.encode()).decode()
    told = conceal(f"{around}{value}{around} {encoded} {json.dumps(value)}", [secret])
    assert encoded not in told
    if value not in around and not any(value in word for word in (str(secret), f"{around} {around}")):
        assert value not in told.replace(around, "") or value in str(secret)


def test_the_values_are_opened_in_this_room_only() -> None:
    source = Path(__file__).parents[2] / "src/binderops"
    users = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*.py")
        if re.search(r"\b(reveal|reveal_bytes|_open)\b\(", path.read_text(encoding="utf-8"))
        and re.search(r"secrets\.values import", path.read_text(encoding="utf-8"))
    }
    assert [user for user in users if not user.startswith("secrets/")] == []
