"""Plan -> cells: every question to every candidate once, in an order that is fair to the candidates."""

from __future__ import annotations

import itertools
import math
from array import array
from collections import deque
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

from llmbench.bench.bounds import most_usd
from llmbench.bench.dataset import Sample
from llmbench.bench.ledger import fingerprint
from llmbench.bench.plan import Plan, TaskPlan, Variant
from llmbench.errors import ParamError, RouteError, SweepError
from llmbench.messages import Route
from llmbench.routing.client import LLMClient


@dataclass(frozen=True, slots=True)
class Cell:
    """One call of a sweep. `lane` names the place it queues at: cells of different lanes run at once.

    `model` is the candidate; `base` the registry's model behind it, asked with the `params` on top of the
    dataset's options. They differ where the plan tries a model with several parameters. `worst_usd` is the
    most that one request can cost, None where nobody knows; `tokens` its input, estimated, and output limit.
    """

    task: TaskPlan = field(repr=False)
    sample: Sample = field(repr=False)
    model: str
    repeat: int
    lane: str
    fingerprint: str
    base: str = ""
    params: Mapping[str, Any] = field(default_factory=dict, repr=False)
    worst_usd: float | None = None
    tokens: int = 0

    @property
    def name(self) -> str:
        """The cell in words: task/sample/model/repeat."""
        return f"{self.task.task}/{self.sample.id}/{self.model}/{self.repeat}"

    def call(self) -> dict[str, Any]:
        """The arguments of the call, with the candidate pinned and fallback off.

        Otherwise the sweep would measure the policy, not the model.
        """
        asked = {**_arguments(self.task, self.sample), **self.params}
        return {**asked, "models": [self.base or self.model], "allow_fallback": False}


def _arguments(task: TaskPlan, sample: Sample) -> dict[str, Any]:
    dataset = task.dataset
    return {
        "task": task.task,
        "prompt": dataset.messages(sample),
        "response_format": dataset.output_schema,
        **dataset.options_of(sample),
    }


class Cells(Sequence[Cell]):
    """Every cell of a plan, in plan order: task, repeat, sample, candidate.

    A cell is made when it is asked for; what is kept of it is its fingerprint.
    """

    def __init__(self, plan: Plan, client: LLMClient) -> None:
        """Work out every fingerprint. No network.

        Raises:
            RouteError: a candidate cannot take a task's samples.
            SweepError: the same, and its registry entry names a model to fall back on.
        """
        self._plan = plan
        self._lanes = {key: lane_of(client, variant.base) for key, variant in plan.variants.items()}
        self.fingerprints: list[str] = []
        self._worst_usd = array("d")  # of each question; nan where nobody knows
        self._tokens = array("L")
        for task in plan.tasks:
            asked = []
            for sample in task.samples:
                for key in task.candidates:
                    route = _route(client, task, sample, plan.variants[key])
                    usd = most_usd(client, plan.variants[key].base, route)
                    tokens = route.worst_case_tokens
                    self._worst_usd.append(math.nan if usd is None else usd)
                    self._tokens.append(tokens or 0)
                    asked.append(_identity(plan, task, sample, plan.variants[key], route))
            for repeat in range(plan.repeats):
                self.fingerprints += [fingerprint(**each, repeat=repeat) for each in asked]

    def __len__(self) -> int:
        return len(self.fingerprints)

    @overload
    def __getitem__(self, index: int) -> Cell: ...
    @overload
    def __getitem__(self, index: slice) -> list[Cell]: ...
    def __getitem__(self, index: int | slice) -> Cell | list[Cell]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        place, first = range(len(self))[index], 0
        text = self.fingerprints[place]
        for task in self._plan.tasks:
            models, asked = len(task.candidates), len(task.candidates) * len(task.samples)
            if place < asked * self._plan.repeats:
                repeat, question = divmod(place, asked)
                sample, model = divmod(question, models)
                return self._cell(task, sample, model, repeat, first + question, text)
            place, first = place - asked * self._plan.repeats, first + asked
        raise IndexError(index)

    def __iter__(self) -> Iterator[Cell]:
        texts, first = iter(self.fingerprints), 0
        for task in self._plan.tasks:
            models, samples = range(len(task.candidates)), range(len(task.samples))
            for repeat in range(self._plan.repeats):
                places = itertools.count(first)
                for sample, model in itertools.product(samples, models):
                    yield self._cell(task, sample, model, repeat, next(places), next(texts))
            first += len(models) * len(samples)

    def _cell(self, task: TaskPlan, sample: int, model: int, repeat: int, question: int, text: str) -> Cell:
        variant, usd = self._plan.variants[task.candidates[model]], self._worst_usd[question]
        return Cell(
            task=task,
            sample=task.samples[sample],
            model=variant.key,
            repeat=repeat,
            lane=self._lanes[variant.key],
            fingerprint=text,
            base=variant.base,
            params=variant.params,
            worst_usd=None if math.isnan(usd) else usd,
            tokens=self._tokens[question],
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cells) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


