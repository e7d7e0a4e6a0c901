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

from llmbench.bench.chain import Project
from llmbench.bench.plan import checked_run_id
from llmbench.bench.recommend import SCHEMA, config_hashes
from llmbench.bounded import MAX_DOCUMENT_BYTES, parse_json, read_bytes
from llmbench.errors import ApplyError
from llmbench.visible import visible

RECOMMENDATION_FILE: Final = "recommendation.json"
_MOVES: Final = frozenset({"promote", "demote"})
_TEXTS: Final = ("task", "tier", "reference", "proposed_tier", "proposed_model", "outcome", "sentence")
_MAYBE: Final = ("run_id", "plan_hash", "config_hash", "evidence_sha256", "evidence_at")
#: Prose and figures that a newer version may word or round otherwise; they are shown as worked out anew.
_PROSE: Final = frozenset({"sentence", "paragraph", "reason", "notes"})
#: Fields that recommendations of earlier versions lack.
_LATER: Final = ("evidence_at", "configs")
_DAY_S: Final = 86_400.0
#: A clock may be set wrong by so much.
_AHEAD: Final = timedelta(days=1)
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
    configs = facts.get("configs", {})
    is_good = (
        isinstance(facts.get("diff"), str)
        and all(isinstance(text, str | None) for text in maybe)
        and _is_list(facts.get("tasks"), dict)
        and _is_list(facts.get("tiers"), dict)
        and isinstance(judge, dict)
        and _is_list(judge.get("uncalibrated_tasks"), str)
        and isinstance(configs, dict)
        and all(isinstance(text, str) for text in configs.values())
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


def refuse_old(found: Found, evidence_at: str | None, most_days: float, now: datetime) -> None:
    """Refuse evidence over an age, or of no known age.

    Args:
        found: the recommendation.
        evidence_at: when the newest call was made, as the file or the run's rows say it.
        most_days: the limit, in days.
        now: the present time, with its zone.

    Raises:
        ApplyError: it is too old, its age is not known, or it is of the future.
    """
    try:
        made = datetime.fromisoformat(evidence_at or "")
        age = now - made
    except (ValueError, TypeError) as error:  # no text of a time, or one without a zone
        raise ApplyError(f"{found.path}: the age of its evidence is not known; {AGAIN}") from error
    if not age.total_seconds() <= most_days * _DAY_S:  # a limit that is no number holds nothing
        raise ApplyError(
            f"{found.path}: its evidence is {age.days} days old ({made:%Y-%m-%d}), over the limit of "
            f"{most_days:g}: models and prices change; sweep again, or give --max-age-days"
        )
    if age < -_AHEAD:
        raise ApplyError(f"{found.path}: its evidence is of {made:%Y-%m-%d}, which is yet to come; {AGAIN}")


def refuse_changed_configs(found: Found, texts: Mapping[str, str], config_hash: str) -> None:
    """Refuse a recommendation whose config files are not as they were.

    Args:
        found: the recommendation.
        texts: file name -> text of the files now, without what this recommendation itself changed.
        config_hash: hash of the config that they make.

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
        return
    now = config_hashes(texts)
    changed = [name for name, sha256 in made_from.items() if now.get(name) != sha256]
    if changed:
        raise ApplyError(
            f"{', '.join(changed)} changed since the evidence: the proposal is about another text; {AGAIN}"
        )


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
