"""What a report tells: a run folder as plain values, ready for the templates.

Verdicts, intervals and latency limits are taken from recommendation.json as they are; rows are counted by the
warehouse's marts. Nothing is decided here.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from llmbench.analytics.warehouse import Warehouse
from llmbench.display import wording
from llmbench.errors import WarehouseError

SAMPLES_SHOWN: Final = 4
OUTCOMES: Final = {
    "promote": "Move",
    "demote": "Replace",
    "keep": "Keep",
    "inconclusive": "Not proven yet",
}
STATES: Final = {
    "promote": "proven",
    "worse": "worse",
    "slow": "too slow",
    "costly": "no saving",
    "unlikely": "unlikely",
    "open": "open",
    "reference": "current",
}
LANGUAGES: Final = {"ja": "Japanese", "en": "English", "und": "unnamed"}
_LANG: Final = re.compile(r"\A[a-z]{2,3}(-[A-Za-z0-9]{1,8}){0,3}\Z")


@dataclass(frozen=True, slots=True)
class Candidate:
    """One model on one task. `facts` is its entry in recommendation.json, absent values as None."""

    model: str
    label: str
    state: str
    word: str
    facts: Mapping[str, Any]
    mean_cpu_s: float | None


@dataclass(frozen=True, slots=True)
class LanguageRow:
    """Quality of one model on one task: language -> (mean score, samples)."""

    task: str
    model: str
    role: str
    cells: Mapping[str, tuple[float | None, int]]


@dataclass(frozen=True, slots=True)
class TaskStory:
    """Everything shown of one task."""

    number: int
    name: str
    tier: str
    outcome: str
    verdict: str
    sentence: str
    facts: Mapping[str, Any]
    plan: Mapping[str, Any]
    current: Candidate | None
    proposed: Candidate | None
    candidates: Sequence[Candidate]
    languages: Sequence[str]
    language_rows: Sequence[LanguageRow]
    disagreements: Sequence[Mapping[str, Any]]
    failures: Sequence[Mapping[str, Any]]

    @property
    def is_change(self) -> bool:
        """Whether another model is proposed than the one in use."""
        return self.proposed is not None and self.current is not None and self.proposed != self.current


@dataclass(frozen=True, slots=True)
class Story:
    """Everything a report shows."""

    run_id: str
    headline: str
    plan: Mapping[str, Any]
    recommendation: Mapping[str, Any]
    tasks: Sequence[TaskStory]
    notices: Sequence[str]
    warnings: Sequence[str]
    language_caveat: str | None
    languages: Sequence[str]
    language_rows: Sequence[LanguageRow]
    adjustments: Sequence[Mapping[str, Any]]
    failures: Sequence[Mapping[str, Any]]
    load: Sequence[Mapping[str, Any]]
    results_sha256: str
    rows: int
    pending: int
    fewest_clusters: int | None


def read_story(run_dir: Path, warehouse: Warehouse, recommendation: Mapping[str, Any] | None = None) -> Story:
    """Put together what the report of a run tells.

    Raises:
        WarehouseError: plan.json or recommendation.json is missing or no JSON object.
    """
    plan = _read_object(run_dir / "plan.json", "run the sweep first")
    if recommendation is None:
        recommendation = _read_object(run_dir / "recommendation.json", "make the recommendation first")
    run_id = str(plan.get("run_id") or run_dir.name)
    marts = _Marts(warehouse, run_id)
    entries = _objects(recommendation.get("tasks"))
    tasks = [_tell_task(number, entry, plan, marts) for number, entry in enumerate(entries, start=1)]
    digest = hashlib.sha256((run_dir / "results.jsonl").read_bytes()).hexdigest()
    languages = _languages(marts.language)
    top = [row for task in tasks for row in task.language_rows if row.role]
    counted = warehouse.rows("select count(*) as n, count(*) filter (where is_pending) as p from stg_results")
    return Story(
        run_id=run_id,
        headline=_headline(tasks),
        plan=plan,
        recommendation=recommendation,
        tasks=tasks,
        notices=[str(each) for each in plan.get("notices") or ()],
        warnings=_warnings(warehouse, recommendation, digest, counted[0]["n"], counted[0]["p"]),
        language_caveat=_language_caveat(plan, top),
        languages=languages,
        language_rows=top,
        adjustments=marts.adjustments,
        failures=marts.failures,
        load=marts.load,
        results_sha256=digest,
        rows=counted[0]["n"],
        pending=counted[0]["p"],
        fewest_clusters=_fewest_clusters(plan.get("margin"), plan.get("alpha")),
    )


class _Marts:
    """The marts' rows of one run, in a fixed order."""

    def __init__(self, warehouse: Warehouse, run_id: str) -> None:
        def read(sql: str) -> list[dict[str, Any]]:
            return warehouse.rows(sql, {"run": run_id})

        self.candidates = {
            (row["task"], row["model"]): row
            for row in read("select * from mart_candidates where run_id = $run order by task, model")
        }
        self.language = read("select * from mart_language where run_id = $run order by task, model, lang")
        self.disagreements = warehouse.rows(
            "select * from mart_disagreements where run_id = $run and rank <= $shown order by task, rank",
            {"run": run_id, "shown": SAMPLES_SHOWN},
        )
        self.failures = read(
            "select * from mart_failures where run_id = $run order by task, model, status, error_kind"
        )
        self.adjustments = read("""
            select param, action, rule, sum(n)::bigint as n, list(distinct model order by model) as models,
                min(from_example) as from_example, min(to_example) as to_example
            from mart_adjustments where source = 'result' and run_id = $run
            group by param, action, rule order by param, action, rule""")
        self.load = read("""
            select task, sum(n)::bigint as n, median(p50_load) as p50_load, max(max_load) as max_load,
                median(p50_cpu_wait) as p50_cpu_wait, max(max_cpu_wait) as max_cpu_wait
            from mart_latency where run_id = $run group by task order by task""")


