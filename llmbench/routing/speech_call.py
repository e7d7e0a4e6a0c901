"""Speech calls on their way: one model speaks all pieces of a text, which are joined and encoded here.

A voice is part of the style, so a narration never changes it in the middle: a piece that fails for good ends
the candidate's attempt, and another candidate, where the task allows one, begins from the start. A passing
failure of one piece (`transient_statuses` of the policy) is waited out for that piece alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from llmbench.audio import FORMATS, Sound, decode
from llmbench.catalog import Price
from llmbench.errors import ProviderError
from llmbench.media import MediaAsk, Piece, SpeechResponse
from llmbench.messages import Response
from llmbench.pricing import Made
from llmbench.providers.base import Reply, Transport
from llmbench.providers.media_send import merged
from llmbench.providers.media_wires import media_wire_for
from llmbench.providers.send import Sent
from llmbench.routing.fallback import Outcome
from llmbench.routing.media_call import MediaCall, MediaPrepared, own_keys, shallow, with_failures
from llmbench.routing.media_files import copy_whole, record_of, sha256_of, write_record
from llmbench.routing.narrating import Joint, narrate
from llmbench.routing.prepare import Prepared
from llmbench.routing.speech_guard import guard_speech

#: Pieces that are spoken at the same time, unless the call says otherwise.
_AT_ONCE: Final = 4
#: No voice is as slow as this, in characters a second: the worst case of a price by the minute.
_SLOWEST_CHARS_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class SpeechPrepared(MediaPrepared):
    """One candidate's requests: a body for each of the texts, and the rate of audio that names none."""

    texts: tuple[str, ...] = ()
    rate_hz: int = 24_000


@dataclass(frozen=True, slots=True)
class Spoken:
    """A finished narration, in its format."""

    audio: bytes = field(repr=False)
    form: str
    rate_hz: int
    duration_s: float
    pieces: tuple[Piece, ...]


