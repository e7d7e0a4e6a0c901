"""What a reply cost, and the most that a request can cost.

The order is fixed: what the provider reported, the registry's own price, the list prices that genai-prices
bundles, else unknown with the reason. An unknown cost is None, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from threading import Thread
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from llmbench.catalog import Endpoint, Modality, ModelSpec, Price
from llmbench.messages import Usage

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice

#: Types of endpoints whose models have list prices -> genai-prices' name of the provider.
_LISTS: Final[Mapping[str, str]] = {
    "azure": "azure",
    "openai": "openai",
    "openrouter": "openrouter",
    "gemini": "google",
}
#: The kind of token that the answer of a media model consists of, where its price differs from text.
_MEDIA_PRICE: Final[Mapping[Modality, str]] = {"image": "output_image_mtok", "speech": "output_audio_mtok"}
#: An embedded server reads a prompt on two threads at most, and answers on one.
_LOCAL_CORES: Final = 2
_NO_TOKENS: Final = "unknown: the reply counts no tokens"

#: Prices by length of the input: (tokens that the input must pass, USD per million), ascending.
_Steps = tuple[tuple[int, float], ...]


class _Rates(NamedTuple):
    """The prices of one dated row. `text` is for reasoning tokens, `output` for the answer's."""

    input: _Steps
    cached: _Steps
    output: _Steps
    text: _Steps


@dataclass(frozen=True, slots=True)
class Made:
    """What an answer of a media model is billed by, besides tokens: pictures, seconds, characters of text."""

    images: int = 0
    audio_s: float = 0.0
    characters: int = 0


@dataclass(frozen=True, slots=True)
class _Row:
    """One model in the list. The library decides which dated prices hold; `rates` has each as numbers."""

    model: ModelInfo
    rates: Mapping[int, _Rates | None]

    def at(self, moment: datetime) -> _Rates | None:
        """The prices at a time; None when the row lacks one of input and output."""
        return self.rates[id(self.model.get_prices(moment))]


def cost_of(
    spec: ModelSpec,
    endpoint: Endpoint,
    usage: Usage,
    *,
    reported_usd: float | None = None,
    cpu_s: float | None = None,
    at: datetime | None = None,
    made: Made | None = None,
) -> tuple[float | None, str]:
    """The cost of one reply in USD and where the figure comes from.

    Args:
        spec: the model; its `price` goes before any list.
        endpoint: where it is served; its type says whose list holds.
        usage: inclusive counts: cached tokens are part of the input, reasoning tokens part of the output.
        reported_usd: what the provider says it charged.
        cpu_s: processor time of a local model in seconds.
        at: when the call was made, for prices that change with the date; now by default.
        made: pictures, seconds or characters, for a price by one of them; None where nobody knows.

    Returns:
        USD with "provider", "registry", "registry:per_…" (core_hour, image, minute, million_chars) or
        "genai-prices"; or None with "unknown: " and the reason.
    """
    if reported_usd is not None and math.isfinite(reported_usd) and reported_usd >= 0:
        return reported_usd, "provider"
    if spec.price is not None and spec.price.per_core_hour is not None:
        if cpu_s is None:
            return None, f"unknown: no CPU time was measured for {spec.key}"
        return cpu_s / 3600 * spec.price.per_core_hour, "registry:per_core_hour"
    if spec.price is not None and (by_unit := _unit_cost(spec, spec.price, made)) is not None:
        return by_unit
    broken = _broken_count(usage)
    if broken is not None:
        return None, broken
    if spec.price is not None:
        return _registry_cost(spec.key, spec.price, usage)
    return _list_cost(spec, endpoint, usage, at or datetime.now(UTC))


def _unit_cost(spec: ModelSpec, price: Price, made: Made | None) -> tuple[float | None, str] | None:
    """The cost by the unit that the price is for; None where it is by tokens.

    Where nothing was made, nothing is billed by the unit: a picture that the filter stopped costs what the
    price says of tokens, or nothing.
    """
    counted = made or Made()
    units = {
        "image": (("per_image", price.per_image, counted.images),),
        "speech": (
            ("per_minute", price.per_minute, counted.audio_s / 60),
            ("per_million_chars", price.per_million_chars, counted.characters / 1e6),
        ),
    }.get(spec.capabilities.mode, ())
    named = [(name, usd, count) for name, usd, count in units if usd is not None]
    is_by_tokens = price.input is not None and price.output is not None
    if not named or (is_by_tokens and not any(count for _, _, count in named)):
        return None
    if made is None:
        return None, f"unknown: nobody knows how much of its {named[0][0]} price {spec.key} bills for this"
    name, usd, count = next((each for each in named if each[2]), named[0])
    return usd * count, f"registry:{name}"


def worst_case_usd(
    spec: ModelSpec,
    endpoint: Endpoint,
    input_tokens: int,
    output_limit: int | None,
    *,
    deadline_s: float,
    at: datetime | None = None,
) -> float | None:
    """The most that one request can cost, in USD; None when no price or no output limit is known.

    Nothing of the input is cached, and the answer fills its limit with whatever is dearer, reasoning or
    text. A local model priced by processor time works on its two cores until the deadline. It is as good
    as `input_tokens`: an estimate that is too low makes a request look too cheap.
    """
    cpu_s = deadline_s * _LOCAL_CORES
    if output_limit is None and (spec.price is None or spec.price.per_core_hour is None):
        return None
    limit = output_limit or 0
    answers = (Usage(input_tokens, limit), Usage(input_tokens, limit, 0, limit))
    costs = [cost_of(spec, endpoint, usage, cpu_s=cpu_s, at=at)[0] for usage in answers]
    return max((cost for cost in costs if cost is not None), default=None)


