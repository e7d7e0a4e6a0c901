"""From reply text to data: take off a fence, parse, check against the caller's schema. All pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from llmbench.errors import ParamError, ProviderError
from llmbench.messages import OutputSchema, canonical_json

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

_FENCE: Final = re.compile(r"\A\s*```[\w-]*[ \t]*\n(.*?)\n?[ \t]*```\s*\Z", re.DOTALL)


def unfence(text: str) -> str:
    """The inside of a code fence that is the whole reply; any other text unchanged.

    Models fence JSON in spite of a schema; a fence inside a longer reply is content and stays.
    """
    match = _FENCE.match(text)
    return match.group(1) if match else text


def as_output_schema(response_format: object) -> OutputSchema | None:
    """Accept a JSON Schema, a Chat Completions `response_format` or a pydantic model class.

    Raises:
        ParamError: the value is none of these.
    """
    if response_format is None:
        return None
    if isinstance(response_format, OutputSchema):
        return response_format
    if isinstance(response_format, Mapping):
        return _from_mapping(response_format)
    make_schema = getattr(response_format, "model_json_schema", None)
    if callable(make_schema):
        return OutputSchema(make_schema(), name=str(getattr(response_format, "__name__", "reply")))
    raise ParamError(
        "response_format: give a JSON Schema, a pydantic model class or a Chat Completions response_format, "
        f"not {type(response_format).__name__}"
    )


def _from_mapping(value: Mapping[str, Any]) -> OutputSchema | None:
    kind = value.get("type")
    if kind == "text":
        return None
    if kind == "json_object" and "properties" not in value:
        return OutputSchema({"type": "object"}, name="json_object")
    if kind == "json_schema":
        inner = value.get("json_schema", value)
        schema = inner.get("schema") if isinstance(inner, Mapping) else None
        if not isinstance(schema, Mapping):
            raise ParamError('response_format: type "json_schema" needs json_schema.schema')
        return OutputSchema(dict(schema), name=str(inner.get("name", "reply")))
    if kind is None and not ({"properties", "anyOf", "oneOf", "$ref", "enum"} & set(value)):
        raise ParamError("response_format: the mapping is no JSON Schema (no type, properties or $ref)")
    return OutputSchema(dict(value))


def parse_structured(text: str, output_schema: OutputSchema) -> Any:
    """The data in a reply that must meet a schema.

    Raises:
        ProviderError: kind `invalid_output`; the reply is not JSON or breaks the schema.
    """
    try:
        data = json.loads(unfence(text), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        message = f"the reply is not JSON ({reason})"
        raise ProviderError(message, kind="invalid_output", output=text) from error
    problem = next(_validator(canonical_json(output_schema.schema)).iter_errors(data), None)
    if problem is not None:
        place = "/".join(str(part) for part in problem.absolute_path) or "the reply"
        message = f"the reply breaks its schema at {place}: {problem.message.splitlines()[0][:200]}"
        raise ProviderError(message, kind="invalid_output", output=text)
    return data


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


@lru_cache(maxsize=256)
def _validator(schema_json: str) -> Validator:
    """One compiled validator a schema; checking the schema itself costs more than a reply."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    schema = json.loads(schema_json)
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise ParamError(f"response_format: not a valid JSON Schema: {error.message}") from error
    return Draft202012Validator(schema)
