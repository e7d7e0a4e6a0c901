"""Ask a judge what a run's results need: twice at most, from the ledger where it knows the answer.

Whoever runs a sweep gives `Ask`: a function that sends what the ledger lacks of some cells and returns the
result lines that it has of them. A replay gives one that sends nothing; the rest is the same code.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from llmbench.bench.facts import answer_facts, failure_facts
from llmbench.bench.judging.cells import JudgeCell, distinct, judge_cells, retry_cells
from llmbench.bench.judging.judgements import judgements
from llmbench.bench.judging.questions import JudgedTask, Question, questions
from llmbench.bench.ledger import Ledger, read_ledger
from llmbench.errors import FallbackExhausted
from llmbench.routing.client import LLMClient

Results = Mapping[str, Mapping[str, Any]]
Ask = Callable[[Sequence[JudgeCell]], Awaitable[Results]]


async def judge_task(
    task: JudgedTask,
    rows: Iterable[Mapping[str, Any]],
    client: LLMClient,
    version: str,
    ask: Ask,
    media: Path | None = None,
) -> list[dict[str, Any]]:
    """Judge a task's rows; the lines of judgements.jsonl. None for a task without a judge.

    Args:
        task: the task.
        rows: rows of results.jsonl, of this task or of all.
        client: whose registry and guard make the bodies; it sends nothing here.
        version: the judge's model version as the plan resolved it.
        ask: sends what the ledger lacks of the cells, and returns the results known by fingerprint.
        media: the folder of the pictures that the rows name.

    Raises:
        RouteError: the judge cannot be called.
        SweepError: the same; or what `ask` raises.
    """
    return await judge_questions(questions(task, rows, media), client, version, ask)


async def judge_questions(
    asked: Sequence[Question], client: LLMClient, version: str, ask: Ask
) -> list[dict[str, Any]]:
    """The same for questions made elsewhere."""
    cells = judge_cells(asked, client, version)
    first = await ask(distinct(cells)) if cells else {}
    again = retry_cells(cells, first, client, version)
    second = await ask(distinct(again)) if again else {}
    return judgements(cells, again, {**first, **second})


def recorded(path: Path) -> Ask:
    """Answers of a recorded ledger alone: nothing is sent, what it lacks stays unanswered."""

    async def ask(cells: Sequence[JudgeCell]) -> Results:
        return read_ledger(path, {cell.fingerprint for cell in cells}).results

    return ask


def asking(client: LLMClient, path: Path, *, concurrency: int = 4) -> Ask:
    """Ask outside of a sweep: what the ledger at `path` lacks is sent now, and kept there.

    There is no budget here but the client's own; a sweep's is kept by the sweep.

    Args:
        client: sends the calls.
        path: a ledger of one's own; it may be missing.
        concurrency: calls at once.
    """

    async def ask(cells: Sequence[JudgeCell]) -> Results:
        with Ledger(path).opened({cell.fingerprint for cell in cells}) as ledger:
            queue = iter([cell for cell in cells if cell.fingerprint not in ledger.state.results])

            async def serve() -> None:
                for cell in queue:
                    await _send(client, ledger, cell)

            async with asyncio.TaskGroup() as group:
                for _ in range(concurrency):
                    group.create_task(serve())
            return dict(ledger.state.results)

    return ask


async def _send(client: LLMClient, ledger: Ledger, cell: JudgeCell) -> None:
    """One call between its intent line and its result or pending line."""
    spec = client.config.models[cell.model]
    mark = {
        "intent_id": uuid.uuid4().hex,
        "fingerprint": cell.fingerprint,
        "cell": cell.name,
        "run_id": cell.question.row.get("run_id"),
    }
    ledger.intent(mark)
    try:
        facts = answer_facts(await client.acall(**cell.call(), cell=cell.name), spec.model_id)
    except FallbackExhausted as error:
        is_managed = client.config.endpoints[spec.provider].managed is not None
        facts = failure_facts(error, spec.model_id, spec.model_id, is_managed=is_managed)
    if facts["status"] == "harness":
        ledger.pending(mark, facts)
    else:
        ledger.result(mark, facts)
