"""From reply text to data: take off what wraps it, parse, check against the caller's schema. All pure."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from llmbench.errors import ParamError, ProviderError
from llmbench.messages import OutputSchema, canonical_json

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

_FENCE: Final = "```"


def unfence(text: str) -> str:
    """The inside of a code fence that is the whole reply; any other text unchanged.

    Models fence JSON in spite of a schema; a fence inside a longer reply is content and stays.
    """
    whole = text.strip()
    opening, newline, rest = whole.partition("\n")
    label = opening.removeprefix(_FENCE).strip()
    is_label = not label or label.replace("-", "").replace("_", "").isalnum()
    if not (newline and whole.startswith(_FENCE) and rest.endswith(_FENCE) and is_label):
        return text
    inside = rest.removesuffix(_FENCE)
    if _FENCE in inside:  # two fences with text between them: a longer reply
        return text
    return inside.rstrip(" \t").removesuffix("\n").removesuffix("\r")


#: The fields that a model wraps a plain text in when it was asked for one.
_TEXT_FIELDS: Final = ("text", "output", "content")


def unwrap_json(text: str) -> str:
    """The text in a reply that is one JSON object with one text field: `{"text": "..."}`, nothing around it.

    The field is `text`, `output` or `content`. Any other reply is unchanged: a second key, a value that is
    no text, prose before or after the object.
    """
    whole = text.strip()
    if not (whole.startswith("{") and whole.endswith("}")):
        return text
    try:
        pairs = json.loads(whole, object_pairs_hook=tuple)  # a tuple of pairs: a key given twice is seen
    except (ValueError, RecursionError):
        return text
    if len(pairs) == 1 and pairs[0][0] in _TEXT_FIELDS and isinstance(pairs[0][1], str):
        return pairs[0][1]
    return text


_CLEANERS: Final[Mapping[str, Callable[[str], str]]] = {"unfence": unfence, "unwrap_json": unwrap_json}


def clean_output(text: str, steps: Sequence[str]) -> str:
    """A reply's text without the wrapping that a task's `clean_output` names.

    The steps are `unfence` and `unwrap_json`. They are repeated until nothing changes (a fence around JSON
    around a fence), so that cleaning twice is the same as cleaning once.

    Raises:
        ParamError: a step is unknown.
    """
    if unknown := [step for step in steps if step not in _CLEANERS]:
        raise ParamError(f"clean_output: unknown step {unknown[0]!r}; known: {', '.join(_CLEANERS)}")
    while True:
        cleaned = text
        for step in steps:
            cleaned = _CLEANERS[step](cleaned)
        if cleaned == text:
            return text
        text = cleaned


def loads_strictly(text: str | bytes) -> Any:
    """Parse JSON as the standard has it: no NaN, no Infinity, no number beyond a double.

    Raises:
        ValueError: the text is not JSON, or is nested too deeply to be read.
    """
    try:
        if not isinstance(text, str):
            text = text.decode(json.detect_encoding(text), "surrogatepass")
        value = _STRICT.decode(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if text.count("[") + text.count("{") > _MOST_DEPTH and _is_deep(text):
        raise ValueError(f"nested more than {_MOST_DEPTH} levels deep")
    return value


#: Levels of lists and objects that are read. Python has stack for about twice as many; who shows, compares
#: or writes such a value needs the stack again, at a place that has less of it left.
_MOST_DEPTH: Final = 400
_TEXT_OR_BRACKET: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{}]', re.DOTALL)


def _is_deep(text: str) -> bool:
    """Whether a text that is JSON has too many levels; looked at only where it has as many brackets."""
    depth = 0
    for found in _TEXT_OR_BRACKET.finditer(text):
        mark = text[found.start()]
        if mark in "[{":
            depth += 1
            if depth > _MOST_DEPTH:
                return True
        elif mark in "]}":
            depth -= 1
    return False


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is beyond a double")
    return number


def is_number(value: object) -> bool:
    """Whether a value is a number that a double can hold: no boolean, no NaN, no infinity, not 10**400."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


def brief(value: object, most: int = 80) -> str:
    """The beginning of a value as an error shows it."""
    try:
        return repr(value)[:most]
    except ValueError:  # Python writes no whole number of over 4300 digits
        return f"{type(value).__name__} that is too long to show"


#: Made once: a decoder takes longer to make than most replies take to read.
_STRICT: Final = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)


