"""What one call of a plan will take: tokens, dollars and seconds, each low, expected and high.

What the ledger holds of a model is the best witness: of the same task and language if there is enough of it,
else of the same task, else of the same model. Where it holds nothing, assumptions stand in and are named.
The high figure is no guess but a cap: what the router reserves for the call, and more where the tokens may
pass its estimate.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from llmbench.bench.account import worst_of_call
from llmbench.bench.cells import Cell
from llmbench.bench.dataset import Dataset, Sample
from llmbench.bench.ledger import LedgerState
from llmbench.catalog import Endpoint, ModelSpec
from llmbench.messages import Usage, canonical_json
from llmbench.pricing import cost_of
from llmbench.routing.client import LLMClient
from llmbench.routing.prepare import text_tokens

ENOUGH: Final = 5
"""Results that a figure of a model must rest on; with fewer, the next wider group is asked."""
_LOW_SHARE: Final = 0.1  # of the calls took less than the low figure
_SLACK: Final = 0.2  # tokens a character of one prompt differ so much from the mean of a few others
_CPU_LOW: Final = 0.5  # of the assumed processor time, where none was measured
_ENFORCED: Final = ("none", "llguidance")  # ways to ask for a schema that put none of it into the prompt
_BLOCK: Final = 1000  # output tokens that are priced at a time: a price is linear in them

#: Tokens a message, an ASCII character and any other character. JSON costs most, prose least; a small
#: vocabulary spells Japanese in bytes. Fitted to the shipped datasets they are (1, 0.31, 0.89) with the
#: 262,144 tokens of Gemma 3, and (4, 0.33, 1.98) with the 49,152 of SmolLM2.
LOW_RATES: Final = (0.0, 0.2, 0.4)
EXPECTED_RATES: Final = (4.0, 0.28, 0.85)
HIGH_RATES: Final = (8.0, 0.5, 2.0)
#: Seconds to the first token and for each token of the answer: about the means over the 2,306 answered
#: requests that the LLMPerf leaderboard published at the turn of 2023. The small local models begin sooner.
SPEED_S: Final = (1.4, 0.02)
LOCAL_SPEED_S: Final = (0.2, 0.02)
_ASSUMED_RATES: Final = "assumed tokens a character"
_ASSUMED_SPEED: Final = "assumed speed"


@dataclass(frozen=True, slots=True)
class Span:
    """A figure that is not known yet, low <= expected <= high. `high` is infinite where nothing caps it."""

    low: float = 0.0
    expected: float = 0.0
    high: float = 0.0

    def __add__(self, other: Span) -> Span:
        return Span(self.low + other.low, self.expected + other.expected, self.high + other.high)

    def facts(self) -> dict[str, float | None]:
        """The JSON form; a figure without a limit is None."""
        named = {"low": self.low, "expected": self.expected, "high": self.high}
        return {name: value if math.isfinite(value) else None for name, value in named.items()}


def _around(low: float, expected: float, high: float) -> Span:
    """The span around an expected value; a bound on its wrong side gives way."""
    return Span(min(low, expected), expected, max(high, expected))


@dataclass(frozen=True, slots=True)
class CallForecast:
    """What one call will take.

    Attributes:
        input: tokens of the prompt.
        output: tokens of the answer, reasoning included.
        usd: US dollars, or None when its price is unknown.
        unknown: why, else empty.
        seconds: expected, of the call alone.
        basis: what its answer rests on, in words, and what else is assumed.
    """

    input: Span
    output: Span
    usd: Span | None
    unknown: str
    seconds: float
    basis: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Seen:
    """One call of the ledger. What it does not say is 0 tokens, and NaN seconds or dollars."""

    chars: int
    input: int
    output: int
    cached: int
    reasoning: int
    seconds: float
    cpu_s: float
    reported_usd: float


@dataclass(frozen=True, slots=True)
class _Habit:
    """What is usual for calls of one model on one task in one language.

    `per_char` are tokens of input a character, None when they must be assumed; `output` None when only the
    cap is known; `is_seen` whether `output` was measured; `pace` the seconds over those that are assumed;
    `reported_usd` what the provider said a call cost, None where prices and tokens say it;
    `cap` the output limit, infinite without one.
    """

    per_char: Span | None
    output: Span | None
    is_seen: bool
    cached_share: float
    reasoning_share: float
    pace: float
    cpu_share: float
    cpu_low: float
    reported_usd: Span | None
    cap: float
    basis: tuple[str, ...]


@dataclass(slots=True)
class _History:
    """The ledger's calls of a plan, by groups from narrow to wide: (task, model, language), "" for any."""

    groups: dict[tuple[str, str, str], list[_Seen]] = field(default_factory=dict)

    def take(self, task: str, model: str, lang: str, seen: _Seen, *, is_typical: bool) -> None:
        """Take in a call. One of a model that reasons says nothing of the answers of others."""
        keys = [(task, model, lang), (task, model, ""), ("", model, lang), ("", model, "")]
        for key in [*keys, *([(task, "", lang), (task, "", "")] if is_typical else [])]:
            self.groups.setdefault(key, []).append(seen)

    def nearest(self, *keys: tuple[str, str, str], needs: str) -> list[_Seen]:
        """The calls of the first group with enough that say something: `tokens` or `seconds`."""
        for key in keys:
            found = self.groups.get(key, [])
            found = [s for s in found if (s.input > 0 if needs == "tokens" else not math.isnan(s.seconds))]
            if len(found) >= ENOUGH:
                return found
        return []


