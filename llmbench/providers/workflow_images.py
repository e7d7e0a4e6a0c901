"""Pictures by workflow endpoints, as Fireworks has them: answered at once, or by a ticket that is asked for.

A model id is the path of its workflow. One that ends in a step of its own, such as
`accounts/fireworks/models/flux-1-schnell-fp8/text_to_image`, answers with the picture; one that is a model
alone, such as `accounts/fireworks/models/flux-kontext-pro`, answers with a ticket.

Source of the forms: Fireworks' API reference, "Generate an image with FLUX.1 [schnell] FP8", "Generate or
edit image using FLUX.1 Kontext" and "Get generated image from FLUX.1 Kontext".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from llmbench.catalog import Endpoint, ModelSpec
from llmbench.errors import ErrorKind, ParamError, ProviderError
from llmbench.media import Blob, MediaAsk
from llmbench.messages import FinishReason
from llmbench.providers.base import HttpReply, Reply, payload_of
from llmbench.providers.extra_body import with_extra
from llmbench.providers.failures import request_id_of
from llmbench.providers.json_readers import as_list, as_mapping, as_text
from llmbench.providers.media_wire import Step
from llmbench.providers.picture_parts import (
    Found,
    base64_of,
    blob_of,
    check_places,
    found_at,
    mime_of,
    negative_field,
    next_download,
    picture_mime,
    pictures,
    with_pictures,
)
from llmbench.providers.waits import retry_after_s

#: Canonical name -> field, of a workflow that answers at once and of one that gives a ticket.
_AT_ONCE: Final[Mapping[str, str]] = {"aspect_ratio": "aspect_ratio", "seed": "seed"}
_BY_TICKET: Final[Mapping[str, str]] = {**_AT_ONCE, "format": "output_format"}
#: Seconds before a ticket is asked for again: the first wait, its growth, and the longest.
_FIRST_WAIT_S, _GROWTH, _LONGEST_WAIT_S = 0.5, 1.5, 5.0
#: A new ticket may not be known everywhere at once: so many times it is asked for all the same.
_UNKNOWN_AT_MOST: Final = 3
_UNKNOWN_TICKET: Final = "TASK NOT FOUND"
_FINISH: Final[Mapping[str, FinishReason]] = {
    "CONTENT_FILTERED": "content_filter",
    "REQUEST MODERATED": "content_filter",
    "CONTENT MODERATED": "content_filter",
    "ERROR": "error",
    _UNKNOWN_TICKET: "error",
}
_PROBLEMS: Final[Mapping[FinishReason, tuple[ErrorKind, str]]] = {
    "content_filter": ("content_filter", "the provider's filter stopped the picture"),
    "error": ("server_error", "the workflow failed"),
}


class WorkflowImageWire:
    """POST {base}/workflows/{model id}, and then .../get_result until the picture is ready."""

    accept: Final = "application/json"

    def path(self, spec: ModelSpec, endpoint: Endpoint) -> str:
        """The path below the base URL: the model id, its slashes kept."""
        del endpoint
        return f"/workflows/{quote(spec.model_id, safe='/')}"

    def body(self, spec: ModelSpec, ask: MediaAsk) -> dict[str, Any]:
        """The request body; the model is in the path.

        Raises:
            ParamError: the workflow has no field for a parameter, or takes fewer reference pictures.
        """
        at_once = _answers_at_once(spec)
        own, most = (_AT_ONCE, 0) if at_once else (_BY_TICKET, 1)
        names = {**own, **negative_field(spec)}
        check_places(ask, names, f"the workflow of {spec.key}")
        if len(ask.references) > most:
            raise ParamError(f"references: the workflow of {spec.key} takes at most {most} of them")
        body = {"prompt": ask.text, **_fields(ask, names)}
        for each in ask.references:
            body["input_image"] = f"data:{mime_of(each)};base64,{base64_of(each)}"
        return with_extra(body, ask.extra_body)

    def next_step(self, reply: HttpReply, sent: Mapping[str, Any]) -> Step | None:
        """Ask for the ticket's result after a while, or read the picture that the result points to.

        Raises:
            ProviderError: the status is not 2xx, or the reply is no JSON and no picture.
        """
        del sent  # the answers say it all
        answer, asked, downloads = _answer(reply)
        if picture_mime(answer):
            return None
        payload = payload_of(answer)
        if not _is_pending(payload, asked):
            return next_download(_found(payload), downloads)
        wait_s = retry_after_s(answer.headers)
        if wait_s is None:
            wait_s = min(_FIRST_WAIT_S * _GROWTH ** min(asked, 20), _LONGEST_WAIT_S)
        ticket = _ticket((*reply.earlier, reply)[0])
        return Step("./get_result", {"id": ticket}, wait_s, is_waiting=True)

    def parse(self, reply: HttpReply, sent: Mapping[str, Any]) -> Reply:
        """The pictures of an answer.

        Raises:
            ProviderError: the status is not 2xx, a picture is not base64 or cannot be read from its address.
        """
        del sent  # the answers say it all
        answer, _, downloads = _answer(reply)
        if mime := picture_mime(answer):  # the bytes alone: all else stands in the headers
            payload: Mapping[str, Any] = {"finishReason": answer.headers.get("finish-reason")}
            seed = _number(answer.headers.get("seed"))
            media: tuple[Blob, ...] = (Blob(answer.body, mime),) if answer.body else ()
        else:
            payload = payload_of(answer)
            seed = _number(as_mapping(payload.get("result")).get("seed", payload.get("seed")))
            media = pictures(_found(payload), downloads)
        request_id = request_id_of(answer.headers) or as_text(payload.get("id"))
        problem = _problem(_word(payload), request_id)
        return with_pictures(
            Reply(
                text="",
                finish_reason=_FINISH.get(_word(payload), "stop"),
                request_id=request_id,
                problem=problem,
                seeds=(seed,) * len(media) if seed is not None else (),
            ),
            media,
        )


def _answers_at_once(spec: ModelSpec) -> bool:
    """Whether a model id ends in a step of its own after the model's name."""
    return "/" in spec.model_id.partition("/models/")[2]


