"""Pictures and speech: requests of OpenAI's two media paths as calls of the router; their answers. Pure."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any, Final

from llmbench.errors import ParamError, ProviderError
from llmbench.media import ImageResponse, SpeechResponse
from llmbench.messages import Response
from llmbench.serve.chat import Ask, facts
from llmbench.serve.problems import refused
from llmbench.serve.reading import TEXT, checked, own_arguments, require_inert, require_known, with_user
from llmbench.wav import read_layout

#: Fields that go on as they are; the router checks their values. The last three are not in OpenAI's dialect.
_IMAGE_PARAMS: Final = (
    "n",
    "size",
    "quality",
    "style",
    "background",
    "aspect_ratio",
    "negative_prompt",
    "seed",
)
_IMAGE_UNSUPPORTED: Final[Mapping[str, tuple[Any, ...]]] = {
    "moderation": ("auto",),
    "output_compression": (100,),
    "partial_images": (0,),
    "response_format": ("b64_json",),
    "stream": (False,),
}
_SPEECH_PARAMS: Final = ("speed", "instructions", "language")
_SPEECH_UNSUPPORTED: Final[Mapping[str, tuple[Any, ...]]] = {"stream_format": ("audio",)}
#: OpenAI's raw samples: 24,000 a second, 16 bits, one channel.
PCM_RATE_HZ: Final = 24_000
_PCM_MIME: Final = "audio/pcm"
_FORMATS: Final = ("mp3", "opus", "aac", "flac", "wav", "pcm")


def read_image(body: Mapping[str, Any]) -> Ask:
    """An image request. `auto` is the model's own choice, as if the field were not there.

    Raises:
        Problem: 400; a field that is unknown or cannot be kept is of the kind unsupported_param.
    """
    known = ("model", "prompt", "output_format", "user", "llmbench", *_IMAGE_PARAMS, *_IMAGE_UNSUPPORTED)
    require_known(body, known)
    require_inert(body, _IMAGE_UNSUPPORTED)
    arguments = with_user(own_arguments(body), body)
    given = {name: body.get(name) for name in _IMAGE_PARAMS} | {"format": body.get("output_format")}
    arguments |= {name: value for name, value in given.items() if value is not None and value != "auto"}
    return Ask(body.get("model"), _prompt(body, "prompt"), arguments)


def image_answer(reply: ImageResponse, created: int) -> dict[str, Any]:
    """The pictures as OpenAI's `images.response`, in base64."""
    data = []
    for image in reply.images:
        entry: dict[str, Any] = {"b64_json": base64.b64encode(image.data).decode()}
        data.append(
            entry | ({} if image.revised_prompt is None else {"revised_prompt": image.revised_prompt})
        )
    first = reply.image
    form = first.mime.partition("/")[2]
    answer = {"created": created, "data": data, "output_format": form, "llmbench": facts(reply)}
    usage = reply.usage
    if not (usage.input_tokens or usage.output_tokens):
        return answer
    tokens = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
    details = {"text_tokens": usage.input_tokens, "image_tokens": 0}
    total = usage.input_tokens + usage.output_tokens
    return {**answer, "usage": {**tokens, "total_tokens": total, "input_tokens_details": details}}


def read_speech(body: Mapping[str, Any]) -> Ask:
    """A speech request. The voice `default` is the model's own.

    Raises:
        Problem: 400; a field that is unknown or cannot be kept is of the kind unsupported_param.
    """
    known = ("model", "input", "voice", "response_format", "user", "llmbench")
    require_known(body, (*known, *_SPEECH_PARAMS, *_SPEECH_UNSUPPORTED))
    require_inert(body, _SPEECH_UNSUPPORTED)
    arguments = with_user(own_arguments(body), body)
    arguments |= {name: body[name] for name in _SPEECH_PARAMS if body.get(name) is not None}
    voice = body.get("voice")
    voice = voice.get("id") if isinstance(voice, dict) else voice
    if voice is not None and not isinstance(voice, str):
        raise refused("voice", "must be the name of a voice, or `default`")
    if voice not in (None, "default"):
        arguments["voice"] = voice
    form = body.get("response_format") or "mp3"
    if form not in _FORMATS:
        raise refused("response_format", f"{form!r:.40} is none of {', '.join(_FORMATS)}")
    arguments["format"] = "wav" if form == "pcm" else form
    if form == "pcm":
        arguments["sample_rate_hz"] = PCM_RATE_HZ
    return Ask(body.get("model"), _prompt(body, "input"), arguments)


def speech_answer(reply: SpeechResponse, *, is_pcm: bool) -> tuple[bytes, str]:
    """The audio and its MIME type; raw samples without the container of the WAV that they came in.

    Raises:
        ParamError: the samples of the WAV cannot be found.
    """
    if not is_pcm:
        return reply.audio, reply.mime
    try:
        found = read_layout(reply.audio)
    except ProviderError as error:
        raise ParamError("the samples of the audio cannot be found; ask for wav") from error
    return reply.audio[found.start : found.end], _PCM_MIME


def facts_header(reply: Response) -> str:
    """What the router knows of an answer that is bytes, in one header: JSON in ASCII, without long lists."""
    known = facts(reply)
    known["adjustments"] = len(known["adjustments"])
    del known["reason"]
    return json.dumps(known)


def _prompt(body: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    text = checked(body, {name: TEXT}).get(name)
    if text is None:
        raise refused(name, "give a text")
    return [{"role": "user", "content": text}]
