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
from typing import Any, Final

from llmbench.audio import FORMATS, Sound, decode, format_for
from llmbench.catalog import Price
from llmbench.errors import ProviderError, UnsavedError
from llmbench.media import MediaAsk, Piece, SpeechResponse
from llmbench.messages import Adjustment, Response
from llmbench.pricing import Made
from llmbench.providers.base import Reply, Transport
from llmbench.providers.media_send import merged
from llmbench.providers.media_wires import media_wire_for
from llmbench.providers.send import Sent
from llmbench.routing.fallback import Outcome
from llmbench.routing.media_call import MediaCall, MediaPrepared, own_keys, shallow, with_failures
from llmbench.routing.media_files import copy_whole, not_written, sha256_of, write_record
from llmbench.routing.narrating import Joint, narrate
from llmbench.routing.prepare import Prepared
from llmbench.routing.speech_guard import guard_speech, late_change

#: Pieces that are spoken at the same time, unless the call says otherwise.
_AT_ONCE: Final = 4
#: No voice is as slow as this, in characters a second: the worst case of a price by the minute.
_SLOWEST_CHARS_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class SpeechPrepared(MediaPrepared):
    """One candidate's requests: a body for each of the texts, and the rate of audio that names none.

    `form` is the format of the whole; `whole_hz` its rate, None for that of the first piece.
    """

    texts: tuple[str, ...] = ()
    rate_hz: int = 24_000
    form: str = "wav"
    whole_hz: int | None = None


@dataclass(frozen=True, slots=True)
class Spoken:
    """A finished narration, in its format. `late` says what its rate lost of the pieces'.

    `audio` is empty where it was written to its file; `unsaved` says why it could not be.
    """

    audio: bytes = field(repr=False)
    form: str
    rate_hz: int
    duration_s: float
    pieces: tuple[Piece, ...]
    late: Adjustment | None = None
    unsaved: str = ""


@dataclass(slots=True)
class SpeechCall(MediaCall):
    """One speech call. `on_piece` gets each piece in order as soon as it is joined."""

    on_piece: Callable[[Piece], Awaitable[object]] | None = None

    def _planned(self, key: str) -> SpeechPrepared:
        asked, spec = self.asked, self.setup.config.models[key]
        options, renamed = self.merged_options(key, "speech")
        extra = own_keys(options.pop("extra_body", {}))
        form = format_for(asked.out, options.get("format"))
        guarded = guard_speech(spec, asked.text, options, form)
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
            form=form,
            whole_hz=guarded.whole_hz,
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
        self.has_lost = False
        joint, came = Joint(item.whole_hz, FORMATS[item.form].rates_hz), list[Sent]()
        try:
            with self._held(key, item) as held:
                try:
                    whole = await self._narrated(key, item, joint, came, transport)
                except ProviderError as error:
                    if not came:
                        if self.has_lost:
                            held.settle(None)  # pieces that were given up may be charged
                        raise
                    failures = [self._redacted(error)]
                    whole = with_failures(merged(came, None), failures, has_lost=self.has_lost)
                held.settle(None if self.has_lost else whole.cost_usd)
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
        whole = merged(came, spoken)
        # Pieces that are spoken at the same time wait for a place at the same time; the rounds add up.
        rounds = min(item.options.get("at_once", _AT_ONCE), len(came))
        queued_ms = sum(part.lease.queued_ms for part in came) / rounds
        return replace(
            whole,
            lease=replace(whole.lease, queued_ms=queued_ms),
            latency_ms=max((asyncio.get_running_loop().time() - started) * 1000 - queued_ms, 0.0),
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
        path = joint.finish(item.form)
        unsaved = ""
        if out is not None:
            try:
                copy_whole(path, out)
            except OSError as error:
                unsaved = not_written(out, error)
        audio = path.read_bytes() if out is None or unsaved else b""
        assert joint.rate_hz is not None  # noqa: S101 -- there is at least one piece
        is_asked = "sample_rate_hz" in item.options  # which is told already
        late = None if is_asked else late_change(item.spec.key, joint.came_hz, joint.rate_hz, item.whole_hz)
        duration_s = joint.samples / joint.rate_hz
        return Spoken(audio, item.form, joint.rate_hz, duration_s, tuple(joint.pieces), late, unsaved)

    def response(self, outcome: Outcome) -> SpeechResponse:
        """The narration, with the record of its file where the call names one.

        Raises:
            UnsavedError: the file or its record cannot be written.
        """
        spoken: Spoken = outcome.sent.parsed
        base = super(SpeechCall, self).response(outcome)
        mime, out = FORMATS[spoken.form].mime, self.asked.out
        changes = base.adjustments if spoken.late is None else (*base.adjustments, spoken.late)
        base = replace(base, text=f"{spoken.duration_s:.1f} s of {mime}", adjustments=changes)
        made = SpeechResponse(
            **shallow(base),
            audio=spoken.audio,
            mime=mime,
            rate_hz=spoken.rate_hz,
            duration_s=spoken.duration_s,
            pieces=spoken.pieces,
            path=None if spoken.unsaved else out,
        )
        if spoken.unsaved:
            raise UnsavedError(spoken.unsaved, made)
        if out is not None:
            times = [{"start_s": p.start_s, "end_s": p.end_s, "text": p.text} for p in spoken.pieces]
            facts = {
                "mime": mime,
                "rate_hz": spoken.rate_hz,
                "duration_s": spoken.duration_s,
                "pieces": times,
            }
            try:
                write_record(out, self.record(made, sha256_of(out), facts))
            except OSError as error:
                raise UnsavedError(not_written(out, error), made) from error
        return made

    def extra_facts(self, response: Response | None) -> Mapping[str, Any]:
        """What the line says of the audio."""
        if response is None:
            return {"media": {"modality": "speech"}}
        assert isinstance(response, SpeechResponse)  # noqa: S101 -- what `response` makes
        facts = {"duration_s": round(response.duration_s, 3), "pieces": len(response.pieces)}
        return {"media": {"modality": "speech", **facts, "characters": len(self.asked.text)}}


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
