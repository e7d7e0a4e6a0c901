"""A narration being put together: pieces in order, joined sample by sample in a file, in bounded memory."""

from __future__ import annotations

import asyncio
import tempfile
import threading
import wave
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from llmbench.audio import Sound, encode_file, nearest_rate, resample, smooth_edges
from llmbench.media import Piece

T = TypeVar("T")


async def in_order(count: int, make: Callable[[int], Awaitable[T]], at_once: int) -> AsyncGenerator[T, None]:
    """The results of `make(0)` to `make(count - 1)` in order; at most `at_once` are under way or waiting.

    The first failure ends the others, and so does a reader that leaves.

    Raises:
        Exception: whatever `make` raises, at its turn.
    """
    waiting: deque[asyncio.Task[T]] = deque()
    begun = 0
    try:
        while begun < count or waiting:
            while begun < count and len(waiting) < at_once:
                waiting.append(asyncio.ensure_future(_made(make, begun)))
                begun += 1
            yield await waiting.popleft()
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def _made(make: Callable[[int], Awaitable[T]], index: int) -> T:
    return await make(index)


@dataclass(slots=True)
class Joint:
    """The file that pieces are joined in: mono 16-bit WAV in a folder of its own, gone with `close`.

    Every piece fades in and out for three milliseconds, so that no joint clicks; no sample is added or lost.
    `rate_hz` is that of the first piece unless one is given, or the next of `rates_hz` where these are all
    that the whole can have; `came_hz` are the rates that the pieces came at.
    """

    rate_hz: int | None = None
    rates_hz: tuple[int, ...] = ()
    came_hz: set[int] = field(default_factory=set)
    samples: int = 0
    pieces: list[Piece] = field(default_factory=list)
    _folder: tempfile.TemporaryDirectory[str] = field(init=False)
    _file: wave.Wave_write | None = None
    _guard: threading.Lock = field(default_factory=threading.Lock)
    _is_closed: bool = False

    def __post_init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="llmbench-narration-")

    @property
    def path(self) -> Path:
        """The WAV file; whole after `finish`."""
        return Path(self._folder.name) / "whole.wav"

    def add(self, text: str, sound: Sound) -> Piece:
        """Join a piece to the end, and return it with its audio and its times.

        Raises:
            ValueError: the files are gone; nobody waits for the piece any more.
        """
        with self._guard:
            if self._is_closed:
                raise ValueError("the narration is over")
            return self._added(text, sound)

    def _added(self, text: str, sound: Sound) -> Piece:
        if self.rate_hz is None:
            self.rate_hz = nearest_rate(sound.rate_hz, self.rates_hz)
        self.came_hz.add(sound.rate_hz)
        joined = smooth_edges(resample(sound, self.rate_hz))
        if self._file is None:
            self._file = wave.open(str(self.path), "wb")  # noqa: SIM115 -- closed by `finish`
            self._file.setnchannels(1)
            self._file.setsampwidth(2)
            self._file.setframerate(self.rate_hz)
        self._file.writeframesraw(joined.pcm)
        start, self.samples = self.samples, self.samples + len(joined.pcm) // 2
        piece = Piece(
            index=len(self.pieces),
            text=text,
            start_s=start / self.rate_hz,
            end_s=self.samples / self.rate_hz,
            rate_hz=self.rate_hz,
        )
        self.pieces.append(piece)
        return replace(piece, pcm=joined.pcm)

    def finish(self, form: str) -> Path:
        """The whole in a format, as a file that lives until `close`.

        Raises:
            ValueError: the files are gone.
        """
        with self._guard:
            if self._is_closed or self._file is None:
                raise ValueError("the narration is over, or has no piece")
            self._file.close()
            self._file = None
            if form == "wav":
                return self.path
            encoded = self.path.with_name(f"whole.{form}")
            encode_file(self.path, encoded, form)
            return encoded

    def close(self) -> None:
        """Remove the files, once what a thread still does to them has ended."""
        with self._guard:
            self._is_closed = True
            if self._file is not None:
                self._file.close()
                self._file = None
            self._folder.cleanup()


async def narrate(
    joint: Joint,
    texts: tuple[str, ...],
    speak: Callable[[int], Awaitable[Sound]],
    at_once: int,
    on_piece: Callable[[Piece], Awaitable[object]],
) -> None:
    """Speak every text and join the pieces in their order, as they come.

    Raises:
        Exception: whatever `speak` or `on_piece` raises.
    """
    async with aclosing(in_order(len(texts), speak, at_once)) as spoken:
        async for sound in spoken:
            piece = await asyncio.to_thread(joint.add, texts[len(joint.pieces)], sound)
            await on_piece(piece)
