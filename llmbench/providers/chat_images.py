"""Pictures by Chat Completions, as OpenRouter's image models answer: `modalities` asks, `message.images` has.

Source of the forms: OpenRouter's guide to image generation, and requests recorded from its own client.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from llmbench.catalog import Endpoint, ModelSpec
from llmbench.media import MediaAsk
from llmbench.providers.base import HttpReply, Reply, payload_of
from llmbench.providers.chat import ChatWire
from llmbench.providers.extra_body import with_extra
from llmbench.providers.json_readers import as_mapping, as_mappings, as_text
from llmbench.providers.media_wire import Step
from llmbench.providers.picture_parts import (
    Found,
    check_places,
    found_at,
    found_or_broken,
    image_part,
    image_shape,
    next_download,
    pictures,
    with_pictures,
)

_CHAT: Final = ChatWire()
_PLACES: Final = ("size", "aspect_ratio", "seed")
_CONFIG: Final[Mapping[str, str]] = {"aspect_ratio": "aspect_ratio", "size": "image_size"}


class ChatImageWire:
    """POST {base}/chat/completions."""

    accept: Final = "application/json"

    def path(self, spec: ModelSpec, endpoint: Endpoint) -> str:
        """The path of a text model.

        Raises:
            ConfigError: there is no such Azure API version.
        """
        return _CHAT.path(spec, endpoint)

    def body(self, spec: ModelSpec, ask: MediaAsk) -> dict[str, Any]:
        """The request body: one turn with the prompt and then the reference pictures.

        Raises:
            ParamError: a parameter has no place in such a request, or the size is one in pixels.
        """
        check_places(ask, _PLACES, "a chat request for pictures")
        parts = [{"type": "text", "text": ask.text}, *(image_part(each) for each in ask.references)]
        turn = {"role": "user", "content": parts if ask.references else ask.text}
        body: dict[str, Any] = {"model": spec.model_id, "messages": [turn], "modalities": ["image", "text"]}
        if "seed" in ask.params:
            body["seed"] = ask.params["seed"]
        if shape := image_shape(ask.params, _CONFIG):
            body["image_config"] = shape
        return with_extra(body, ask.extra_body)

    def next_step(self, reply: HttpReply, sent: Mapping[str, Any]) -> Step | None:
        """The address of the next picture that the answer only points to.

        Raises:
            ProviderError: as `parse`.
        """
        del sent  # the answers say it all
        first, *downloads = (*reply.earlier, reply)
        return next_download(_found(payload_of(first)), downloads)

    def parse(self, reply: HttpReply, sent: Mapping[str, Any]) -> Reply:
        """The pictures of the first choice.

        Raises:
            ProviderError: the status is not 2xx, the payload or its choice reports an error or there is none,
                a picture is not base64 or cannot be read from its address.
        """
        del sent  # every answer says itself how it ended
        first, *downloads = (*reply.earlier, reply)
        payload = payload_of(first)
        return with_pictures(_CHAT.parse(payload, first.headers), pictures(_found(payload), downloads))


def _found(payload: Mapping[str, Any]) -> list[Found]:
    choices = as_mappings(payload.get("choices"))
    message = as_mapping(choices[0].get("message")) if choices else {}
    images = as_mappings(message.get("images"))
    addresses = [as_text(as_mapping(image.get("image_url")).get("url")) for image in images]
    return [found_or_broken(partial(found_at, address)) for address in addresses if address]
