"""The pictures of an answer: their form is told by their bytes, and only what decodes counts as one."""

from __future__ import annotations

import io
import warnings
from dataclasses import replace
from typing import Final

from llmbench.errors import ConfigError, ProviderError
from llmbench.media import Blob, Image
from llmbench.pricing import Made
from llmbench.providers.base import Reply

#: Pixels of a picture beyond which nothing is decoded: a few kilobytes can claim to be gigabytes.
MOST_PIXELS: Final = 100_000_000
#: Of a picture that is converted, in the encoder's own measure of 1 to 100.
_QUALITY: Final = 95


def open_pictures(reply: Reply) -> tuple[tuple[Image, ...], Made]:
    """Decode every picture of an answer, and count them for a price by picture.

    Raises:
        ProviderError: kind no_media, there is none; kind malformed, one of them is none.
        ConfigError: the package that decodes pictures is not installed.
    """
    if not reply.media:
        raise ProviderError("the answer holds no picture", kind="no_media", status_code=200)
    seeds, prompts = reply.seeds, reply.revised_prompts
    images = tuple(
        open_picture(
            blob,
            seeds[place] if place < len(seeds) else None,
            prompts[place] if place < len(prompts) else None,
        )
        for place, blob in enumerate(reply.media)
    )
    return images, Made(images=len(images))


def open_picture(blob: Blob, seed: int | None = None, revised_prompt: str | None = None) -> Image:
    """One picture, decoded to its last pixel to see that it is whole.

    Raises:
        ProviderError: kind malformed; the bytes are no picture, are cut off, or claim too many pixels.
        ConfigError: the package that decodes pictures is not installed.
    """
    try:
        from PIL import Image as Decoder
        from PIL import UnidentifiedImageError
    except ModuleNotFoundError as error:
        raise ConfigError('pictures need the package Pillow: pip install "llmbench[image]"') from error
    said = f"{len(blob.data)} bytes" + (f" called {blob.mime}" if blob.mime else "")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Decoder.DecompressionBombWarning)  # our own limit is below
            with Decoder.open(io.BytesIO(blob.data)) as picture:
                width, height = picture.size
                if width * height > MOST_PIXELS:
                    raise _broken(
                        f"a picture of {width} x {height} pixels is over the limit of {MOST_PIXELS}"
                    )
                picture.load()
                mime = Decoder.MIME.get(picture.format or "", "")
    except UnidentifiedImageError as error:
        raise _broken(f"the answer holds no picture that can be read ({said})") from error
    except (OSError, SyntaxError, ValueError, EOFError, Decoder.DecompressionBombError) as error:
        raise _broken(f"the picture is broken or cut off ({said}): {error}") from error
    if not mime.startswith("image/"):
        raise _broken(f"the answer is no picture ({said})")
    return Image(blob.data, mime, width, height, seed, revised_prompt)


def converted(image: Image, form: str | None) -> Image:
    """A picture in another form; where that has no transparency, on white. None leaves it as it is.

    What the file held beside its pixels, such as a mark of its origin, does not go along.
    """
    if form is None or image.mime == f"image/{form}":
        return image
    from PIL import Image as Decoder

    made = io.BytesIO()
    with Decoder.open(io.BytesIO(image.data)) as picture:
        pixels = picture.convert("RGBA")
        if form == "jpeg":
            ground = Decoder.new("RGBA", pixels.size, "white")
            pixels = Decoder.alpha_composite(ground, pixels).convert("RGB")
        pixels.save(made, form.upper(), quality=_QUALITY)
    return replace(image, data=made.getvalue(), mime=f"image/{form}")


def _broken(message: str) -> ProviderError:
    return ProviderError(message, kind="malformed", status_code=200)