def _fields(ask: MediaAsk, names: Mapping[str, str]) -> dict[str, Any]:
    return {names[name]: value for name, value in ask.params.items() if name in names}


def _answer(reply: HttpReply) -> tuple[HttpReply, int, tuple[HttpReply, ...]]:
    """The reply that ends the waiting, or the last one; how many came before it, and what came after it.

    Replies that only said to wait were kept without their bodies: they are read once.
    """
    replies = (*reply.earlier, reply)
    for index, each in enumerate(reply.earlier):
        if (each.body or index == 0) and not _is_pending(payload_of(each), index):
            return each, index, replies[index + 1 :]
    return reply, len(reply.earlier), ()


def _is_pending(payload: Mapping[str, Any], asked: int) -> bool:
    """Whether a ticket's picture is not made yet. A word that is not known here is no end."""
    if as_text(payload.get("status")) is None:
        return as_text(payload.get("request_id")) is not None and not _found(payload)
    word = _word(payload)
    if word == _UNKNOWN_TICKET:
        return asked <= _UNKNOWN_AT_MOST
    return word != "READY" and word not in _FINISH


def _word(payload: Mapping[str, Any]) -> str:
    """How it ended, in capitals."""
    return (as_text(payload.get("status")) or as_text(payload.get("finishReason")) or "").upper()


def _ticket(first: HttpReply) -> str:
    payload = payload_of(first)
    ticket = as_text(payload.get("request_id")) or as_text(payload.get("id"))
    if ticket is None:
        raise ProviderError("the answer names no request_id to ask for", kind="malformed", status_code=200)
    return ticket


def _found(payload: Mapping[str, Any]) -> list[Found]:
    result = payload.get("result")
    sample = result.get("sample") if isinstance(result, Mapping) else result
    texts = [text for value in (payload.get("base64"), sample) for text in (as_list(value) or [value])]
    return [_picture(text) for text in texts if isinstance(text, str) and text]


def _picture(text: str) -> Found:
    """A picture as a data: address, as an address to read it from, or as its base64 alone."""
    is_address = text[:8].lower().startswith(("data:", "http://", "https://"))
    return found_at(text) if is_address else blob_of(text)


def _number(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value[:20])
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _problem(word: str, request_id: str | None) -> ProviderError | None:
    """Why a workflow ended without a picture that counts, or None."""
    finish = _FINISH.get(word)
    if finish is None:
        return None
    kind, what = _PROBLEMS[finish]
    message = f"{what} ({word.lower()})"
    return ProviderError(message, kind=kind, status_code=200, request_id=request_id)
