"""What can be measured of a picture or a narration without asking anybody: plain figures for the ledger."""

from __future__ import annotations

import io
import wave
from typing import Any, Final

from llmbench.errors import SweepError
from llmbench.media import Image, ImageResponse, SpeechResponse

#: Audio is looked at in frames of so many seconds; one whose root mean square is below the level is silent.
FRAME_S: Final = 0.02
SILENT_DBFS: Final = -50.0
#: A 16-bit sample at or beyond this value (of 32,768) counts as clipped.
_CLIPPED: Final = 32_767
#: The widest standard deviation of luma: half of the pixels black, half white.
_WIDEST: Final = 127.5
#: Pixels of the longer edge at which contrast is measured: noise of single pixels evens out.
_LOOKED_AT: Final = 256


def speech_facts(response: SpeechResponse, text: str) -> dict[str, Any]:
    """A narration's own figures and those of its samples.

    Returns:
        duration_s, rate_hz, characters of the text, pieces, real_time_factor (seconds of work for one of
        audio), and the figures of `sound_facts`.

    Raises:
        SweepError: the audio is no WAV file of mono 16-bit samples.
    """
    return {
        "duration_s": round(response.duration_s, 4),
        "rate_hz": response.rate_hz,
        "characters": len(text),
        "pieces": len(response.pieces),
        "real_time_factor": round(response.real_time_factor, 4),
        **sound_facts(response.audio),
    }


def sound_facts(wav: bytes) -> dict[str, float]:
    """Peak (0 to 1), share of clipped samples, and share of silent frames of a WAV file.

    Raises:
        SweepError: it is no WAV file of mono 16-bit samples.
    """
    import numpy as np

    try:
        with wave.open(io.BytesIO(wav)) as file:
            is_plain = (file.getnchannels(), file.getsampwidth()) == (1, 2)
            rate_hz, pcm = file.getframerate(), file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise SweepError(f"the narration is no WAV file that can be measured: {error}") from error
    if not is_plain:
        raise SweepError("the narration is no WAV file of mono 16-bit samples, and cannot be measured")
    samples = np.frombuffer(pcm, dtype="<i2").astype(np.float64)
    if not samples.size:
        return {"peak": 0.0, "clipped": 0.0, "silence": 1.0}
    frame = max(round(rate_hz * FRAME_S), 1)
    starts = np.arange(0, samples.size, frame)
    sizes = np.minimum(frame, samples.size - starts)
    levels = np.sqrt(np.add.reduceat(samples**2, starts) / sizes) / 32_768
    return {
        "peak": round(float(np.max(np.abs(samples))) / 32_768, 5),
        "clipped": round(float(np.mean(np.abs(samples) >= _CLIPPED)), 6),
        "silence": round(float(np.mean(levels < 10 ** (SILENT_DBFS / 20))), 5),
    }


def image_facts(response: ImageResponse) -> dict[str, Any]:
    """A picture's own figures, and its contrast.

    Returns:
        width and height in pixels, images that came, seed, revised_prompt, contrast (0 to 1).

    Raises:
        SweepError: it cannot be decoded.
    """
    first: Image = response.image
    return {
        "width": first.width,
        "height": first.height,
        "images": len(response.images),
        "seed": first.seed,
        "revised_prompt": first.revised_prompt,
        "contrast": contrast(first.data),
    }


def contrast(data: bytes) -> float:
    """The standard deviation of a picture's luma over the widest there is: 0 for one colour.

    Luma is Rec. 601's 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601), on white where the picture is transparent.

    Raises:
        SweepError: the picture cannot be decoded.
    """
    import numpy as np
    from PIL import Image as Decoder

    try:
        with Decoder.open(io.BytesIO(data)) as picture:
            picture.thumbnail((_LOOKED_AT, _LOOKED_AT))
            seen = picture.convert("RGBA")
    except (OSError, ValueError, SyntaxError, Decoder.DecompressionBombError) as error:
        raise SweepError(f"the picture cannot be measured: {error}") from error
    ground = Decoder.new("RGBA", seen.size, "white")
    luma = np.asarray(Decoder.alpha_composite(ground, seen).convert("L"), dtype=np.float64)
    return round(float(np.std(luma)) / _WIDEST, 5)