def forecast_calls(cells: Sequence[Cell], state: LedgerState, client: LLMClient) -> dict[str, CallForecast]:
    """What each cell's call will take, by fingerprint. No network.

    Args:
        cells: of a plan, those with a result too. What is known of a model holds for all its variants.
        state: what the ledger holds of them.
        client: the router: prices, limits, and what it reserves for a call.

    Raises:
        RouteError: a model cannot take a sample.
    """
    chars = {(cell.task.task, cell.sample.id): _chars(cell.task.dataset, cell.sample) for cell in cells}
    history = _history(cells, state, client, chars)
    habits: dict[tuple[str, str, str], _Habit] = {}
    asked: dict[tuple[str, str, str], CallForecast] = {}  # repeats are the same call again
    found: dict[str, CallForecast] = {}
    for cell in cells:
        spec = client.config.models[base_model(cell)]
        task, sample = cell.task.task, cell.sample
        if (key := (task, cell.model, sample.lang)) not in habits:
            habits[key] = _habit(history, cell, spec, client)
        if (place := (task, cell.model, sample.id)) not in asked:
            asked[place] = _call(cell, spec, client, habits[key], chars[task, sample.id])
        found[cell.fingerprint] = asked[place]
    return found


def base_model(cell: Cell) -> str:
    """The registry's key of a cell's model, which may be a variant of it with other parameters."""
    return cell.base or cell.model


def _chars(dataset: Dataset, sample: Sample) -> int:
    return sum(map(len, _texts(dataset, sample)))


def _texts(dataset: Dataset, sample: Sample) -> list[str]:
    return [turn["content"] for turn in dataset.messages(sample)]


def _history(
    cells: Sequence[Cell], state: LedgerState, client: LLMClient, chars: Mapping[tuple[str, str], int]
) -> _History:
    history = _History()
    for cell in cells:
        line = state.results.get(cell.fingerprint)
        if line is None:
            continue
        base = base_model(cell)
        task, is_reasoning = cell.task.task, client.config.models[base].capabilities.reasoning
        seen = _seen(chars[task, cell.sample.id], line)
        history.take(task, base, cell.sample.lang, seen, is_typical=not is_reasoning)
    return history


def _seen(chars: int, line: Mapping[str, Any]) -> _Seen:
    reported = line.get("cost_usd") if line.get("cost_source") == "provider" else None
    return _Seen(
        chars=chars,
        input=_count(line.get("input_tokens")),
        output=_count(line.get("output_tokens")),
        cached=_count(line.get("cached_tokens")),
        reasoning=_count(line.get("reasoning_tokens")),
        seconds=_number(line.get("latency_ms")) / 1000,
        cpu_s=_number(line.get("cpu_s")),
        reported_usd=_number(reported),
    )


def _count(value: object) -> int:
    found = _number(value)
    return 0 if math.isnan(found) else int(found)


def _number(value: object) -> float:
    """A figure of a ledger line, which may hold anything; NaN when it is none."""
    is_known = isinstance(value, int | float) and math.isfinite(value) and value >= 0
    return float(value) if is_known and isinstance(value, int | float) else math.nan


