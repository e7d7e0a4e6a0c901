"""Scorers of pictures and narrations, and the figures that they rest on, with real files."""

from __future__ import annotations

import importlib.util
import io
import json
import math
import random
import struct
import time
import wave
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from llmbench.bench import recogniser
from llmbench.bench.media_facts import contrast, sound_facts, speech_facts
from llmbench.bench.media_store import remembered, store_file
from llmbench.bench.scorers import Score, check_params, score
from llmbench.bench.scorers.speech import heard_in
from llmbench.errors import DatasetError, SweepError
from llmbench.media import SpeechResponse
from llmbench.messages import Route, Usage
from tests.servers.image_answers import drawn
from tests.test_media_files import png_claiming
from tests.test_scorers import JSONS, sample

JAPANESE_FONT = Path("/usr/share/fonts/opentype/noto/NotoSansCJK-Bold.ttc")
GOOD_PICTURE = {"media": "image", "width": 1280, "height": 720, "contrast": 0.2}
GOOD_SOUND = {
    "media": "speech",
    "duration_s": 2.0,
    "rate_hz": 24_000,
    "clipped": 0.0,
    "silence": 0.1,
    "characters": 30,
}


def picture(facts, name="picture", params=None, **checks):
    return score(name, params or {}, json.dumps(facts), sample(None, **checks), None)


def narration(facts, one=None, **params):
    given_sample = one or sample("Thirty characters are spoken.")
    return score("narration", {"listen": False, **params}, json.dumps(facts), given_sample, None)


# ---- figures of a file


def wav_of(values, rate_hz=8000):
    written = io.BytesIO()
    with wave.open(written, "wb") as file:
        file.setparams((1, 2, rate_hz, 0, "NONE", ""))
        file.writeframes(struct.pack(f"<{len(values)}h", *values))
    return written.getvalue()


def test_silence_is_the_share_of_frames_below_50_dbfs():
    quiet = round(32_768 * 10 ** (-50.5 / 20))
    loud = round(32_768 * 10 ** (-49.5 / 20))
    assert sound_facts(wav_of([quiet] * 800 + [loud] * 800))["silence"] == 0.5
    assert sound_facts(wav_of([0] * 160 + [9000] * 80))["silence"] == 0.5, "a last frame that is short counts"
    assert sound_facts(wav_of([]))["silence"] == 1.0


def test_clipping_is_the_share_of_samples_at_either_end():
    facts = sound_facts(wav_of([32_767, -32_768, 32_766, 0]))
    assert facts["clipped"] == 0.5
    assert facts["peak"] == 1.0


def wave_of(seconds, height, most=32_767):
    """A tone of 150 Hz at 24 kHz, cut off at a height."""
    heights = (height * math.sin(2 * math.pi * 150 * at / 24_000) for at in range(int(24_000 * seconds)))
    return [round(max(-most, min(most, value))) for value in heights]


def test_a_wave_that_was_cut_off_is_clipped_at_any_level_and_an_offset_is_none():
    assert sound_facts(wav_of(wave_of(1, 20_000), 24_000))["clipped"] == 0.0
    for most in (32_767, 19_000, 6_000):
        clipped = sound_facts(wav_of(wave_of(1, 2 * most, most), 24_000))["clipped"]
        assert clipped == pytest.approx(2 / 3, abs=0.02), "a sine is beyond half its height for 2/3 of a turn"
    quiet = [round(math.sin(at / 40) * 3) for at in range(5000)]
    shifted = [value + 9000 for value in [*wave_of(1, 20_000), *quiet]]
    facts = sound_facts(wav_of(shifted, 24_000))
    assert facts["clipped"] == 0.0, "rounding makes a quiet end flat, and an offset does not make it loud"
    assert facts["dc_offset"] == pytest.approx(9000 / 32_768, abs=0.001)


def test_the_longest_pause_is_told_in_seconds():
    loud, pause = [9000, -9000] * 400, [0] * 1600
    facts = sound_facts(wav_of([*pause, *loud, *pause, *pause, *loud]))
    assert facts["pause_s"] == 0.4
    assert sound_facts(wav_of(loud))["pause_s"] == 0.0


