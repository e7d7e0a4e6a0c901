"""A route and a reply as a notebook shows them: plain HTML in the notebook's own colours, all texts escaped.

The functions take texts and figures and not the values of a call, which stand a layer above.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

from llmbench.visible import visible

#: Characters of a reply's text or data that a notebook's output holds; a saved notebook keeps every output.
_SHOWN: Final = 20_000


def escaped(value: object) -> str:
    """A text of any origin as HTML."""
    return html.escape(visible(str(value)))


def table(
    head: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "", *, numeric: bool = False
) -> str:
    """A table of escaped cells; nothing where there is no row.

    Args:
        head: names of the columns.
        rows: their cells; None is an empty one.
        caption: what the table is about.
        numeric: all columns but the first hold figures, which stand to the right.
    """
    filled = [list(row) for row in rows]
    if not filled:
        return ""
    sides = ["left", *["right" if numeric else "left"] * (len(head) - 1)]
    names = _cells("th scope='col'", "th", head, sides)
    body = "".join(f"<tr>{_cells('td', 'td', row, sides)}</tr>" for row in filled)
    style = "text-align:left;font-weight:bold;padding-top:1em"
    told = f'<caption style="{style}">{escaped(caption)}</caption>' if caption else ""
    return f"<table>{told}<thead><tr>{names}</tr></thead><tbody>{body}</tbody></table>"


def _cells(opening: str, tag: str, values: Sequence[object], sides: Sequence[str]) -> str:
    return "".join(
        f'<{opening} style="text-align:{side};vertical-align:top;padding:1px 8px">'
        f"{escaped('' if value is None else value)}</{tag}>"
        for value, side in zip(values, sides, strict=True)
    )


def folded(summary: str, inner: str) -> str:
    """A part that opens by a click; nothing where there is none."""
    return f"<details><summary>{escaped(summary)}</summary>{inner}</details>" if inner else ""


def _list(items: Iterable[object]) -> str:
    shown = "".join(f"<li>{escaped(item)}</li>" for item in items)
    return f"<ul>{shown}</ul>" if shown else ""


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
    parts.append(_list(f"because {reason}" for reason in reasons))
    parts.append(folded(f"{len(excluded)} left out", table(("model", "reason"), excluded)))
    parts.append(f"<p>{escaped(worst)}</p>" if worst else "")
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
    return (
        f"{shown}<p><small>{escaped(line)}</small></p>{met}{changed}{folded('why this model', _list([why]))}"
    )


def text_html(text: str, parsed: Any) -> str:
    """A reply's text with its line ends, and its data where it has any."""
    said = f'<blockquote><p style="white-space:pre-wrap">{escaped(_short(text))}</p></blockquote>'
    if parsed is None:
        return said
    data = json.dumps(parsed, ensure_ascii=False, indent=1, default=str)
    return f"{said}{folded('as data', f'<pre>{escaped(_short(data))}</pre>')}"
