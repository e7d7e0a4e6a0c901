"""What was measured so far: calls by model and prompt, and what a chain of models makes of them.

The table grows while a sweep runs. Repeats (epochs) are averaged per prompt first; a failed or timed-out
call scores 0. A chain is replayed from its models' calls: they are taken in order, the first `ok` answers,
cost and latency are summed over all that were tried (a timeout costs its full time). Outages that come
together are in the calls themselves, so that nothing is assumed about independence.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd

from llmbench.bench.terms import Arm
from llmbench.errors import SweepError

COLUMNS: Final = ("prompt_id", "score", "latency_ms", "cost_usd", "status")
FAILED: Final = ("error", "timeout")
STATUSES: Final = ("ok", *FAILED, "harness")
_NAN: Final = float("nan")


class Call(NamedTuple):
    """One finished call. `preference` and `human` are in [-1, 1] and NaN where nobody compared."""

    status: str
    score: float
    latency_ms: float
    cost_usd: float
    preference: float = _NAN
    human: float = _NAN


@dataclass(frozen=True, slots=True)
class Seen:
    """What an arm did on one prompt, its repeats averaged.

    Attributes:
        score: mean score, failures 0.
        cost_usd: mean cost; NaN when it is unknown.
        failed: share of repeats that no model of the arm answered.
        calls: (status, latency in milliseconds) of every repeat; for a chain: of the whole replay.
        preference: mean verdict of a judge against the reference, or NaN.
        human: a person's verdict where one was asked, or NaN.
    """

    score: float
    cost_usd: float
    failed: float
    calls: tuple[tuple[str, float], ...]
    preference: float = _NAN
    human: float = _NAN

    def within(self, limit_ms: float) -> float:
        """The share of repeats that were answered within a time limit."""
        return sum(status == "ok" and ms <= limit_ms for status, ms in self.calls) / len(self.calls)


class Measured:
    """Calls by (model, prompt), and what is still to be called.

    Attributes:
        judged: models that a judge compared with the reference.
        repeats: the most repeats of a prompt so far; a prompt with fewer is pending.
        is_labelled: whether a person compared any pair.
        asked: (model, prompt) pairs that were asked for.
        pending: those of them that have no result: our own throttling, an interruption, a missing row.
    """

    def __init__(self) -> None:
        self.judged: set[str] = set()
        self.is_labelled = False
        self.repeats = 1
        self.asked: set[tuple[str, str]] = set()
        self.pending: set[tuple[str, str]] = set()
        self._calls: dict[tuple[str, str], tuple[Call, ...]] = {}
        self._seen: dict[tuple[Arm, str], Seen | None] = {}

    def wanted(self, arm: Arm, prompt: str) -> str | None:
        """The model of an arm that must be called next on a prompt, or None when all is known."""
        for model in arm:
            if (model, prompt) not in self.asked:
                return model
            calls = self._calls.get((model, prompt))
            if calls is None or all(call.status == "ok" for call in calls):
                return None
        return None

    def add(self, model: str, prompts: Sequence[str], found: Mapping[str, Sequence[Call]]) -> None:
        """Take in what was asked of a model; a prompt without a full result is pending."""
        for prompt in prompts:
            self.asked.add((model, prompt))
            calls = tuple(found.get(prompt, ()))
            self.repeats = max(self.repeats, len(calls))
            if len(calls) < self.repeats or any(call.status == "harness" for call in calls):
                self.pending.add((model, prompt))
            else:
                self._calls[model, prompt] = calls
                if not all(math.isnan(call.preference) for call in calls):
                    self.judged.add(model)
                    self.is_labelled |= not all(math.isnan(call.human) for call in calls)

    def seen(self, arm: Arm, prompt: str) -> Seen | None:
        """What an arm did on a prompt; None when a call that it needs is pending."""
        key = (arm, prompt)
        if key not in self._seen:
            self._seen[key] = self._replay(arm, prompt)
        return self._seen[key]

    def _replay(self, arm: Arm, prompt: str) -> Seen | None:
        repeats: list[Call] | None = None
        for model in arm:
            calls = self._calls.get((model, prompt))
            if calls is None:
                return None
            if repeats is None:
                repeats = list(calls)
            elif len(calls) != len(repeats):
                raise SweepError(
                    f"{model} has {len(calls)} repeats of prompt {prompt}, {arm[0]} has {len(repeats)}; "
                    "a chain needs as many of each"
                )
            else:
                repeats = [
                    before if before.status == "ok" else _after(before, call)
                    for before, call in zip(repeats, calls, strict=True)
                ]
            if all(call.status == "ok" for call in repeats):
                break
        return None if repeats is None else _averaged(repeats)


def _after(before: Call, call: Call) -> Call:
    """A failed attempt and the one that followed it, as one call; what is unknown of the failure adds 0."""
    latency_ms, cost_usd = np.nan_to_num([before.latency_ms, before.cost_usd]).tolist()
    return call._replace(latency_ms=call.latency_ms + latency_ms, cost_usd=call.cost_usd + cost_usd)


def _averaged(repeats: Sequence[Call]) -> Seen:
    n = len(repeats)
    return Seen(
        score=sum(call.score for call in repeats if call.status == "ok") / n,
        cost_usd=sum(call.cost_usd for call in repeats) / n,
        failed=sum(call.status != "ok" for call in repeats) / n,
        calls=tuple((call.status, call.latency_ms) for call in repeats),
        preference=_known_mean([call.preference for call in repeats]),
        human=_known_mean([call.human for call in repeats]),
    )


def _known_mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else _NAN


def read_calls(frame: pd.DataFrame, model: str, prompts: Iterable[str]) -> dict[str, list[Call]]:
    """Check the rows that answer one request for calls, and sort them by prompt.

    Args:
        frame: columns prompt_id, score, latency_ms, cost_usd, status; optionally epoch, preference, human.
        model: whose calls they are, for the error texts.
        prompts: the prompts that were asked for.

    Raises:
        SweepError: a column is missing, a row stands twice or was not asked for, a status is unknown, or a
            score, cost, latency or preference is out of its range.
    """
    if not isinstance(frame, pd.DataFrame):
        raise SweepError(f"{model}: pull gave a {type(frame).__name__}; it must give a pandas DataFrame")
    missing = [name for name in COLUMNS if name not in frame.columns]
    if missing:
        raise SweepError(f"{model}: column {missing[0]} is missing; needed are {', '.join(COLUMNS)}")
    columns: dict[str, list[Any]] = {str(name): frame[name].tolist() for name in frame.columns}
    n = len(frame)
    names = [str(name) for name in columns["prompt_id"]]
    epochs, statuses = columns.get("epoch", [0] * n), columns["status"]
    numbers = [_numbers(columns, name, n, model) for name in ("score", "latency_ms", "cost_usd")]
    numbers += [_numbers(columns, name, n, model) for name in ("preference", "human")]
    found: dict[str, list[Call]] = {str(prompt): [] for prompt in prompts}
    known: set[tuple[str, Any]] = set()
    for name, epoch, status, *values in zip(names, epochs, statuses, *numbers, strict=True):
        where = f"{model} on prompt {name}"
        if name not in found:
            raise SweepError(f"{where}: this row was not asked for")
        if epoch != epoch or epoch is None:
            raise SweepError(f"{where}: the epoch is empty; number the repeats, or leave the column out")
        if (name, epoch) in known:
            raise SweepError(f"{where}: epoch {epoch} stands twice")
        known.add((name, epoch))
        found[name].append(_checked(Call(str(status), *values), where))
    return found


def _numbers(columns: Mapping[str, list[Any]], name: str, n: int, model: str) -> list[float]:
    try:
        return [_NAN if value is None else float(value) for value in columns.get(name, [_NAN] * n)]
    except (TypeError, ValueError) as error:
        raise SweepError(f"{model}: column {name} holds something that is not a number: {error}") from error


def _checked(call: Call, where: str) -> Call:
    """A call with a score of 0 where it failed, and numbers in their ranges."""
    if call.status not in STATUSES:
        raise SweepError(f"{where}: unknown status {call.status!r}; known are {', '.join(STATUSES)}")
    if call.status == "harness":
        return call
    if call.status == "ok" and not 0.0 <= call.score <= 1.0:
        raise SweepError(f"{where}: score {call.score} is not in [0, 1]; scale it before deciding")
    if call.cost_usd < 0.0 or math.isinf(call.cost_usd):
        raise SweepError(f"{where}: cost_usd {call.cost_usd} is not a price; use an empty value if unknown")
    if call.status != "error" and not 0.0 <= call.latency_ms < math.inf:
        raise SweepError(f"{where}: latency_ms {call.latency_ms} is not a number of milliseconds")
    if any(abs(value) > 1.0 for value in (call.preference, call.human)):
        raise SweepError(f"{where}: a preference lies in [-1, 1], 1 for the candidate")
    return call._replace(score=call.score if call.status == "ok" else 0.0)
