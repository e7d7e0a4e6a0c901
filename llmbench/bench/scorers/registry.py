"""Which scorers exist and how one is asked: names, parameters, the call, and the check of a whole dataset."""

from __future__ import annotations

import difflib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from llmbench.bench.dataset import Dataset, Sample
from llmbench.bench.scorers import plugins
from llmbench.catalog import Modality
from llmbench.errors import DatasetError, LLMBenchError

OWN: Final = "llmbench"


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
    """A registered scorer.

    Attributes:
        params: the model its parameters are checked with.
        function: `(params, output, sample, schema) -> Score`.
        source: `llmbench`, the distribution of a plug-in, or the module of a function decorated elsewhere.
        is_hint: it may be a part of `combine` and not a dataset's only scorer.
        modality: the kind of answers that it scores; None for all.
        missing: `(params) -> why it cannot score here`, None where it can; asked before calls are paid for.
    """

    params: type[Params]
    function: ScoreFunction
    source: str = OWN
    is_hint: bool = False
    modality: Modality | None = "text"
    missing: Callable[[Any], str | None] | None = None


@dataclass(frozen=True, slots=True)
class ScorerRow:
    """One scorer as a list shows it.

    Attributes:
        name: what a card calls it.
        summary: the first sentence of its documentation, or why it cannot be loaded.
        params: parameter -> its default in JSON, or `required`.
        source: as in `Scorer`.
        is_broken: a plug-in that cannot be loaded.
    """

    name: str
    summary: str
    params: Mapping[str, str]
    source: str
    is_broken: bool = False


SCORERS: Final[dict[str, Scorer]] = {}


def scorer(
    name: str,
    params: type[Params] = Params,
    *,
    is_hint: bool = False,
    modality: Modality | None = "text",
    missing: Callable[[Any], str | None] | None = None,
) -> Callable[[_F], _F]:
    """Register a function `(params, output, sample, schema) -> Score` under a name.

    Args:
        name: what a dataset's card calls it.
        params: the model its parameters are checked with.
        is_hint: True for a scorer too weak to judge alone; it is then allowed inside `combine` only.
        modality: the kind of answers that it scores. Of pictures and narrations, `output` is the JSON line
            of their facts, its `file` a path.
        missing: says what it lacks on this machine, or None.

    Raises:
        DatasetError: the name is taken.
    """

    def register(function: _F) -> _F:
        if name in SCORERS:
            raise DatasetError(f"scorer `{name}` is already registered; choose another name")
        module = str(getattr(function, "__module__", "an unnamed module"))
        source = OWN if module.startswith(f"{OWN}.") else module
        SCORERS[name] = Scorer(params, function, source, is_hint, modality, missing)
        return function

    return register


def find(name: str) -> Scorer:
    """The scorer of a name: registered, or offered by an installed distribution and loaded now.

    Raises:
        DatasetError: nothing has this name, or the distribution that offers it is broken.
    """
    if name not in SCORERS and not plugins.load(name, SCORERS, _from):
        raise DatasetError(f"scorer `{name}` is unknown; {_near(name, {**SCORERS, **plugins.offered()})}")
    return SCORERS[name]


def _from(entry: Scorer, source: str) -> Scorer:
    return replace(entry, source=source)


def check_params(scorer_name: str, params: Mapping[str, Any]) -> Params:
    """A card's parameters as the scorer's own model.

    Raises:
        DatasetError: the scorer or a parameter is unknown, or a value is wrong.
    """
    model = find(scorer_name).params
    try:
        return model.model_validate(dict(params))
    except ValidationError as exc:
        error = exc.errors(include_url=False, include_input=False)[0]
        key = ".".join(map(str, error["loc"]))
        if error["type"] == "extra_forbidden":
            known: Mapping[str, Any] = model.model_fields if len(error["loc"]) == 1 else {}
            hint = _near(key, known) if known or len(error["loc"]) == 1 else "correct the card"
            raise DatasetError(f"scorer `{scorer_name}` has no parameter `{key}`; {hint}") from exc
        raise DatasetError(
            f"scorer `{scorer_name}`, parameter `{key}`: {error['msg']}; correct the card"
        ) from exc


def score(scorer_name: str, params: Mapping[str, Any], output: str, sample: Sample, schema: Schema) -> Score:
    """Score one answer.

    Args:
        scorer_name: a name in SCORERS, or one that an installed distribution offers.
        params: the scorer's parameters, as the card gives them.
        output: the answer as received; any text is allowed.
        sample: the sample it answers.
        schema: the dataset's output schema, or None for free text.

    Raises:
        DatasetError: the scorer is unknown, a parameter is unknown or wrong, the sample's target or checks
            are not what the scorer needs, a library is not installed, or the scorer failed.
    """
    checked = check_params(scorer_name, params)
    entry = find(scorer_name)
    where = f"scorer `{scorer_name}` of {entry.source}, sample {sample.id}"
    try:
        got: object = entry.function(checked, output, sample, schema)
    except LLMBenchError:
        raise
    except plugins.FAULTS as error:
        repair = "report it, or name another scorer" if entry.source == OWN else "repair the scorer"
        raise DatasetError(f"{where}: it failed ({type(error).__name__}: {error}); {repair}") from error
    if not isinstance(got, Score):
        raise DatasetError(f"{where}: it gave a {type(got).__name__}; return a Score")
    if not all(0 <= value <= 1 for value in (got.value, *got.details.values())):
        raise DatasetError(f"{where}: a value of {got} is not within 0 and 1; repair the scorer")
    return got


