"""The lock of images, placed where binderops.yaml says."""

from __future__ import annotations

from binderops.state.documents import Document, parse_document
from binderops.state.locked_images import place_images

LOCK = """\
# Written
global:
  images:
    platform:
      name: localhost/binderops/platform
      tag: sha256:1
    watch:
      name: localhost/binderops/watch
      tag: sha256:2
"""
PLATFORM = {"name": "localhost/binderops/platform", "tag": "sha256:1"}
WATCH = {"name": "localhost/binderops/watch", "tag": "sha256:2"}


def placed(places: dict[str, tuple[str, ...]], text: str = LOCK) -> Document:
    return place_images(parse_document(text, name="lock"), places)


def test_each_goes_where_it_is_said_and_lines_follow() -> None:
    document = placed({"platform": ("global.images.platform",), "watch": ("extra.watch.image", "extra.other")})
    assert document.values == {
        "global": {"images": {"platform": PLATFORM}},
        "extra": {"watch": {"image": WATCH}, "other": WATCH},
    }
    assert document.place(("extra", "watch", "image", "tag")) == "lock:9"
    assert document.place(("extra", "other")) == "lock:7"
    assert document.place(("global", "images", "platform", "name")) == "lock:5"


def test_what_no_place_is_named_for_is_anothers() -> None:
    document = placed({"platform": ("global.images.platform",), "gone": ("extra.gone",)})
    assert document.values == {"global": {"images": {"platform": PLATFORM}}}
    assert placed({"build": ("global.images.build",)}).values == {"global": {}}


def test_without_places_and_without_images_a_layer_stays() -> None:
    assert placed({}).values["global"]["images"]["watch"] == WATCH
    assert placed({"watch": ("a",)}, "global: {machine: {caCertificates: ''}}\n").values == {
        "global": {"machine": {"caCertificates": ""}}
    }
    assert placed({"watch": ("a",)}, "").values == {}
