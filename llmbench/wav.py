"""The WAV container: where the samples of a file lie, and the header of one. Pure.

Source: Microsoft's Multimedia Programming Interface 1.0 (RIFF, WAVE), and its WAVEFORMATEXTENSIBLE.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from llmbench.errors import ParamError, ProviderError

_PCM, _EXTENSIBLE = 1, 0xFFFE
#: A size from here on stands for one that was not known when the header was sent.
_UNKNOWN_SIZE: Final = 0x7FFF0000
#: Bits of a sample that is a whole number; more or fewer are no sound.
_BITS: Final = (1, 64)
#: The sizes in a header have 32 bits, and one of them counts the rest of the header too.
_MOST_BYTES: Final = 0xFFFFFFFF - 36


@dataclass(frozen=True, slots=True)
class Layout:
    """Where samples lie and what they are: bytes `start` to `end` of a file.

    `is_plain` says that they are whole numbers; `chunk` is the description as the file has it, for what this
    module does not read itself.
    """

    rate_hz: int
    channels: int
    bits: int
    start: int
    end: int
    is_plain: bool = True
    chunk: bytes = b""

    def as_file(self, samples: bytes) -> bytes:
        """Samples of this layout as a WAV file whose sizes are right."""
        chunk = self.chunk or _description(self.rate_hz, self.channels, self.bits)
        return _head(chunk, len(samples)) + samples


def header(pcm_bytes: int, rate_hz: int) -> bytes:
    """The 44 bytes before mono 16-bit samples.

    Raises:
        ParamError: there are more than the 4 GiB that a WAV file can hold.
    """
    if pcm_bytes > _MOST_BYTES:
        raise ParamError("a WAV file holds 4 GiB of samples at most; ask for another format, or a lower rate")
    return _head(_description(rate_hz, 1, 16), pcm_bytes)


def _head(chunk: bytes, size: int) -> bytes:
    """All of a file up to its samples."""
    fmt = b"WAVEfmt " + struct.pack("<I", len(chunk)) + chunk
    return b"RIFF" + struct.pack("<I", len(fmt) + 8 + size) + fmt + b"data" + struct.pack("<I", size)


def _description(rate_hz: int, channels: int, bits: int) -> bytes:
    """The fmt chunk of whole numbers."""
    frame = channels * bits // 8
    return struct.pack("<HHIIHH", _PCM, channels, rate_hz, rate_hz * frame, frame, bits)


def read_layout(data: bytes) -> Layout:
    """Where the samples of a WAV file lie. A size that was unknown when the header was sent means all of it.

    Raises:
        ProviderError: kind malformed; it has no description or no samples part, is cut off, or has samples
            that cannot be.
    """
    chunk, place = b"", 12
    while data[8:12] == b"WAVE" and place + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, place)
        place += 8
        if name == b"data" and len(chunk) >= 16:
            return _layout(chunk, place, _end(data, place, size))
        if name == b"fmt ":
            chunk = data[place : place + size]
        place += size + size % 2
    raise _malformed("it begins as a WAV file and holds no samples part")


def _end(data: bytes, start: int, size: int) -> int:
    """Where the samples end. A header of 0 bytes that more follows was written before they were counted."""
    there = len(data) - start
    if size >= _UNKNOWN_SIZE or size == 0:
        return len(data)
    if size > there + 8:  # some encoders count a few bytes of their header too
        raise _malformed(f"it is cut off: a WAV file of {size} bytes of samples, of which {there} came")
    return start + min(size, there)


def _layout(chunk: bytes, start: int, end: int) -> Layout:
    kind, channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", chunk)
    if kind == _EXTENSIBLE and len(chunk) >= 26:
        kind = struct.unpack_from("<H", chunk, 24)[0]
    if kind == _PCM and not _BITS[0] <= bits <= _BITS[1]:
        raise _malformed(f"it names samples of {bits} bits")
    return Layout(rate_hz, channels, bits, start, end, kind == _PCM, chunk)


def _malformed(why: str) -> ProviderError:
    return ProviderError(f"the audio of the answer cannot be used: {why}", kind="malformed", status_code=200)
