"""Files of a run folder in a page: only our own, only whole ones, only small copies; the rest is words."""

from __future__ import annotations

import io
import os
import struct
import sys
import zlib

import pytest
from PIL import Image

from llmbench.analytics.media_files import PLAYED_S, show_picture, show_sound
from llmbench.audio import decode
from tests.media_run_folders import keep, opened, picture_bytes, tone


@pytest.fixture
def media(tmp_path):
    folder = tmp_path / "run" / "media"
    folder.mkdir(parents=True)
    return folder


def png_claiming(width: int, height: int) -> bytes:
    """A tiny PNG whose header claims any size."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def tiff_bytes() -> bytes:
    """A whole picture of a kind that no page needs, whose decoders do more than read pixels."""
    made = io.BytesIO()
    Image.new("RGB", (20, 20), "red").save(made, "TIFF")
    return made.getvalue()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (png_claiming(60_000, 60_000), "claims more pixels than any picture has"),
        (png_claiming(8000, 8000), "claims 8,000 × 8,000 pixels"),
        (png_claiming(4000, 4000), "cut off"),
        (picture_bytes("red")[:-400], "cut off"),
        (tiff_bytes(), "no picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "no picture"),
        (b"", "no picture"),
    ],
)
def test_a_file_that_is_no_whole_picture_is_said_in_words(media, data, says):
    shown = show_picture(media, keep(media, data, ".png"))
    assert shown.uri is None
    assert says in shown.note


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (tone(0.2, 300)[:-1000], "cut off"),
        (b"RIFF\xff\xff\xff\x7fWAVEjunk", "not played"),
        (b"#EXTM3U\nfile:///etc/passwd\n", "not played"),
        (picture_bytes("red"), "not played"),
        (b"", "no audio"),
    ],
)
def test_a_file_that_is_no_whole_sound_is_said_in_words(media, data, says):
    shown = show_sound(media, keep(media, data, ".wav"))
    assert shown.uri is None
    assert says in shown.note


SECRET = "the secret of another folder"
HEX = "a" * 64


@pytest.mark.parametrize(
    "name",
    [
        "../secret.png", "/etc/passwd", f"../media/{HEX}.png", f"{HEX}.png/../x", f"{HEX.upper()}.png",
        f"{HEX}.p", f"{HEX}.png\n", f"{HEX}.png\0", f"{HEX}", f"C:\\{HEX}.png", "", None, 7,
        ["x"], {"a": 1}, True,
    ],
)  # fmt: skip
@pytest.mark.parametrize("show", [show_picture, show_sound])
def test_a_name_that_is_not_ours_opens_nothing(media, show, name):
    (media.parent / "secret.png").write_bytes(picture_bytes("red"))
    assert show(media, name).uri is None
    assert show(media, name).note == "not shown: the answer names no file of this run"


def test_nothing_is_read_through_a_link_from_a_pipe_or_from_changed_bytes(media, tmp_path):
    data = picture_bytes("red")
    name = keep(tmp_path, data, ".png")
    assert "missing" in show_picture(media, name).note
    (media / name).symlink_to(tmp_path / name)
    assert "link" in show_picture(media, name).note
    (media / name).unlink()
    os.mkfifo(media / name)
    assert "no plain file" in show_picture(media, name).note
    (media / name).unlink()
    (media / name).mkdir()
    assert show_picture(media, name).uri is None
    (media / name).rmdir()
    (media / name).write_bytes(picture_bytes("blue"))
    assert "changed" in show_picture(media, name).note
    (media / name).write_bytes(data)
    assert show_picture(media, name).uri is not None
    linked = tmp_path / "linked"
    linked.symlink_to(media, target_is_directory=True)
    assert "link" in show_picture(linked, name).note


def test_a_file_too_large_for_any_page_is_not_read(media):
    name = HEX + ".wav"
    with (media / name).open("wb") as file:
        file.truncate(65 * 2**20)
    assert show_sound(media, name).note == "not shown: the file is larger than 67.1 MB"


@pytest.mark.parametrize(("package", "show"), [("PIL", show_picture), ("av", show_sound)])
def test_a_package_that_is_not_installed_is_named(media, monkeypatch, package, show):
    name = keep(media, picture_bytes("red") if package == "PIL" else tone(0.2, 300), ".bin")
    monkeypatch.setitem(sys.modules, package, None)
    shown = show(media, name)
    assert shown.uri is None
    assert f'pip install "llmbench[{"image" if package == "PIL" else "audio"}]"' in shown.note


def test_a_long_narration_is_played_from_its_beginning_and_says_so(media):
    shown = show_sound(media, keep(media, tone(31, 220), ".wav"))
    assert shown.note == "the first 20 s of 31.0 s"
    assert abs(decode(opened(shown.uri, "audio/mpeg"), "audio/mpeg").duration_s - PLAYED_S) < 0.2
    assert shown.size < 500_000


def test_a_picture_of_16_bits_is_shown_in_its_shades(media):
    made = io.BytesIO()
    Image.frombytes("I;16", (2, 1), struct.pack("<2H", 0x4000, 0xC000)).resize((640, 320), 0).save(
        made, "PNG"
    )
    shown = show_picture(media, keep(media, made.getvalue(), ".png"))
    assert (shown.width, shown.height) == (320, 160)
    with Image.open(io.BytesIO(opened(shown.uri, "image/webp"))) as picture:
        assert picture.getpixel((40, 80))[0] == pytest.approx(0x40, abs=8)
        assert picture.getpixel((280, 80))[0] == pytest.approx(0xC0, abs=8)


def test_a_see_through_picture_stays_see_through(media):
    made = io.BytesIO()
    Image.new("LA", (1000, 10), (0, 0)).save(made, "PNG")
    shown = show_picture(media, keep(media, made.getvalue(), ".png"))
    assert (shown.width, shown.height) == (320, 3)
    with Image.open(io.BytesIO(opened(shown.uri, "image/webp"))) as picture:
        assert picture.getchannel("A").getextrema() == (0, 0)