def _habit(history: _History, cell: Cell, spec: ModelSpec, client: LLMClient) -> _Habit:
    body = next(iter(client.explain(**cell.call()).bodies.values()))  # limited alike for all samples
    speed = _speed(client, spec)
    task, model, lang = cell.task.task, spec.key, cell.sample.lang
    own, any_lang = (task, model, lang), (task, model, "")
    inputs = history.nearest(own, any_lang, ("", model, lang), ("", model, ""), needs="tokens")
    answers = history.nearest(own, any_lang, needs="tokens")
    output, said = _usual_output(history, answers, cell, spec)
    timed = history.nearest(own, any_lang, ("", model, lang), ("", model, ""), needs="seconds")
    cpu = [s.cpu_s for s in timed if not math.isnan(s.cpu_s)]
    seconds = math.fsum(s.seconds for s in timed if not math.isnan(s.cpu_s))
    reported = [s.reported_usd for s in answers if not math.isnan(s.reported_usd)]
    return _Habit(
        per_char=_per_char(inputs),
        output=output,
        is_seen=bool(answers),
        cached_share=_share((s.cached, s.input) for s in inputs),
        reasoning_share=_share((s.reasoning, s.output) for s in answers),
        pace=_share(((s.seconds, _assumed_seconds(s.output, speed)) for s in timed), most=math.inf) or 1.0,
        cpu_share=(math.fsum(cpu) / seconds if seconds else 0.0) or 1.0,
        cpu_low=float(np.quantile(cpu, _LOW_SHARE) / np.mean(cpu)) if any(cpu) else _CPU_LOW,
        reported_usd=_usual(reported) if len(reported) >= ENOUGH else None,
        cap=_output_cap(body, spec),
        basis=(said, *([] if inputs else [_ASSUMED_RATES]), *([] if timed else [_ASSUMED_SPEED])),
    )


def _usual_output(
    history: _History, answers: Sequence[_Seen], cell: Cell, spec: ModelSpec
) -> tuple[Span | None, str]:
    """The tokens of an answer and what says so; None when only the cap is left to say."""
    if answers:
        return _usual([s.output for s in answers]), "its calls"
    if spec.capabilities.reasoning:
        return None, "the cap: nobody knows how much it reasons"
    task, lang = cell.task, cell.sample.lang
    others = history.nearest((task.task, "", lang), (task.task, "", ""), needs="tokens")
    if others:
        return _usual([s.output for s in others]), "other models' calls"
    texts = [_target(sample.target) for sample in task.samples if sample.lang == lang]
    if not any(texts):
        return None, "the cap"
    low, usual = (_usual([_tokens([text], rates) for text in texts]) for rates in (LOW_RATES, EXPECTED_RATES))
    return _around(low.low, usual.expected, usual.high), "the targets' length"


def _target(target: Any) -> str:
    return target if isinstance(target, str) else "" if target is None else canonical_json(target)


def _per_char(seen: Sequence[_Seen]) -> Span | None:
    ratios = [s.input / s.chars for s in seen if s.chars]
    if not ratios:
        return None
    mean = _share(((s.input, s.chars) for s in seen), most=math.inf)
    return _around(min(*ratios, (1 - _SLACK) * mean), mean, max(*ratios, (1 + _SLACK) * mean))


def _usual(values: Sequence[float]) -> Span:
    """Low quantile, mean and the most. The mean, since it is sums that are forecast."""
    return _around(float(np.quantile(values, _LOW_SHARE)), float(np.mean(values)), float(max(values)))


def _share(pairs: Iterable[tuple[float, float]], *, most: float = 1.0) -> float:
    """Sum over sum; 0 without any."""
    parts, wholes = zip(*pairs, strict=True) if (pairs := list(pairs)) else ((), ())
    whole = math.fsum(wholes)
    return min(math.fsum(parts) / whole, most) if whole else 0.0


def _speed(client: LLMClient, spec: ModelSpec) -> tuple[float, float]:
    is_local = client.config.endpoints[spec.provider].managed is not None
    return LOCAL_SPEED_S if is_local else SPEED_S


def _assumed_seconds(output_tokens: float, speed: tuple[float, float]) -> float:
    return speed[0] + speed[1] * output_tokens


def _tokens(texts: Sequence[str], rates: tuple[float, float, float]) -> float:
    """Tokens of messages by their script, where no tokenizer is at hand."""
    a_message, an_ascii, an_other = rates
    ascii_chars = sum(len(text.encode("ascii", "ignore")) for text in texts)
    others = sum(map(len, texts)) - ascii_chars
    return a_message * len(texts) + an_ascii * ascii_chars + an_other * others