@dataclass(slots=True)
class SpeechCall(MediaCall):
    """One speech call. `on_piece` gets each piece in order as soon as it is joined."""

    on_piece: Callable[[Piece], Awaitable[object]] | None = None

    def _planned(self, key: str) -> SpeechPrepared:
        asked, spec = self.asked, self.setup.config.models[key]
        options, renamed = self.merged_options(key, "speech")
        extra = own_keys(options.pop("extra_body", {}))
        guarded = guard_speech(spec, asked.text, options)
        wire = media_wire_for(spec)
        bodies = tuple(
            wire.body(spec, MediaAsk(piece, guarded.params, extra_body=extra)) for piece in guarded.pieces
        )
        changes = self.checked(spec, (*renamed, *guarded.adjustments))
        return SpeechPrepared(
            spec,
            bodies[0],
            options,
            changes,
            None,
            bodies=bodies,
            texts=guarded.pieces,
            rate_hz=guarded.rate_hz,
        )

    def unit_usd(self, price: Price, item: Prepared) -> float | None:
        """The price of the whole text, by its characters or by the minutes of a slow reader."""
        del item
        characters = len(self.asked.text)
        if price.per_million_chars is not None:
            return price.per_million_chars * characters / 1e6
        if price.per_minute is not None:
            return price.per_minute * characters / _SLOWEST_CHARS_S / 60
        return None

    async def send(self, key: str, transport: Transport) -> Sent:
        """One candidate's attempt at the whole narration; with its `problem` where only pieces of it came.

        Raises:
            ProviderError: a piece failed for good before any came.
            ParamError, ConfigError, BudgetExceeded: as `Call.send`.
        """
        item = self.prepare(key)
        assert isinstance(item, SpeechPrepared)  # noqa: S101 -- what `_planned` makes
        joint, came = Joint(item.options.get("sample_rate_hz")), list[Sent]()
        try:
            with self._held(key, item) as held:
                try:
                    whole = await self._narrated(key, item, joint, came, transport)
                except ProviderError as error:
                    if not came:
                        raise
                    whole = with_failures(merged(came, None), [self._redacted(error)])
                held.settle(whole.cost_usd)
                return whole
        except ProviderError as error:
            raise self._redacted(error) from None
        finally:
            await asyncio.to_thread(joint.close)  # a piece may be on its way into it

    async def _narrated(
        self, key: str, item: SpeechPrepared, joint: Joint, came: list[Sent], transport: Transport
    ) -> Sent:
        """All pieces joined and in their format. `came` grows with every answer, in the order of arrival.

        Raises:
            ProviderError: a piece failed for good.
        """
        started = asyncio.get_running_loop().time()
        first: list[float] = []

        async def heard(piece: Piece) -> None:
            first.append(asyncio.get_running_loop().time() - started)
            if self.on_piece is not None:
                if self.progress is not None:
                    self.progress.deliver(key, piece.text)
                await self.on_piece(piece)

        await narrate(
            joint,
            item.texts,
            lambda index: self._spoken(key, item, index, came, transport),
            item.options.get("at_once", _AT_ONCE),
            heard,
        )
        spoken = await asyncio.to_thread(self._finished, joint, item)
        return replace(
            merged(came, spoken),
            latency_ms=(asyncio.get_running_loop().time() - started) * 1000,
            ttft_ms=None if self.on_piece is None else first[0] * 1000,
        )

    async def _spoken(
        self, key: str, item: SpeechPrepared, index: int, came: list[Sent], transport: Transport
    ) -> Sound:
        """One piece.

        Raises:
            ProviderError: it failed for good; its text says which piece.
        """
        opened = partial(_opened, rate_hz=item.rate_hz, characters=len(item.texts[index]))
        try:
            sent = await self.piece(key, item, index, transport, opened)
            sound: Sound = sent.parsed
            came.append(replace(sent, parsed=None, reply=replace(sent.reply, media=())))
            if sent.problem is not None:
                raise sent.problem
        except ProviderError as error:
            if len(item.texts) > 1:
                error.args = (f"{error} (piece {index + 1} of {len(item.texts)})",)
            raise
        return sound

    def _finished(self, joint: Joint, item: SpeechPrepared) -> Spoken:
        """The whole in its format, read into memory or moved to where the call wants it."""
        out = self.asked.out
        form: str = item.options.get("format") or _form_of(out)
        path = joint.finish(form)
        audio = path.read_bytes() if out is None else b""
        if out is not None:
            copy_whole(path, out)
        assert joint.rate_hz is not None  # noqa: S101 -- there is at least one piece
        return Spoken(audio, form, joint.rate_hz, joint.samples / joint.rate_hz, tuple(joint.pieces))

    def response(self, outcome: Outcome) -> SpeechResponse:
        """The narration, with the record of its file where the call names one."""
        spoken: Spoken = outcome.sent.parsed
        base = super(SpeechCall, self).response(outcome)
        mime, out = FORMATS[spoken.form].mime, self.asked.out
        base = replace(base, text=f"{spoken.duration_s:.1f} s of {mime}")
        made = SpeechResponse(
            **shallow(base),
            audio=spoken.audio,
            mime=mime,
            rate_hz=spoken.rate_hz,
            duration_s=spoken.duration_s,
            pieces=spoken.pieces,
            path=out,
        )
        if out is not None:
            times = [{"start_s": p.start_s, "end_s": p.end_s, "text": p.text} for p in spoken.pieces]
            facts = {
                "mime": mime,
                "rate_hz": spoken.rate_hz,
                "duration_s": spoken.duration_s,
                "pieces": times,
            }
            write_record(out, record_of(self.asked.request, made, sha256_of(out), facts))
        return made

    def extra_facts(self, response: Response) -> Mapping[str, Any]:
        """What the line says of the audio."""
        assert isinstance(response, SpeechResponse)  # noqa: S101 -- what `response` makes
        facts = {"duration_s": round(response.duration_s, 3), "pieces": len(response.pieces)}
        return {"media": {"modality": "speech", **facts, "characters": len(self.asked.text)}}


def _form_of(out: Path | None) -> str:
    """The format that a file's name asks for; WAV where it asks for none."""
    suffix = "" if out is None else out.suffix.lower()
    return next((name for name, form in FORMATS.items() if form.suffix == suffix and name != "pcm"), "wav")


def _opened(reply: Reply, *, rate_hz: int, characters: int) -> tuple[Sound, Made]:
    """The audio of an answer, and what it is billed by.

    Raises:
        ProviderError: kind no_media, there is none; kind malformed, it cannot be decoded.
    """
    if not reply.media:
        raise ProviderError("the answer holds no audio", kind="no_media", status_code=200)
    blob = reply.media[0]
    sound = decode(blob.data, blob.mime, rate_hz)
    return sound, Made(audio_s=sound.duration_s, characters=characters)