def check_dataset(dataset: Dataset) -> None:
    """Check that the dataset's scorer may judge alone and gives each sample's own target the full score.

    No target of a picture or a narration can be scored: of those each sample's checks are looked at.

    Raises:
        DatasetError: the scorer, a parameter or a check is wrong, the scorer is for another kind of answers,
            or a target scores below 1 (named with its rules).
    """
    name, params = dataset.scorer.name, dataset.scorer.params
    if find(name).is_hint:
        raise DatasetError(
            f"{dataset.name}: the scorer `{name}` cannot judge alone, it takes a wrong answer in like words "
            "for right; put it into `combine` beside a scorer that checks facts"
        )
    _check_kind(dataset)
    for sample in dataset.samples:
        own = target_text(sample) if dataset.modality == "text" else ""
        got = score(name, params, own, sample, dataset.output_schema)
        if dataset.modality != "text":
            continue
        if got.value < 1 and sample.target is not None:
            failed = ", ".join(k for k, v in got.details.items() if v < 1)
            raise DatasetError(
                f"{dataset.name}: the target of {sample.id} scores {got.value:.2f} (below 1: {failed}); "
                "correct the target or its checks"
            )


def _check_kind(dataset: Dataset) -> None:
    """Refuse a scorer of another kind of answers than the dataset's."""
    check_params(dataset.scorer.name, dataset.scorer.params)
    for part, _ in _parts(dataset.scorer.name, dataset.scorer.params):
        if (kind := find(part).modality) not in (None, dataset.modality):
            raise DatasetError(
                f"{dataset.name}: the scorer `{part}` is for answers that are {kind}, the card's modality is "
                f"{dataset.modality}; name another scorer"
            )


def missing(dataset: Dataset) -> str | None:
    """Why a dataset's answers could not be scored on this machine, or None."""
    for part, params in _parts(dataset.scorer.name, dataset.scorer.params):
        look = find(part).missing
        reason = None if look is None else look(check_params(part, params))
        if reason is not None:
            return f"{dataset.name}: the scorer `{part}` {reason}"
    return None


def _parts(name: str, params: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """A scorer with its checked parameters, and those that it is combined of."""
    parts = params["parts"] if name == "combine" else ()
    return [(name, params), *((part["scorer"], part.get("params", {})) for part in parts)]


def target_text(sample: Sample) -> str:
    """The sample's target as a model would write it: a text as it is, anything else as one line of JSON."""
    return sample.target if isinstance(sample.target, str) else json.dumps(sample.target, ensure_ascii=False)


def scorer_rows() -> list[ScorerRow]:
    """Every scorer by name: ours, those decorated in this process, and those of installed distributions.

    Never raises for a broken plug-in: its row says what is wrong.
    """
    broken = []
    for name, points in plugins.offered().items():
        try:
            find(name)
            problem = _shadowed(name, points[0]) if SCORERS[name].source == OWN else ""
        except DatasetError as error:
            problem = str(error)
        if problem:
            broken.append(ScorerRow(name, problem, {}, plugins.distribution_of(points[0]), is_broken=True))
    rows = [
        ScorerRow(
            name,
            " ".join((inspect.getdoc(entry.function) or "").split("\n\n")[0].split()),
            {key: _default(field) for key, field in entry.params.model_fields.items()},
            entry.source,
        )
        for name, entry in SCORERS.items()
    ]
    return sorted([*rows, *broken], key=lambda row: row.name)


def _shadowed(name: str, point: EntryPoint) -> str:
    owner = plugins.distribution_of(point)
    return f"scorer `{name}` of {owner} is not used: llmbench has one of this name; rename the plug-in's"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    return json.dumps(field.get_default(call_default_factory=True), ensure_ascii=False)


def _near(name: str, known: Mapping[str, Any]) -> str:
    match = difflib.get_close_matches(name, known, n=1)
    return f"did you mean `{match[0]}`?" if match else f"known are {', '.join(sorted(known)) or 'none'}"


# ---- what scorers need of a sample ---------------------------------------------------------------------


def needs(found: Any, kind: type | tuple[type, ...], sample: Sample, what: str) -> Any:
    """`found`, if it is of a kind; else a DatasetError that names the sample and says `what` is wrong."""
    if not isinstance(found, kind):
        raise DatasetError(f"sample {sample.id}: {what}; correct the dataset")
    return found


def texts(sample: Sample, key: str) -> list[str]:
    """`checks.<key>`, a list of texts; empty when the sample has none."""
    what = f"checks.{key} is not a list of texts"
    found = needs(sample.checks.get(key, []), list, sample, what)
    return [needs(text, str, sample, what) for text in found]


def alternatives(sample: Sample, key: str) -> Sequence[Sequence[str]]:
    """`checks.<key>`, a list of groups, each a list of accepted spellings; `required` must have a group."""
    groups = sample.checks.get(key)
    what = f"checks.{key} is not a list of lists of texts"
    for group in needs(groups, list, sample, what):
        for text in needs(group, list, sample, what):
            needs(text, str, sample, what)
    if not groups and key == "required":
        raise DatasetError(f"sample {sample.id}: checks.required is empty; name at least one word")
    return groups or []
