"""Pure scorers: an answer's text and a sample in, a score from 0 to 1 out.

A scorer never raises on what a model wrote: an answer that cannot be read scores 0. It raises only on a
mistake of ours: an unknown scorer, a wrong parameter, a sample that lacks what the scorer needs.

Replies that should be JSON are read whole: blanks around are cut, and one Markdown fence around the whole
reply is taken off, because pipelines do that too; a sentence before or after the object is a fault. An
answer that is not JSON or breaks the output schema scores 0: the pipeline behind could not use it.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llmbench.bench.answers import (
    NUMBER,
    normalise,
    numbers_in,
    read_object,
    same,
    script_fits,
    stands_in,
    width,
)
from llmbench.bench.dataset import Dataset, Sample
from llmbench.errors import DatasetError


@dataclass(frozen=True, slots=True)
class Score:
    """A score from 0 (useless) to 1 (as wanted), and the value of each rule behind it, also 0 to 1."""

    value: float
    details: dict[str, float]


class Params(BaseModel):
    """Base of a scorer's parameters: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


Schema = Mapping[str, Any] | None
ScoreFunction = Callable[[Any, str, Sample, Schema], Score]
_F = TypeVar("_F", bound=Callable[..., Score])


@dataclass(frozen=True, slots=True)
class Scorer:
    """A registered scorer: its function, and the model its parameters are checked with."""

    params: type[Params]
    function: ScoreFunction


SCORERS: Final[dict[str, Scorer]] = {}


def scorer(name: str, params: type[Params] = Params) -> Callable[[_F], _F]:
    """Register a function `(params, output, sample, schema) -> Score` under a name.

    Raises:
        DatasetError: the name is taken.
    """

    def register(function: _F) -> _F:
        if name in SCORERS:
            raise DatasetError(f"scorer `{name}` is already registered; choose another name")
        SCORERS[name] = Scorer(params, function)
        return function

    return register


def score(scorer_name: str, params: Mapping[str, Any], output: str, sample: Sample, schema: Schema) -> Score:
    """Score one answer.

    Args:
        scorer_name: a name in SCORERS.
        params: the scorer's parameters, as the card gives them.
        output: the answer as received; any text is allowed.
        sample: the sample it answers.
        schema: the dataset's output schema, or None for free text.

    Raises:
        DatasetError: the scorer is unknown, a parameter is unknown or wrong, or the sample's target or
            checks are not what the scorer needs.
    """
    entry = SCORERS.get(scorer_name)
    if entry is None:
        raise DatasetError(f"scorer `{scorer_name}` is unknown; {_near(scorer_name, SCORERS)}")
    try:
        checked = entry.params.model_validate(dict(params))
    except ValidationError as exc:
        error = exc.errors(include_url=False, include_input=False)[0]
        key = ".".join(map(str, error["loc"]))
        if error["type"] == "extra_forbidden":
            hint = _near(key, entry.params.model_fields)
            raise DatasetError(f"scorer `{scorer_name}` has no parameter `{key}`; {hint}") from exc
        raise DatasetError(
            f"scorer `{scorer_name}`, parameter `{key}`: {error['msg']}; correct the card"
        ) from exc
    return entry.function(checked, output, sample, schema)


def check_dataset(dataset: Dataset) -> None:
    """Check that the dataset's scorer gives each sample's own target the full score.

    Raises:
        DatasetError: the scorer or a parameter is wrong, or a target scores below 1 (named with its rules).
    """
    for sample in dataset.samples:
        output = target_text(sample)
        got = score(dataset.scorer.name, dataset.scorer.params, output, sample, dataset.output_schema)
        if got.value < 1:
            failed = ", ".join(k for k, v in got.details.items() if v < 1)
            raise DatasetError(
                f"{dataset.name}: the target of {sample.id} scores {got.value:.2f} (below 1: {failed}); "
                "correct the target or its checks"
            )


def target_text(sample: Sample) -> str:
    """The sample's target as a model would write it: a text as it is, anything else as one line of JSON."""
    return sample.target if isinstance(sample.target, str) else json.dumps(sample.target, ensure_ascii=False)


def _near(name: str, known: Mapping[str, Any]) -> str:
    match = difflib.get_close_matches(name, known, n=1)
    return f"did you mean `{match[0]}`?" if match else f"known are {', '.join(sorted(known)) or 'none'}"


def _needs(found: Any, kind: type | tuple[type, ...], sample: Sample, what: str) -> Any:
    if not isinstance(found, kind):
        raise DatasetError(f"sample {sample.id}: {what}; correct the dataset")
    return found


# ---- answers with a schema ---------------------------------------------------------------------------