def uses_list(spec: ModelSpec, endpoint: Endpoint) -> bool:
    """Whether the cost of a reply will need the list prices. OpenRouter reports what it charges."""
    return spec.price is None and endpoint.type in _LISTS and endpoint.type != "openrouter"


@lru_cache(maxsize=1)
def begin_loading() -> Thread:
    """Load the list prices in a thread, once in a process: 0.2 s of CPU with cached bytecode, no network.

    Called while a request is on its way, it leaves the event loop to the other calls: 0.1 s is its longest
    pause, where loading on the loop stops them all.
    """
    thread = Thread(target=_find, args=("openai", ""), name="llmbench-prices")
    thread.start()
    return thread


def _broken_count(usage: Usage) -> str | None:
    """Why the tokens of a reply cannot be priced, or None."""
    if not usage.input_tokens and not usage.output_tokens:
        return _NO_TOKENS
    if usage.cached_tokens > usage.input_tokens:
        return f"unknown: the reply counts {usage.cached_tokens} cached in {usage.input_tokens} input tokens"
    if usage.reasoning_tokens > usage.output_tokens:
        counts = f"{usage.reasoning_tokens} reasoning in {usage.output_tokens} output"
        return f"unknown: the reply counts {counts} tokens"
    return None


def _registry_cost(key: str, price: Price, usage: Usage) -> tuple[float | None, str]:
    if price.input is None or price.output is None:
        return None, f"unknown: the registry's price of {key} lacks input or output"
    cached = price.input if price.cached_input is None else price.cached_input
    reasoning = price.output if price.reasoning is None else price.reasoning
    return _total(usage, price.input, cached, price.output, reasoning), "registry"


def _list_cost(
    spec: ModelSpec, endpoint: Endpoint, usage: Usage, moment: datetime
) -> tuple[float | None, str]:
    provider = _LISTS.get(endpoint.type)
    if provider is None:
        return None, f"unknown: no price for {spec.key} in the registry; no list for {endpoint.name}"
    name = spec.family if endpoint.type == "azure" else spec.model_id.removeprefix("models/")
    if name is None:
        return None, f"unknown: {spec.key} is a deployment; name its model as family, or give it a price"
    row = _row(provider, name, spec.capabilities.mode)
    if row is None:
        return None, f"unknown: no price for {spec.key} in the registry; {provider}'s list lacks {name}"
    rates = row.at(moment)
    if rates is None:
        return None, f"unknown: {provider}'s list has no price per input and output token for {name}"
    steps = (rates.input, rates.cached, rates.output, rates.text)
    return _total(usage, *(_rate(step, usage.input_tokens) for step in steps)), "genai-prices"


def _total(usage: Usage, fresh: float, cached: float, answer: float, reasoning: float) -> float:
    """USD for tokens at prices per million."""
    return (
        (usage.input_tokens - usage.cached_tokens) * fresh
        + usage.cached_tokens * cached
        + (usage.output_tokens - usage.reasoning_tokens) * answer
        + usage.reasoning_tokens * reasoning
    ) / 1e6


def _rate(steps: _Steps, input_tokens: int) -> float:
    """The price for an input of this length: a step holds for every token of the call, not for the rest."""
    rate = steps[0][1]
    for start, price in steps[1:]:
        if input_tokens > start:
            rate = price
    return rate


@lru_cache(maxsize=1024)
def _row(provider: str, name: str, mode: Modality) -> _Row | None:
    """A model's row, or None. The library takes 2 ms to miss a name, and 140 µs to price one call."""
    from genai_prices.types import ModelPrice

    model = _find(provider, name)
    if model is None:
        return None
    dated = [model.prices] if isinstance(model.prices, ModelPrice) else [row.prices for row in model.prices]
    return _Row(model, {id(prices): _rates(prices, mode) for prices in dated})


def _find(provider: str, name: str) -> ModelInfo | None:
    from genai_prices.data_snapshot import get_snapshot

    try:
        return get_snapshot().find_provider_model(name, None, provider, None)[1]
    except LookupError:
        return None


def _rates(prices: ModelPrice, mode: Modality) -> _Rates | None:
    """A dated row as numbers. A row without prices is how the list writes "free" and "not known" alike."""
    named = prices.__dict__
    fresh, text = _steps(named.get("input_mtok")), _steps(named.get("output_mtok"))
    cached = _steps(named.get("cache_read_mtok")) or fresh
    answer = _steps(named.get(_MEDIA_PRICE.get(mode, ""))) or text
    reasoning = _steps(named.get("output_reasoning_mtok")) or text or answer
    return _Rates(fresh, cached, answer, reasoning) if fresh and answer else None


def _steps(price: Any) -> _Steps:
    """One price of the list, plain or by length of the input, as floats: () when there is none."""
    if price is None:
        return ()
    base = getattr(price, "base", None)
    if base is None:
        return ((0, float(price)),)
    return ((0, float(base)), *((tier.start, float(tier.price)) for tier in price.tiers))
