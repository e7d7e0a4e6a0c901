"""What a task's judge will take: its questions, tokens, dollars and time, before any answer is there.

How many questions there will be is known but for equal and missing answers, which need none. How long they
are is assumed: answers as long as the samples' targets, a verdict with a short reason. A reply without a
verdict is asked for once more, which is the high figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from llmbench.bench.account import is_paid, worst_of_call
from llmbench.bench.bounds import most_usd
from llmbench.bench.cells import lane_of
from llmbench.bench.forecast import ForecastRow
from llmbench.bench.forecast_calls import SPEED_S, Span
from llmbench.bench.judging.cells import judge_cells
from llmbench.bench.judging.questions import questions
from llmbench.bench.plan import Plan, TaskPlan
from llmbench.bench.scorers import target_text
from llmbench.messages import Usage
from llmbench.pricing import cost_of
from llmbench.routing.client import LLMClient

#: Samples whose questions are written out to see how long they are.
_LOOKED_AT: Final = 30
#: What the input of a question is made of.
_LOOKED_UPON: Final = {
    "text": "answers as long as the targets",
    "image": "pictures without their tokens",
}
#: Output tokens of a verdict with a short reason.
_USUAL: Final = 60


def judge_row(plan: Plan, task: TaskPlan, client: LLMClient) -> ForecastRow | None:
    """The questions to a task's judge as a row of the forecast; None for a task without one.

    Raises:
        RouteError, SweepError: the judge cannot be called.
    """
    judge = task.judge
    if judge is None:
        return None
    spec = client.config.models[judge.model]
    endpoint = client.config.endpoints[spec.provider]
    found = questions(task, _answers(task))
    cells = judge_cells(found, client, str(plan.models[judge.model]["version"]))
    routes = [client.explain(**cell.call()) for cell in cells]
    of_grid = len(task.samples) / max(min(len(task.samples), _LOOKED_AT), 1) * plan.repeats
    asked = round(len(routes) * of_grid)
    input_tokens = of_grid * sum((route.worst_case_tokens or 0) - judge.max_tokens for route in routes)
    seconds = asked * (SPEED_S[0] + SPEED_S[1] * _USUAL)

    def usd(tokens_in: float, tokens_out: float) -> float | None:
        usage = Usage(round(tokens_in), round(tokens_out))
        return cost_of(spec, endpoint, usage, cpu_s=2 * seconds)[0]

    expected = usd(input_tokens, asked * _USUAL)
    bounds = [most_usd(client, judge.model, route) for route in routes]
    worst = [worst_of_call(bound, client.config.policy) for bound in bounds]
    known = [each for each in worst if each is not None]
    is_known = expected is not None and len(known) == len(worst)
    return ForecastRow(
        task=task.task,
        model=judge.model,
        provider=spec.provider,
        lane=lane_of(client, judge.model),
        planned=asked,
        in_ledger=0,
        calls=Span(0, asked, 2 * asked),
        input=Span(0.0, input_tokens, 2 * input_tokens),
        output=Span(0.0, asked * _USUAL, 2 * asked * judge.max_tokens),
        usd=Span(0.0, expected or 0.0, max(expected or 0.0, 2 * of_grid * sum(known))) if is_known else None,
        unknown="" if is_known else f"unknown: no price for {judge.model}",
        seconds=seconds,
        reserved_tokens=round(input_tokens + asked * judge.max_tokens),
        costs_money=is_paid(client, judge.model),
        basis=(_LOOKED_UPON[task.dataset.modality], f"{_USUAL} tokens a verdict"),
        kind="judge",
    )


def _answers(task: TaskPlan) -> Sequence[Mapping[str, Any]]:
    """Made-up answers to some samples, each model's own, as long as the targets."""
    longest = 3 * int(task.dataset.options.get("max_tokens", 100))  # of a picture nobody reads a text
    return [
        {
            "task": task.task,
            "sample_id": sample.id,
            "cluster": sample.cluster,
            "lang": sample.lang,
            "model": model,
            "repeat": 0,
            "status": "ok",
            "output": (target_text(sample)[:longest] or "…") + f" {number}",
        }
        for sample in task.samples[:_LOOKED_AT]
        for number, model in enumerate(task.candidates)
    ]
