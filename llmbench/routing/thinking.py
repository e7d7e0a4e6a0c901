"""How much a model thinks: the parameter `reasoning` in the spelling of the model's own field.

A level is a word, a budget a number of tokens. Thoughts count against the output limit: a budget that
leaves no room for the answer is made smaller before anything is sent. All pure.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Final

from llmbench.catalog import REASONING_LEVELS, ModelSpec
from llmbench.errors import ParamError
from llmbench.messages import Adjustment

LEVELS: Final = REASONING_LEVELS
#: Tokens of thought for a level, where a model knows budgets only. Source: the table of Google's
#: OpenAI-compatible endpoint (low, medium, high); 512 is the least that every 2.5 Flash model takes.
_BUDGETS: Final[Mapping[str, int]] = {
    "none": 0,
    "minimal": 512,
    "low": 1024,
    "medium": 8192,
    "high": 24576,
    "xhigh": 24576,
    "max": 24576,
}
#: The part of the output limit that a level may use up. Source: OpenRouter's page on reasoning tokens.
_SHARES: Final[Mapping[str, float]] = {"minimal": 0.1, "low": 0.2, "medium": 0.5, "high": 0.8}
_LARGEST_SHARE: Final = 0.8
#: The least budget that is set here. Source: Gemini 2.5 Pro takes no smaller one.
_LEAST_BUDGET: Final = 128


def require_level(spec: ModelSpec, value: Any) -> None:
    """Refuse what no model could take for `reasoning`, whether or not this one reasons.

    Raises:
        ParamError: the word is neither a level nor one of the model's own, or the budget is under -1 tokens.
    """
    budget = value.get("max_tokens") if isinstance(value, Mapping) else value
    if isinstance(budget, int) and budget < -1:
        raise ParamError(f"reasoning: a budget is a number of tokens, -1 for the model's choice: {budget}")
    if not isinstance(value, str):
        return
    known = (*LEVELS, *(level.lower() for level in spec.capabilities.reasoning_levels))
    if value.lower() not in known:
        raise ParamError(_no_level(value, known))


def _no_level(value: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(value.lower(), known, n=1, cutoff=0.6)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(LEVELS)}"
    return f"reasoning {value!r} is no level; {hint}"


def fit_reasoning(spec: ModelSpec, value: Any, limit: int | None, changes: list[Adjustment]) -> Any:
    """The value of a model's reasoning field; what had to be changed is added to `changes`.

    Args:
        spec: the model and its rules.
        value: a level, a number of tokens, or an object in the host's own form.
        limit: the output limit that is sent with it, in tokens; None for none.
        changes: the adjustments of the call so far.

    Raises:
        ParamError: the word is no level, the field has no such value, or no thought fits in the limit.
    """
    key = spec.params.reasoning_key
    if not _takes_budget(spec) and key != "thinkingLevel" and not isinstance(value, (str, Mapping)):
        raise ParamError(f"reasoning {value!r} is no level; {spec.key} takes words: {', '.join(LEVELS)}")
    word = value.lower() if isinstance(value, str) else value
    level = _allowed(spec, word, changes)
    sent = _budget(level) if key == "thinkingBudget" else _level(level) if key == "thinkingLevel" else level
    before = value if level == word else level
    if sent != before:
        changes.append(Adjustment("reasoning", "renamed", before, sent, f"{spec.key}: values of {key}"))
    if not _takes_budget(spec) or limit is None:
        return sent
    budget: Any = sent.get("max_tokens") if isinstance(sent, Mapping) else sent
    if not _is_whole(budget) or budget < limit:
        return sent
    fitted = _inside(limit, _SHARES.get(str(level), _LARGEST_SHARE))
    rule = f"{spec.key}: thoughts count against max_tokens {limit}"
    changes.append(Adjustment("reasoning", "clamped", budget, fitted, rule))
    return {**sent, "max_tokens": fitted} if isinstance(sent, Mapping) else fitted


def _allowed(spec: ModelSpec, value: Any, changes: list[Adjustment]) -> Any:
    """A level that the model has, the nearest one for any other; a budget as it is."""
    levels = tuple(map(str.lower, spec.capabilities.reasoning_levels))
    is_free = isinstance(value, Mapping) or (_is_whole(value) and _takes_budget(spec))
    if not levels or value in levels or is_free:
        return value
    nearest = nearest_level(str(value), levels)
    rule = f"{spec.key}: levels {', '.join(levels)}"
    changes.append(Adjustment("reasoning", "clamped", value, nearest, rule))
    return nearest


def nearest_level(value: str, allowed: tuple[str, ...]) -> str:
    """The allowed level next to a level.

    Raises:
        ParamError: the value is no level.
    """
    if value not in LEVELS:
        raise ParamError(_no_level(value, LEVELS))
    wanted = LEVELS.index(value)
    return min(allowed, key=lambda level: abs(LEVELS.index(level) - wanted) if level in LEVELS else 99)


def _level(value: Any) -> str:
    """Gemini's word for a level; one that the service may come to know later is sent on."""
    if not isinstance(value, str) or value == "none":
        message = f"reasoning {value!r} is no thinkingLevel; name the model's levels in reasoning_levels"
        raise ParamError(message)
    return value.upper()


def _budget(value: Any) -> int:
    """Tokens of thought: a whole number as it is (-1: the model decides), a level by the table."""
    if _is_whole(value):
        return int(value)
    if isinstance(value, str) and value in _BUDGETS:
        return _BUDGETS[value]
    known = ", ".join(_BUDGETS)
    raise ParamError(f"reasoning {value!r} is no thinkingBudget; give a number of tokens or one of {known}")


def _inside(limit: int, share: float) -> int:
    """A budget inside an output limit, both in tokens.

    Raises:
        ParamError: the limit is not over the least budget.
    """
    if limit <= _LEAST_BUDGET:
        message = f"reasoning: no thought fits in max_tokens {limit}; give more than {_LEAST_BUDGET} or none"
        raise ParamError(message)
    return max(int(limit * share), _LEAST_BUDGET)


def _takes_budget(spec: ModelSpec) -> bool:
    """Whether the field takes a number of tokens; the one of the Responses API takes effort words alone."""
    key = spec.params.reasoning_key
    return key == "thinkingBudget" or (key == "reasoning" and spec.wire != "responses")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
