"""One call of a sweep: what was answered or went wrong, what it may have cost, and what limits it met.

Everything that a sweep needs of a call is in plain values, so that it can be made on another machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmbench.bench.account import charged
from llmbench.bench.facts import answer_facts, failure_facts, own_failure_facts
from llmbench.errors import FallbackExhausted, ProviderError
from llmbench.messages import Attempt, RateLeft
from llmbench.routing.client import LLMClient


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and what is known of it before.

    Attributes:
        arguments: of the client's `acall`.
        version: the model's version as known before the call.
        model_id: its id at the provider.
        is_managed: whether we run its server ourselves.
        request_usd: the most that one request can cost, or None.
    """

    arguments: Mapping[str, Any]
    version: str
    model_id: str
    is_managed: bool
    request_usd: float | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended.

    Attributes:
        facts: the fields of its ledger line.
        refusals: requests that the provider refused for being too many.
        retry_after_s: the wait that it asked for at last, or None.
        left: what its headers say is left, or None.
        is_lost: whether the machine that made it was lost, so that nobody knows how it ended.
    """

    facts: Mapping[str, Any]
    refusals: int = 0
    retry_after_s: float | None = None
    left: RateLeft | None = None
    is_lost: bool = False


async def ask(client: LLMClient, question: Question) -> Outcome:
    """Make one call. It raises for nothing that the call itself can meet."""
    try:
        response = await client.acall(**question.arguments)
    except FallbackExhausted as error:
        facts = failure_facts(error, question.version, question.model_id, is_managed=question.is_managed)
        attempts = tuple(each for each in error.attempts if isinstance(each, Attempt))
        last = error.exceptions[-1]
        wait_s = last.retry_after_s if isinstance(last, ProviderError) else None
        return _outcome(facts, attempts, question.request_usd, wait_s)
    except Exception as error:  # noqa: BLE001 -- the cell boundary: one broken cell must not end a sweep
        facts = own_failure_facts(error)
        return Outcome(facts | {"charged_usd": (question.request_usd or 0.0) * facts["calls"]})
    return _outcome(answer_facts(response, question.version), response.attempts, question.request_usd, None)


def _outcome(
    facts: dict[str, Any], attempts: tuple[Attempt, ...], request_usd: float | None, wait_s: float | None
) -> Outcome:
    return Outcome(
        facts=facts | {"charged_usd": charged(attempts, request_usd)},
        refusals=sum(each.error_kind == "rate_limit" for each in attempts),
        retry_after_s=wait_s,
        left=attempts[-1].rate_left,
    )
