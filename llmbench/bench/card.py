"""What a person writes about a dataset, checked: the card, one row of data.jsonl, and where a mistake stands.

Every finding becomes one `DatasetError` that begins with file and line and ends with what to do.
"""

from __future__ import annotations

import difflib
import functools
import json
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from llmbench import bounded
from llmbench.config.model import MediaModality
from llmbench.config.yaml_source import UNREADABLE
from llmbench.errors import DatasetError, ParamError
from llmbench.messages import canonical_json
from llmbench.routing.media_params import normalise
from llmbench.visible import visible

CARD_FILE: Final = "card.yaml"
DATA_FILE: Final = "data.jsonl"
#: Keys of a schema whose values are data, not schemas.
_EXAMPLE_KEYS: Final = frozenset({"const", "default", "enum", "examples"})
Place = tuple[str | int, ...]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _without_control(text: str) -> str:
    if has_control(text):
        raise ValueError("holds a control character")
    return text


class Turn(_Strict):
    """One turn that stands before a row's input."""

    role: Literal["system", "developer", "user", "assistant"] = Field(description="Who speaks.")
    content: str = Field(description="What is said.")


class Row(_Strict):
    """One line of data.jsonl.

    `target` is null where nobody knows the right answer. `turns` are the turns before the input, in place of
    the card's system text and examples; a row without the key uses the card's.
    """

    id: Annotated[str, AfterValidator(_without_control)] = Field(
        min_length=1, description="Name of the sample, unique in the dataset."
    )
    lang: str = Field(min_length=2, description="Language, such as ja or en.")
    cluster: str = Field(
        min_length=1,
        description="Samples that belong together (one source text): the unit of the statistics.",
    )
    input: str = Field(min_length=1, description="What the user says, or the text to be drawn or spoken.")
    target: Any = Field(description="The right answer; null where nobody knows it.")
    checks: dict[str, Any] = Field({}, description="What the scorer needs besides.")
    tags: list[str] = Field([], description="Words to slice by, such as channel:CH01.")
    turns: list[Turn] | None = Field(
        None, description="Turns before the input, in place of the card's system text and examples."
    )


class _Shot(_Strict):
    """One example before the input."""

    input: str = Field(min_length=1, description="What the user says.")
    output: str = Field(min_length=1, description="What the model answers.")


class _Prompt(_Strict):
    """What stands before the input."""

    system: str | dict[str, str] = Field(description="System text, one for all or one a language.")
    shots: list[_Shot] = Field([], description="Examples that stand before the input.")


class _Scorer(_Strict):
    """What scores the answers, from 0 to 1."""

    name: str = Field(description="Its name (scorers.md).")
    params: dict[str, Any] = Field({}, description="Its parameters.")


class _Options(_Strict):
    """Parameters of the calls."""

    max_tokens: int = Field(gt=0, description="Output limit.")
    stop: list[str] | None = Field(None, description="Texts at which an answer ends.")
    temperature: float | None = Field(None, description="Temperature.")
    top_p: float | None = Field(None, description="Nucleus of sampling.")
    seed: int | None = Field(None, description="Seed of sampling.")


class _Described(_Strict):
    """What every card says. `source` says where made samples come from: a log, a file or a parent."""

    name: str = Field(description="The folder's name.")
    version: str = Field(description="Version of the samples.")
    licence: str = Field(description="Licence of the samples.")
    task: str = Field(description="Task as which its samples are asked.")
    languages: list[str] = Field(min_length=1, description="Languages of its samples.")
    description: str = Field(description="What the samples are.")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="Hash of data.jsonl; another file is refused.")
    samples: int = Field(description="Number of samples.")
    clusters: int = Field(description="Number of clusters.")
    fields: dict[str, str] = Field(description="What each field of a sample holds.")
    scorer: _Scorer = Field(description="What scores the answers.")
    source: dict[str, Any] | None = Field(
        None, description="Where made samples come from: a log, a file or a parent."
    )


class Card(_Described):
    """The whole of card.yaml for answers that are text."""

    modality: Literal["text"] = Field("text", description="What the answers are.")
    output_schema: dict[str, Any] | None = Field(None, description="JSON Schema of the answers.")
    prompt: _Prompt = Field(description="What stands before the input.")
    options: _Options = Field(description="Parameters of its calls.")


class MediaCard(_Described):
    """The whole of card.yaml for pictures or narrations.

    A sample's input is sent as it is, so there is no system text, no example and no schema. `options` are
    canonical parameters of such calls (llmbench/routing/media_params.py).
    """

    modality: MediaModality = Field(description="What the answers are.")
    options: dict[str, Any] = Field({}, description="Parameters of its calls (media.md).")


