"""Mapping files: which field of another tool's log becomes which field of a telemetry line.

    name: mytool
    fields:
      call_id: id                      # a dotted path; a list of them: the first that holds something
      timestamp: [ended_at, started_at]
      task: meta.task
      model: model
      latency_ms: {path: seconds, convert: seconds_to_ms}

docs/interop.md describes every key.
"""

from __future__ import annotations

from collections.abc import Mapping as AnyMapping
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictStr,
    ValidationError,
    model_validator,
)

from llmbench.bounded import read_text
from llmbench.config.places import near
from llmbench.config.yaml_source import YamlSource, parse_yaml
from llmbench.errors import ERROR_KINDS, ConfigError, ErrorKind
from llmbench.messages import FinishReason

MAPPINGS: Final = Path(__file__).parent / "mappings"
Convert = Literal["text", "number", "integer", "seconds_to_ms", "time"]
#: How the value of a field is read where the mapping names no conversion.
KINDS: Final[AnyMapping[str, Convert]] = {
    "call_id": "text",
    "timestamp": "time",
    "task": "text",
    "tier": "text",
    "channel": "text",
    "env": "text",
    "model": "text",
    "model_id": "text",
    "provider": "text",
    "latency_ms": "number",
    "ttft_ms": "number",
    "queued_ms": "number",
    "input_tokens": "integer",
    "output_tokens": "integer",
    "cached_tokens": "integer",
    "reasoning_tokens": "integer",
    "cost_usd": "number",
    "finish_reason": "text",
    "request_id": "text",
    "error_class": "text",
    "error_kind": "text",
    "status_code": "integer",
}
_VOCABULARY: Final[AnyMapping[str, Sequence[str]]] = {
    "finish_reason": get_args(FinishReason),
    "error_kind": ERROR_KINDS,
}
_Path = Annotated[str, Field(strict=True, min_length=1, max_length=200)]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Shape):
    """Where one value may stand: exactly one of `path`, `add` and `between`.

    Attributes:
        path: dotted path; a number is a place in a list, a text on the way that holds JSON is read.
        add: paths of numbers; their sum, of those that are there.
        between: paths of two times; the milliseconds from the first to the second.
        convert: how to read the value of `path`; by the field it is for where it is None.
        words: name of a table under `words:`; a word that it lacks is passed over.
        tag: of a list of texts, what follows this prefix in the first text that has it.
    """

    path: _Path | None = None
    add: Annotated[list[_Path], Field(min_length=2)] | None = None
    between: Annotated[list[_Path], Field(min_length=2, max_length=2)] | None = None
    convert: Convert | None = None
    words: StrictStr | None = None
    tag: Annotated[str, Field(strict=True, min_length=1)] | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        given = [name for name in ("path", "add", "between") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("give exactly one of path, add and between")
        if self.path is None and (self.convert or self.words or self.tag):
            raise ValueError("convert, words and tag go with path")
        return self

    @property
    def paths(self) -> tuple[str, ...]:
        """Every path that is read."""
        return tuple(self.add or self.between or (self.path or "",))


def _listed(value: Any) -> Any:
    """One path, one source or a list of them, as a list of sources."""
    items = value if isinstance(value, list) else [value]
    return [{"path": item} if isinstance(item, str) else item for item in items]


def _path_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Sources = Annotated[tuple[Source, ...], BeforeValidator(_listed)]
_Paths = Annotated[tuple[_Path, ...], BeforeValidator(_path_list)]
_Words = Annotated[tuple[StrictStr, ...], Field(min_length=1)]


class Fields(_Shape):
    """Field of a telemetry line -> where its value stands."""

    call_id: Sources
    timestamp: Sources
    model: Sources
    task: Sources = ()
    tier: Sources = ()
    channel: Sources = ()
    env: Sources = ()
    model_id: Sources = ()
    provider: Sources = ()
    latency_ms: Sources = ()
    ttft_ms: Sources = ()
    queued_ms: Sources = ()
    input_tokens: Sources = ()
    output_tokens: Sources = ()
    cached_tokens: Sources = ()
    reasoning_tokens: Sources = ()
    cost_usd: Sources = ()
    finish_reason: Sources = ()
    request_id: Sources = ()
    error_class: Sources = ()
    error_kind: Sources = ()
    status_code: Sources = ()


class _Condition(_Shape):
    """A test of one value: the first of the paths `when` that holds something.

    `is` and `is_not` list words, compared without case; with neither it is enough that something is there.
    `is_not` holds for a row without the value too.
    """

    when: _Paths
    is_: Annotated[_Words | None, Field(alias="is")] = None
    is_not: _Words | None = None

    @model_validator(mode="after")
    def _one_test(self) -> Self:
        if self.is_ is not None and self.is_not is not None:
            raise ValueError("give one of is and is_not")
        return self


class Refusal(_Condition):
    """Rows that are no call of a model, and what to say of them."""

    reason: StrictStr


class Failure(_Condition):
    """Rows of calls that failed; `kind` is their error kind where the field `error_kind` finds none."""

    kind: ErrorKind | None = None


class Mapping(_Shape):
    """A mapping file.

    Attributes:
        name: of the format; call ids begin with it, and costs come from `import:<name>`.
        description: which exports it is for.
        unwrap: keys that may hold the whole row, as in `{"data": {...}}`.
        words: tables of words, used by name.
        refuse: rows that are no calls.
        failure: rows of failed calls; a row that none of them holds for is a success.
        fields: where the values of a line stand.
    """

    name: Annotated[str, Field(strict=True, pattern=r"\A[a-z][a-z0-9_-]{0,29}\z")]
    description: StrictStr = ""
    unwrap: tuple[StrictStr, ...] = ()
    words: dict[StrictStr, dict[StrictStr, StrictStr]] = {}
    refuse: tuple[Refusal, ...] = ()
    failure: tuple[Failure, ...] = ()
    fields: Fields

    def sources(self, field: str) -> tuple[Source, ...]:
        """Where a field's value may stand, in order."""
        found: tuple[Source, ...] = getattr(self.fields, field)
        return found

    def paths(self) -> list[str]:
        """Every path that is read, once, in the order of the file's parts."""
        named = [path for field in KINDS for source in self.sources(field) for path in source.paths]
        tested = [path for test in (*self.refuse, *self.failure) for path in test.when]
        return list(dict.fromkeys((*named, *tested)))

    def with_task_at(self, path: str) -> Mapping:
        """The same mapping with the task read from another path first."""
        fields = self.fields.model_copy(update={"task": (Source(path=path), *self.fields.task)})
        return self.model_copy(update={"fields": fields})


def shipped() -> list[str]:
    """Names of the mappings that come with the package."""
    return sorted(path.stem for path in MAPPINGS.glob("*.yaml"))


def load_mapping(name_or_path: str | Path) -> Mapping:
    """Read a shipped mapping by its name, or a mapping file by its path.

    Raises:
        ConfigError: there is no such mapping or file, or something in it is wrong; names file and line.
    """
    path = Path(name_or_path)
    if str(name_or_path) in shipped():
        path = MAPPINGS / f"{name_or_path}.yaml"
    elif path.suffix not in (".yaml", ".yml"):
        hint = near(str(name_or_path), shipped())
        raise ConfigError(f"no format {str(name_or_path)!r}; {hint}; or name a mapping file (.yaml)")
    try:
        source = parse_yaml(read_text(path), str(path))
    except OSError as error:
        said = f"cannot be read ({error.strerror}); name a mapping file"
        raise ConfigError(said, path=str(path)) from error
    except UnicodeDecodeError as error:
        raise ConfigError("not UTF-8; save the file as UTF-8", path=str(path), line=1) from error
    try:
        mapping = Mapping.model_validate(source.data)
    except ValidationError as error:
        raise _refusal(error, source) from error
    _check_words(mapping, source)
    return mapping


def _refusal(error: ValidationError, source: YamlSource) -> ConfigError:
    """The first problem with its line; a misspelt key before the key that is missing because of it."""
    problems = error.errors(include_url=False, include_input=False)
    problem = min(problems, key=lambda one: one["type"] != "extra_forbidden")
    key = tuple(problem["loc"])
    name, line = ".".join(map(str, key)), source.place(key)[1] or 1
    if problem["type"] == "extra_forbidden":
        said = f"unknown key `{name}`; {near(str(key[-1]), _known(key))}"
    elif problem["type"] == "missing":
        said = f"the key `{name}` is missing; add it"
    else:
        said = f"`{name or 'the file'}`: {problem['msg'].removeprefix('Value error, ')}; correct it"
    return ConfigError(said, path=source.name, line=line)


def _known(key: tuple[str | int, ...]) -> list[str]:
    """The keys that may stand where this one does."""
    if len(key) == 1:
        return list(Mapping.model_fields)
    if key[0] == "fields":
        return list(Fields.model_fields if len(key) == 2 else Source.model_fields)
    shape = Refusal if key[0] == "refuse" else Failure
    return [field.alias or name for name, field in shape.model_fields.items()]


def _check_words(mapping: Mapping, source: YamlSource) -> None:
    """Every table that is used is there, and holds words of ours where a field has a vocabulary."""
    for field in KINDS:
        for index, one in enumerate(mapping.sources(field)):
            if one.words is None:
                continue
            key = ("fields", field, index, "words")
            if one.words not in mapping.words:
                said = f"`{'.'.join(map(str, key))}`: no table `{one.words}` under words; "
                raise ConfigError(
                    said + near(one.words, mapping.words), path=source.name, line=source.place(key)[1]
                )
            _check_table(mapping.words[one.words], one.words, field, source)


def _check_table(table: AnyMapping[str, str], name: str, field: str, source: YamlSource) -> None:
    for word, ours in table.items():
        if ours not in _VOCABULARY.get(field, (ours,)):
            said = f"`words.{name}.{word}`: {field} has no {ours!r}; {near(ours, _VOCABULARY[field])}"
            raise ConfigError(said, path=source.name, line=source.place(("words", name, word))[1])