def _tell_task(number: int, entry: Mapping[str, Any], plan: Mapping[str, Any], marts: _Marts) -> TaskStory:
    name = str(entry.get("task"))
    models = _object(plan.get("models"))
    candidates = [_tell_candidate(name, each, models, marts) for each in _objects(entry.get("candidates"))]
    by_model = {each.model: each for each in candidates}
    current = by_model.get(str(entry.get("reference")))
    proposed = by_model.get(str(entry.get("proposed_model")))
    language = [row for row in marts.language if row["task"] == name]
    roles = {proposed.model: "proposed"} if proposed else {}
    roles |= {current.model: "now"} if current else {}
    outcome = str(entry.get("outcome"))
    return TaskStory(
        number=number,
        name=name,
        tier=str(entry.get("tier")),
        outcome=outcome if outcome in OUTCOMES else "keep",
        verdict=OUTCOMES.get(outcome, outcome),
        sentence=str(entry.get("sentence") or ""),
        facts=_Facts(entry),
        plan=_Facts(_object(_object(plan.get("tasks")).get(name))),
        current=current,
        proposed=proposed or current,
        candidates=candidates,
        languages=_languages(language),
        language_rows=[
            LanguageRow(name, each.model, roles.get(each.model, ""), _cells(language, each.model))
            for each in candidates
        ],
        disagreements=[_with_order(row, by_model) for row in marts.disagreements if row["task"] == name],
        failures=[row for row in marts.failures if row["task"] == name],
    )


class _Facts(dict[str, Any]):
    """A JSON object whose absent keys read as None: an older writer leaves some out."""

    def __missing__(self, key: str) -> None:
        return None


def _tell_candidate(
    task: str, entry: Mapping[str, Any], models: Mapping[str, Any], marts: _Marts
) -> Candidate:
    model = str(entry.get("model"))
    state = str(entry.get("state"))
    return Candidate(
        model=model,
        label=str(_object(models.get(model)).get("label") or model),
        state=state if state in STATES else "open",
        word=STATES.get(state, state),
        facts=_Facts(entry),
        mean_cpu_s=marts.candidates.get((task, model), {}).get("mean_cpu_s"),
    )


