"""`llmbench decide`: a table of results on disk, decided task by task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from llmbench.bench.decide import decide_rows
from llmbench.bench.decision import Decision
from llmbench.bench.run_decisions import decisions
from llmbench.bench.table import TaskRows, load_table, read_table
from llmbench.bench.terms import Terms, arm_of
from llmbench.errors import SweepError

PLAIN: Final = Terms((), ())
"""The terms when nothing is asked for."""


def decide_file(
    path: Path,
    *,
    reference: str | None,
    candidates: Sequence[str] = (),
    tasks: Sequence[str] = (),
    terms: Terms | None = None,
    budgets: Sequence[int] = (),
    seed: int | None = None,
) -> dict[str, Decision]:
    """Decide the tasks of a table.

    Args:
        path: a Parquet, CSV or JSONL file. In a run folder, plan.json declares everything, and the other
            arguments but `tasks` are not used.
        reference: model that is used today, or a chain written `a > b`; None for a run folder.
        candidates: what could take over; every other model of the table when there is none.
        tasks: only these.
        terms: margin, error rate and limits; reference and candidates are filled in.
        budgets: clusters planned, when the table holds fewer.
        seed: of the order of clusters.

    Returns:
        task -> decision; the only task of a table without such a column is named "".

    Raises:
        SweepError: the file cannot be used, or it has no such model or task.
    """
    if reference is None:
        _require_plan(
            path, is_plain=not candidates and not budgets and seed is None and terms in (None, PLAIN)
        )
        found = decisions(path.parent)
        return {task: found[task] for task in _chosen(tasks, list(found), path)}
    frame = load_table(path)
    tables = read_table(frame)
    chosen = _chosen(tasks, list(tables), path)
    declared = replace(terms or PLAIN, tasks=len(tables))  # all of the report's, not those shown
    return {
        task: decide_rows(
            tables[task], _named(declared, reference, candidates, tables[task]), budgets=budgets, seed=seed
        )
        for task in chosen
    }


def _require_plan(path: Path, *, is_plain: bool) -> None:
    """A run folder's own file, and nothing asked that its plan declares."""
    if path.name != "results.jsonl" or not path.with_name("plan.json").is_file():
        raise SweepError(
            f"{path}: name the model that is used today with --reference (it is no results.jsonl of a run)"
        )
    if not is_plain:
        raise SweepError(
            f"{path.with_name('plan.json')} declares margin, alpha, limits and candidates; "
            "name a --reference to decide on other terms"
        )


def _chosen(tasks: Sequence[str], known: Sequence[str], path: Path) -> list[str]:
    unknown = [task for task in tasks if task not in known]
    if unknown:
        raise SweepError(f"{path} has no task {unknown[0]!r}; it has: {', '.join(known)}")
    return list(tasks or known)


def _named(terms: Terms, reference: str, candidates: Sequence[str], rows: TaskRows) -> Terms:
    today = _arm(reference)
    arms = [_arm(name) for name in candidates] or [(model,) for model in rows.calls if model not in today]
    unknown = [model for arm in (today, *arms) for model in arm if model not in rows.calls]
    if unknown:
        raise SweepError(f"the table has no model {unknown[0]!r}; it has: {', '.join(rows.calls)}")
    return replace(terms, reference=today, candidates=tuple(arms))


def _arm(text: str) -> tuple[str, ...]:
    return arm_of([name.strip() for name in text.split(">")])
