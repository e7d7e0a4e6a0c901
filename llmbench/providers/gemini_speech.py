"""The Gemini speech wire: generateContent that answers with audio.

Source of the forms: the Gemini API reference (speech generation, SpeechConfig), and requests recorded from
Google's own client. The models answer raw 16-bit samples, and take style as part of the prompt.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from llmbench.catalog import Endpoint, ModelSpec
from llmbench.errors import ParamError, ProviderError
from llmbench.media import Blob, MediaAsk
from llmbench.providers.base import HttpReply, Reply, payload_of
from llmbench.providers.extra_body import with_extra
from llmbench.providers.gemini import path_of
from llmbench.providers.gemini_reply import first_candidate, parts_of, read_reply
from llmbench.providers.json_readers import as_mapping, as_text
from llmbench.providers.media_wire import Step

#: A dialogue has so many, no more and no fewer. Source: the API reference, MultiSpeakerVoiceConfig.
_SPEAKERS: Final = 2
_PLACES: Final = frozenset({"voice", "speakers", "language", "instructions", "format"})
#: What may be put end to end: samples without a header.
_RAW: Final = ("audio/l16", "audio/pcm")
_URL_ALPHABET: Final = str.maketrans("-_", "+/")


class GeminiSpeechWire:
    """POST {base}/{api_version}/models/{model}:generateContent."""

    accept: Final = "application/json"

    def path(self, spec: ModelSpec, endpoint: Endpoint) -> str:
        """The path below the base URL, as for text."""
        return path_of(spec, endpoint)

    def body(self, spec: ModelSpec, ask: MediaAsk) -> dict[str, Any]:
        """The request body: one turn, asked for as audio.

        `instructions` go before the text, as Google documents it ("Say cheerfully: ..."): followed by a colon
        and a blank, or by a line break before the lines of a dialogue. They have no field of their own.

        Raises:
            ParamError: a parameter has no place in a Gemini request, a dialogue has not two speakers, or
                extra_body sets a field that the call sets too.
        """
        _check(spec, ask)
        settings: dict[str, Any] = {"responseModalities": ["AUDIO"]}
        if speech := _speech_config(ask.params):
            settings["speechConfig"] = speech
        turn = {"role": "user", "parts": [{"text": _prompt(ask)}]}
        return with_extra({"contents": [turn], "generationConfig": settings}, ask.extra_body)

    def next_step(self, reply: HttpReply, sent: Mapping[str, Any]) -> Step | None:
        """None: the first reply is the answer."""
        del reply, sent
        return None

    def parse(self, reply: HttpReply, sent: Mapping[str, Any]) -> Reply:
        """The audio of the first candidate, its parts put end to end.

        Audio that is no base64, or parts that cannot be joined, are a `problem` of kind malformed: its tokens
        were used all the same.

        Raises:
            ProviderError: the status is not 2xx, or there is no candidate and no reason for none.
        """
        del sent  # every answer says itself how it ended
        payload = payload_of(reply)
        read = read_reply(payload, reply.headers)
        try:
            media = _audio(first_candidate(payload) or {})
        except ProviderError as error:
            error.request_id = read.request_id
            return replace(read, problem=error)
        if read.problem is not None and read.problem.kind != "empty":
            return read
        if media is None:
            return replace(read, finish_reason="empty", problem=_without_audio(read))
        return replace(read, finish_reason="stop", problem=None, media=(media,))


def _check(spec: ModelSpec, ask: MediaAsk) -> None:
    unknown = next((name for name in ask.params if name not in _PLACES), None)
    unknown = "references" if ask.references else unknown
    place = f"model {spec.key!r}:"
    if unknown is not None:
        raise ParamError(f"{place} {unknown} has no place in a Gemini request for audio; leave it out")
    if (wanted := ask.params.get("format", "pcm")) != "pcm":
        raise ParamError(f"{place} format {wanted!r}: Gemini answers raw samples alone; ask it for pcm")
    speakers = ask.params.get("speakers")
    if speakers is None:
        return
    if "voice" in ask.params:
        raise ParamError(f"{place} voice is for one speaker and speakers for two; keep one of them")
    if len(speakers) != _SPEAKERS:
        raise ParamError(
            f"{place} a dialogue has exactly {_SPEAKERS} speakers, not {len(speakers)}; give voice for one"
        )


def _speech_config(params: Mapping[str, Any]) -> dict[str, Any]:
    config: dict[str, Any] = {}
    if "voice" in params:
        config["voiceConfig"] = _voice(params["voice"])
    if "speakers" in params:
        pairs = params["speakers"].items()
        voices = [{"speaker": name, "voiceConfig": _voice(voice)} for name, voice in pairs]
        config["multiSpeakerVoiceConfig"] = {"speakerVoiceConfigs": voices}
    if "language" in params:
        config["languageCode"] = params["language"]
    return config


def _voice(name: str) -> dict[str, Any]:
    return {"prebuiltVoiceConfig": {"voiceName": name}}


def _prompt(ask: MediaAsk) -> str:
    instructions = str(ask.params.get("instructions", "")).rstrip().rstrip(":：")
    if not instructions:
        return ask.text
    return f"{instructions}:{chr(10) if 'speakers' in ask.params else ' '}{ask.text}"


def _audio(candidate: Mapping[str, Any]) -> Blob | None:
    """The audio of a candidate, or None.

    Raises:
        ProviderError: kind malformed; it is no base64, or of parts that cannot be put end to end.
    """
    pieces: list[bytes] = []
    mimes: list[str | None] = []
    for part in parts_of(candidate):
        inline = as_mapping(part.get("inlineData"))
        data, mime = as_text(inline.get("data")), as_text(inline.get("mimeType"))
        if data and not part.get("thought") and (mime is None or mime.lower().startswith("audio/")):
            pieces.append(_bytes_of(data))
            mimes.append(mime)
    if not pieces:
        return None
    is_raw = all(mime is not None and mime.lower().startswith(_RAW) for mime in mimes)
    if len(set(mimes)) > 1 or (len(pieces) > 1 and not is_raw):
        raise _malformed(f"{len(pieces)} parts of audio that cannot be put end to end")
    return Blob(b"".join(pieces), mimes[0])


def _bytes_of(text: str) -> bytes:
    """The bytes of a base64 text; both alphabets count, with padding or without it."""
    try:
        return base64.b64decode(text.translate(_URL_ALPHABET) + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        raise _malformed(f"audio that is not base64 ({len(text)} characters)") from None


def _malformed(what: str) -> ProviderError:
    return ProviderError(f"the answer holds {what}", kind="malformed", status_code=200)


def _without_audio(read: Reply) -> ProviderError:
    what = "text and no audio" if read.text else "no audio"
    return ProviderError(
        f"the answer holds {what}",
        kind="no_media",
        status_code=200,
        request_id=read.request_id,
        output=read.text or None,
    )
