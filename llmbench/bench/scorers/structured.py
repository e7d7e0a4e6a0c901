"""Scorers of replies that should be data: fields, a label, a number, a schema, paths.

Replies that should be JSON are read whole: blanks around are cut, and one Markdown fence around the whole
reply is taken off, because pipelines do that too; a sentence before or after the object is a fault. An
answer that is not JSON or breaks the output schema scores 0: the pipeline behind could not use it.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

from pydantic import Field

from llmbench.bench.answers import NUMBER, normalise, read_object, read_valid, same
from llmbench.bench.dataset import Sample
from llmbench.bench.scorers.registry import Params, Schema, Score, needs, scorer
from llmbench.errors import DatasetError


@scorer("fields")
def fields(_params: Params, output: str, sample: Sample, schema: Schema) -> Score:
    """The share of the target's fields that are right; 0 when the reply is not JSON or breaks the schema."""
    target = needs(sample.target, dict, sample, "the scorer `fields` needs an object as target")
    value, details = read_object(output, schema)
    for key, wanted in target.items():
        details[f"field:{key}"] = float(value is not None and key in value and same(value[key], wanted))
    if value is None or not target:
        return Score(0.0, details)
    right = [v for k, v in details.items() if k.startswith("field:")]
    return Score(sum(right) / len(right), details)


class LabelParams(Params):
    """Parameters of `label`: `field` is the key that holds the label."""

    field: str = "label"


@scorer("label", LabelParams)
def label(params: LabelParams, output: str, sample: Sample, schema: Schema) -> Score:
    """1 when the label is the target's after `normalise`, else 0.

    Without a schema, and with a text as target, the whole reply is the label.
    """
    if schema is None and isinstance(sample.target, str):
        hit = float(normalise(output) == normalise(sample.target))
        return Score(hit, {"label": hit})
    target = needs(sample.target, dict, sample, "the scorer `label` needs an object as target")
    if params.field not in target:
        raise DatasetError(
            f"sample {sample.id}: the target has no `{params.field}`; correct the card's scorer params"
        )
    value, details = read_object(output, schema)
    details["label"] = float(value is not None and same(value.get(params.field), target[params.field]))
    return Score(details["label"], details)


class NumericParams(Params):
    """Parameters of `numeric`: the key that holds the number, and what difference is forgiven."""

    field: str = "value"
    abs_tol: float = Field(default=0.0, ge=0)
    rel_tol: float = Field(default=0.0, ge=0)


@scorer("numeric", NumericParams)
def numeric(params: NumericParams, output: str, sample: Sample, schema: Schema) -> Score:
    """1 when the number is the target's within the larger of the two tolerances, else 0.

    Without a schema, and with a number as target, the last number in the reply counts.
    """
    if schema is None and isinstance(sample.target, int | float):
        found = NUMBER.findall(normalise(output))
        hit = float(bool(found) and _close(_as_number(found[-1]), sample.target, params))
        return Score(hit, {"number": hit})
    target = needs(sample.target, dict, sample, "the scorer `numeric` needs an object as target")
    wanted = needs(
        target.get(params.field), (int, float), sample, f"the target's `{params.field}` is not a number"
    )
    value, details = read_object(output, schema)
    details["number"] = float(value is not None and _close(value.get(params.field), wanted, params))
    return Score(details["number"], details)


def _as_number(text: str) -> float:
    try:
        return float(text)
    except (ValueError, OverflowError):
        return math.nan


def _close(got: Any, wanted: float, params: NumericParams) -> bool:
    if isinstance(got, bool) or not isinstance(got, int | float):
        return False
    if isinstance(got, int) and abs(got) > 10**300:
        return False
    return math.isfinite(got) and math.isclose(got, wanted, rel_tol=params.rel_tol, abs_tol=params.abs_tol)


@scorer("json_schema")
def json_schema(_params: Params, output: str, _sample: Sample, schema: Schema) -> Score:
    """1 when the reply is JSON that obeys the card's output schema, else 0; what it says is not judged.

    Other than for `fields`, the value need not be an object.
    """
    if schema is None:
        raise DatasetError("the scorer `json_schema` needs the card's `output_schema`; add it")
    _value, details = read_valid(output, schema)
    return Score(details["schema"], details)


class FieldF1Params(Params):
    """Parameters of `field_f1`: names of keys that do not count, at any depth."""

    ignore: list[str] = Field(default_factory=list)