def as_output_schema(response_format: object) -> OutputSchema | None:
    """Accept a JSON Schema, a Chat Completions `response_format` or a pydantic model class.

    Raises:
        ParamError: the value is none of these, or its schema is not valid or refers outside itself.
    """
    if response_format is None:
        return None
    if isinstance(response_format, OutputSchema):
        found: OutputSchema | None = response_format
    elif isinstance(response_format, Mapping):
        found = _from_mapping(response_format)
    elif callable(make_schema := getattr(response_format, "model_json_schema", None)):
        name = str(getattr(response_format, "__name__", "reply"))
        found = OutputSchema(make_schema(), name=name, check=_own_check(response_format))
    else:
        raise ParamError(
            "response_format: give a JSON Schema, a pydantic model class or a Chat Completions "
            f"response_format, not {type(response_format).__name__}"
        )
    if found is not None:
        _validator(_schema_text(found))  # a wrong schema is found before a reply is paid for
    return found


def _own_check(model: object) -> Callable[[Any], object] | None:
    """The validation of a pydantic class, for data that came as JSON.

    It reads JSON, not Python's values: a class that is strict takes a date from a text only there.
    """
    validate: Callable[[str], object] | None = getattr(model, "model_validate_json", None)
    return None if validate is None else lambda data: validate(json.dumps(data))


_SCHEMA_TYPES: Final = ("object", "array", "string", "number", "integer", "boolean", "null")


def _from_mapping(value: Mapping[str, Any]) -> OutputSchema | None:
    kind = value.get("type")
    if kind == "text":
        return None
    if kind == "json_object" and isinstance(value.get("schema"), Mapping):  # llama.cpp's own spelling
        return OutputSchema(dict(value["schema"]))
    if kind == "json_object":
        return OutputSchema({"type": "object"}, name="json_object")
    if kind == "json_schema":
        inner = value.get("json_schema", value)
        schema = inner.get("schema") if isinstance(inner, Mapping) else None
        if not isinstance(schema, Mapping):
            raise ParamError('response_format: type "json_schema" needs json_schema.schema')
        return OutputSchema(dict(schema), name=str(inner.get("name", "reply")), strict=inner.get("strict"))
    if isinstance(kind, str) and kind not in _SCHEMA_TYPES:
        raise ParamError(
            f"response_format: the type {kind!r:.40} is none of text, json_object and json_schema, and none "
            f"of a JSON Schema: {', '.join(_SCHEMA_TYPES)}"
        )
    if kind is None and not ({"properties", "anyOf", "oneOf", "allOf", "$ref", "enum", "const"} & set(value)):
        raise ParamError("response_format: the mapping is no JSON Schema (no type, properties or $ref)")
    return OutputSchema(dict(value))


#: Keywords that hosts refuse together with `strict`. Source: as `meets_strict_rules`.
_NOT_STRICT: Final = frozenset(
    {
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
        *("minLength", "maxLength", "pattern", "format"),
        *(
            "minItems",
            "maxItems",
            "uniqueItems",
            "contains",
            "minContains",
            "maxContains",
            "unevaluatedItems",
        ),
        *("minProperties", "maxProperties", "patternProperties", "propertyNames", "unevaluatedProperties"),
        *("oneOf", "allOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas"),
    }
)
_MOST_PROPERTIES: Final = 100
_MOST_LEVELS: Final = 5


def meets_strict_rules(schema: object) -> bool:
    """Whether a schema may be sent with `strict: true`.

    Every object is closed and needs all its keys, no keyword limits a value, the root is an object without
    anyOf; at most 100 properties, and 5 objects inside each other.

    Source: the structured-output rules of OpenAI and Azure; a schema that breaks them is answered with
    status 400.
    """
    if not isinstance(schema, Mapping):
        return False
    nodes = list(_nodes(schema))
    if (
        schema.get("type") != "object"
        or "anyOf" in schema
        or any(_NOT_STRICT & node.keys() for node in nodes)
    ):
        return False
    objects = [node for node in nodes if _is_object(node)]
    return (
        all(
            node.get("additionalProperties") is False
            and set(node.get("required", ())) == set(node.get("properties", ()))
            for node in objects
        )
        and sum(len(node.get("properties", ())) for node in objects) <= _MOST_PROPERTIES
        and _levels(schema, schema, {}) <= _MOST_LEVELS
    )


def _is_object(node: Mapping[str, Any]) -> bool:
    kind = node.get("type")
    return "properties" in node or kind == "object" or (isinstance(kind, list) and "object" in kind)


