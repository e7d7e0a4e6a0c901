"""Questions to a judge as cells of a sweep: paid once, kept in the ledger, under the same budget and limits.

The words alone make a question: two models with the same answer, or a sweep of tomorrow, share one call.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from llmbench.bench.cells import lane_of
from llmbench.bench.judging.prompts import Asked, ask_again
from llmbench.bench.judging.questions import Question
from llmbench.bench.judging.verdicts import Points, Preference, read_points, read_preference
from llmbench.bench.ledger import fingerprint
from llmbench.errors import SweepError
from llmbench.routing.client import LLMClient

#: The task that judges' calls are routed as: its options and its line in telemetry.
JUDGE_TASK: Final = "judge"


@dataclass(frozen=True, slots=True)
class JudgeCell:
    """One call to a judge. `repeat` is 0, or 1 where the first reply gave no verdict."""

    question: Question
    asked: Asked = field(repr=False)
    model: str
    lane: str
    fingerprint: str
    repeat: int = 0

    @property
    def name(self) -> str:
        """The cell in words, as other cells' names: task/…/model/repeat."""
        return f"{self.question.name}/{self.model}/{self.repeat}"

    def call(self) -> dict[str, Any]:
        """The arguments of the call, with the judge pinned and fallback off."""
        return _arguments(self.question, self.asked, self.model)

    def read(self, result: Mapping[str, Any] | None) -> Preference | Points | None:
        """What the judge said, or None: no result yet, a failed call, or a reply that cannot be read."""
        output = None if result is None else result.get("output")
        plan = self.question.plan
        if plan.strategy == "rubric":
            return read_points(output, len(self.asked.criteria), plan.scale)
        return read_preference(output)


def judge_cells(asked: Iterable[Question], client: LLMClient, version: str) -> list[JudgeCell]:
    """The first call of each question, in order; equal questions have cells of one fingerprint. No network.

    Args:
        asked: the questions of one task.
        client: whose registry and guard decide on the wire body.
        version: the judge's model version as the plan resolved it.

    Raises:
        RouteError: the judge cannot be called.
        SweepError: the same, and its registry entry names a model to fall back on.
    """
    return [_cell(question, question.asked, client, version, 0) for question in asked]


def retry_cells(
    cells: Sequence[JudgeCell], results: Mapping[str, Mapping[str, Any]], client: LLMClient, version: str
) -> list[JudgeCell]:
    """The second and last call of each question whose first one ended without a verdict.

    A question that is still pending is not asked again: its first call is made in the next run.
    """
    return [
        _cell(cell.question, ask_again(cell.asked, str(cell.question.row.get("lang"))), client, version, 1)
        for cell in cells
        if cell.fingerprint in results and cell.read(results[cell.fingerprint]) is None
    ]


def distinct(cells: Iterable[JudgeCell]) -> list[JudgeCell]:
    """One cell of each fingerprint, the first: what is to be sent."""
    return list({cell.fingerprint: cell for cell in reversed(list(cells))}.values())[::-1]


def _arguments(question: Question, asked: Asked, model: str) -> dict[str, Any]:
    return {
        "task": JUDGE_TASK,
        "prompt": _messages(asked),
        "response_format": asked.schema,
        "max_tokens": question.plan.max_tokens,
        "temperature": 0,
        "seed": 1,
        "stop": [],  # a judge that is also a candidate may stop at a line's end by default
        "models": [model],
        "allow_fallback": False,
    }


def _messages(asked: Asked) -> list[dict[str, Any]]:
    """The question's messages; its pictures are read each time, so that few are in memory."""
    *before, last = [dict[str, Any](message) for message in asked.messages]
    if not asked.pictures:
        return [*before, last]
    parts = [{"type": "image_url", "image_url": {"url": _data_url(path)}} for path in asked.pictures]
    return [*before, {**last, "content": [{"type": "text", "text": last["content"]}, *parts]}]


def _data_url(path: Path) -> str:
    kind = {".jpg": "jpeg"}.get(path.suffix, path.suffix.removeprefix("."))
    return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def _cell(question: Question, asked: Asked, client: LLMClient, version: str, repeat: int) -> JudgeCell:
    model = client.config.model_key(question.plan.model) or question.plan.model
    route = client.explain(**_arguments(question, asked, model))
    if model not in route.bodies:
        reasons = "; ".join(f"{key}: {reason}" for key, reason in route.excluded)
        raise SweepError(f"{question.name}: the judge {model} cannot take this question ({reasons})")
    return JudgeCell(
        question=question,
        asked=asked,
        model=model,
        lane=lane_of(client, model),
        fingerprint=fingerprint(
            task=JUDGE_TASK,
            sample_sha256="",
            model=model,
            version=version,
            body=route.bodies[model],
            repeat=repeat,
        ),
        repeat=repeat,
    )
