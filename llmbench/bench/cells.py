"""Plan -> cells: every question to every candidate once, in an order that is fair to the candidates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from llmbench.bench.dataset import Sample
from llmbench.bench.ledger import fingerprint
from llmbench.bench.plan import Plan, TaskPlan
from llmbench.routing.client import LLMClient


@dataclass(frozen=True, slots=True)
class Cell:
    """One call of a sweep. `lane` names the place it queues at: cells of different lanes run at once."""

    task: TaskPlan = field(repr=False)
    sample: Sample = field(repr=False)
    model: str
    repeat: int
    lane: str
    fingerprint: str

    @property
    def name(self) -> str:
        """The cell in words: task/sample/model/repeat."""
        return f"{self.task.task}/{self.sample.id}/{self.model}/{self.repeat}"

    def call(self) -> dict[str, Any]:
        """The arguments of the call, with the candidate pinned and fallback off.

        Otherwise the sweep would measure the policy, not the model.
        """
        return {**_arguments(self.task, self.sample), "models": [self.model], "allow_fallback": False}


def _arguments(task: TaskPlan, sample: Sample) -> dict[str, Any]:
    dataset = task.dataset
    return {
        "task": task.task,
        "prompt": dataset.messages(sample),
        "response_format": dataset.output_schema,
        **dataset.options,
    }


def make_cells(plan: Plan, client: LLMClient) -> list[Cell]:
    """Every cell of a plan: task, repeat, sample, candidate. No network.

    Raises:
        RouteError: a candidate cannot take a task's samples.
    """
    return [
        _cell(plan, client, task, sample, model, repeat)
        for task in plan.tasks
        for repeat in range(plan.repeats)
        for sample in task.samples
        for model in task.candidates
    ]


def _cell(plan: Plan, client: LLMClient, task: TaskPlan, sample: Sample, model: str, repeat: int) -> Cell:
    arguments = _arguments(task, sample)
    route = client.explain(**arguments, models=[model], allow_fallback=False)
    spec = client.config.models[model]
    is_local = client.config.endpoints[spec.provider].managed is not None
    return Cell(
        task=task,
        sample=sample,
        model=model,
        repeat=repeat,
        lane=f"{spec.provider}/{spec.model_id}" if is_local else spec.provider,
        fingerprint=fingerprint(
            task=task.task,
            sample_sha256=sample.sha256,
            model=model,
            version=str(plan.models[model]["version"]),
            body=route.bodies[model],
            repeat=repeat,
        ),
    )


def lanes(cells: Iterable[Cell]) -> dict[str, list[Cell]]:
    """Cells by lane, each lane in its calling order."""
    grouped: dict[str, list[Cell]] = {}
    for cell in cells:
        grouped.setdefault(cell.lane, []).append(cell)
    return {lane: list(_fair(waiting)) for lane, waiting in grouped.items()}


def _fair(cells: list[Cell]) -> Iterator[Cell]:
    """Task by task; within a task the candidates take turns, each two samples ahead of the next.

    Turns spread a slow minute over all candidates. The offset keeps two candidates of one server from
    sending the same prompt one right after the other: the second would find it in the server's prompt
    cache and look faster and cheaper than it is.
    """
    blocks: dict[tuple[str, int], dict[str, list[Cell]]] = {}
    for cell in cells:
        block = blocks.setdefault((cell.task.task, cell.repeat), {})
        block.setdefault(cell.model, []).append(cell)
    for block in blocks.values():
        longest = max(len(queue) for queue in block.values())
        for turn in range(longest):
            for place, queue in enumerate(block.values()):
                if turn < len(queue):
                    yield queue[(turn + 2 * place) % len(queue)]


def first_of_each(cells: Iterable[Cell]) -> Mapping[tuple[str, str], Cell]:
    """The first cell of every (task, model)."""
    first: dict[tuple[str, str], Cell] = {}
    for cell in cells:
        first.setdefault((cell.task.task, cell.model), cell)
    return first
