"""The images wire: POST /images/generations at OpenAI, Azure and their like, and /images at OpenRouter.

Source of the forms: the OpenAI API reference (images), Azure's of the same name, and the request and response
types of OpenRouter's own client. `response_format` is never sent: OpenAI's present models refuse it. A host
that answers with addresses is read all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final
from urllib.parse import quote

from llmbench.catalog import Endpoint, ModelSpec
from llmbench.errors import ParamError
from llmbench.media import MediaAsk
from llmbench.messages import Usage
from llmbench.providers.azure_paths import below_openai, dated_version, is_plain
from llmbench.providers.base import HttpReply, Reply, payload_of
from llmbench.providers.extra_body import with_extra
from llmbench.providers.failures import request_id_of
from llmbench.providers.json_readers import as_cost, as_count, as_list, as_mapping, as_mappings, as_text
from llmbench.providers.media_wire import Step
from llmbench.providers.picture_parts import (
    Found,
    blob_of,
    check_places,
    found_at,
    found_or_broken,
    image_part,
    negative_field,
    next_download,
    pictures,
    with_pictures,
)

#: Canonical name -> field; a negative prompt is some hosts' own. `aspect_ratio` and `seed` are OpenRouter's
#: and other hosts'; OpenAI and Azure answer them with a 400 that names the field.
_FIELDS: Final[Mapping[str, str]] = {
    "n": "n",
    "size": "size",
    "aspect_ratio": "aspect_ratio",
    "seed": "seed",
    "quality": "quality",
    "format": "output_format",
    "background": "background",
    "style": "style",
}
_SAFETY: Final = ("content_filter_results", "prompt_filter_results")


class ImagesWire:
    """Pictures by the images API."""

    accept: Final = "application/json"

    def path(self, spec: ModelSpec, endpoint: Endpoint) -> str:
        """The path below the base URL; an Azure resource without a dated version is asked through v1.

        Raises:
            ConfigError: there is no such Azure API version.
        """
        if is_plain(endpoint):
            return "/images" if endpoint.type == "openrouter" else "/images/generations"
        version = dated_version(spec, endpoint)
        if version is None:
            return below_openai(endpoint, "/v1/images/generations")
        deployment = quote(spec.model_id, safe="")
        return below_openai(endpoint, f"/deployments/{deployment}/images/generations?api-version={version}")

    def body(self, spec: ModelSpec, ask: MediaAsk) -> dict[str, Any]:
        """The request body.

        Reference pictures are sent where the model's entry says that it takes them: OpenRouter has a field
        for them, OpenAI and Azure have none on this path, and a host may pass over what it does not know.

        Raises:
            ParamError: there is no field for a parameter, or the entry says nothing of reference pictures.
        """
        fields = {**_FIELDS, **negative_field(spec)}
        check_places(ask, fields, "the images API")
        body: dict[str, Any] = {"model": spec.model_id, "prompt": ask.text}
        body |= {fields[name]: value for name, value in ask.params.items()}
        if ask.references:
            if spec.media.get("supports_reference_images") is not True:
                raise ParamError(
                    f"references: {spec.key} is asked through the images API, whose own fields have none; "
                    "OpenRouter's do: say supports_reference_images: true of a model there"
                )
            body["input_references"] = [image_part(reference) for reference in ask.references]
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
        """The pictures of an answer.

        Raises:
            ProviderError: the status is not 2xx, a picture is not base64, or cannot be read from its address.
        """
        del sent  # the answers say it all
        first, *downloads = (*reply.earlier, reply)
        payload = payload_of(first)
        items = _items(payload)
        usage = as_mapping(payload.get("usage"))
        safety = _safety(payload)
        seeds = tuple(_seed(item.get("seed")) for item in items)
        revised = tuple(as_text(item.get("revised_prompt")) for item in items)
        return with_pictures(
            Reply(
                text="",
                finish_reason="stop",
                usage=_usage(usage),
                request_id=request_id_of(first.headers),
                served_model=as_text(payload.get("model")),
                reported_usd=as_cost(usage.get("cost")),
                seeds=seeds if any(seed is not None for seed in seeds) else (),
                revised_prompts=revised if any(revised) else (),
            ),
            pictures(_found(payload), downloads),
            safety,
            is_filtered=_is_filtered(safety),
        )


def _items(payload: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The entries of an answer that hold a picture; a filtered one may hold none."""
    entries = as_mappings(payload.get("data"))
    return [item for item in entries if as_text(item.get("b64_json")) or as_text(item.get("url"))]


def _found(payload: Mapping[str, Any]) -> list[Found]:
    output_format = as_text(payload.get("output_format"))
    made = None if output_format is None else f"image/{output_format.lower()}"
    found: list[Found] = []
    for item in _items(payload):
        mime = as_text(item.get("media_type")) or made
        data = as_text(item.get("b64_json"))
        find = partial(blob_of, data, mime) if data else partial(found_at, str(item.get("url")), mime)
        found.append(found_or_broken(find))
    return found


def _seed(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _safety(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Azure's ratings of the prompt and of each picture, under its own names; a lone picture's by itself."""
    entries = [payload, *as_mappings(payload.get("data"))]
    safety: dict[str, Any] = {}
    for name in _SAFETY:
        ratings = [entry[name] for entry in entries if entry.get(name)]
        if ratings:
            safety[name] = ratings[0] if len(ratings) == 1 else ratings
    return safety


def _is_filtered(value: object) -> bool:
    """Whether a rating at any depth says that it stopped something."""
    if isinstance(value, Mapping):
        return value.get("filtered") is True or any(_is_filtered(inner) for inner in value.values())
    return any(_is_filtered(inner) for inner in as_list(value))


def _usage(usage: Mapping[str, Any]) -> Usage:
    """Tokens by OpenAI's names of this API, or by OpenRouter's, which are those of Chat Completions."""
    if "input_tokens" in usage:
        tokens_in, tokens_out = as_count(usage["input_tokens"]), as_count(usage.get("output_tokens"))
        details = as_mapping(usage.get("input_tokens_details"))
    else:
        tokens_in, tokens_out = as_count(usage.get("prompt_tokens")), as_count(usage.get("completion_tokens"))
        details = as_mapping(usage.get("prompt_tokens_details"))
    outputs = as_mapping(usage.get("completion_tokens_details"))
    return Usage(
        input_tokens=tokens_in,
        output_tokens=tokens_out,
        cached_tokens=min(as_count(details.get("cached_tokens")), tokens_in),
        reasoning_tokens=min(as_count(outputs.get("reasoning_tokens")), tokens_out),
    )