def test_a_narration_that_cannot_be_measured_has_missing_figures():
    response = SpeechResponse(
        text="", model="m", model_id="m", provider="p", tier="speech", finish_reason="stop", usage=Usage(),
        latency_ms=9.0, cost_usd=None, cost_source="none", call_id="c", attempts=(), adjustments=(),
        route=Route("narration", "speech", ("m",), ()), audio=b"no sound", duration_s=1.0,
    )  # fmt: skip
    facts = speech_facts(response, "a line")
    assert {facts[name] for name in ("peak", "clipped", "silence", "pause_s", "dc_offset")} == {None}
    assert (facts["duration_s"], facts["characters"]) == (1.0, 6)


@pytest.mark.parametrize("data", [b"", b"RIFF", b"x" * 100, wav_of([1, 2])[:30]])
def test_what_is_no_wav_file_is_said(data):
    with pytest.raises(SweepError, match=r"can(not)? be measured"):
        sound_facts(data)


def png(image):
    written = io.BytesIO()
    image.save(written, "PNG")
    return written.getvalue()


def test_contrast_is_0_for_one_colour_1_for_half_black_and_sees_what_lies_on_transparency():
    assert contrast(png(Image.new("RGB", (64, 64), (200, 30, 90)))) == 0.0
    halves = Image.new("L", (64, 64), 0)
    halves.paste(255, (0, 0, 64, 32))
    assert contrast(png(halves)) == 1.0
    clear = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    clear.paste((255, 255, 255, 255), (0, 0, 32, 64))
    assert contrast(png(clear)) == 0.0, "what is transparent is white paper"
    assert contrast(drawn("a door", 640, 360)) > 0.02
    for data in (b"no picture", png_claiming(9000, 9000), png_claiming(60_000, 60_000)):
        with pytest.raises(SweepError, match="cannot be measured"):
            contrast(data)


