"""OpenRouter's list of models -> entries of the model registry. Pure.

Source of the forms: OpenRouter's reference of GET /models. Prices come as texts in USD per token and leave as
USD per million; "-1" is the price of a router that decides later, and unknown. What a row does not say stays
unknown, and what an entry has no place for is named in its notes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr, ValidationError

#: Reasoning efforts in rising order. A row whose list of them is null takes all.
EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
#: Fields of a row's pricing, and of the registry's price per million tokens.
_PRICES: Final[Mapping[str, str]] = {
    "prompt": "input",
    "input_cache_read": "cached_input",
    "completion": "output",
    "internal_reasoning": "reasoning",
}
#: Prices that are those of other tokens unless a row says otherwise. A "0" beside a price says nothing: the
#: list has it where no separate price is known.
_SAME_UNLESS_SAID: Final[Mapping[str, str]] = {"cached_input": "input", "reasoning": "output"}
#: Keys of `params` -> parameters of which every one must be supported.
_ALLOWED: Final[Mapping[str, tuple[str, ...]]] = {
    "allow_temperature": ("temperature",),
    "allow_top_p": ("top_p",),
    "allow_top_k": ("top_k",),
    "allow_stop": ("stop",),
    "allow_seed": ("seed",),
    "allow_penalties": ("frequency_penalty", "presence_penalty"),
}
#: What a model is for, by what it puts out: the first that it puts out at all.
_MODES: Final[Mapping[str, str]] = {"image": "image", "speech": "speech", "text": "text"}


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Architecture(_Part):
    input_modalities: list[StrictStr] = Field(default_factory=list)
    output_modalities: list[StrictStr] = Field(default_factory=list)


class _Provider(_Part):
    context_length: int | None = None
    max_completion_tokens: int | None = None


class _Reasoning(_Part):
    mandatory: StrictBool = False
    supported_efforts: list[StrictStr] | None = None


class _Row(_Part):
    id: Annotated[StrictStr, Field(pattern=r"^[~\w.:@/+-]+$", max_length=200)]
    context_length: int | None = None
    architecture: _Architecture
    pricing: dict[StrictStr, Any]
    top_provider: _Provider | None = None
    supported_parameters: list[StrictStr] = Field(default_factory=list)
    reasoning: _Reasoning | None = None
    expiration_date: StrictStr | None = None
    per_request_limits: dict[StrictStr, Any] | None = None


@dataclass(frozen=True, slots=True)
class Imported:
    """One row as the registry has it: `fields` of its entry, and `notes` of what has no place there."""

    model_id: str
    fields: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The model key that is made from the id."""
        return "or_" + re.sub(r"[^a-z0-9]+", "_", self.model_id.lower()).strip("_")


def read_row(row: object) -> Imported:
    """One row of the list.

    Raises:
        ValueError: the row cannot be used; the text says why in one line.
    """
    try:
        given = _Row.model_validate(row)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in problem["loc"]) or "the row"
        raise ValueError(f"{where}: {problem['msg'][0].lower()}{problem['msg'][1:]}") from error
    outputs = given.architecture.output_modalities
    mode = next((mode for name, mode in _MODES.items() if name in outputs), None)
    if mode is None:
        raise ValueError(f"puts out {', '.join(outputs) or 'nothing'}: no model of text, image or speech")
    notes: list[str] = []
    fields: dict[str, Any] = {"capabilities": _capabilities(given, mode)}
    if mode == "text":
        fields["params"] = _params(given)
    fields |= _price(given, mode, notes)
    if given.expiration_date is not None:
        fields |= _expires(given.expiration_date, notes)
    if given.per_request_limits:
        notes.append("per_request_limits")
    return Imported(given.id, fields, tuple(notes))


def _capabilities(row: _Row, mode: str) -> dict[str, Any]:
    found: dict[str, Any] = {"mode": mode, "vision": "image" in row.architecture.input_modalities}
    top = row.top_provider or _Provider()
    context = row.context_length or top.context_length
    if context and context > 0:
        found["context_tokens"] = context
    limit = top.max_completion_tokens
    if limit and limit > 0:
        found["max_tokens"] = limit
    if mode != "text":
        return found
    can = row.supported_parameters
    found |= {
        "structured_outputs": "structured_outputs" in can,
        "json_mode": "response_format" in can,
        "tools": "tools" in can,
        "reasoning": bool({"reasoning", "reasoning_effort"} & set(can)),
    }
    if found["reasoning"] and (efforts := _efforts(row.reasoning)):
        found["reasoning_levels"] = efforts
    return found


def _efforts(reasoning: _Reasoning | None) -> list[str]:
    """The efforts that may be asked for; none are known of a row without the section."""
    if reasoning is None:
        return []
    named = EFFORTS if reasoning.supported_efforts is None else reasoning.supported_efforts
    return [
        effort for effort in EFFORTS if effort in named and not (reasoning.mandatory and effort == "none")
    ]


def _params(row: _Row) -> dict[str, Any]:
    can = set(row.supported_parameters)
    found: dict[str, Any] = {key: can.issuperset(names) for key, names in _ALLOWED.items()}
    limits = [name for name in ("max_tokens", "max_completion_tokens") if name in can]
    found["max_tokens_key"] = limits[0] if limits else "max_tokens"
    if {"reasoning", "reasoning_effort"} & can:
        found["reasoning_key"] = "reasoning" if "reasoning" in can else "reasoning_effort"
    return found


def _price(row: _Row, mode: str, notes: list[str]) -> dict[str, Any]:
    """The entry's `price`, and what goes beyond it: steps by length or time as `x-price_overrides`."""
    found: dict[str, Any] = {}
    per_million: dict[str, float] = {}
    for name, value in sorted(row.pricing.items()):
        if name == "overrides":
            if value:
                found["x-price_overrides"] = value
                notes.append("pricing.overrides (kept as x-price_overrides)")
            continue
        amount = _amount(value)
        if amount is None or amount < 0:
            notes.append(f"pricing.{name} ({'dynamic' if amount == -1 else 'no price'})")
        elif name in _PRICES and mode == "text":
            per_million[_PRICES[name]] = float(amount * 1_000_000)
        elif amount > 0:
            notes.append(f"pricing.{name}")
    if {"input", "output"} <= per_million.keys():
        found["price"] = {name: each for name, each in per_million.items() if _says(name, per_million)}
    elif per_million:
        notes.append("price (without both input and output it is unknown)")
    return found


def _says(name: str, per_million: Mapping[str, float]) -> bool:
    """Whether a price is one of its own: not a zero in the place of the usual price."""
    usual = per_million.get(_SAME_UNLESS_SAID.get(name, name))
    return bool(per_million[name] or not usual)


def _amount(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return None
    return amount if amount.is_finite() else None


def _expires(text: str, notes: list[str]) -> dict[str, str]:
    try:
        return {"expires": date.fromisoformat(text[:10]).isoformat()}
    except ValueError:
        notes.append(f"expiration_date ({text!r:.40} is no date)")
        return {}