@scorer("field_f1", FieldF1Params)
def field_f1(params: FieldF1Params, output: str, sample: Sample, schema: Schema) -> Score:
    """F1 over all values of the target, at any depth; 0 when the reply is not JSON or breaks the schema.

    Target and reply are taken apart into (path, value) pairs, values compared as a reader does (`normalise`,
    numbers by value). The items of a list share one path, so their order does not count and an item given
    twice counts twice; which values stood in one item of a list of objects is lost. With H pairs in common,
    precision is H / pairs of the reply, recall H / pairs of the target, F1 their harmonic mean
    2H / (both together).
    """
    target = needs(
        sample.target, (dict, list), sample, "the scorer `field_f1` needs an object or a list as target"
    )
    wanted = Counter(_pairs(target, frozenset(params.ignore)))
    if not wanted:
        raise DatasetError(f"sample {sample.id}: no value of the target counts; correct it or `ignore`")
    value, details = read_valid(output, schema, type(target))
    got = Counter(() if value is None else _pairs(value, frozenset(params.ignore)))
    hits = (wanted & got).total()
    details["precision"] = hits / got.total() if got else 0.0
    details["recall"] = hits / wanted.total()
    details["f1"] = 2 * hits / (got.total() + wanted.total())
    return Score(details["f1"], details)


def _pairs(value: Any, ignored: frozenset[str], path: str = "") -> Iterator[tuple[str, str]]:
    """Each value inside as (path, one spelling); an empty object or list is a value too."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            if key not in ignored:
                yield from _pairs(inner, ignored, f"{path}.{key}")
    elif isinstance(value, list) and value:
        for inner in value:
            yield from _pairs(inner, ignored, f"{path}[]")
    else:
        yield path, _spelling(value)


def _spelling(value: Any) -> str:
    """One text for values that `same` takes as equal: a kind, and the value in its one spelling."""
    if isinstance(value, str):
        return f"text {normalise(value)}"
    if isinstance(value, int | float) and not isinstance(value, bool):
        is_whole = isinstance(value, int) or (math.isfinite(value) and value.is_integer())
        return f"number {hex(int(value))}" if is_whole else f"number {value!r}"
    return json.dumps(value)


class JsonPathsParams(Params):
    """Parameters of `json_paths`: path -> the value wanted there, for all samples."""

    expect: dict[str, Any] = Field(default_factory=dict)


_STEP: Final = re.compile(r"\.?([^.\[\]]+)|\[(\d+|\*)\]")


@scorer("json_paths", JsonPathsParams)
def json_paths(params: JsonPathsParams, output: str, sample: Sample, schema: Schema) -> Score:
    """The share of the given paths where the reply has the wanted value; 0 when it is not JSON of the schema.

    Paths stand in the parameter `expect` and in `checks.expect`, which wins: keys joined by dots, `[0]` for a
    list's item, `[*]` for any item: `{"scenes[0].title": "Dawn", "tags[*]": "sea"}`. Values are compared as a
    reader does (`normalise`, numbers by value).
    """
    own = needs(sample.checks.get("expect", {}), dict, sample, "checks.expect is not a mapping of paths")
    expected = {**params.expect, **own}
    if not expected:
        raise DatasetError(
            f"sample {sample.id}: `json_paths` has no path; fill checks.expect or the parameter"
        )
    value, details = read_valid(output, schema)
    for path, wanted in expected.items():
        steps = _steps(path)
        if not steps:
            raise DatasetError(f"sample {sample.id}: `{path}` is no path; write keys and indexes as a.b[0].c")
        found = [] if value is None else _values_at(value, steps)
        details[f"path:{path}"] = float(any(same(one, wanted) for one in found))
    hits = [hit for name, hit in details.items() if name.startswith("path:")]
    return Score(sum(hits) / len(hits), details)


def _steps(path: str) -> list[str | int | None]:
    """A path's keys (text), indexes (number) and any-item marks (None); empty when it is no path."""
    steps: list[str | int | None] = []
    end = 0
    for found in _STEP.finditer(path):
        if found.start() != end:
            return []
        end = found.end()
        key, index = found.groups()
        steps.append(key or (None if index == "*" else int(index[:9])))
    return steps if end == len(path) else []


def _values_at(value: Any, steps: Sequence[str | int | None]) -> list[Any]:
    found = [value]
    for step in steps:
        if isinstance(step, str):
            found = [one[step] for one in found if isinstance(one, dict) and step in one]
        else:
            lists = [one for one in found if isinstance(one, list)]
            found = [item for one in lists for item in (one if step is None else one[step : step + 1])]
    return found
