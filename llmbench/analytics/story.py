"""What a report tells: a run folder as plain values, ready for the templates.

Verdicts, intervals and latency limits are taken from recommendation.json as they are; rows are counted by the
warehouse's marts. Nothing is decided here.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from llmbench.analytics.extras import Extras, read_extras
from llmbench.analytics.json_objects import as_number, as_object, as_objects, as_texts, read_object
from llmbench.analytics.media_story import MODALITIES, MediaTask, read_media
from llmbench.analytics.run_marts import RunMarts
from llmbench.analytics.task_story import LanguageRow, TaskStory, language_name, tell_task
from llmbench.analytics.task_story import in_order as languages_in_order
from llmbench.analytics.uncalled import Uncalled, tell_uncalled
from llmbench.analytics.warehouse import Warehouse
from llmbench.display import wording
from llmbench.display.language import say

LANGUAGE_GAP: Final = 0.10
"""A difference of mean scores between two languages that a reader is told of."""
LANGUAGE_SAMPLES: Final = 10
"""Samples that each of the two must have: with fewer, such a difference comes by chance too often."""
_DECLARED: Final = ("margin", "alpha", "family", "stop", "seed", "repeats", "pilot", "batch", "human_share")


@dataclass(frozen=True, slots=True)
class Story:
    """Everything a report shows.

    Attributes:
        modality: text, image or speech: what the run asked for.
        media: the pictures or narrations of each task by its number; none in a run of texts.
        header: what was declared before the first call.
        uncalibrated: tasks scored by a judge that no person checked.
        notes: what holds for every task; resets: why evidence was begun again.
        fewest: (candidates, units): fewer units cannot prove the margin, whatever the method.
        stakes: how often the stake must grow, for each number of candidates in the run.
    """

    run_id: str
    headline: str
    header: Mapping[str, Any]
    plan: Mapping[str, Any]
    recommendation: Mapping[str, Any]
    tasks: Sequence[TaskStory]
    uncalibrated: Sequence[str]
    uncalled: Uncalled
    extras: Extras
    notices: Sequence[str]
    notes: Sequence[str]
    resets: Sequence[str]
    warnings: Sequence[str]
    language_caveat: str | None
    languages: Sequence[str]
    language_rows: Sequence[LanguageRow]
    adjustments: Sequence[Mapping[str, Any]]
    load: Sequence[Mapping[str, Any]]
    results_sha256: str
    rows: int
    pending: int
    fewest: Sequence[tuple[int, int]]
    stakes: Sequence[float]
    modality: str
    media: Mapping[int, MediaTask]


def read_story(
    run_dir: Path,
    warehouse: Warehouse,
    recommendation: Mapping[str, Any] | None = None,
    *,
    extras: Mapping[str, Any] | None = None,
) -> Story:
    """Put together what the report of a run tells.

    Raises:
        WarehouseError: plan.json, recommendation.json or extras.json is missing or no JSON object.
    """
    plan = read_object(run_dir / "plan.json", "run the sweep first")
    decided = (
        read_object(run_dir / "recommendation.json", "make the recommendation first")
        if recommendation is None
        else as_object(recommendation)
    )
    run_id = str(plan["run_id"] or run_dir.name)
    marts = RunMarts(warehouse, run_id)
    entries = as_objects(decided["tasks"])
    judge = as_object(decided["judge"])
    tasks = [tell_task(number, entry, plan, marts, judge) for number, entry in enumerate(entries, start=1)]
    digest = hashlib.sha256((run_dir / "results.jsonl").read_bytes()).hexdigest()
    top = [row for task in tasks for row in task.language_rows if row.role]
    counted = warehouse.rows("select count(*) as n, count(*) filter (where is_pending) as p from stg_results")
    uncalibrated = as_texts(judge["uncalibrated_tasks"])
    resets = as_texts(plan["resets"])
    modality = plan["modality"] if plan["modality"] in MODALITIES else "text"
    declared = as_object({name: plan[name] for name in _DECLARED}) | as_object(decided["header"])
    return Story(
        run_id=run_id,
        headline=_headline(tasks, uncalibrated),
        header=as_object(declared),
        plan=plan,
        recommendation=decided,
        tasks=tasks,
        uncalibrated=uncalibrated,
        uncalled=tell_uncalled(entries, plan),
        extras=read_extras(run_dir, extras),
        notices=as_texts(plan["notices"]),
        notes=[note for note in as_texts(decided["notes"]) if note not in resets],
        resets=resets,
        warnings=_warnings(warehouse, decided, digest, counted[0]["n"], counted[0]["p"]),
        language_caveat=language_caveat(top),
        languages=languages_in_order(marts.language),
        language_rows=top,
        adjustments=marts.adjustments,
        load=marts.load,
        results_sha256=digest,
        rows=counted[0]["n"],
        pending=counted[0]["p"],
        fewest=_fewest(tasks, declared.get("margin")),
        stakes=sorted({task.threshold for task in tasks if task.threshold is not None}),
        modality=modality,
        media=read_media(warehouse, run_id, modality, tasks),
    )


def _headline(tasks: Sequence[TaskStory], uncalibrated: Sequence[str]) -> str:
    if not tasks:
        return say("No task was compared.")
    moved = sum(task.outcome == "promote" for task in tasks)
    replaced = sum(task.outcome == "demote" for task in tasks)
    unproven = sum(task.outcome == "inconclusive" for task in tasks)
    total = wording.count(len(tasks), "task")
    if moved:
        parts = [say("{moved} of {total} can move to a cheaper model.", moved=moved, total=total)]
    else:
        parts = [say("None of {total} can move to a cheaper model.", total=total)]
    if replaced:
        parts.append(say("For {n} the model in use should be replaced.", n=replaced))
    if unproven:
        tasks_left = wording.count(unproven, "task")
        parts.append(say("{tasks} would need more samples to tell.", tasks=tasks_left))
    if uncalibrated:
        parts.append(say("Judge-scored, not calibrated: {tasks}.", tasks=wording.listed(uncalibrated)))
    return say(" ").join(parts)


def language_caveat(rows: Sequence[LanguageRow]) -> str | None:
    """The caveat on a mean over languages, where a model's quality was seen to differ between two of them.

    It says what was seen, with its numbers: nothing was declared about languages before the calls, so nothing
    is proved of them.
    """
    apart = [text for row in rows if (text := _apart(row)) is not None]
    if not apart:
        return None
    return say(
        "A mean over all languages hides differences of {points} points or more, as seen here and not "
        "proved: {rows}. Read the column of a language before moving its traffic.",
        points=f"{100 * LANGUAGE_GAP:g}",
        rows=say("; ").join(apart),
    )


def _apart(row: LanguageRow) -> str | None:
    """The languages between which a model differs most, of those with enough samples, where that is much."""
    means = [(mean, n, lang) for lang, (mean, n) in row.cells.items() if mean is not None]
    enough = [each for each in means if each[1] >= LANGUAGE_SAMPLES]
    if len(enough) < 2:
        return None
    low, high = min(enough), max(enough)
    if high[0] - low[0] < LANGUAGE_GAP:
        return None
    return say(
        "{task} on {model} ({weak} {low} on {low_n}, {strong} {high} on {high_n})",
        task=row.task,
        model=row.model,
        weak=language_name(low[2]),
        low=wording.score(low[0]),
        low_n=wording.count(low[1], "sample"),
        strong=language_name(high[2]),
        high=wording.score(high[0]),
        high_n=wording.count(high[1], "sample"),
    )


def _warnings(
    warehouse: Warehouse, recommendation: Mapping[str, Any], digest: str, rows: int, pending: int
) -> list[str]:
    found = []
    bad = warehouse.rows("select reason, count(*) as n from quarantine group by reason order by reason")
    if bad:
        kinds = wording.listed(f"{row['reason']} {row['n']}" for row in bad)
        lines = wording.count(sum(row["n"] for row in bad), "line")
        text = "{lines} of results.jsonl could not be used and are not counted: {kinds}."
        found.append(say(text, lines=lines, kinds=kinds))
    declared = recommendation["evidence_sha256"]
    if declared and declared != digest:
        text = "results.jsonl is not the file that the verdicts were computed from; compute them again."
        found.append(say(text))
    if pending:
        text = "{calls} of {rows} must be run again and are not counted."
        found.append(say(text, calls=wording.count(pending, "call"), rows=f"{rows:,}"))
    return found


def _fewest(tasks: Sequence[TaskStory], margin: object) -> list[tuple[int, int]]:
    """For each number of candidates, the fewest units that any method needs: ln(alpha) / ln(1 - margin).

    alpha is each candidate's share of it. A model that loses a share `margin` of all units outright loses
    none of n with the chance (1 - margin)^n, and then nobody could tell it from one that never loses.
    """
    part = as_number(margin)
    if part is None or not 0.0 < part < 1.0:
        return []
    needs = {
        task.rivals: math.ceil(math.log(1.0 / task.threshold) / math.log(1.0 - part))
        for task in tasks
        if task.threshold is not None and task.threshold > 1.0
    }
    return sorted(needs.items())
