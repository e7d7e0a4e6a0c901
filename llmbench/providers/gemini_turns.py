"""The turns of a Gemini request: messages in the Chat Completions form as `contents`. All pure.

Source of the forms: the Gemini API reference, and requests recorded from Google's own client.
"""

from __future__ import annotations

import base64
import mimetypes
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote_to_bytes, urlsplit

from llmbench.errors import ParamError
from llmbench.messages import Message
from llmbench.providers.gemini_reply import MADE_UP_ID
from llmbench.providers.json_readers import as_mapping
from llmbench.structuring import loads_strictly

#: Keys of a turn besides role and content that have a place here.
_KNOWN_EXTRA: Final[Mapping[str, frozenset[str]]] = {
    "assistant": frozenset({"tool_calls"}),
    "tool": frozenset({"tool_call_id", "name"}),
}
_RESOLUTIONS: Final[Mapping[str, str]] = {"low": "MEDIA_RESOLUTION_LOW", "high": "MEDIA_RESOLUTION_HIGH"}


def contents_of(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Every turn that is no system turn. The results of tools that follow each other are one turn.

    Raises:
        ParamError: no turn is left, or a turn holds what Gemini has no place for.
    """
    contents: list[dict[str, Any]] = []
    names: dict[str, str] = {}
    before: str | None = None
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        _check_extra(message, where)
        if message.role in ("system", "developer"):
            continue
        if message.role == "tool":
            part = _function_response(message, names, where)
            if before == "tool":
                contents[-1]["parts"].append(part)
            else:
                contents.append({"role": "user", "parts": [part]})
        elif message.role == "assistant":
            calls = message.extra.get("tool_calls") or []
            names |= {str(call.get("id")): str(_function(call).get("name")) for call in calls}
            parts = _parts(message, where) if message.content or not calls else []
            parts += [_function_call(call, where) for call in calls]
            contents.append({"role": "model", "parts": parts})
        else:
            contents.append({"role": "user", "parts": _parts(message, where)})
        before = message.role
    if not contents:
        raise ParamError("messages: Gemini needs a turn besides the system prompt; add a user turn")
    return contents


def text_of(message: Message) -> str:
    """The text of a system turn.

    Raises:
        ParamError: it holds something else.
    """
    if isinstance(message.content, str):
        return message.content
    parts = [_part(part, message.role) for part in message.content]
    if any("text" not in part for part in parts):
        raise ParamError(f"a {message.role} turn holds an image; Gemini takes text alone there")
    return "".join(part["text"] for part in parts)


def media_resolution_of(messages: Sequence[Message]) -> str | None:
    """The request's `mediaResolution`, from the `detail` of its images; None is the model's own choice.

    Raises:
        ParamError: the images ask for different ones, or for one that Gemini does not have.
    """
    images = [
        part.get("image_url")
        for message in messages
        if not isinstance(message.content, str)
        for part in message.content
        if part.get("type") == "image_url"
    ]
    details = {str((as_mapping(image).get("detail")) or "auto") for image in images}
    if len(details) > 1:
        asked = ", ".join(sorted(details))
        raise ParamError(f"image_url.detail: Gemini has one resolution a request; the images ask for {asked}")
    detail = next(iter(details), "auto")
    if detail != "auto" and detail not in _RESOLUTIONS:
        raise ParamError(f"image_url.detail {detail!r}: Gemini has auto, {' and '.join(_RESOLUTIONS)}")
    return _RESOLUTIONS.get(detail)


def _check_extra(message: Message, where: str) -> None:
    known = _KNOWN_EXTRA.get(message.role, frozenset())
    unknown = [key for key, value in message.extra.items() if key not in known and value]
    if unknown:
        raise ParamError(f"{where}: Gemini has no place for {', '.join(unknown)} in a {message.role} turn")


def _parts(message: Message, where: str) -> list[dict[str, Any]]:
    if isinstance(message.content, str):
        return [{"text": message.content}]
    return [_part(part, f"{where}.content[{index}]") for index, part in enumerate(message.content)]


def _part(part: Mapping[str, Any], where: str) -> dict[str, Any]:
    kind = part.get("type")
    if kind == "text" and isinstance(part.get("text"), str):
        return {"text": part["text"]}
    if kind == "image_url":
        image = part.get("image_url")
        url = image if isinstance(image, str) else as_mapping(image).get("url")
        if isinstance(url, str):
            return _image(url, where)
    raise ParamError(f"{where}: Gemini takes text and image_url parts here, not {kind!r:.40}")


def _image(url: str, where: str) -> dict[str, Any]:
    """An image inside the request, or the address of one."""
    scheme, _, rest = url.partition(":")
    if scheme.lower() in ("https", "gs"):
        mime = mimetypes.guess_type(urlsplit(url).path)[0]
        return {"fileData": {"fileUri": url, **({"mimeType": mime} if mime else {})}}
    head, comma, data = rest.partition(",")
    if scheme.lower() != "data" or not comma:
        raise ParamError(f"{where}: an image is a data:, https: or gs: address, not {url[:20]!r}")
    mime, *options = (option.strip() for option in head.split(";"))
    if not mime:
        raise ParamError(f"{where}: the data: address names no media type; write data:image/png;base64,...")
    if "base64" not in (option.lower() for option in options):
        data = base64.b64encode(unquote_to_bytes(data)).decode()
    return {"inlineData": {"mimeType": mime, "data": data}}


def _function_call(call: Mapping[str, Any], where: str) -> dict[str, Any]:
    function = _function(call)
    try:
        arguments = loads_strictly(str(function.get("arguments") or "{}"))
    except ValueError as error:
        raise ParamError(f"{where}.tool_calls: the arguments are not JSON ({error})") from error
    if not isinstance(arguments, dict):
        raise ParamError(f"{where}.tool_calls: the arguments are no JSON object")
    asked = {"name": str(function.get("name")), "args": arguments, **_id(call.get("id"))}
    signature = as_mapping(as_mapping(call.get("extra_content")).get("google")).get("thought_signature")
    return {"functionCall": asked, **({"thoughtSignature": signature} if signature else {})}


def _function_response(message: Message, names: Mapping[str, str], where: str) -> dict[str, Any]:
    """A tool's result. Gemini wants the function's name, and an object: other results are put in one."""
    call_id = message.extra.get("tool_call_id")
    name = message.extra.get("name") or names.get(str(call_id))
    if not name:
        raise ParamError(f"{where}: no earlier turn made the call {call_id!r}; give the function's name")
    text = text_of(message)
    try:
        result = loads_strictly(text)
    except ValueError:
        result = text
    response = result if isinstance(result, dict) else {"result": result}
    return {"functionResponse": {"name": str(name), "response": response, **_id(call_id)}}


def _id(value: object) -> dict[str, str]:
    """The id of a call, unless it was made up because the service gave none."""
    is_theirs = isinstance(value, str) and value and not value.startswith(MADE_UP_ID)
    return {"id": str(value)} if is_theirs else {}


def _function(call: Mapping[str, Any]) -> Mapping[str, Any]:
    return as_mapping(call.get("function"))