def shades(mode):
    """A picture of 256 shades from black to white, in one of Pillow's modes."""
    deep = [257 * across for across in range(256)] * 64
    if mode == "I;16":
        return Image.frombytes(mode, (256, 64), struct.pack(f"<{len(deep)}H", *deep))
    return Image.frombytes("L", (256, 64), bytes(value // 257 for value in deep)).convert(mode)


@pytest.mark.parametrize(
    ("mode", "form"),
    [("I;16", "PNG"), ("P", "PNG"), ("P", "GIF"), ("LA", "PNG"), ("RGB", "WEBP"), ("CMYK", "JPEG")],
)
def test_contrast_is_the_same_in_every_mode_of_a_file(mode, form):
    written = io.BytesIO()
    shades(mode).save(written, form)
    assert contrast(written.getvalue()) == pytest.approx(0.58, abs=0.01)


def test_contrast_sees_colours_of_one_luma_and_stars_and_not_the_grain_of_a_blank_page():
    halves = Image.new("RGB", (1280, 720), (200, 20, 20))
    halves.paste((20, 97, 80), (0, 0, 640, 720))
    assert contrast(png(halves)) > 0.5
    draw = random.Random(0)
    sky = Image.new("RGB", (1280, 720), "#050508")
    for _ in range(300):
        across, down = 1278 * draw.random(), 718 * draw.random()
        ImageDraw.Draw(sky).ellipse((across, down, across + 2, down + 2), "white")
    assert contrast(png(sky)) > 0.04
    grain = Image.frombytes("L", (640, 360), bytes(draw.choice((248, 252)) for _ in range(640 * 360)))
    assert contrast(png(grain)) < 0.02
    line = Image.new("RGB", (1280, 720), "white")
    line.paste("black", (0, 0, 1280, 3))
    assert 0.02 < contrast(png(line)) < 0.2, "a line on white is a small drawing"


# ---- picture


@pytest.mark.parametrize(
    ("facts", "checks", "value", "failed"),
    [
        ({}, {}, 1.0, []),
        ({}, {"aspect_ratio": "16:9", "size": "1280x720"}, 1.0, []),
        ({"width": 1344, "height": 768}, {"aspect_ratio": "16:9"}, 1.0, []),
        ({"width": 1024, "height": 1024}, {"aspect_ratio": "16:9"}, 0.0, ["shape"]),
        ({"width": 720, "height": 1280}, {"aspect_ratio": "16:9"}, 0.0, ["shape"]),
        ({"width": 1300}, {"size": "1280x720"}, 1.0, []),
        ({"width": 1400}, {"size": "1280x720"}, 0.0, ["shape"]),
        ({"contrast": 0.004}, {}, 0.0, ["contrast"]),
        ({"width": 0}, {}, 0.0, ["valid"]),
        ({"width": "wide"}, {}, 0.0, ["valid"]),
        ({"contrast": None}, {}, 0.0, ["contrast"]),
    ],
)
def test_a_picture_counts_when_it_came_is_not_blank_and_has_its_shape(facts, checks, value, failed):
    got = picture(GOOD_PICTURE | facts, **checks)
    assert got.value == value
    assert [name for name, each in got.details.items() if each < 1] == failed


def test_a_narration_is_no_picture_and_the_reverse():
    assert picture(GOOD_SOUND) == Score(0.0, {"valid": 0.0})
    assert narration(GOOD_PICTURE) == Score(0.0, {"heard": 0.0})


# ---- captions


reads = pytest.mark.skipif(
    importlib.util.find_spec("rapidocr") is None, reason="the package that reads captions is not installed"
)


def kept(folder, data, image):
    width, height = image
    name = store_file(folder, data, ".png")
    return GOOD_PICTURE | {"file": str(folder / name), "width": width, "height": height}


@reads
def test_a_caption_that_is_drawn_is_legible_and_another_one_is_not(tmp_path):
    facts = kept(tmp_path, drawn("FIRST BOAT OUT", 640, 360), (640, 360))
    got = picture(facts, "picture_text", caption="First boat out", aspect_ratio="16:9")
    assert (got.value, got.details["legible"]) == (1.0, 1.0)
    assert picture(facts, "picture_text", caption="Dinner for nine").value < 0.5
    wrong = picture(facts, "picture_text", caption="First boat out", aspect_ratio="1:1")
    assert (wrong.value, wrong.details["legible"]) == (0.0, 1.0), "the gates stay"
    (beside,) = tmp_path.glob("*.rapidocr-*.json")
    kept_text = beside.read_text(encoding="utf-8")
    for altered in ("", "{", "[]", kept_text.replace("BOAT", "GOAT")):
        beside.write_text(altered, encoding="utf-8")
        assert picture(facts, "picture_text", caption="First boat out").value == 1.0
        assert beside.read_text(encoding="utf-8") == kept_text, "it is read again, and kept again"


@reads
@pytest.mark.skipif(not JAPANESE_FONT.is_file(), reason="no font here has Japanese letters")
@pytest.mark.parametrize("caption", ["はじめての船旅", "料理するロボット", "深夜ラーメン"])
def test_kana_and_kanji_are_read_white_on_dark_too(tmp_path, caption):
    page = Image.new("RGB", (1280, 720), (20, 30, 80))
    letters = ImageFont.truetype(JAPANESE_FONT.as_posix(), 90)
    ImageDraw.Draw(page).text((640, 200), caption, "white", letters, "mm")
    facts = kept(tmp_path, png(page), (1280, 720))
    assert picture(facts, "picture_text", caption=caption).details["legible"] >= 0.85


@reads
def test_a_picture_without_text_has_no_legible_caption(tmp_path):
    facts = kept(tmp_path, png(Image.new("RGB", (64, 64), "red")), (64, 64))
    assert picture(facts, "picture_text", caption="Door").details["legible"] == 0.0


@reads
def test_a_picture_that_is_gone_is_said(tmp_path):
    with pytest.raises(DatasetError, match="cannot be read"):
        picture(GOOD_PICTURE | {"file": str(tmp_path / "gone.png")}, "picture_text", caption="Door")


@reads
@pytest.mark.parametrize("size", [(600, 4), (600, 6), (4000, 12), (4096, 64), (2, 4000), (30, 1500), (1, 1)])
def test_nothing_is_read_in_a_strip_and_soon(tmp_path, size):
    facts = kept(tmp_path, png(Image.new("RGB", size, "red")), size)
    start = time.process_time()
    assert picture(facts, "picture_text", caption="Door").details["legible"] == 0.0
    assert time.process_time() - start < 10


@reads
@pytest.mark.parametrize("size", [(9000, 9000), (60_000, 60_000), (4000, 4000)])
def test_nothing_is_read_in_a_file_that_claims_to_be_huge_or_is_cut_off(tmp_path, size):
    facts = kept(tmp_path, png_claiming(*size), size)
    assert picture(facts, "picture_text", caption="Door").details["legible"] == 0.0


@reads
def test_a_caption_on_a_long_banner_is_read(tmp_path):
    page = Image.new("RGB", (6000, 400), "black")
    ImageDraw.Draw(page).text((3000, 200), "IT CAN COOK", "white", ImageFont.load_default(160), "mm")
    facts = kept(tmp_path, png(page), page.size)
    assert picture(facts, "picture_text", caption="It can cook").details["legible"] == 1.0


@reads
def test_letters_under_full_transparency_are_not_there_and_those_on_it_are(tmp_path):
    letters = ImageFont.load_default(90)
    hidden = Image.new("RGBA", (640, 360), (200, 80, 30, 0))
    ImageDraw.Draw(hidden).text((320, 180), "IT CAN COOK", (255, 255, 255, 0), letters, "mm")
    shown = Image.new("RGBA", (640, 360), (0, 0, 0, 0))
    ImageDraw.Draw(shown).text((320, 180), "IT CAN COOK", (20, 20, 20, 255), letters, "mm")
    for page, legible in ((hidden, 0.0), (shown, 1.0)):
        facts = kept(tmp_path, png(page), page.size)
        assert picture(facts, "picture_text", caption="It can cook").details["legible"] == legible


# ---- narration


@pytest.mark.parametrize(
    ("facts", "name", "value"),
    [
        ({"rate_hz": 11_025}, "rate", 0.5),
        ({"clipped": 0.001}, "clipping", 0.5),
        ({"silence": 0.75}, "silence", 0.5),
        ({"pause_s": 3.0}, "silence", 0.5),
        ({"silence": None}, "silence", 0.0),
        ({"clipped": None}, "clipping", 0.0),
        ({"silence": 1.0}, "silence", 0.0),
        ({"characters": 9}, "pace", 0.5),
        ({"characters": 88}, "pace", 0.5),
        ({"characters": 0}, "pace", 0.0),
    ],
)
def test_a_rule_falls_in_proportion_beyond_its_bound(facts, name, value):
    assert narration(GOOD_SOUND) == Score(1.0, dict.fromkeys(("rate", "clipping", "silence", "pace"), 1.0))
    got = narration(GOOD_SOUND | facts)
    assert got.details[name] == pytest.approx(value)
    assert got.value == pytest.approx(value)


def test_a_language_without_a_known_pace_is_not_held_to_one():
    assert narration(GOOD_SOUND | {"characters": 400}, sample("x", lang="fr")).details["pace"] == 1.0
    assert narration(GOOD_SOUND | {"characters": 9}, sample("x", lang="ja-JP")).details["pace"] == 1.0


@pytest.mark.parametrize("pace", [{"ja": [9, 3]}, {"ja": [1]}, {"ja": [0, 3]}])
def test_a_pace_that_is_no_range_is_refused(pace):
    with pytest.raises(DatasetError, match="pace"):
        check_params("narration", {"pace": pace})


@pytest.mark.skipif(not recogniser.is_installed(), reason="the recogniser is not installed")
def test_what_was_heard_is_compared_with_the_nearest_accepted_text(tmp_path):
    path = tmp_path / f"{'0' * 64}.wav"
    label = recogniser.recogniser_version().replace(" sha256:", "-")
    remembered(path, f"{label}-en", lambda: "It has 11 gears.")
    assert heard_in(path, "en") == "It has 11 gears."
    facts = json.dumps(GOOD_SOUND | {"file": str(path)})
    plain = sample("It has eleven gears.")
    spelt = sample("It has eleven gears.", accepted=["It has 11 gears."])
    assert score("narration", {}, facts, spelt, None).details["heard"] == 1.0
    assert score("narration", {}, facts, plain, None).details["heard"] == pytest.approx(1 - 6 / 16)


REPLIES = st.text(max_size=30) | st.builds(
    lambda facts, media: json.dumps({"media": media, **facts}),
    st.dictionaries(
        st.sampled_from([*GOOD_PICTURE, *GOOD_SOUND]), JSONS | st.floats() | st.just(10**400), max_size=6
    ),
    st.sampled_from(["image", "speech"]),
)


@pytest.mark.parametrize(
    ("name", "params"), [("picture", {}), ("picture_text", {}), ("narration", {"listen": False})]
)
@given(output=REPLIES)
@settings(max_examples=100, deadline=None)
def test_whatever_a_line_holds_its_score_lies_between_0_and_1(name, params, output):
    got = score(name, params, output, sample("text", size="10x10"), None)
    assert all(0 <= value <= 1 and math.isfinite(value) for value in (got.value, *got.details.values()))