def _call(cell: Cell, spec: ModelSpec, client: LLMClient, habit: _Habit, chars: int) -> CallForecast:
    input_, cap = _input(cell, spec, habit, chars), habit.cap
    output = habit.output or Span(0.0 if math.isinf(cap) else min(cap, 1.0), cap, cap)
    if habit.output is not None:
        expected = output.expected if habit.is_seen else min(output.expected, cap)
        output = _around(output.low, expected, max(cap, output.high) if habit.is_seen else cap)
    length = output.expected if math.isfinite(output.expected) else 0.0
    seconds = habit.pace * _assumed_seconds(length, _speed(client, spec))
    endpoint = client.config.endpoints[spec.provider]
    reserved = worst_of_call(cell.worst_usd, client.config.policy)
    usd, unknown = _usd(spec, endpoint, habit, (input_, output, seconds), reserved)
    return CallForecast(input_, output, usd, unknown, seconds, habit.basis)


def _input(cell: Cell, spec: ModelSpec, habit: _Habit, chars: int) -> Span:
    texts = _texts(cell.task.dataset, cell.sample)
    schema = cell.task.dataset.output_schema
    attached = [] if schema is None else [canonical_json(schema)]
    reserved = sum(text_tokens(text) for text in (*texts, *attached))
    if habit.per_char is not None:
        ratio = habit.per_char
        return _around(ratio.low * chars, ratio.expected * chars, max(ratio.high * chars, reserved))
    sent = [*texts, *([] if spec.params.response_format_support in _ENFORCED else attached)]
    low, expected, high = (_tokens(sent, rates) for rates in (LOW_RATES, EXPECTED_RATES, HIGH_RATES))
    return _around(low, expected, max(high, reserved))


def _output_cap(body: Mapping[str, Any], spec: ModelSpec) -> float:
    """The output limit of a request as it is sent, whatever its wire calls it; infinite without one."""
    config = body.get("generationConfig")
    holder = config if isinstance(config, Mapping) else body
    names = ("max_tokens", "max_completion_tokens", "max_output_tokens", "maxOutputTokens")
    given = [value for name in names if isinstance(value := holder.get(name), int)]
    limit = max(given) if given else spec.capabilities.max_output_tokens
    answers = body.get("n", 1)
    return math.inf if limit is None else limit * (max(answers, 1) if isinstance(answers, int) else 1)


def _usd(
    spec: ModelSpec,
    endpoint: Endpoint,
    habit: _Habit,
    facts: tuple[Span, Span, float],
    reserved: float | None,
) -> tuple[Span | None, str]:
    """The dollars of a call at today's prices, or None and why. `reserved` caps them, if it is known."""
    input_, output, seconds = facts
    cap = math.inf if reserved is None else reserved
    if spec.price is not None and spec.price.per_core_hour is not None:
        expected = seconds * habit.cpu_share / 3600 * spec.price.per_core_hour
        return _around(habit.cpu_low * expected, expected, cap), ""
    if habit.reported_usd is not None:
        usual = habit.reported_usd
        return _around(usual.low, usual.expected, max(usual.high, cap)), ""
    cached, reasoning = habit.cached_share, habit.reasoning_share
    low, unknown = _cost(spec, endpoint, input_.low, output.low, cached, reasoning)
    expected_usd, _ = _cost(spec, endpoint, input_.expected, output.expected, cached, reasoning)
    high, _ = _cost(spec, endpoint, input_.high, output.high, 0.0, reasoning)
    if low is None or expected_usd is None or high is None:
        return None, unknown
    return _around(low, expected_usd, max(high, cap)), ""


def _cost(
    spec: ModelSpec, endpoint: Endpoint, input_: float, output: float, cached: float, reasoning: float
) -> tuple[float | None, str]:
    """The price of tokens that need not be whole: of the input, and so much a token of the output."""
    tokens = max(round(input_), 1)
    kept = int(cached * tokens)
    nothing, unknown = cost_of(spec, endpoint, Usage(tokens, 0, kept))
    block, _ = cost_of(spec, endpoint, Usage(tokens, _BLOCK, kept, round(reasoning * _BLOCK)))
    if nothing is None or block is None:
        return None, unknown
    a_token = (block - nothing) / _BLOCK
    return nothing + (a_token * output if a_token else 0.0), ""
