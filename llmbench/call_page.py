"""A route and a reply as a notebook shows them: plain HTML in the notebook's own colours, all texts escaped.

The functions take texts and figures and not the values of a call, which stand a layer above.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from llmbench.markup import escaped, folded, listing, paragraph, table

#: Characters of a reply's text or data that a notebook's output holds; a saved notebook keeps every output.
_SHOWN: Final = 20_000


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text):,} characters in all)"


def money(cost_usd: float | None, source: str) -> str:
    """What a call cost, or why that is not known."""
    return source if cost_usd is None else f"${cost_usd:.6f}"


def route_html(
    title: str,
    candidates: Sequence[tuple[str, int | None, Sequence[object]]],
    reasons: Sequence[str],
    excluded: Sequence[tuple[str, str]],
    worst: str,
) -> str:
    """A route: the candidates in their order, why, what is left out and why, and the worst case.

    Args:
        title: task and tier.
        candidates: (model key, its output limit in tokens, what is changed for it), in order.
        reasons: one sentence a decision.
        excluded: (model key, reason) of those left out.
        worst: the longest and dearest that the call may be; empty if not known.
    """
    rows = [
        (place, key, "" if limit is None else limit, "; ".join(map(str, changes)) or "–")
        for place, (key, limit, changes) in enumerate(candidates, start=1)
    ]
    parts = [f"<p><strong>{escaped(title)}</strong></p>"]
    parts.append(table(("", "candidate", "output limit", "sent differently"), rows))
    parts.append(listing(f"because {reason}" for reason in reasons))
    parts.append(folded(f"{len(excluded)} left out", table(("model", "reason"), excluded)))
    parts.append(paragraph(worst) if worst else "")
    return "".join(parts)


def reply_html(
    shown: str,
    facts: Sequence[str],
    attempts: Sequence[Sequence[object]],
    adjustments: Sequence[Sequence[object]],
    why: str,
) -> str:
    """A reply: what came, its figures on one line, and what happened on the way where anything did.

    Args:
        shown: HTML of what came, escaped already.
        facts: figures in words.
        attempts: (model, what it met, milliseconds, milliseconds waited before it) of each request.
        adjustments: (parameter, action, from, to, rule) of each parameter that was not sent as given.
        why: the reason of the route.
    """
    line = " · ".join(fact for fact in facts if fact)
    met = table(("model", "outcome", "ms", "waited ms"), attempts, "Attempts") if len(attempts) > 1 else ""
    changed = table(("parameter", "action", "from", "to", "rule"), adjustments, "Not sent as given")
    reason = folded("why this model", listing([why]))
    return f"{shown}<p><small>{escaped(line)}</small></p>{met}{changed}{reason}"


def text_html(text: str, parsed: Any) -> str:
    """A reply's text with its line ends, and its data where it has any."""
    said = f'<blockquote><p style="white-space:pre-wrap">{escaped(_short(text))}</p></blockquote>'
    if parsed is None:
        return said
    data = json.dumps(parsed, ensure_ascii=False, indent=1, default=str)
    return f"{said}{folded('as data', f'<pre>{escaped(_short(data))}</pre>')}"
