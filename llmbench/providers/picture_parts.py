"""What the image wires have in common: pictures as text and back, and what an answer without any is. Pure."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain, repeat
from typing import Any, Final

from llmbench.catalog import ModelSpec
from llmbench.errors import ErrorKind, ParamError, ProviderError
from llmbench.media import Blob, MediaAsk
from llmbench.providers.base import HttpReply, Reply
from llmbench.providers.failures import without_keys
from llmbench.providers.media_wire import Step

#: A picture of an answer: its bytes, the address where they are, or why it is neither.
Found = Blob | str | ProviderError

_URL_ALPHABET: Final = str.maketrans("-_", "+/")
_PLACES: Final[Mapping[str, str]] = {
    "size": "; give aspect_ratio, or a size that it names",
    "n": " beyond 1; ask once for each picture",
}


# ---- the request


def check_places(ask: MediaAsk, places: Iterable[str], dialect: str) -> None:
    """Refuse what a dialect has no field for. One picture is what every request asks for.

    Raises:
        ParamError: it names the parameter.
    """
    for name, value in ask.params.items():
        if name not in places and (name, value) != ("n", 1):
            raise ParamError(f"{name}: {dialect} has no place for it{_PLACES.get(name, '')}")


def negative_field(spec: ModelSpec) -> dict[str, str]:
    """The field of a negative prompt, for a model whose entry says that it has one; most hosts know none."""
    has_one = spec.media.get("supports_negative_prompt") is True
    return {"negative_prompt": "negative_prompt"} if has_one else {}


def mime_of(reference: Blob) -> str:
    """The MIME type of a reference picture.

    Raises:
        ParamError: it has none.
    """
    if reference.mime is None:
        raise ParamError("references: a picture has no MIME type; give one such as image/png")
    return reference.mime


def base64_of(reference: Blob) -> str:
    """A reference picture in base64, the standard alphabet."""
    return base64.b64encode(reference.data).decode()


def image_part(reference: Blob) -> dict[str, Any]:
    """A reference picture as a part of a message in the Chat Completions form."""
    url = f"data:{mime_of(reference)};base64,{base64_of(reference)}"
    return {"type": "image_url", "image_url": {"url": url}}


def image_shape(params: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Aspect ratio and size under a dialect's own `names` of both; its sizes are names, not pixels.

    Raises:
        ParamError: the size is one in pixels.
    """
    size = params.get("size")
    if isinstance(size, str) and "x" in size:
        raise ParamError(f"size {size}: this model knows 1K, 2K and 4K, and the shape by aspect_ratio")
    return {field: params[name] for name, field in names.items() if name in params}


# ---- the answer


def blob_of(text: str, mime: str | None = None) -> Blob:
    """The picture in a base64 text; both alphabets count, with padding or without it.

    Raises:
        ProviderError: kind malformed; it is no base64, or empty.
    """
    plain = text.translate(_URL_ALPHABET) if "-" in text or "_" in text else text
    try:
        data = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except ValueError as error:
        message = f"the picture in the answer is not base64 ({len(text)} characters)"
        raise ProviderError(message, kind="malformed", status_code=200) from error
    if not data:
        raise ProviderError("the picture in the answer is empty", kind="malformed", status_code=200)
    return Blob(data, mime)


def found_at(address: str, mime: str | None = None) -> Found:
    """The picture that an address is, where it holds the data itself, or the address to read it from.

    Raises:
        ProviderError: kind malformed; the address is of another kind.
    """
    scheme = address[:8].lower()
    if scheme.startswith(("https://", "http://")):
        return address
    head, comma, data = address.partition(",")
    if not scheme.startswith("data:") or not comma or not head.lower().endswith(";base64"):
        shown = without_keys(address[:60])
        message = f"the answer points to no picture that can be read: {shown!r}"
        raise ProviderError(message, kind="malformed", status_code=200)
    return blob_of(data, head[len("data:") :].partition(";")[0].lower() or mime)


def next_download(found: Sequence[Found], downloads: Sequence[HttpReply]) -> Step | None:
    """The addresses to read pictures from, in one step; None when they were read, or there is none."""
    addresses = [each for each in found if isinstance(each, str)]
    return None if downloads or not addresses else Step(addresses[0], then=tuple(addresses[1:]))


def pictures(found: Sequence[Found], downloads: Sequence[HttpReply]) -> tuple[Blob, ...]:
    """Every picture of an answer, in its order; one that did not come is empty, where another one did.

    Raises:
        ProviderError: none of them came; why the first one did not.
    """
    waiting = chain(downloads, repeat(HttpReply(404, {}, b"")))
    came = [_downloaded(next(waiting)) if isinstance(each, str) else each for each in found]
    missing = [each for each in came if isinstance(each, ProviderError)]
    if missing and len(missing) == len(came):
        raise missing[0]
    return tuple(each if isinstance(each, Blob) else Blob(b"") for each in came)


def found_or_broken(find: Callable[[], Found]) -> Found:
    """What `find` finds of one picture among several, or the ProviderError that says why it is none."""
    try:
        return find()
    except ProviderError as error:
        return error


def _is_read(reply: HttpReply) -> bool:
    return 200 <= reply.status < 300 and bool(reply.body)


def _downloaded(reply: HttpReply) -> Blob | ProviderError:
    if not _is_read(reply):
        said = f"HTTP {reply.status}" if not 200 <= reply.status < 300 else "an empty body"
        message = f"the picture cannot be read from the address in the answer: {said}"
        return ProviderError(message, kind="server_error", status_code=reply.status)
    return Blob(reply.body, picture_mime(reply))


def picture_mime(reply: HttpReply) -> str | None:
    """The MIME type of a 2xx reply whose body is a picture, or None where it names no such type."""
    named = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
    return named if named.startswith("image/") and 200 <= reply.status < 300 else None


def with_pictures(
    reply: Reply,
    media: tuple[Blob, ...],
    safety: Mapping[str, Any] | None = None,
    *,
    is_filtered: bool = False,
) -> Reply:
    """A reply with its pictures; without any, the problem that this is.

    A problem of another kind than having no text stays: a filter, a refusal, an answer that was cut off.
    """
    problem = reply.problem if reply.problem is None or reply.problem.kind != "empty" else None
    finish = reply.finish_reason
    if media and problem is None:
        finish = "stop"
    elif problem is None:
        finish = "content_filter" if is_filtered else "empty"
        problem = _without_picture(reply, is_filtered=is_filtered)
    return replace(reply, media=media, safety=safety or {}, finish_reason=finish, problem=problem)


def _without_picture(reply: Reply, *, is_filtered: bool) -> ProviderError:
    kind: ErrorKind = "content_filter" if is_filtered else "no_media"
    what = "the answer holds text and no picture" if reply.text else "the answer holds no picture"
    return ProviderError(
        "the provider's filter stopped the picture" if is_filtered else what,
        kind=kind,
        status_code=200,
        request_id=reply.request_id,
        output=reply.text or None,
    )
