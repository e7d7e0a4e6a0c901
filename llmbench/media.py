"""The values of image and speech calls: what is asked for, what came, and what the caller gets."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmbench.markup import escaped
from llmbench.messages import Response

#: A picture that stands in a notebook has at most so many bytes; a larger one is named, not shown.
_SHOWN_BYTES = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes of a provider's answer, with the MIME type that it names or None."""

    data: bytes = field(repr=False)
    mime: str | None = None


@dataclass(frozen=True, slots=True)
class MediaAsk:
    """What one request to a media model asks for, after the guard.

    `text` is the prompt of a picture or the text to speak; `params` are canonical parameters that this model
    takes; `references` are pictures to go by; `extra_body` is sent as it is.
    """

    text: str
    params: Mapping[str, Any] = field(default_factory=dict)
    references: tuple[Blob, ...] = ()
    extra_body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Image:
    """One picture. `mime` is told by its bytes, sizes are pixels.

    `seed` and `revised_prompt` are None where the provider names none; `path` is set once it is saved.
    """

    data: bytes = field(repr=False)
    mime: str
    width: int
    height: int
    seed: int | None = None
    revised_prompt: str | None = None
    path: Path | None = None

    @property
    def suffix(self) -> str:
        """The file name's ending, such as `.png`."""
        return "." + self.mime.partition("/")[2].replace("jpeg", "jpg")

    def _repr_html_(self) -> str:
        if len(self.data) > _SHOWN_BYTES:
            return f"<p>{html.escape(self.mime)}, {self.width} x {self.height}, {len(self.data)} bytes</p>"
        source = f"data:{self.mime};base64,{base64.b64encode(self.data).decode()}"
        width = min(self.width, 480)
        return f'<img src="{html.escape(source)}" width="{width}" alt="{self.width} x {self.height}">'


@dataclass(frozen=True, slots=True)
class ImageResponse(Response):
    """The pictures of one call, with everything that happened on the way to them.

    `cost_usd` is that of the whole call. `safety` holds the provider's own ratings as it gives them, empty
    where it gives none; a picture that was blocked is an error of kind content_filter. `text` says in words
    what came.
    """

    images: tuple[Image, ...] = ()
    safety: Mapping[str, Any] = field(default_factory=dict)

    @property
    def image(self) -> Image:
        """The first picture."""
        return self.images[0]

    @property
    def cost_per_image_usd(self) -> float | None:
        """The call's cost divided by its pictures; None where it is unknown."""
        return None if self.cost_usd is None else self.cost_usd / len(self.images)

    def _repr_html_(self) -> str:
        shown = "".join(f"<td>{image._repr_html_()}</td>" for image in self.images)
        return self._page(f"<table><tr>{shown}</tr></table>", f"{len(self.images)} pictures")


@dataclass(frozen=True, slots=True)
class Piece:
    """One part of a narration, in order. Times are seconds from the start of the whole.

    `pcm` is mono 16-bit little-endian audio at `rate_hz`, empty in a response whose audio is in its file.
    """

    index: int
    text: str
    start_s: float
    end_s: float
    rate_hz: int
    pcm: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class SpeechResponse(Response):
    """The audio of one narration, with everything that happened on the way to it.

    Attributes:
        audio: the whole in its format; empty where it was written to `path` alone.
        mime: what the bytes are.
        rate_hz: samples a second.
        duration_s: of the whole, in seconds.
        pieces: its parts with their times, without audio.
        path: where it was written, or None.
    """

    audio: bytes = field(default=b"", repr=False)
    mime: str = "audio/wav"
    rate_hz: int = 0
    duration_s: float = 0.0
    pieces: tuple[Piece, ...] = ()
    path: Path | None = None

    @property
    def real_time_factor(self) -> float:
        """Seconds of work for one second of audio, the queue of our own limits left out."""
        return (self.latency_ms - self.queued_ms) / 1000 / self.duration_s if self.duration_s else 0.0

    def srt(self) -> str:
        """Subtitles in the SubRip form, one for each piece."""
        blocks = (
            f"{number}\n{_srt_time(piece.start_s)} --> {_srt_time(piece.end_s)}\n{_one_block(piece.text)}\n"
            for number, piece in enumerate(self.pieces, start=1)
        )
        return "\n".join(blocks)

    def _repr_html_(self) -> str:
        measure = f"{self.duration_s:.1f} s of audio"
        if not self.audio or len(self.audio) > _SHOWN_BYTES:
            return self._page(f"<p>{escaped(self.path or 'audio too long to show here')}</p>", measure)
        source = f"data:{self.mime};base64,{base64.b64encode(self.audio).decode()}"
        return self._page(f'<audio controls src="{html.escape(source)}"></audio>', measure)


def _srt_time(seconds: float) -> str:
    """SubRip's HH:MM:SS,mmm."""
    whole_ms = round(seconds * 1000)
    minutes, ms = divmod(whole_ms, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{ms // 1000:02},{ms % 1000:03}"


def _one_block(text: str) -> str:
    """A subtitle's lines: an empty line would end it, and an arrow would be read as its times."""
    lines = (" ".join(line.split()).replace("-->", "→") for line in text.splitlines())
    return "\n".join(line for line in lines if line)
