"""Production's prompts beside the sweep's: how long they are, and what the sweep's would have cost."""

from __future__ import annotations

from typing import Final

import numpy as np

from llmbench.analytics.verification_calls import Calls, Tokens
from llmbench.display import wording

TOKEN_GAP: Final = 0.25
"""Mean input tokens further apart than this are other prompts than the sweep's."""
_FIT: Final = 0.02
_FEWEST_FITTED: Final = 10


def token_notes(calls: Calls, tokens: Tokens | None) -> tuple[str, ...]:
    """What a reader must know where production's prompts are not as long as the sweep's.

    Args:
        calls: answered calls of known cost.
        tokens: the sweep's mean tokens of an answer, or None where they are not at hand.
    """
    answers = calls.only(calls.flags("is_answer") & np.isfinite(calls["input_tokens"]))
    if tokens is None or tokens.input <= 0.0 or not len(answers):
        return ()
    mean = float(answers["input_tokens"].mean())
    if abs(mean / tokens.input - 1.0) <= TOKEN_GAP:
        return ()
    said = f"other prompts than the sweep's: {mean:,.0f} input tokens a call against {tokens.input:,.0f}"
    cost = cost_at(answers, tokens)
    if cost is None:
        return (f"{said}; what the sweep's would cost here cannot be told from the log",)
    return (f"{said}; at the sweep's token counts these calls would cost {wording.money(cost)} per 1,000",)


def cost_at(answers: Calls, tokens: Tokens) -> float | None:
    """US dollars per 1,000 calls at other token counts, by the prices that the costs of the answers show.

    A cost is taken as a sum of fresh input, cached input and output tokens, each times a price, and the
    prices are found by least squares. None where the costs are no such sum (a fee a call, a price by time,
    prices that changed), or the token counts do not tell the prices apart.
    """
    cached = np.nan_to_num(answers["cached_tokens"])
    columns = np.column_stack([answers["input_tokens"] - cached, cached, answers["output_tokens"]])
    wanted = np.array([tokens.input - tokens.cached, tokens.cached, tokens.output])
    is_used = columns.any(axis=0)
    whole = np.isfinite(columns).all(axis=1)
    if int(whole.sum()) < _FEWEST_FITTED or bool(wanted[~is_used].any()):
        return None
    used, costs = columns[whole][:, is_used], answers["cost_usd"][whole]
    scale = np.abs(used).max(axis=0)
    if bool((scale <= 0.0).any()) or float(costs.mean()) <= 0.0:
        return None
    prices, _, rank, _ = np.linalg.lstsq(used / scale, costs, rcond=1e-6)
    off = float(np.abs(used / scale @ prices - costs).max())
    if rank < used.shape[1] or off > _FIT * float(costs.mean()):
        return None
    return 1000.0 * float(wanted[is_used] / scale @ prices)