def read_card(path: Path) -> tuple[Card | MediaCard, dict[Place, int]]:
    """The checked card, and the 1-based line of each key."""
    text = _decode(read_bytes(path), path, 1)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        lines = _node_lines(node, path)
        value = yaml.safe_load(text)
    except yaml.MarkedYAMLError as exc:
        line = exc.problem_mark.line + 1 if exc.problem_mark else 1
        raise DatasetError(f"{path}:{line}: not YAML ({exc.problem}); correct the syntax") from exc
    except RecursionError as exc:
        raise DatasetError(f"{path}:1: values are nested too deeply; flatten them") from exc
    except (yaml.YAMLError, *UNREADABLE) as exc:
        said = (str(exc).splitlines() or [type(exc).__name__])[0]
        raise DatasetError(f"{path}:1: not YAML ({said}); correct the file") from exc
    is_media = isinstance(value, Mapping) and value.get("modality", "text") != "text"
    kind: type[Card | MediaCard] = MediaCard if is_media else Card
    try:
        card = kind.model_validate(value)
    except ValidationError as exc:
        raise _first_error(exc, path, kind, lines) from exc
    if isinstance(card, MediaCard):
        return card.model_copy(update={"options": _media_options(card, path, lines)}), lines
    _check_card(card, path, lines)
    return card, lines


def _media_options(card: MediaCard, path: Path, lines: Mapping[Place, int]) -> dict[str, Any]:
    """The options of a media card by their canonical names.

    Raises:
        DatasetError: one is unknown or wrong, or a sweep needs it as it is.
    """
    place = f"{path}:{lines.get(('options',), 1)}"
    try:
        options, _ = normalise(card.modality, card.options)
    except ParamError as exc:
        raise DatasetError(f"{place}: options: {exc}") from exc
    if options.pop("n", 1) != 1:
        raise DatasetError(f"{place}: options: n must be 1: a sweep scores one picture a call")
    if card.modality == "speech" and options.pop("format", "wav") != "wav":
        raise DatasetError(f"{place}: options: format must be wav: a sweep measures the samples")
    return options


def read_bytes(path: Path, most: int = bounded.MAX_CONFIG_BYTES) -> bytes:
    """A file of the folder; DatasetError when it cannot be read or is over `most` bytes."""
    try:
        return bounded.read_bytes(path, most)
    except OSError as exc:
        raise DatasetError(
            f"{path}: cannot be read ({exc.strerror}); a dataset folder holds {CARD_FILE} and {DATA_FILE}"
        ) from exc


def _node_lines(root: yaml.Node | None, path: Path) -> dict[Place, int]:
    """Key path -> line. Refuses duplicate keys and aliases, which YAML itself lets pass."""
    lines: dict[Place, int] = {}
    seen: set[int] = set()
    stack: list[tuple[Place, yaml.Node]] = [] if root is None else [((), root)]
    while stack:
        place, node = stack.pop()
        if id(node) in seen:
            raise DatasetError(f"{path}:{node.start_mark.line + 1}: a YAML alias; write the value out")
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                inner = (*place, str(key.value))
                if inner in lines:
                    line = key.start_mark.line + 1
                    raise DatasetError(
                        f"{path}:{line}: `{key.value}` is already on line {lines[inner]}; remove one"
                    )
                lines[inner] = key.start_mark.line + 1
                stack.append((inner, value))
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                lines[(*place, index)] = value.start_mark.line + 1
                stack.append(((*place, index), value))
    return lines


def _check_card(card: Card, path: Path, lines: Mapping[Place, int]) -> None:
    """What holds between the parts: a valid schema, examples that obey it, a system text a language."""
    if isinstance(card.prompt.system, dict):
        for lang in card.languages:
            if lang not in card.prompt.system:
                line = lines[("prompt", "system")]
                raise DatasetError(
                    f"{path}:{line}: prompt.system has no `{lang}`; add it, or use one text for all"
                )
    if card.output_schema is None:
        return
    check_json_schema(card.output_schema, f"{path}:{lines[('output_schema',)]}")
    for index, shot in enumerate(card.prompt.shots):
        line = lines[("prompt", "shots", index)]
        try:
            value = json.loads(shot.output, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as exc:
            raise DatasetError(f"{path}:{line}: an example's output is not JSON ({exc}); correct it") from exc
        check_schema(value, card.output_schema, f"{path}:{line}: an example's output")


def read_row(path: Path, number: int, line: bytes) -> Row:
    """One line as a checked row; DatasetError naming the line when it is none."""
    if len(line) > bounded.MAX_LINE_BYTES:
        limit = bounded.MAX_LINE_BYTES // 2**20
        raise DatasetError(f"{path}:{number}: the line is over {limit} MiB; a sample is one prompt")
    text = _decode(line, path, number)
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as exc:
        raise DatasetError(f"{path}:{number}: not JSON ({exc}); each line is one JSON object") from exc
    try:
        return Row.model_validate(value)
    except ValidationError as exc:
        raise _first_error(exc, path, Row, line=number) from exc


def has_control(text: str) -> bool:
    """Whether a text holds a character that steers a terminal, as ESC does."""
    return any(unicodedata.category(char) == "Cc" for char in text)


def check_json_schema(schema: Mapping[str, Any], what: str) -> None:
    """Raise DatasetError, beginning with `what`, for no JSON Schema or one that refers to something else."""
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import Draft202012Validator
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as exc:
        said = visible(" ".join(exc.message.split()))[:200]
        raise DatasetError(f"{what}: not a JSON Schema ({said}); correct output_schema") from exc
    try:
        _resolve(schema, _specifications().resolver_with_root(DRAFT202012.create_resource(schema)))
    except Unresolvable as exc:
        raise DatasetError(
            f"{what}: $ref {visible(exc.ref)!r} points to nothing in it; write the part into its $defs"
        ) from exc


def _specifications() -> Any:
    """The JSON Schemas of the standard itself; nothing else is ever fetched."""
    from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]

    return REGISTRY


