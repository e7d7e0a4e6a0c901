"""What can be measured of a picture or a narration without asking anybody: plain figures for the ledger."""

from __future__ import annotations

import io
import itertools
import wave
from typing import Any, Final

from llmbench.display.media_pixels import on_white
from llmbench.errors import SweepError
from llmbench.media import Image, ImageResponse, SpeechResponse

#: Audio is looked at in frames of so many seconds; one whose root mean square is below the level is silent.
FRAME_S: Final = 0.02
SILENT_DBFS: Final = -50.0
#: A 16-bit sample at or beyond this value (of 32,768) counts as clipped.
_CLIPPED: Final = 32_767
#: So many equal samples in a row at a local extreme are a flat top: a wave that was cut off, at any level.
_FLAT_SAMPLES: Final = 4
#: The least height of a flat top, as a share of the peak: below it speech has some by chance of rounding.
_FLAT_SHARE: Final = 0.1
#: The widest standard deviation of 8 bits: half of the pixels 0, half 255.
_WIDEST: Final = 127.5
#: Pixels of the longer edge at which contrast is measured: noise evens out, and stars of 3 pixels stay.
_LOOKED_AT: Final = 512
_OF_SOUND: Final = ("peak", "clipped", "silence", "pause_s", "dc_offset")


def speech_facts(response: SpeechResponse, text: str) -> dict[str, Any]:
    """A narration's own figures and those of its samples.

    Returns:
        duration_s, rate_hz, characters of the text, pieces, real_time_factor (seconds of work for one of
        audio), and the figures of `sound_facts`; those are None where the sound cannot be measured.
    """
    try:
        sound: dict[str, Any] = sound_facts(response.audio)
    except SweepError:
        sound = dict.fromkeys(_OF_SOUND)
    return {
        "duration_s": round(response.duration_s, 4),
        "rate_hz": response.rate_hz,
        "characters": len(text),
        "pieces": len(response.pieces),
        "real_time_factor": round(response.real_time_factor, 4),
        **sound,
    }


def sound_facts(wav: bytes) -> dict[str, float]:
    """What the samples of a WAV file tell.

    Returns:
        peak: the largest sample, 0 to 1.
        clipped: the share of samples at either end of 16 bits or in a flat top (four equal samples or more
            in a row, higher than their neighbours, and of a tenth of the peak at least).
        silence: the share of frames of 20 ms whose root mean square is below -50 dBFS.
        pause_s: seconds of the longest run of such frames.
        dc_offset: the mean sample, -1 to 1.

    Raises:
        SweepError: it is no WAV file of mono 16-bit samples.
    """
    import numpy as np

    try:
        with wave.open(io.BytesIO(wav)) as file:
            is_plain = (file.getnchannels(), file.getsampwidth()) == (1, 2)
            rate_hz, pcm = file.getframerate(), file.readframes(file.getnframes())
    except (wave.Error, EOFError, ValueError, OSError, ZeroDivisionError) as error:
        raise SweepError(f"the narration is no WAV file that can be measured: {error}") from error
    if not is_plain:
        raise SweepError("the narration is no WAV file of mono 16-bit samples, and cannot be measured")
    samples = np.frombuffer(pcm, dtype="<i2").astype(np.float64)
    if not samples.size:
        return dict.fromkeys(_OF_SOUND, 0.0) | {"silence": 1.0}
    silent = _silent_frames(samples, rate_hz)
    cut_off = (np.abs(samples) >= _CLIPPED) | _flat_tops(samples - np.mean(samples))
    return {
        "peak": round(float(np.max(np.abs(samples))) / 32_768, 5),
        "clipped": round(float(np.mean(cut_off)), 6),
        "silence": round(float(np.mean(silent)), 5),
        "pause_s": round(FRAME_S * _longest_run(silent), 2),
        "dc_offset": round(float(np.mean(samples)) / 32_768, 5),
    }


def _silent_frames(samples: Any, rate_hz: int) -> Any:
    """Whether each frame is silent; a last frame that is short counts."""
    import numpy as np

    frame = max(round(rate_hz * FRAME_S), 1)
    starts = np.arange(0, samples.size, frame)
    sizes = np.minimum(frame, samples.size - starts)
    levels = np.sqrt(np.add.reduceat(samples**2, starts) / sizes) / 32_768
    return levels < 10 ** (SILENT_DBFS / 20)


def _longest_run(flags: Any) -> int:
    return max((sum(1 for _ in run) for flag, run in itertools.groupby(flags.tolist()) if flag), default=0)


def _flat_tops(samples: Any) -> Any:
    """Whether each sample, of a wave around 0, lies in a flat top."""
    import numpy as np

    starts = np.concatenate(([0], np.flatnonzero(np.diff(samples)) + 1))
    sizes = np.diff(np.append(starts, samples.size))
    levels = samples[starts]
    heights = np.abs(levels)
    beside = np.sign(levels) * np.concatenate((levels[:1], levels[:-1]))
    behind = np.sign(levels) * np.concatenate((levels[1:], levels[-1:]))
    is_top = (beside < heights) & (behind < heights) & (heights >= _FLAT_SHARE * np.max(heights))
    return np.repeat(is_top & (sizes >= _FLAT_SAMPLES), sizes)


def image_facts(response: ImageResponse) -> dict[str, Any]:
    """A picture's own figures, and its contrast.

    Returns:
        width and height in pixels, images that came, seed, revised_prompt, contrast (0 to 1, or None where
        it cannot be measured).
    """
    first: Image = response.image
    try:
        measured: float | None = contrast(first.data)
    except SweepError:  # the picture is paid for: what is missing is one figure of it
        measured = None
    return {
        "width": first.width,
        "height": first.height,
        "images": len(response.images),
        "seed": first.seed,
        "revised_prompt": first.revised_prompt,
        "contrast": measured,
    }


def contrast(data: bytes) -> float:
    """The widest standard deviation of red, green, blue and luma over the widest there is: 0 for one colour.

    Luma is Rec. 601's 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601); the channels tell colours of equal luma
    apart. The picture lies on white where it is transparent, and its longer edge is made 512 pixels.

    Raises:
        SweepError: the picture cannot be decoded, or claims more than 50 million pixels.
    """
    import numpy as np

    seen = on_white(data, _LOOKED_AT)
    planes = (*seen.split(), seen.convert("L"))
    return round(max(float(np.std(np.asarray(each, dtype=np.float64))) for each in planes) / _WIDEST, 5)
