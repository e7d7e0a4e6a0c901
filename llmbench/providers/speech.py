"""The speech wire: POST {base}/audio/speech, a JSON request and the audio itself as the answer.

OpenAI, Azure, OpenRouter (mp3 and pcm alone) and the local voice server share this form. Source: the OpenAI
and OpenRouter API references, and requests recorded from their own clients. The answer has no usage.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from llmbench.catalog import Endpoint, ModelSpec
from llmbench.errors import ParamError, ProviderError
from llmbench.media import Blob, MediaAsk
from llmbench.providers.azure_paths import below_openai, dated_version, is_plain
from llmbench.providers.base import HttpReply, Reply, payload_of
from llmbench.providers.extra_body import with_extra
from llmbench.providers.failures import request_id_of
from llmbench.providers.media_wire import Step
from llmbench.structuring import loads_strictly

#: Canonical parameter -> name in the body. Source: the OpenAI API reference, audio/speech.
_NAMES: Final[Mapping[str, str]] = {
    "voice": "voice",
    "instructions": "instructions",
    "format": "response_format",
    "speed": "speed",
}
#: Content types that tell nothing of the bytes; what was asked for tells more.
_UNTOLD: Final = frozenset({"", "application/octet-stream", "binary/octet-stream"})
_OUTPUT_CHARACTERS: Final = 2000
_MIME_CHARACTERS: Final = 120


class SpeechWire:
    """POST {base}/audio/speech, or the path of an Azure deployment."""

    accept: Final = "audio/*, application/octet-stream"

    def path(self, spec: ModelSpec, endpoint: Endpoint) -> str:
        """The path below the base URL (which ends in /v1 on most hosts).

        Raises:
            ConfigError: there is no such Azure API version.
        """
        if is_plain(endpoint):
            return "/audio/speech"
        version = dated_version(spec, endpoint)
        if version is None:
            return below_openai(endpoint, "/v1/audio/speech")
        deployment = quote(spec.model_id, safe="")
        return below_openai(endpoint, f"/deployments/{deployment}/audio/speech?api-version={version}")

    def body(self, spec: ModelSpec, ask: MediaAsk) -> dict[str, Any]:
        """The request body.

        `language` is a field of local voices alone, which say their languages; a host that says none hears it
        from the text.

        Raises:
            ParamError: the ask holds what this dialect has no place for, such as several speakers, or
                extra_body sets a field that the call sets too.
        """
        body: dict[str, Any] = {"model": spec.model_id, "input": ask.text}
        for name, value in ask.params.items():
            if name in _NAMES:
                body[_NAMES[name]] = value
            elif name == "language":
                body |= {"language": value} if spec.media.get("languages") else {}
            else:
                raise ParamError(_no_place(spec, name))
        if ask.references:
            raise ParamError(_no_place(spec, "references"))
        return with_extra(body, ask.extra_body)

    def next_step(self, reply: HttpReply, sent: Mapping[str, Any]) -> Step | None:
        """None: the first reply is the answer."""
        del reply, sent
        return None

    def parse(self, reply: HttpReply, sent: Mapping[str, Any]) -> Reply:
        """The audio of an answer. Its MIME type is the host's, for raw samples with their `rate=` if named.

        Raises:
            ProviderError: the status is not 2xx, the reply reports an error, or it is a page.
        """
        kind = reply.headers.get("content-type", "").strip()[:_MIME_CHARACTERS]
        essence = kind.partition(";")[0].strip().lower()
        request_id = request_id_of(reply.headers)
        if not 200 <= reply.status < 300 or _is_page(essence) or _is_object(essence, reply.body):
            payload_of(reply)  # raises, unless it is an object that reports no error
            return _silent(_shown(reply.body), request_id)
        if not reply.body:
            return _silent("", request_id)
        if essence == "text/plain":
            return _silent(_shown(reply.body), request_id)
        if essence in _UNTOLD:
            kind = "audio/pcm" if sent.get("response_format") == "pcm" else kind
        blob = Blob(reply.body, kind or None)
        return Reply(text="", finish_reason="stop", request_id=request_id, media=(blob,))


def _no_place(spec: ModelSpec, name: str) -> str:
    if name == "speakers":
        advice = "one voice speaks a request; leave speakers out, or use a model of Gemini's"
    else:
        advice = "leave it out, or give what the host knows in extra_body"
    return f"model {spec.key!r}: {name} has no place in a request to audio/speech; {advice}"


def _is_page(essence: str) -> bool:
    """Whether the content type is text of a form that no speech comes in, such as a proxy's HTML."""
    return essence.startswith("text/") and essence != "text/plain"


def _is_object(essence: str, body: bytes) -> bool:
    """Whether an answer is JSON, by its type or, where that tells nothing, by itself."""
    if essence == "application/json" or essence.endswith("+json"):
        return True
    if essence not in _UNTOLD or body[:1] != b"{":
        return False
    try:
        return isinstance(loads_strictly(body), dict)
    except ValueError:
        return False


def _silent(text: str, request_id: str | None) -> Reply:
    """An answer without audio."""
    what = "the answer is text instead of audio" if text else "the answer is empty: no audio came"
    problem = ProviderError(
        what, kind="no_media", status_code=200, request_id=request_id, output=text or None
    )
    return Reply(text=text, finish_reason="empty", request_id=request_id, problem=problem)


def _shown(body: bytes) -> str:
    return body[: 4 * _OUTPUT_CHARACTERS].decode("utf-8", "replace")[:_OUTPUT_CHARACTERS]
