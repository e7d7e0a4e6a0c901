"""Pixels of a picture that may be any file: 8-bit colours on white, and no more of them than can be held."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from llmbench.errors import SweepError
from llmbench.providers.pictures import UNREADABLE, decoded

if TYPE_CHECKING:
    from PIL.Image import Image

#: A few kilobytes can claim to be gigabytes; the pictures of today's models have 17 million at most.
MOST_PIXELS: Final = 50_000_000
#: Modes that Pillow scales without loss; the others (palettes, 16 bits, bits alone) are converted first.
_SCALED: Final = ("L", "LA", "RGB", "RGBA", "CMYK", "YCbCr")


def plain(picture: Image) -> Image:
    """A picture of 8 bits a channel: 16-bit greys by their upper 8 bits, palettes by their colours.

    Pillow cannot scale 16-bit greys, and cuts them off at 255 when it converts them.
    """
    if picture.mode in _SCALED and "transparency" not in picture.info:
        return picture
    if picture.mode.startswith("I"):
        import numpy as np
        from PIL import Image as Maker

        deep = np.clip(np.asarray(picture).astype(np.int64), 0, 0xFFFF)
        return Maker.fromarray((deep >> 8).astype(np.uint8))
    return picture.convert("RGBA" if picture.has_transparency_data else "RGB")


def on_white(data: bytes, longest: int) -> Image:
    """A picture's RGB on white paper, no longer than so many pixels; what is fully transparent is not there.

    Raises:
        SweepError: it cannot be decoded, or claims more than 50 million pixels.
    """
    from PIL import Image as Decoder

    try:
        with decoded(data) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise SweepError(
                    f"the picture cannot be measured: it claims {picture.width} x {picture.height} pixels"
                )
            seen: Any = plain(picture)
            seen.thumbnail((longest, longest))
            seen = seen.convert("RGBA")
    except (*UNREADABLE, Decoder.DecompressionBombError) as error:
        raise SweepError(f"the picture cannot be measured: {error}") from error
    ground = Decoder.new("RGBA", seen.size, "white")
    return Decoder.alpha_composite(ground, seen).convert("RGB")