@scorer("fields")
def fields(_params: Params, output: str, sample: Sample, schema: Schema) -> Score:
    """The share of the target's fields that are right; 0 when the reply is not JSON or breaks the schema."""
    target = _needs(sample.target, dict, sample, "the scorer `fields` needs an object as target")
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
    target = _needs(sample.target, dict, sample, "the scorer `label` needs an object as target")
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
    target = _needs(sample.target, dict, sample, "the scorer `numeric` needs an object as target")
    wanted = _needs(
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


class KeywordParams(Params):
    """Parameters of `keywords`: the key that holds the list, and how many entries count."""

    field: str = "keywords"
    max_count: int = Field(default=5, ge=1)
    max_width: int = Field(default=24, ge=1)


@scorer("keywords", KeywordParams)
def keywords(params: KeywordParams, output: str, sample: Sample, schema: Schema) -> Score:
    """Coverage of the required words times honesty of the list.

    `checks.required` is a list of keywords, each a list of accepted spellings; one is covered when an honest
    entry holds a spelling, after `normalise`. Honest entries stand in the sample's text (after
    `normalise`), are at most `max_width` wide (a Japanese character is two wide), do not repeat an earlier
    entry, and lie within the first `max_count`. The score is covered / required x honest / listed.
    """
    required = _alternatives(sample, "required")
    value, details = read_object(output, schema)
    listed = value.get(params.field) if value is not None else None
    if not isinstance(listed, list) or not listed:
        return Score(0.0, {**details, "coverage": 0.0, "honest": 0.0})
    source = normalise(sample.input)
    honest: list[str] = []
    for entry in listed[: params.max_count]:
        word = normalise(entry) if isinstance(entry, str) else ""
        if word and width(word) <= params.max_width and stands_in(word, source) and word not in honest:
            honest.append(word)
    covered = sum(any(stands_in(normalise(a), w) for a in group for w in honest) for group in required)
    details |= {"coverage": covered / len(required), "honest": len(honest) / len(listed)}
    return Score(details["coverage"] * details["honest"], details)


def _alternatives(sample: Sample, key: str) -> Sequence[Sequence[str]]:
    groups = sample.checks.get(key)
    what = f"checks.{key} is not a list of lists of texts"
    for group in _needs(groups, list, sample, what):
        for text in _needs(group, list, sample, what):
            _needs(text, str, sample, what)
    if not groups and key == "required":
        raise DatasetError(f"sample {sample.id}: checks.required is empty; name at least one word")
    return groups or []


# ---- free text ---------------------------------------------------------------------------------------


@scorer("caption")
def caption(_params: Params, output: str, sample: Sample, _schema: Schema) -> Score:
    """The weighted share of the rules that a caption keeps; 0 when it is empty or holds the whole text again.

    Rules: `length` (at most checks.max_chars characters), `line` (one line), `ending` (no `. 。 ! ? , :` at
    the end), `bare` (no quote or bracket and no label such as `Caption:` at its start), `own` (not just
    the text's beginning, cut off), `script` (Japanese for a Japanese text, none for an English one),
    `honest` (no number that the text lacks), and each group of checks.required: accepted words of which
    one must occur. `length` and the required groups weigh two, the rest one.
    """
    limit = _needs(sample.checks.get("max_chars"), int, sample, "checks.max_chars is not a number")
    required = _alternatives(sample, "required")
    text = output.strip()
    plain = normalise(text)
    if not plain:
        return Score(0.0, {"empty": 0.0})
    source = normalise(sample.input)
    if source in plain:
        return Score(0.0, {"own": 0.0})
    rules = {
        "length": len(text) <= limit,
        "line": len(text.splitlines()) == 1,
        "ending": re.search(r"[.。．!！?？,、，:：;；…]\Z", text) is None,
        "bare": re.match(r"[\"'“”‘’「『\[{(（【]|[A-Za-z]{2,12}:|[ァ-ヶー一-龠]{2,8}[:：]", text) is None,
        "own": not source.startswith(plain),
        "script": script_fits(text, sample.lang),
        "honest": set(NUMBER.findall(plain)) <= numbers_in(source),
    }
    details = {name: float(kept) for name, kept in rules.items()}
    for index, group in enumerate(required):
        details[f"required:{index}"] = float(any(stands_in(normalise(a), plain) for a in group))
    weights = {name: 2.0 if name.startswith(("required", "length")) else 1.0 for name in details}
    return Score(sum(details[n] * weights[n] for n in details) / sum(weights.values()), details)


class TranslationParams(Params):
    """Parameters of `translation`: `max_ratio` caps the length, in lengths of the reference translation."""

    max_ratio: float = Field(default=2.5, gt=0)


@scorer("translation", TranslationParams)
def translation(params: TranslationParams, output: str, sample: Sample, _schema: Schema) -> Score:
    """The share of the required terms and numbers that a translated line has; 0 when it is not a translation.

    `checks.terms` and `checks.numbers` are lists of groups of accepted spellings, of which one must occur.
    The gates: the reply is in the script of `checks.to` (`en` or `ja`), and at most `max_ratio` times as
    long as the target. A reply that fails a gate scores 0: neither an echo nor a word list pays.
    """
    to = _needs(sample.checks.get("to"), str, sample, "checks.to is not a language")
    target = _needs(sample.target, str, sample, "the scorer `translation` needs a text as target")
    groups = [*_alternatives(sample, "terms"), *_alternatives(sample, "numbers")]
    plain = normalise(output)
    details = {
        "script": float(bool(plain) and script_fits(output, to)),
        "length": float(0 < len(plain) <= params.max_ratio * max(len(normalise(target)), 8)),
    }
    for index, group in enumerate(groups):
        details[f"term:{index}"] = float(any(stands_in(normalise(a), plain) for a in group))
    hits = [v for k, v in details.items() if k.startswith("term:")]
    gate = details["script"] * details["length"]
    return Score(gate * (sum(hits) / len(hits) if hits else 1.0), details)
