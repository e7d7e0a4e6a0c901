"""What a plan is refused for before anything is sent: no budget, or more than its budget has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from llmbench.bench import scorers
from llmbench.bench.account import is_paid, worst_of_call
from llmbench.bench.cells import Cells
from llmbench.bench.ledger import LedgerState
from llmbench.bench.media_client import router_of
from llmbench.bench.plan import Plan
from llmbench.catalog import Modality
from llmbench.errors import SweepError
from llmbench.routing.client import LLMClient

#: What else makes the worst case of a call known.
_BY_UNIT: Final[Mapping[Modality, str]] = {
    "text": ", and the dataset's options `max_tokens`",
    "image": " `per_image`",
    "speech": " `per_minute` or `per_million_chars`",
}


def budget_missing(plan: Plan, client: LLMClient) -> str | None:
    """Why a plan needs a budget, in one line, or None.

    Local models, and hosts on this machine without a price, cost nobody's money.
    """
    paid = sorted({variant.base for variant in plan.variants.values() if is_paid(client, variant.base)})
    if not paid or plan.budget.usd is not None:
        return None
    return (
        f"plan {plan.name!r} calls {', '.join(paid)}, which may cost money, and is refused until it has a "
        "budget; write `budget: {usd: …}` into it, with the most that it may cost"
    )


def refuse_unready(plan: Plan, client: LLMClient, cells: Cells) -> None:
    """Refuse a plan that may spend money without a limit, or whose calls nobody can put a price on.

    Raises:
        SweepError: a judge cannot be called, a provider costs money and the plan has no budget, or the most
            that a call can cost is not known.
    """
    for task in plan.tasks:
        if task.judge and not _is_reachable(client, task.judge.model):
            said = f"{task.task}: the judge {task.judge.model} cannot be called here"
            raise SweepError(f"{said}; set its key, or name another one")
        if (lack := scorers.missing(task.dataset)) is not None:
            raise SweepError(f"{task.task}: nothing is called, since its answers cannot be scored: {lack}")
    missing = budget_missing(plan, client)
    if missing is not None:
        raise SweepError(missing)
    unknown = {cell.base for cell in cells if cell.worst_usd is None and is_paid(client, cell.base)}
    if unknown:
        raise SweepError(
            f"plan {plan.name!r}: the most that a call to {min(unknown)} can cost is not known, so no "
            f"budget can be kept; give the model a `price`{_BY_UNIT[plan.modality]}"
        )


def _is_reachable(client: LLMClient, model: str) -> bool:
    spec = client.config.models[model]
    return router_of(client, spec).is_reachable(spec)


def refuse_over_budget(plan: Plan, cells: Cells, state: LedgerState, client: LLMClient) -> None:
    """Refuse a plan whose expected cost or fewest calls are above what its budget has left.

    Raises:
        SweepError: they are.
    """
    if plan.budget.usd is None and plan.budget.calls is None:
        return
    if _fits_at_worst(plan, cells, state, client):
        return
    from llmbench.bench.planning import forecast_refusal  # only where the forecast decides: it takes seconds

    refusal = forecast_refusal(plan, cells, state, client)
    if refusal is not None:
        raise SweepError(f"plan {plan.name!r}: {refusal}")


def _fits_at_worst(plan: Plan, cells: Cells, state: LedgerState, client: LLMClient) -> bool:
    """Whether all that is left fits into the budget even at the most that it can cost."""
    left = [cell.worst_usd or 0.0 for cell in cells if cell.fingerprint not in state.results]
    per_call = worst_of_call(1.0, client.config.policy) or 1.0
    is_within = plan.budget.usd is None or state.bill.usd + sum(left) * per_call <= plan.budget.usd
    has_judge = any(task.judge is not None for task in plan.tasks)
    calls = plan.budget.calls
    return is_within and not has_judge and (calls is None or state.bill.calls + len(left) <= calls)
