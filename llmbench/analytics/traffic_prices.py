"""What each candidate of a tier asks per million tokens: the prices of the mart of what-ifs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llmbench.display.language import retell, say
from llmbench.messages import Usage
from llmbench.pricing import cost_of

if TYPE_CHECKING:
    from llmbench.catalog import Endpoint, ModelSpec
    from llmbench.config import Config

#: An input that is longer than any step of a price list, in tokens.
_LONG_INPUT: Final = 100_000_000


@dataclass(frozen=True, slots=True)
class CandidatePrice:
    """One candidate of one tier, in USD per million tokens.

    `cached_input_usd` None is as input, `reasoning_usd` None is as output. `as_of` is the date that the
    registry gives its price; a list price has none.
    """

    tier: str
    model: str
    input_usd: float
    output_usd: float
    cached_input_usd: float | None = None
    reasoning_usd: float | None = None
    source: str = "registry"
    as_of: str | None = None


@dataclass(frozen=True, slots=True)
class Unpriced:
    """A candidate that has no price per token, and why."""

    tier: str
    model: str
    reason: str

    def __str__(self) -> str:
        text = "without an estimate: {model} ({tier}): {reason}"
        return say(text, model=self.model, tier=self.tier, reason=self.reason)


def candidate_prices(config: Config) -> tuple[list[CandidatePrice], list[Unpriced]]:
    """The prices of every tier's candidates, and the candidates that have none, in the tiers' order.

    The registry's own price goes before the list of genai-prices. Where a list asks more for long inputs, the
    price of short ones is taken, and `source` says so. Reasons are told in the spoken language.
    """
    prices: list[CandidatePrice] = []
    left_out: list[Unpriced] = []
    for tier, model in _candidates(config):
        spec = config.models.get(model)
        if spec is None:
            left_out.append(Unpriced(tier, model, say("not in the registry")))
            continue
        found = _price(tier, spec, config.endpoints[spec.provider])
        if isinstance(found, CandidatePrice):
            prices.append(found)
        else:
            left_out.append(Unpriced(tier, model, found))
    for kind, media in config.media.items():
        reason = say("{kind} models are not priced by tokens here", kind=kind)
        left_out += [
            Unpriced(tier, model, reason) for tier, models in media.tiers.items() for model in models
        ]
    return prices, left_out


def _candidates(config: Config) -> Iterator[tuple[str, str]]:
    """Each (tier, model key) once; a name that no single model has stays as it is."""
    for tier, candidates in config.all_tiers().items():
        yield from dict.fromkeys((tier, config.model_key(each.model) or each.model) for each in candidates)


def _price(tier: str, spec: ModelSpec, endpoint: Endpoint) -> CandidatePrice | str:
    """A model's price per million tokens, or why it has none: found by asking for single tokens."""
    if spec.price is not None and spec.price.per_core_hour is not None:
        return say("priced per core hour, not per token")
    fresh, source = cost_of(spec, endpoint, Usage(1, 0))
    cached, _ = cost_of(spec, endpoint, Usage(1, 0, 1, 0))
    answer, _ = cost_of(spec, endpoint, Usage(0, 1))
    reasoning, _ = cost_of(spec, endpoint, Usage(0, 1, 0, 1))
    if fresh is None or cached is None or answer is None or reasoning is None:
        return retell(source) or source
    long, _ = cost_of(spec, endpoint, Usage(_LONG_INPUT, 0))
    if long is not None and _per_million(long / _LONG_INPUT) != _per_million(fresh):
        source = say("{source}, short inputs", source=source)
    return CandidatePrice(
        tier,
        spec.key,
        _per_million(fresh),
        _per_million(answer),
        cached_input_usd=_per_million(cached),
        reasoning_usd=_per_million(reasoning),
        source=source,
        as_of=None if spec.price is None else spec.price.as_of,
    )


def _per_million(usd: float) -> float:
    """The price of a million tokens from that of one, as it was written: a price has no tenth decimal."""
    return round(usd * 1e6, 9)
