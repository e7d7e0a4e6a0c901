"""Plan -> cells: every question to every candidate once, in an order that is fair to the candidates."""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from llmbench.bench.dataset import Sample
from llmbench.bench.ledger import fingerprint
from llmbench.bench.plan import Plan, TaskPlan
from llmbench.errors import SweepError
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
        SweepError: the same, and its registry entry names a model to fall back on.
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
    if model not in route.bodies:  # the registry's fallback_model would answer in its place
        reasons = "; ".join(f"{key}: {reason}" for key, reason in route.excluded)
        raise SweepError(f"{task.task}/{sample.id}: {model} cannot take this sample ({reasons})")
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


def lanes(cells: Iterable[Cell], finished: Container[str] = ()) -> dict[str, list[Cell]]:
    """The cells still to be called by lane, each lane in its calling order.

    Args:
        cells: every cell of a plan. The order is made of all of them, so that a sweep that was stopped
            goes on in the order it began with.
        finished: the fingerprints that have a result.
    """
    grouped: dict[str, list[Cell]] = {}
    for cell in cells:
        grouped.setdefault(cell.lane, []).append(cell)
    left = {
        lane: [cell for cell in _fair(waiting) if cell.fingerprint not in finished]
        for lane, waiting in grouped.items()
    }
    return {lane: list(_apart(waiting)) for lane, waiting in left.items() if waiting}


def _fair(cells: list[Cell]) -> Iterator[Cell]:
    """Task by task; within a task the candidates take turns, each two samples ahead of the one before.

    Turns spread a slow minute over all candidates. The offset keeps two candidates of one server from
    sending the same prompt one right after the other: the second would find it in the server's prompt
    cache and look faster and cheaper than it is.
    """
    blocks: dict[tuple[str, int], dict[str, list[Cell]]] = {}
    for cell in cells:
        block = blocks.setdefault((cell.task.task, cell.repeat), {})
        block.setdefault(cell.model, []).append(cell)
    for block in blocks.values():
        queues = list(block.values())
        longest = max(map(len, queues))
        offsets = [2 * place for place in range(len(queues))]
        if offsets[-1] % longest == 1:  # the last would meet the sample that the first has in the next turn
            offsets[-1] += 1
        for turn in range(longest):
            for offset, queue in zip(offsets, queues, strict=True):
                if turn < len(queue):
                    yield queue[(turn + offset) % len(queue)]


def _apart(cells: Iterable[Cell]) -> Iterator[Cell]:
    """The same cells, none with the sample of the one before it while another is left.

    Finished cells leave gaps in the fair order; two calls of one sample may have come together there.
    """
    waiting = deque(cells)
    last: Cell | None = None
    while waiting:
        place = 0
        if last is not None:
            places = range(len(waiting))
            place = next((i for i in places if not _is_same_sample(waiting[i], last)), 0)
        last = waiting[place]
        del waiting[place]
        yield last


def _is_same_sample(one: Cell, other: Cell) -> bool:
    return one.task.task == other.task.task and one.sample.id == other.sample.id
