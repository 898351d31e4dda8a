"""Pictures that stay where no widget runs: one safe element, small whatever they show."""

import base64
import re
import struct
import zlib
from xml.etree import ElementTree

import numpy as np
import pytest

from rome_widgets.charts.palettes import ramp
from rome_widgets.charts.still import LEVELS, changes_picture, trace_picture
from tests.helpers.fake_engine import fake_trace
from tests.helpers.xss_strings import HARMFUL

SVG = "{http://www.w3.org/2000/svg}"


def drawn(html):
    """The picture of an `<img>`, which is all that there is."""
    found = re.fullmatch(
        r'<img alt="[^"<>]*" width="\d+" height="\d+" src="data:image/svg\+xml;base64,([^"]+)">',
        html,
    )
    assert found, html[:200]
    return ElementTree.fromstring(base64.b64decode(found[1]))


def texts(picture):
    return [each.text for each in picture.iter(f"{SVG}text")]


def levels(image):
    """The colour numbers of a heat map, a row per line of its picture, and its palette."""
    data = base64.b64decode(image.get("href").partition("base64,")[2])
    parts, at = {}, 8
    while at < len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        name, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        assert struct.unpack(">I", data[at + 8 + size : at + 12 + size]) == (
            zlib.crc32(name + body),
        )
        parts[name] = body
        at += 12 + size
    wide, tall = struct.unpack(">II", parts[b"IHDR"][:8])
    lines = np.frombuffer(zlib.decompress(parts[b"IDAT"]), np.uint8).reshape(tall, wide + 1)
    return lines[:, 1:], parts[b"PLTE"]


def test_a_trace_is_a_heat_map_per_kind_with_its_tokens_layers_and_scale():
    trace = fake_trace()
    picture = drawn(trace_picture(trace))
    said = texts(picture)
    for expected in ("Needle*", "of", "Hidden state", "MLP", "Attention", "7", "0.94", "0.04"):
        assert expected in said, expected
    assert any("The Space Needle is in the city of → Seattle" in each for each in said)
    assert len([*picture.iter(f"{SVG}image")]) == 2 * 3  # and a stripe of the colour bar each


def test_the_ends_of_the_scale_are_the_ends_of_the_ramp_and_what_is_missing_is_grey():
    grid = np.full((8, 8), 0.5)
    grid[0, 0], grid[0, 1], grid[0, 2] = 0.0357, 0.9352, np.nan
    picture = drawn(trace_picture(fake_trace(scores={"mlp": grid})))
    found, palette = levels(next(picture.iter(f"{SVG}image")))
    assert found.shape == (8 * 8, 8 * 8)  # Large pixels: no program blurs them.
    assert [*found[0, ::8][:3]] == [0, LEVELS - 1, LEVELS]
    assert (palette[:3].hex(), palette[3 * LEVELS - 3 : 3 * LEVELS].hex()) == (
        ramp("mlp")[0][1:],
        ramp("mlp")[-1][1:],
    )
    assert palette[-3:] == b"\xd8\xd8\xd8"


@pytest.mark.parametrize("n_layers", [1, 8, 48, 120])
@pytest.mark.parametrize("n_tokens", [1, 8, 60, 400])
def test_a_picture_of_any_trace_is_small_and_on_one_screen(n_tokens, n_layers):
    random = np.random.RandomState(0)
    tokens = [f" w{at}" for at in range(n_tokens)]
    scores = {kind: random.rand(n_tokens, n_layers) for kind in ("hidden", "mlp", "attn")}
    trace = fake_trace("x", tokens=tokens, span=(0, 1), n_layers=n_layers, scores=scores)
    html = trace_picture(trace)
    picture = drawn(html)
    assert len(html) < 30_000 + 3 * n_tokens * n_layers * 2
    assert float(picture.get("height")) < 1000
    assert float(picture.get("width")) < 1700


@pytest.mark.parametrize("bad", HARMFUL)
def test_harmful_texts_are_letters_of_the_picture(bad):
    for html in (
        trace_picture(fake_trace(f"{bad} is", tokens=[bad, " is"], span=(0, 1))),
        changes_picture([row(bad, 0.1, 0.9)]),
    ):
        assert {each.tag.removeprefix(SVG) for each in drawn(html).iter()} <= {
            "svg", "rect", "text", "image", "path", "circle",
        }  # fmt: skip


def row(text, before, after):
    words = {"target": " Paris", "true": " Seattle"}
    sides = ({"target": p, "true": None} for p in (before, after))
    return {"text": text, "followed": " Paris", "words": words} | dict(
        zip(("before", "after"), sides, strict=True)
    )


def test_an_edit_is_a_line_per_prompt_from_before_to_after():
    picture = drawn(changes_picture([row("It is in", 0.0, 1.0), row("no number", None, 0.5)]))
    hollow, full = picture.iter(f"{SVG}circle")
    assert float(full.get("cx")) - float(hollow.get("cx")) == 260
    assert "It is in → Paris" in texts(picture)
    assert not any("no number" in each for each in texts(picture))


def test_without_numbers_there_is_no_picture():
    assert changes_picture([]) == ""
    assert changes_picture([row("x", None, None)]) == ""
