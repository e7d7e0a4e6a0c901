"""What a recommendation must be before it may be applied: proved, young, unchanged, and what its run says.

The file may have been sent by anybody. Where its run lies beside it, everything is worked out again from
results.jsonl and plan.json and the file is only compared with that; else its diff is read strictly.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from llmbench.bench.asked import other_meaning, renamed_model
from llmbench.bench.chain import Project
from llmbench.bench.plan import checked_run_id
from llmbench.bench.recommend import SCHEMA, config_hashes
from llmbench.bounded import MAX_DOCUMENT_BYTES, parse_json, read_bytes
from llmbench.config import Config
from llmbench.config.model import MEDIA_FILES, MediaModality
from llmbench.errors import ApplyError
from llmbench.visible import visible

RECOMMENDATION_FILE: Final = "recommendation.json"
_MOVES: Final = frozenset({"promote", "demote"})
_TEXTS: Final = ("task", "tier", "reference", "proposed_tier", "proposed_model", "outcome", "sentence")
_MAYBE: Final = ("run_id", "plan_hash", "config_hash", "evidence_sha256", "evidence_at", "evidence_from")
#: Prose and figures that a newer version may word or round otherwise; they are shown as worked out anew.
_PROSE: Final = frozenset({"sentence", "paragraph", "reason", "notes"})
#: Fields that recommendations of earlier versions lack.
_LATER: Final = ("evidence_at", "evidence_from", "configs", "asked")
#: The only files whose hashes earlier versions recorded for text; for a media kind it was its own file.
_FIRST_GROUNDS: Final = frozenset(
    {"llm_router.yaml", "llm_model_registry.yaml", "llm_tier_candidates.yaml", "llm_tier_mapping.yaml"}
    | {"llm_task_overrides.yaml", "llm_model_slots.yaml", "llm_model_codes.yaml"}
)
_DAY_S: Final = 86_400.0
#: A clock may be set wrong by so much.
_AHEAD: Final = timedelta(days=1)
_NOT_COMPARED: Final = (
    "The plan is of an earlier version: hosts and options were not recorded with it and could not be "
    "compared with those of now."
)
AGAIN: Final = "decide it again with `llmbench report RUN --decide`"


@dataclass(frozen=True, slots=True)
class Found:
    """A recommendation as it was found.

    Attributes:
        path: the file.
        sha256: its hash.
        facts: its content, as far as it was checked.
        run_dir: the folder with plan.json and results.jsonl; None where the file lies alone.
    """

    path: Path
    sha256: str
    facts: Mapping[str, Any]
    run_dir: Path | None

    @property
    def moving(self) -> list[Mapping[str, Any]]:
        """The tasks that it moves."""
        return [task for task in self.facts["tasks"] if _moves(task)]


def find_recommendation(given: str | Path, project: Project) -> Found:
    """Read a recommendation by its path, its run folder, or its run id in reports/.

    Raises:
        ApplyError: there is none, or it is no recommendation that can be used.
        SweepError: the run id cannot be one.
    """
    path = Path(given)
    if not path.exists():
        path = project.reports / checked_run_id(str(given))
    if path.is_dir():
        path = path / RECOMMENDATION_FILE
    try:
        data = read_bytes(path, MAX_DOCUMENT_BYTES)
        facts = parse_json(data)
    except FileNotFoundError as error:
        raise ApplyError(f"no {path}; give a recommendation.json, a run folder or a run id") from error
    except OSError as error:
        raise ApplyError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ApplyError(f"{path} is not JSON ({error}); {AGAIN}") from error
    _check_shape(path, facts)
    beside = [path.parent / name for name in ("plan.json", "results.jsonl")]
    run_dir = path.parent if any(each.exists() for each in beside) else None
    return Found(path, hashlib.sha256(data).hexdigest(), facts, run_dir)


def _check_shape(path: Path, facts: Any) -> None:
    """Refuse what lacks a field that is used here, whoever wrote it."""
    if not isinstance(facts, dict) or facts.get("schema") != SCHEMA or isinstance(facts.get("schema"), bool):
        raise ApplyError(f"{path} is not a recommendation of schema {SCHEMA}; {AGAIN}")
    judge = facts.get("judge")
    maybe = [facts.get(key) for key in _MAYBE]
    configs, asked = facts.get("configs", {}), facts.get("asked", {})
    is_good = (
        isinstance(facts.get("diff"), str)
        and all(isinstance(text, str | None) for text in maybe)
        and _is_list(facts.get("tasks"), dict)
        and _is_list(facts.get("tiers"), dict)
        and isinstance(judge, dict)
        and _is_list(judge.get("uncalibrated_tasks"), str)
        and isinstance(configs, dict)
        and all(isinstance(text, str | None) for text in configs.values())
        and isinstance(asked, dict)
        and _is_list(list(asked.values()), dict)
        and _is_list([facts for models in asked.values() for facts in models.values()], dict)
        and all(isinstance(task.get(key), str) for task in facts["tasks"] for key in _TEXTS)
    )
    if not is_good:
        raise ApplyError(f"{path} lacks what a recommendation holds; {AGAIN}")
    names = [str(task[key]) for task in facts["tasks"] for key in _TEXTS[:-1]]
    names += [str(text) for text in (*maybe, *configs)]
    if hidden := next((name for name in names if visible(name) != name), None):
        raise ApplyError(f"{path} holds a name with hidden characters: {visible(hidden)[:120]}; {AGAIN}")


def _is_list(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(each, kind) for each in value)


def _moves(task: Mapping[str, Any]) -> bool:
    return task["outcome"] in _MOVES and task["proposed_model"] != task["reference"]


def choose_tasks(found: Found, wanted: Sequence[str]) -> list[str]:
    """The tasks to move: all that the recommendation moves, or those of them that were asked for.

    Raises:
        ApplyError: it moves none, or not the one asked for; with the verdict.
    """
    moving = [task["task"] for task in found.moving]
    outcomes = {task["task"]: task["outcome"] for task in found.facts["tasks"]}
    for name in wanted:
        if name not in outcomes:
            raise ApplyError(f"{found.path} says nothing of task {name!r}; it has {', '.join(outcomes)}")
        if name not in moving:
            raise ApplyError(f"{name} does not move: its verdict is {outcomes[name]!r}; nothing was proved")
    if not moving:
        said = ", ".join(f"{name}: {outcome}" for name, outcome in outcomes.items())
        raise ApplyError(f"{found.path} moves no task ({said}): nothing was proved, so nothing is applied")
    return [name for name in moving if not wanted or name in wanted]


def refuse_uncalibrated(found: Found, tasks: Collection[str], *, is_accepted: bool) -> None:
    """Refuse moves that rest on a judge which no person checked.

    Raises:
        ApplyError: there is one, and it was not accepted.
    """
    doubtful = [task for task in found.facts["judge"]["uncalibrated_tasks"] if task in tasks]
    if doubtful and not is_accepted:
        raise ApplyError(
            f"{', '.join(doubtful)}: scored by a judge that no person checked; label a sample (notebook "
            "06_label_samples), or give --accept-uncalibrated"
        )


def refuse_unproved(found: Found, *, is_accepted: bool) -> None:
    """Refuse a recommendation whose run nobody can look at.

    Raises:
        ApplyError: its run does not lie beside it, and that was not accepted.
    """
    if found.run_dir is None and not is_accepted:
        raise ApplyError(
            f"{found.path} lies without its run: nothing shows that its figures were ever measured, and a "
            "file written by hand would look the same; ask for its run folder (plan.json, results.jsonl), "
            "or give --accept-unproved"
        )


def refuse_old(found: Found, oldest: str | None, newest: str | None, most_days: float, now: datetime) -> None:
    """Refuse evidence over an age, or of no known age. One old call among new ones makes all of it old.

    Args:
        found: the recommendation.
        oldest: when the first of the calls was made, as the file or the rows say it.
        newest: when the last was.
        most_days: the limit, in days.
        now: the present time, with its zone.

    Raises:
        ApplyError: it is too old, its age is not known, or it is of the future.
    """
    try:
        made, last = (datetime.fromisoformat(text or "") for text in (oldest, newest))
        age, ahead = now - made, max(made, last) - now
    except (ValueError, TypeError) as error:  # no text of a time, or one without a zone
        raise ApplyError(f"{found.path}: the age of its evidence is not known; {AGAIN}") from error
    if not age.total_seconds() <= most_days * _DAY_S:  # a limit that is no number holds nothing
        raise ApplyError(
            f"{found.path}: its oldest call is {age.days} days old ({made:%Y-%m-%d}), over the limit of "
            f"{most_days:g}: models and prices change; sweep again, or give --max-age-days"
        )
    if ahead > _AHEAD:
        raise ApplyError(
            f"{found.path}: its evidence is of {now + ahead:%Y-%m-%d}, which is yet to come; {AGAIN}"
        )


def refuse_changed_configs(
    found: Found, texts: Mapping[str, str], config_hash: str, kind: MediaModality | None
) -> tuple[str, ...]:
    """Refuse a recommendation whose config files are not as they were; it names each that it rests on.

    One of an earlier version names fewer files: those are held, and the others are told of where the
    config is not the one that the run was planned on.

    Args:
        found: the recommendation.
        texts: file name -> text of the files now, without what this recommendation itself changed.
        config_hash: hash of the config that they make.
        kind: the media kind that it is about; None for text.

    Returns:
        What a person should know: the files that could not be compared.

    Raises:
        ApplyError: it names the files.
    """
    made_from = found.facts.get("configs")
    if made_from is None:
        if found.facts["config_hash"] != config_hash:
            raise ApplyError(
                f"the configs changed since the run was planned (hash {found.facts['config_hash']}, now "
                f"{config_hash}), and {found.path} does not say which files it was made from; {AGAIN}"
            )
        return ()
    now = config_hashes(texts, kind)
    held = {*made_from, *(_FIRST_GROUNDS if kind is None else [MEDIA_FILES[kind]])}
    changed = sorted(name for name in held if now.get(name) != made_from.get(name))
    if changed:
        raise ApplyError(
            f"{', '.join(changed)} changed since the evidence: the proposal is about another text; {AGAIN}"
        )
    unheld = [name for name, sha256 in now.items() if name not in held and sha256 is not None]
    if not unheld or found.facts["config_hash"] == config_hash:
        return ()
    note = (
        f"It is of an earlier version, which did not record {', '.join(unheld)}: whether "
        f"{'it' if len(unheld) == 1 else 'they'} changed could not be compared. To have that too, {AGAIN}."
    )
    return (note,)


def refuse_other_models(
    found: Found,
    plan: Mapping[str, Any],
    config: Config,
    measured: Mapping[str, Collection[str]],
    kind: MediaModality | None,
) -> tuple[str, ...]:
    """Refuse to move tasks to or from models that are others than were measured, or are asked otherwise.

    Args:
        found: the recommendation.
        plan: what was recorded before the first call: plan.json, or where there is none the recommendation.
        config: the config now, or the view of its kind.
        measured: the tasks to move, and the registry's keys of the models that were measured for each.
        kind: the media kind; None for text.

    Returns:
        What a person should know: what could not be compared.

    Raises:
        ApplyError: it names the model, the task and what changed.
    """
    asked = plan.get("asked")
    if asked:
        said = other_meaning(asked, config, measured, kind or "text")
    else:
        keys = {key for each in measured.values() for key in each}
        said = renamed_model(plan.get("models") or {}, config, keys)
    if said:
        raise ApplyError(
            f"{found.path}: {said} since the sweep. Deciding again does not make it evidence: set it back, "
            "or sweep again with the present configs"
        )
    return () if asked or plan.get("config_hash") == config.hash else (_NOT_COMPARED,)


def refuse_other_evidence(found: Found, results_sha256: str) -> None:
    """Refuse a recommendation whose results.jsonl is another one.

    Raises:
        ApplyError: it is.
    """
    if found.facts["evidence_sha256"] != results_sha256:
        raise ApplyError(
            f"{found.path} was made from another results.jsonl than the one beside it (evidence_sha256 "
            f"differs); {AGAIN}"
        )


def refuse_what_does_not_follow(found: Found, worked_out: Mapping[str, Any]) -> None:
    """Refuse a recommendation that differs from what its own run says, prose apart.

    Args:
        found: the recommendation.
        worked_out: the recommendation that the rows, the plan and the config files give now.

    Raises:
        ApplyError: it names the first difference.
    """
    right = json.loads(json.dumps(worked_out))
    given = dict(found.facts)
    for name in _LATER:
        if name not in given:
            right.pop(name, None)
    if "configs" in given and not set(right["configs"]) <= set(given["configs"]):  # of an earlier version
        right["configs"] = {name: right["configs"].get(name) for name in given["configs"]}
    difference = _difference(given, right, "")
    if difference is not None:
        raise ApplyError(
            f"{found.path} does not follow from its run: {difference}. It was edited by hand, or made by "
            f"another version; {AGAIN}"
        )


def _difference(given: Any, right: Any, place: str) -> str | None:
    if isinstance(given, dict) and isinstance(right, dict):
        for key in sorted({*given, *right} - _PROSE):
            where = f"{place}.{key}" if place else str(key)
            if key not in given or key not in right:
                return f"{where} is {'missing' if key in right else 'not part of it'}"
            if (found := _difference(given[key], right[key], where)) is not None:
                return found
        return None
    if isinstance(given, list) and isinstance(right, list) and len(given) == len(right):
        for at, (one, other) in enumerate(zip(given, right, strict=True)):
            name = other["task"] if isinstance(other, dict) and "task" in other else at
            if (found := _difference(one, other, f"{place}.{name}")) is not None:
                return found
        return None
    if given == right and type(given) is type(right):
        return None
    return f"{place} is {str(given)!r:.80}, the evidence gives {str(right)!r:.80}"
