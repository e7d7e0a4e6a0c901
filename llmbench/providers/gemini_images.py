"""The Gemini image wire: generateContent that answers with pictures.

Source of the forms: the Gemini API reference (image generation, GenerationConfig.imageConfig), and requests
recorded from Google's own client.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from llmbench.catalog import Endpoint, ModelSpec
from llmbench.media import MediaAsk
from llmbench.providers.base import HttpReply, Reply, payload_of
from llmbench.providers.extra_body import with_extra
from llmbench.providers.gemini import path_of
from llmbench.providers.gemini_reply import first_candidate, parts_of, read_reply
from llmbench.providers.json_readers import as_mapping, as_text
from llmbench.providers.media_wire import Step
from llmbench.providers.picture_parts import (
    Found,
    base64_of,
    blob_of,
    check_places,
    found_or_broken,
    image_shape,
    mime_of,
    pictures,
    with_pictures,
)

_PLACES: Final = ("size", "aspect_ratio", "seed")
_CONFIG: Final[Mapping[str, str]] = {"aspect_ratio": "aspectRatio", "size": "imageSize"}


class GeminiImageWire:
    """POST {base}/{api_version}/models/{model}:generateContent."""

    accept: Final = "application/json"

    def path(self, spec: ModelSpec, endpoint: Endpoint) -> str:
        """The path below the base URL, as for text."""
        return path_of(spec, endpoint)

    def body(self, spec: ModelSpec, ask: MediaAsk) -> dict[str, Any]:
        """The request body: one turn with the prompt and then the reference pictures.

        Raises:
            ParamError: a parameter has no place in a Gemini request, or the size is one in pixels.
        """
        del spec  # the model is in the path
        check_places(ask, _PLACES, "a Gemini request for pictures")
        parts: list[dict[str, Any]] = [{"text": ask.text}]
        parts += [
            {"inlineData": {"mimeType": mime_of(each), "data": base64_of(each)}} for each in ask.references
        ]
        settings: dict[str, Any] = {"responseModalities": ["TEXT", "IMAGE"]}
        if "seed" in ask.params:
            settings["seed"] = ask.params["seed"]
        if shape := image_shape(ask.params, _CONFIG):
            settings["imageConfig"] = shape
        body = {"contents": [{"role": "user", "parts": parts}], "generationConfig": settings}
        return with_extra(body, ask.extra_body)

    def next_step(self, reply: HttpReply, sent: Mapping[str, Any]) -> Step | None:
        """None: the first reply is the answer."""
        del reply, sent
        return None

    def parse(self, reply: HttpReply, sent: Mapping[str, Any]) -> Reply:
        """The pictures of the first candidate; those that belong to its thoughts are drafts and no answer.

        Raises:
            ProviderError: the status is not 2xx, there is no candidate and no reason for none, or a picture
                is not base64.
        """
        del sent  # every answer says itself how it ended
        payload = payload_of(reply)
        candidate = first_candidate(payload) or {}
        return with_pictures(
            read_reply(payload, reply.headers), pictures(_found(candidate), ()), _safety(payload, candidate)
        )


def _found(candidate: Mapping[str, Any]) -> list[Found]:
    found: list[Found] = []
    for part in parts_of(candidate):
        inline = as_mapping(part.get("inlineData"))
        data, mime = as_text(inline.get("data")), as_text(inline.get("mimeType"))
        if data and not part.get("thought") and (mime is None or mime.startswith("image/")):
            found.append(found_or_broken(partial(blob_of, data, mime)))
    return found


def _safety(payload: Mapping[str, Any], candidate: Mapping[str, Any]) -> dict[str, Any]:
    """The service's ratings of the prompt and of the picture, under its own names."""
    both = {"promptFeedback": payload.get("promptFeedback"), "safetyRatings": candidate.get("safetyRatings")}
    return {name: value for name, value in both.items() if value}
