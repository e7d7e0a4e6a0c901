"""A run folder's pictures and sounds made small enough to stand in a page, as data URIs.

A name in results.jsonl is a stranger's text and a file may be anything: only a name of our own form is
opened, only inside the run folder's `media`, never through a link, and only bytes whose hash is the name are
decoded.
What the page gets is never the file itself: the pixels and samples are encoded anew.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import re
import stat
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from llmbench.audio import FORMATS, Sound, decode, encode_file, resample, wav_bytes
from llmbench.display import wording
from llmbench.display.media_pixels import MOST_PIXELS, plain
from llmbench.errors import ConfigError, ParamError, ProviderError
from llmbench.providers.pictures import UNREADABLE, decoded

FOLDER: Final = "media"
THUMBNAIL_PX: Final = 320
"""The longer edge of a thumbnail at most."""
PLAYED_S: Final = 20.0
"""Seconds of a sound that are played; the rest is left out and said."""
_NAME: Final = re.compile(r"\A[0-9a-f]{64}\.[a-z0-9]{3,4}\Z")
#: A file beyond this size is not read: nothing that a page shows is so large.
_MOST_BYTES: Final = 64 * 2**20
#: No link is followed, and nothing waits for the other end of a pipe; not every system has these flags.
_OPENED: Final = os.O_RDONLY | sum(getattr(os, flag, 0) for flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"))
_PLAYED_HZ: Final = 24_000
_PLAYED_AS: Final = "mp3"  # every browser plays it
_MISSING_PACKAGE: Final = 'cannot be shown here: pip install "llmbench[{}]" and make the report again'


@dataclass(frozen=True, slots=True)
class Shown:
    """What a page shows of one file.

    Attributes:
        uri: a data URI made here, or None.
        note: why there is none, or what was left out; empty where all of it is shown.
        width: pixels of the thumbnail; height likewise. 0 for sound.
    """

    uri: str | None = field(repr=False)
    note: str = ""
    width: int = 0
    height: int = 0

    @property
    def size(self) -> int:
        """Bytes that it takes of the page."""
        return len(self.uri or "")


def show_picture(folder: Path, name: object) -> Shown:
    """A thumbnail of a picture in `folder`; a file that cannot be shown is said in words."""
    return _shown(folder, name, _thumbnail)


def show_sound(folder: Path, name: object) -> Shown:
    """The beginning of a sound in `folder`, to be played; a file that cannot be shown is said in words."""
    return _shown(folder, name, _player)


class _NotShown(Exception):
    """Why a file is not shown: no error of the program, as it ends in words on the page."""


def _shown(folder: Path, name: object, make: Callable[[bytes], Shown]) -> Shown:
    try:
        return make(_read(folder, name))
    except _NotShown as why:
        return Shown(None, str(why))


def _read(folder: Path, name: object) -> bytes:
    """The bytes of a kept file, which are those that its name tells.

    Raises:
        _NotShown: the name is none, or the file is missing, no plain file, too large, or not the one named.
    """
    if not isinstance(name, str) or _NAME.match(name) is None:
        raise _NotShown("not shown: the answer names no file of this run")
    if folder.is_symlink() or (folder / name).is_symlink():
        raise _NotShown("not shown: the file is a link to another place")
    try:
        with os.fdopen(os.open(folder / name, _OPENED), "rb") as file:
            seen = os.fstat(file.fileno())
            if not stat.S_ISREG(seen.st_mode):
                raise _NotShown("not shown: it is no plain file")
            if seen.st_size > _MOST_BYTES:
                raise _NotShown(f"not shown: the file is larger than {wording.size(_MOST_BYTES)}")
            data = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        raise _NotShown("the file is missing in the run folder’s media") from None
    except OSError as error:
        raise _NotShown(f"the file cannot be read: {error.strerror}") from None
    if hashlib.sha256(data).hexdigest() != name.partition(".")[0]:
        raise _NotShown("not shown: the file was changed or damaged since it was scored")
    return data


def _thumbnail(data: bytes) -> Shown:
    """A small WebP of a picture.

    Raises:
        _NotShown: it is none, is cut off, claims too many pixels, or Pillow is not installed.
    """
    try:
        from PIL import Image as Decoder
    except ImportError:
        raise _NotShown(_MISSING_PACKAGE.format("image")) from None
    made = io.BytesIO()
    try:
        with decoded(data) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                claim = f"{picture.width:,} × {picture.height:,}"
                raise _NotShown(f"not shown: it claims {claim} pixels, too many to be decoded")
            scaled = plain(picture)
            scaled.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
            small = scaled.convert("RGBA" if scaled.has_transparency_data else "RGB")
        small.save(made, "WEBP", quality=80, method=4)
    except Decoder.DecompressionBombError:
        raise _NotShown("not shown: it claims more pixels than any picture has") from None
    except UNREADABLE:
        raise _NotShown("the file is no picture that can be read, or is cut off") from None
    return Shown(_uri("image/webp", made.getvalue()), "", small.width, small.height)


def _player(data: bytes) -> Shown:
    """The beginning of a sound as MP3.

    Raises:
        _NotShown: it is none, is cut off, is too long to be decoded, or PyAV is not installed.
    """
    try:
        sound = decode(data, None)
        played = _beginning(sound)
        encoded = _encoded(played)
    except ConfigError:
        raise _NotShown(_MISSING_PACKAGE.format("audio")) from None
    except (ProviderError, ParamError) as error:
        raise _NotShown(f"not played: {error}") from None
    except OSError as error:
        raise _NotShown(f"not played: it cannot be encoded here: {error.strerror or error}") from None
    is_cut = played.duration_s < sound.duration_s - 0.01
    note = f"the first {PLAYED_S:g} s of {sound.duration_s:,.1f} s" if is_cut else ""
    return Shown(_uri(FORMATS[_PLAYED_AS].mime, encoded), note)


def _beginning(sound: Sound) -> Sound:
    cut = Sound(sound.pcm[: 2 * int(PLAYED_S * sound.rate_hz)], sound.rate_hz)
    return resample(cut, _PLAYED_HZ) if cut.rate_hz > _PLAYED_HZ else cut


def _encoded(sound: Sound) -> bytes:
    with tempfile.TemporaryDirectory(prefix="llmbench-report-") as name:
        source, made = Path(name) / "sound.wav", Path(name) / f"sound.{_PLAYED_AS}"
        source.write_bytes(wav_bytes(sound))
        encode_file(source, made, _PLAYED_AS)
        return made.read_bytes()


def _uri(mime: str, data: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}"
