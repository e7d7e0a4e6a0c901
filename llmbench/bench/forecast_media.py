"""What one picture or narration of a plan will take, as far as anybody knows before it is made.

Nobody knows how many tokens one becomes: tokens are said only where the ledger holds enough calls of the
model. A price by picture, by character, by minute of sound or by the time of this machine's cores is worked
out; one by tokens is known once calls were made.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from llmbench.bench.account import worst_of_call
from llmbench.bench.cells import Cell
from llmbench.bench.forecast_calls import ENOUGH, CallForecast, Span, base_model, forecast_calls
from llmbench.bench.ledger import LedgerState
from llmbench.bench.scorers.speech import PACES
from llmbench.catalog import ModelSpec, Price
from llmbench.routing.client import LLMClient

#: Seconds that a picture is assumed to take, and a second of speech of a service and of a local voice.
_IMAGE_S: Final = 15.0
_SPEECH_RTF: Final = 0.3
_LOCAL_RTF: Final = 0.5
#: Characters a second of a language that no pace is known of.
_PACE: Final = (5.0, 20.0)
_ASSUMED: Final = "assumed speed"
_UNKNOWN_TOKENS: Final = "tokens are not known before a call"


@dataclass(slots=True)
class _Seen:
    """What the ledger says of a model's calls on a task, those that say it."""

    seconds: list[float] = field(default_factory=list)
    usd: list[float] = field(default_factory=list)
    input: list[float] = field(default_factory=list)
    output: list[float] = field(default_factory=list)

    def take(self, line: Mapping[str, Any]) -> None:
        """Take in a result."""
        figures = (line.get(n) for n in ("latency_ms", "cost_usd", "input_tokens", "output_tokens"))
        kept = (self.seconds, self.usd, self.input, self.output)
        for values, value, unit in zip(kept, figures, (1000, 1, 1, 1), strict=True):
            if isinstance(value, int | float) and math.isfinite(value):
                values.append(value / unit)


def calls_of(cells: Sequence[Cell], state: LedgerState, client: LLMClient) -> dict[str, CallForecast]:
    """What each cell of a plan takes, by fingerprint, whatever its answers are.

    Raises:
        RouteError: a model cannot take a sample.
    """
    if not cells or cells[0].task.dataset.modality == "text":
        return forecast_calls(cells, state, client)
    seen: dict[tuple[str, str], _Seen] = {}
    for cell in cells:
        line = state.results.get(cell.fingerprint)
        if line is not None:
            seen.setdefault((cell.task.task, cell.model), _Seen()).take(line)
    return {
        cell.fingerprint: _call(cell, client, seen.get((cell.task.task, cell.model), _Seen()))
        for cell in cells
    }


def _call(cell: Cell, client: LLMClient, seen: _Seen) -> CallForecast:
    spec = client.config.models[base_model(cell)]
    is_local = client.config.endpoints[spec.provider].managed is not None
    speech_s = _speech_s(cell)
    assumed = _IMAGE_S if speech_s is None else speech_s.expected * (_LOCAL_RTF if is_local else _SPEECH_RTF)
    seconds = _mean(seen.seconds) if seen.seconds else assumed
    usd = _usd(cell, spec, seen, speech_s, seconds)
    worst = worst_of_call(cell.worst_usd, client.config.policy)
    if usd is not None:
        usd = Span(usd.low, usd.expected, max(usd.high, math.inf if worst is None else worst))
    return CallForecast(
        input=_span(seen.input),
        output=_span(seen.output),
        usd=usd,
        unknown="" if usd is not None else f"unknown: {spec.key} has no price by its unit, and no call tells",
        seconds=seconds,
        basis=("its calls",) if seen.seconds else (_ASSUMED, _UNKNOWN_TOKENS),
    )


def _speech_s(cell: Cell) -> Span | None:
    """Seconds of sound that a text becomes, by the paces of its language; None of a picture."""
    if cell.task.dataset.modality != "speech":
        return None
    slowest, fastest = PACES.get(cell.sample.lang.partition("-")[0], _PACE)
    count = len(cell.sample.input)
    return Span(count / fastest, count / math.sqrt(slowest * fastest), count / slowest)


def _usd(cell: Cell, spec: ModelSpec, seen: _Seen, speech_s: Span | None, seconds: float) -> Span | None:
    """The dollars of a call; None where only its tokens would say them and no call has."""
    if len(seen.usd) >= ENOUGH:
        return _span(seen.usd)
    price = spec.price or Price()
    if price.per_image is not None:
        return _exact(price.per_image)
    if price.per_million_chars is not None:
        return _exact(price.per_million_chars * len(cell.sample.input) / 1e6)
    if price.per_minute is not None and speech_s is not None:
        a_second = price.per_minute / 60
        return Span(speech_s.low * a_second, speech_s.expected * a_second, speech_s.high * a_second)
    if price.per_core_hour is not None:
        expected = seconds / 3600 * price.per_core_hour
        return Span(expected / 2, expected, 4 * expected)  # of its two cores, at half to twice the speed
    return _span(seen.usd) if seen.usd else None


def _exact(value: float) -> Span:
    return Span(value, value, value)


def _span(values: Sequence[float]) -> Span:
    return Span(min(values), _mean(values), max(values)) if values else Span()


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