def _with_order(row: Mapping[str, Any], order: Mapping[str, Candidate]) -> dict[str, Any]:
    """A disagreement with its answers in the order of the task's candidates, and a checked language tag."""
    rank = {model: at for at, model in enumerate(order)}
    answers = sorted(row["answers"], key=lambda each: (rank.get(each["model"], len(rank)), each["model"]))
    tag = row["lang"] if row["lang"] != "und" and _LANG.match(row["lang"]) else ""
    return {**row, "answers": answers, "tag": tag}


def _cells(rows: Sequence[Mapping[str, Any]], model: str) -> dict[str, tuple[float | None, int]]:
    return {row["lang"]: (row["mean_score"], row["n"]) for row in rows if row["model"] == model}


def _languages(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Languages by name, Japanese first: it is the one to look at."""
    return sorted({row["lang"] for row in rows}, key=lambda lang: (lang != "ja", lang == "und", lang))


def _headline(tasks: Sequence[TaskStory]) -> str:
    if not tasks:
        return "No task was compared."
    moved = sum(task.outcome == "promote" for task in tasks)
    replaced = sum(task.outcome == "demote" for task in tasks)
    unproven = sum(task.outcome == "inconclusive" for task in tasks)
    total = wording.count(len(tasks), "task")
    parts = [f"{moved or 'None'} of {total} can move to a cheaper model."]
    if replaced:
        parts.append(f"For {replaced} the model in use should be replaced.")
    if unproven:
        parts.append(f"{wording.count(unproven, 'task')} would need more samples to tell.")
    return " ".join(parts)


def _language_caveat(plan: Mapping[str, Any], rows: Sequence[LanguageRow]) -> str | None:
    """The caveat on Japanese, when local models answered Japanese samples."""
    has_local = any(_object(each).get("provider") == "local" for each in _object(plan.get("models")).values())
    if not has_local or not any("ja" in row.cells for row in rows):
        return None
    return (
        "Neither local model is strong at Japanese. A mean over both languages hides that: "
        "read the Japanese column before moving Japanese traffic."
    )


def _warnings(
    warehouse: Warehouse, recommendation: Mapping[str, Any], digest: str, rows: int, pending: int
) -> list[str]:
    found = []
    bad = warehouse.rows("select reason, count(*) as n from quarantine group by reason order by reason")
    if bad:
        kinds = ", ".join(f"{row['reason']} {row['n']}" for row in bad)
        lines = wording.count(sum(row["n"] for row in bad), "line")
        found.append(f"{lines} of results.jsonl could not be used and are not counted: {kinds}.")
    declared = _object(recommendation.get("generated_from")).get("results_sha256")
    if declared and declared != digest:
        found.append(
            "results.jsonl is not the file that the verdicts were computed from; compute them again."
        )
    if pending:
        found.append(f"{wording.count(pending, 'call')} of {rows:,} must be run again and are not counted.")
    return found


def _fewest_clusters(margin: object, alpha: object) -> int | None:
    """Fewest independent units with which any method can prove the margin: ln(alpha) / ln(1 - margin)."""
    if not isinstance(margin, int | float) or not isinstance(alpha, int | float):
        return None
    if not 0 < margin < 1 or not 0 < alpha < 1:
        return None
    return math.ceil(math.log(alpha) / math.log(1 - margin))


def _read_object(path: Path, advice: str) -> _Facts:
    try:
        value = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda _: None)
    except OSError as error:
        raise WarehouseError(f"{path.name} cannot be read in {path.parent.name}: {advice}") from error
    except ValueError as error:
        raise WarehouseError(f"{path.name} in {path.parent.name} is not JSON ({error}): {advice}") from error
    if not isinstance(value, dict):
        raise WarehouseError(f"{path.name} in {path.parent.name} is not a JSON object: {advice}")
    return _Facts(value)


def _object(value: object) -> Mapping[str, Any]:
    return _Facts(value) if isinstance(value, dict) else _Facts()


def _objects(value: object) -> list[Mapping[str, Any]]:
    return [_Facts(each) for each in value if isinstance(each, dict)] if isinstance(value, list) else []