def _levels(value: object, root: Mapping[str, Any], known: dict[str, int]) -> int:
    """How many objects lie inside each other. A `$ref` counts as what it names, a circle of them once."""
    if isinstance(value, list):
        return max((_levels(item, root, known) for item in value), default=0)
    if not isinstance(value, Mapping):
        return 0
    reference = value.get("$ref")
    if isinstance(reference, str):
        if reference not in known:
            known[reference] = 0  # what refers to itself is as deep as its first round
            known[reference] = _levels(_referred(reference, root), root, known)
        return known[reference]
    inside = [*value.get("properties", {}).values(), value.get("items"), value.get("anyOf")]
    return int(_is_object(value)) + _levels(inside, root, known)


def _referred(reference: str, root: Mapping[str, Any]) -> object:
    """What a `$ref` into the schema itself names; None for any other."""
    found: object = root
    for part in reference.removeprefix("#").split("/")[1:]:
        found = found.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
    return found if reference.startswith("#") else None


def _nodes(value: object) -> Iterator[Mapping[str, Any]]:
    """Every mapping in a schema that may be a schema itself; names of properties are not."""
    if isinstance(value, Mapping):
        yield value
        for key, child in value.items():
            if key in ("properties", "$defs", "definitions") and isinstance(child, Mapping):
                for named in child.values():
                    yield from _nodes(named)
            elif key not in ("enum", "const", "default", "examples"):
                yield from _nodes(child)
    elif isinstance(value, list):
        for item in value:
            yield from _nodes(item)


def parse_structured(text: str, output_schema: OutputSchema) -> Any:
    """The data in a reply that must meet a schema. Error texts name the rule, never the reply's content.

    Raises:
        ProviderError: kind `invalid_output`; the reply is not JSON or breaks the schema.
    """
    try:
        data = loads_strictly(unfence(text))
    except ValueError as error:
        reason = str(error).splitlines()[0]
        message = f"the reply is not JSON ({reason})"
        raise ProviderError(message, kind="invalid_output", output=text) from error
    try:
        problem = next(_validator(_schema_text(output_schema)).iter_errors(data), None)
    except RecursionError as error:
        message = "the reply is nested too deeply to be checked"
        raise ProviderError(message, kind="invalid_output", output=text) from error
    if problem is None:
        if output_schema.check is not None:
            _require_check(output_schema.check, data, text)
        return data
    place = "/".join(str(part) for part in problem.absolute_path) or "the reply"
    if problem.validator == "required":
        rule = str(problem.message)  # names a property of the schema
    else:
        rule = f"must meet {problem.validator} {str(problem.validator_value)[:160]}"
    message = f"the reply breaks its schema at {place}: {rule}"
    raise ProviderError(message, kind="invalid_output", output=text)


def _require_check(check: Callable[[Any], object], data: Any, text: str) -> None:
    """Raise invalid_output where a class refuses the data, with the first of its reasons.

    A validator is the caller's code: of what is no validation error only the type is told, for its text may
    quote the reply.
    """
    try:
        check(data)
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
        details = getattr(error, "errors", None)
        first: Mapping[str, Any] = next(iter(details()), {}) if callable(details) else {}
        place = "/".join(str(part) for part in first.get("loc", ())) or "the reply"
        reason = " ".join(str(first.get("msg", type(error).__name__)).split())[:160]
        message = f"the reply breaks its class at {place}: {reason}"
        raise ProviderError(message, kind="invalid_output", output=text) from error


def _schema_text(output_schema: OutputSchema) -> str:
    try:
        return canonical_json(output_schema.schema)
    except (TypeError, ValueError, RecursionError) as error:
        raise ParamError(f"response_format: the schema is not plain JSON: {error}") from error


@lru_cache(maxsize=256)
def _validator(schema_json: str) -> Validator:
    """One compiled validator a schema; checking the schema itself costs more than a reply.

    The registry is empty: a `$ref` to another document is refused, never fetched.
    """
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError
    from referencing import Registry
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    schema = json.loads(schema_json)
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise ParamError(f"response_format: not a valid JSON Schema: {error.message}") from error
    registry: Registry[Any] = Registry()
    resolver = registry.resolver_with_root(DRAFT202012.create_resource(schema))
    for node in _nodes(schema):
        for reference in (node.get("$ref"), node.get("$dynamicRef")):
            try:
                if isinstance(reference, str):
                    resolver.lookup(reference)
            except Unresolvable as error:
                raise ParamError(
                    f"response_format: $ref {reference!r} leads nowhere in the schema"
                ) from error
    return Draft202012Validator(schema, registry=registry)
