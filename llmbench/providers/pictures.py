"""The pictures of an answer: their form is told by their bytes, and only what decodes counts as one."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from llmbench.errors import ConfigError, ProviderError
from llmbench.media import Blob, Image
from llmbench.pricing import Made
from llmbench.providers.base import Reply

if TYPE_CHECKING:
    from PIL.Image import Image as Pixels

#: Pixels of a picture beyond which nothing is decoded: a few kilobytes can claim to be gigabytes.
MOST_PIXELS: Final = 100_000_000
#: Decoders that read pixels and nothing else: some of Pillow's others start programs.
READ_AS: Final = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
#: What these decoders raise for bytes that are broken, besides their own errors: they are not written for
#: strangers' bytes alone.
UNREADABLE: Final = (
    *(OSError, SyntaxError, ValueError, EOFError, RuntimeError, struct.error, zlib.error),
    *(LookupError, TypeError, ArithmeticError, AttributeError, AssertionError, MemoryError),
)
#: Of a picture that is converted, in the encoder's own measure of 1 to 100.
_QUALITY: Final = 95


@dataclass(frozen=True, slots=True)
class Opened:
    """The pictures of an answer that are whole, and what is wrong with each of the others."""

    images: tuple[Image, ...]
    broken: tuple[ProviderError, ...] = ()


def billed_pictures(reply: Reply) -> Made:
    """What an answer is billed by: every picture in it, decodable or not."""
    return Made(images=len(reply.media))


def open_pictures(reply: Reply) -> Opened:
    """Decode every picture of an answer.

    Raises:
        ProviderError: kind no_media, there is none; kind malformed, none of them is whole.
        ConfigError: the package that decodes pictures is not installed.
    """
    if not reply.media:
        raise ProviderError("the answer holds no picture", kind="no_media", status_code=200)
    seeds, prompts = reply.seeds, reply.revised_prompts
    images, broken = list[Image](), list[ProviderError]()
    for place, blob in enumerate(reply.media):
        seed = seeds[place] if place < len(seeds) else None
        prompt = prompts[place] if place < len(prompts) else None
        try:
            images.append(open_picture(blob, seed, prompt))
        except ProviderError as error:
            broken.append(error)
    if not images:
        raise broken[0]
    return Opened(tuple(images), tuple(broken))


def open_picture(blob: Blob, seed: int | None = None, revised_prompt: str | None = None) -> Image:
    """One picture, decoded to its last pixel to see that it is whole: PNG, JPEG, WebP, GIF or BMP.

    Raises:
        ProviderError: kind malformed; the bytes are no such picture, are cut off, or claim too many pixels.
        ConfigError: the package that decodes pictures is not installed.
    """
    try:
        from PIL import Image as Decoder
        from PIL import UnidentifiedImageError
    except ModuleNotFoundError as error:
        raise ConfigError('pictures need the package Pillow: pip install "llmbench[image]"') from error
    said = f"{len(blob.data)} bytes" + (f" called {blob.mime}" if blob.mime else "")
    try:
        with decoded(blob.data) as picture:
            width, height = picture.size
            if width * height > MOST_PIXELS:
                raise _broken(f"a picture of {width} x {height} pixels is over the limit of {MOST_PIXELS}")
            picture.load()
            # a JPEG with more pictures behind the first one is called MPO
            mime = Decoder.MIME["JPEG" if picture.format == "MPO" else picture.format or ""]
    except UnidentifiedImageError as error:
        listed = f"{', '.join(READ_AS[:-1])} or {READ_AS[-1]}"
        raise _broken(f"the answer holds no picture that can be read as {listed} ({said})") from error
    except (*UNREADABLE, Decoder.DecompressionBombError) as error:
        raise _broken(f"the picture is broken or cut off ({said}): {error}") from error
    return Image(blob.data, mime, width, height, seed, revised_prompt)


@contextmanager
def decoded(data: bytes) -> Iterator[Pixels]:
    """A picture whose head was read; what is wrong with its bytes is among UNREADABLE.

    Its size is the file's claim: whoever goes on looks at it first.
    """
    from PIL import Image as Decoder

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of broken metadata, and of many pixels: our own limit stands above
        with Decoder.open(io.BytesIO(data), formats=READ_AS) as picture:
            yield picture


def converted(image: Image, form: str | None) -> tuple[Image, str]:
    """A picture in another form, and why it stays as it is: "" where it does not, or where it has the form.

    Where the form has no transparency, it is put on white. It is turned as its file says that it is to be
    shown; what the file held beside its pixels, such as a mark of its origin, does not go along. None leaves
    it as it is.
    """
    if form is None or image.mime == f"image/{form}":
        return image, ""
    from PIL import Image as Decoder
    from PIL import ImageOps

    made = io.BytesIO()
    try:
        with decoded(image.data) as picture:
            pixels = ImageOps.exif_transpose(picture).convert("RGBA")
            if form == "jpeg":
                ground = Decoder.new("RGBA", pixels.size, "white")
                pixels = Decoder.alpha_composite(ground, pixels).convert("RGB")
            pixels.save(made, form.upper(), quality=_QUALITY)
    except UNREADABLE as error:
        return image, str(error) or type(error).__name__
    width, height = pixels.size
    return replace(image, data=made.getvalue(), mime=f"image/{form}", width=width, height=height), ""


def _broken(message: str) -> ProviderError:
    return ProviderError(message, kind="malformed", status_code=200)
