"""A judge's verdicts and people's labels, set beside the rows of a run.

A preference is the mean of the verdicts in both orders, in [-1, 1], 1 for the candidate. A pair that lacks
one of them, or whose label is still owed, is pending: a verdict that is missing is never a score. Equal
answers are a preference of 0 without any question. Where a judge gave points by a rubric, they are the score
of the answer, in [0, 1], in place of a scorer's; an answer without them is pending.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import pandas as pd

from llmbench.bench.labels import PairKey, labelled_share
from llmbench.errors import SweepError


def add_judgements(
    rows: pd.DataFrame,
    plan: Mapping[str, Any],
    judgements: Iterable[Mapping[str, Any]],
    labels: Iterable[Mapping[str, Any]] = (),
) -> pd.DataFrame:
    """Give the candidates' rows of judged tasks their columns `preference` and `human`.

    Where a rubric was used, every row's score is the rubric's, and a preference is a difference of scores.

    Args:
        rows: the rows of results.jsonl.
        plan: plan.json; `human_share` says on which share of the pairs people's labels are owed, a task's
            `judge` that it is judged, also where no verdict came.
        judgements: lines of judgements.jsonl.
        labels: lines of labels.jsonl; the last one for a pair counts.

    Raises:
        SweepError: a task has verdicts of two judges, or a verdict, score or label is out of range.
    """
    lines = _of_one_judge(judgements)
    strategies = _strategies(plan, lines)
    if not strategies:
        return rows
    graded = {task for task, strategy in strategies.items() if strategy == "rubric"}
    verdicts = _verdicts(line for line in lines if str(line.get("task")) not in graded)
    said = {_key(line): _in_range(line, "label") for line in labels}
    references = {task: str(plan["tasks"][task]["reference"]) for task in strategies if task in plan["tasks"]}
    every: list[Mapping[str, Any]] = rows.to_dict("records")  # type: ignore[assignment]  # the columns are texts
    records = graded_rows(every, lines, graded)
    today = {
        (row["task"], row["sample_id"], row["repeat"]): row
        for row in records
        if row["model"] == references.get(row["task"])
    }
    asked = [_key({**line, "other": references.get(str(line.get("task")))}) for line in lines]
    drawn = _drawn(dict.fromkeys(asked), plan.get("human_share"), int(plan.get("seed") or 0))
    found = []
    for row in records:
        reference = references.get(row["task"])
        if reference is None or row["model"] == reference or row["status"] == "harness":
            found.append(row)
            continue
        key = _key({**row, "other": reference})
        other = today.get((row["task"], row["sample_id"], row["repeat"]))
        if row["task"] in graded:
            known = _difference(row, other)
        else:
            known = _preference(row, other, _of_repeat(verdicts, key, row))
        found.append(row | _columns(row, other, known, said.get(key), is_drawn=key.id in drawn))
    return pd.DataFrame(found)


def _strategies(plan: Mapping[str, Any], lines: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Judged task -> how: as the plan says, or as the lines do."""
    planned = {
        task: str(entry["judge"].get("strategy"))
        for task, entry in plan["tasks"].items()
        if entry.get("judge") is not None
    }
    return {str(line.get("task")): str(line.get("strategy")) for line in lines} | planned


def graded_rows(
    rows: Iterable[Mapping[str, Any]],
    judgements: Iterable[Mapping[str, Any]],
    tasks: Collection[str],
) -> list[dict[str, Any]]:
    """The rows with the rubric's score where a judge gave points; an answer without a verdict is pending.

    Failed calls, and the rows of other tasks, stay as they are. Grading twice is the same as grading once.

    Args:
        rows: the rows of results.jsonl.
        judgements: lines of judgements.jsonl.
        tasks: the tasks that are judged by a rubric; lines of others are passed over.

    Raises:
        SweepError: a score is out of range.
    """
    scores = {
        (*_answer(line), int(line.get("repeat") or 0)): _share(line)
        for line in judgements
        if line.get("task") in tasks
    }
    found = []
    for row in rows:
        is_answer = row["task"] in tasks and row["status"] == "ok"
        score = scores.get((*_answer(row), int(row.get("repeat") or 0))) if is_answer else None
        lost = {"status": "harness", "score": None} if is_answer and score is None else {}
        found.append({**row, **({"score": score} if score is not None else lost)})
    return found