def _resolve(part: Any, resolver: Any) -> None:
    """Look every reference of a schema up."""
    from referencing.jsonschema import DRAFT202012

    if isinstance(part, list):
        for item in part:
            _resolve(item, resolver)
    if not isinstance(part, Mapping):
        return
    if isinstance(part.get("$id"), str):
        resolver = resolver.in_subresource(DRAFT202012.create_resource(part))
    for key, value in part.items():
        if key in ("$ref", "$dynamicRef") and isinstance(value, str):
            resolver.lookup(value)
        elif key not in _EXAMPLE_KEYS:
            _resolve(value, resolver)


def check_schema(value: Any, schema: Mapping[str, Any], what: str) -> None:
    """Raise DatasetError, beginning with `what`, when a value does not match a schema."""
    message = schema_error(value, schema)
    if message is not None:
        raise DatasetError(f"{what} breaks output_schema ({message}); correct one of the two")


def schema_error(value: Any, schema: Mapping[str, Any]) -> str | None:
    """Why a value does not match a JSON Schema (2020-12), as one line; None when it does.

    A schema that cannot be followed (a reference to nothing, or to itself for ever) matches no value.
    """
    from referencing.exceptions import Unresolvable

    try:
        validator = _validator(canonical_json(schema))
        error = next(iter(validator.iter_errors(value)), None)
    except Unresolvable as exc:
        return f"$ref {visible(exc.ref)!r} points to nothing in the schema"
    except RecursionError:
        return "the schema or the value goes too deep"
    except ValueError as exc:  # a figure of a schema in YAML may be `.nan`, which JSON has none of
        return f"the schema is no JSON: {exc}"
    return None if error is None else " ".join(error.message.split())[:200]


@functools.lru_cache(maxsize=64)
def _validator(schema_json: str) -> Any:
    from jsonschema.validators import Draft202012Validator

    return Draft202012Validator(json.loads(schema_json), registry=_specifications())


def _decode(raw: bytes, path: Path, first_line: int) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as exc:
        line = first_line + raw[: exc.start].count(b"\n")
        raise DatasetError(f"{path}:{line}: not UTF-8; save the file as UTF-8") from exc


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _first_error(
    exc: ValidationError,
    path: Path,
    model: type[BaseModel],
    lines: Mapping[Place, int] | None = None,
    line: int = 1,
) -> DatasetError:
    """The most telling of pydantic's findings as one line with the place in the file."""
    errors = exc.errors(include_url=False, include_input=False)
    error = min(errors, key=lambda e: e["type"] != "extra_forbidden")  # a misspelt key is also a missing one
    place = tuple(error["loc"])
    known = place
    while lines is not None and known and known not in lines:
        known = known[:-1]
    number = line if lines is None else lines.get(known, 1)
    name = ".".join(map(str, place)) or "the value"
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(place[-1]), _keys(model, place[:-1]), n=1)
        hint = f"did you mean `{near[0]}`?" if near else "remove it"
        return DatasetError(f"{path}:{number}: unknown key `{name}`; {hint}")
    if error["type"] == "missing":
        return DatasetError(f"{path}:{number}: `{name}` is missing; add it")
    return DatasetError(f"{path}:{number}: `{name}`: {error['msg']}; correct it")


def _keys(model: type[BaseModel], place: Place) -> list[str]:
    """The known keys at a place inside a model."""
    inner: Any = model
    for part in place:
        if isinstance(part, str):
            inner = inner.model_fields[part].annotation
        inner = next((a for a in getattr(inner, "__args__", ()) if isinstance(a, type)), inner)
    return list(getattr(inner, "model_fields", {}))