def make_cells(plan: Plan, client: LLMClient) -> Cells:
    """Every cell of a plan. No network.

    Raises:
        RouteError: a candidate cannot take a task's samples.
        SweepError: the same, and its registry entry names a model to fall back on.
    """
    return Cells(plan, client)


def lane_of(client: LLMClient, base: str) -> str:
    """Where calls to a model queue: its provider; of a local one the model, whose server is its own."""
    spec = client.config.models[base]
    is_local = client.config.endpoints[spec.provider].managed is not None
    return f"{spec.provider}/{spec.model_id}" if is_local else spec.provider


def _route(client: LLMClient, task: TaskPlan, sample: Sample, variant: Variant) -> Route:
    """Where a question goes.

    Raises:
        SweepError: the candidate cannot take the sample, or a model to fall back on would take it instead.
    """
    arguments = {**_arguments(task, sample), **variant.params}
    try:
        route = client.explain(**arguments, models=[variant.base], allow_fallback=False)
    except (ParamError, RouteError) as error:
        raise SweepError(
            f"{task.task}/{sample.id}: {variant.key} cannot take this sample: {error}"
        ) from error
    if variant.base not in route.bodies:  # the registry's fallback_model would answer in its place
        reasons = "; ".join(f"{key}: {reason}" for key, reason in route.excluded)
        raise SweepError(f"{task.task}/{sample.id}: {variant.base} cannot take this sample ({reasons})")
    return route


def _identity(plan: Plan, task: TaskPlan, sample: Sample, variant: Variant, route: Route) -> dict[str, Any]:
    """What makes a question the same question again, but for its repeat."""
    return {
        "task": task.task,
        "sample_sha256": sample.sha256,
        "model": variant.key,
        "version": str(plan.models[variant.key]["version"]),
        "body": route.bodies[variant.base],
    }


def lanes(cells: Sequence[Any], finished: Container[str] = ()) -> dict[str, Iterator[Any]]:
    """The cells still to be called by lane, each lane in its calling order, made one by one.

    Args:
        cells: every cell of a plan. The order is made of all of them, so that a sweep that was stopped
            goes on in the order it began with.
        finished: the fingerprints that have a result.
    """
    blocks: dict[str, _Blocks] = {}
    left: set[str] = set()
    for place, cell in enumerate(cells):
        block = blocks.setdefault(cell.lane, {}).setdefault((cell.task.task, cell.repeat), {})
        block.setdefault(cell.model, array("L")).append(place)
        if cell.fingerprint not in finished:
            left.add(cell.lane)
    return {
        lane: _apart(cell for place in _fair(found) if (cell := cells[place]).fingerprint not in finished)
        for lane, found in blocks.items()
        if lane in left
    }


#: (task, repeat) -> model -> places of its cells among all.
_Blocks = dict[tuple[str, int], "dict[str, array[int]]"]


def _fair(blocks: _Blocks) -> Iterator[int]:
    """Task by task; within a task the candidates take turns, each two samples ahead of the one before.

    Turns spread a slow minute over all candidates. The offset keeps two candidates of one server from
    sending the same prompt one right after the other: the second would find it in the server's prompt
    cache and look faster and cheaper than it is.
    """
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


def _apart(cells: Iterator[Any]) -> Iterator[Any]:
    """The same cells, none with the sample of the one before it while another is left.

    Finished cells leave gaps in the fair order; two calls of one sample may have come together there.
    """
    waiting: deque[Any] = deque()
    last: Any = None
    while True:
        places = range(len(waiting))
        place = next((i for i in places if not _is_same_sample(waiting[i], last)), None)
        while place is None and (found := next(cells, None)) is not None:
            waiting.append(found)
            place = None if _is_same_sample(found, last) else len(waiting) - 1
        if not waiting:
            return
        last = waiting[place or 0]
        del waiting[place or 0]
        yield last


def _is_same_sample(one: Any, last: Any) -> bool:
    return last is not None and one.task.task == last.task.task and one.sample.id == last.sample.id