def _answer(line: Mapping[str, Any]) -> tuple[str, str, str]:
    return str(line.get("task")), str(line.get("sample_id")), str(line.get("model"))


def _share(line: Mapping[str, Any]) -> float | None:
    value = line.get("score")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= 1.0:
        raise SweepError(f"judgements: {'/'.join(_answer(line))}: score {value!r} is not a number in [0, 1]")
    return float(value)


def _of_one_judge(judgements: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The lines; each task has one judge and one strategy."""
    judges: dict[str, tuple[object, object]] = {}
    lines = list(judgements)
    for line in lines:
        task, judge = str(line.get("task")), (line.get("judge"), line.get("strategy"))
        if judges.setdefault(task, judge) != judge:
            raise SweepError(
                f"judgements: {task} was judged by {judges[task][0]} and by {judge[0]}; keep the "
                "lines of one judge and one strategy: the evidence is about one way of scoring"
            )
    return lines


#: Pair and repeat -> order -> verdict. The repeat is None in lines that name none: they are of every repeat.
_Verdicts = dict[tuple[PairKey, int | None], dict[str, float | None]]


def _verdicts(lines: Iterable[Mapping[str, Any]]) -> _Verdicts:
    verdicts: _Verdicts = {}
    for line in lines:
        verdict = None if line.get("verdict") is None else _in_range(line, "verdict")
        repeat = None if line.get("repeat") is None else int(line["repeat"])
        verdicts.setdefault((_key(line), repeat), {})[str(line.get("order"))] = verdict
    return verdicts


def _of_repeat(verdicts: _Verdicts, key: PairKey, row: Mapping[str, Any]) -> Mapping[str, float | None]:
    repeat = int(row.get("repeat") or 0)
    return verdicts.get((key, repeat)) or verdicts.get((key, None), {})


def _in_range(line: Mapping[str, Any], name: str) -> float:
    value = line.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1.0 <= value <= 1.0:
        raise SweepError(f"judgements: {_key(line).id}: {name} {value!r} is not a number in [-1, 1]")
    return float(value)


def _key(line: Mapping[str, Any]) -> PairKey:
    names = [str(line.get(name)) for name in ("task", "sample_id", "model", "other")]
    return PairKey(*names)


def _drawn(pairs: Iterable[PairKey], share: float | None, seed: int) -> set[str]:
    """The pairs on which a person's label is owed."""
    return set() if share is None else set(labelled_share([key.id for key in pairs], share, seed))


def _is_equal(row: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return str(row.get("output") or "").strip() == str(other.get("output") or "").strip()


def _preference(
    row: Mapping[str, Any], other: Mapping[str, Any] | None, verdicts: Mapping[str, float | None]
) -> float | None:
    """The judge's preference for a row; None while it is owed. A lost answer and an equal one need none."""
    if other is None or other["status"] == "harness":
        return None
    answered, was_answered = row["status"] == "ok", other["status"] == "ok"
    if not (answered and was_answered):
        return float(answered) - float(was_answered)
    if _is_equal(row, other):
        return 0.0
    known = [verdict for order in ("AB", "BA") if (verdict := verdicts.get(order)) is not None]
    return sum(known) / 2.0 if len(known) == 2 else None


def _difference(row: Mapping[str, Any], other: Mapping[str, Any] | None) -> float | None:
    """A rubric's score minus the reference's; None while one is owed. A failed call's score is 0."""
    if other is None or other["status"] == "harness":
        return None
    scores = [float(each["score"]) if each["status"] == "ok" else 0.0 for each in (row, other)]
    return scores[0] - scores[1]


def _columns(
    row: Mapping[str, Any],
    other: Mapping[str, Any] | None,
    preference: float | None,
    label: float | None,
    *,
    is_drawn: bool,
) -> dict[str, Any]:
    """The columns of a candidate's row. People are not asked about a lost answer or an equal one."""
    pending = {"status": "harness", "preference": None, "human": None}
    if preference is None or other is None:
        return pending
    if row["status"] != "ok" or other["status"] != "ok" or _is_equal(row, other):
        return {"preference": preference, "human": None}
    if is_drawn and label is None:
        return pending
    return {"preference": preference, "human": label if is_drawn else None}
