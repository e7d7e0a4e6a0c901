"""How a report writes numbers and strangers' texts: functions from value to words of the spoken language.

Scores are on 0..1 and written as points of 100. A missing value is written as a dash, never as zero.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from llmbench.display.language import ENGLISH, say, spoken
from llmbench.visible import visible

MISSING: Final = "–"
_MINUS: Final = "−"
_MARKDOWN: Final = re.compile(r"([\\`*_\[\]#|~$!])")
_LINK: Final = re.compile(r"(?i)\b(https?|ftp|mailto|xmpp)(:)|\b(www)(\.)")
_ADDRESS: Final = re.compile(r"(?i)\b(https?|ftp|mailto|xmpp|www)(\\[:.])")
_ISSUE: Final = re.compile(r"(?i)\b(gh)-(?=\d)")

Interval = Sequence[float | None] | None


def markdown(text: str) -> str:
    """Write a text on one line of Markdown so that it reads as it is: no markup, HTML, link or mention."""
    flat = " ".join(visible(text).split())
    flat = _MARKDOWN.sub(r"\\\1", flat.replace("&", "&amp;"))
    flat = _LINK.sub(lambda m: f"{m[1] or m[3]}\\{m[2] or m[4]}", flat)
    return flat.replace("<", "&lt;").replace(">", "&gt;").replace("@", "&#64;")


def pull_request(text: str) -> str:
    """The same for the text of a pull request, where even an escaped sign would name a person or an issue.

    The host looks for `@name`, `#1`, `GH-1` and addresses in the text that is shown, after its Markdown was
    read. An empty comment parts the sign from what follows and cannot be seen.
    """
    parted = markdown(text).replace("\\#", "\\#<!-- -->").replace("&#64;", "&#64;<!-- -->")
    return _ADDRESS.sub(r"\1<!-- -->\2", _ISSUE.sub(r"\1<!-- -->-", parted))


def money(usd: float | None) -> str:
    """US dollars: three significant digits below a dollar, cents above."""
    if usd is None:
        return MISSING
    if usd == 0:
        return "$0"
    if usd < 0.9995:
        digits = 2
        while usd < 10.0 ** -(digits - 1) and digits < 12:
            digits += 1
        return f"${usd:.{digits + 1}f}"
    return f"${usd:,.2f}"


def share(value: float | None) -> str:
    """A part of one in percent."""
    return MISSING if value is None else percent(f"{100 * value:.1f}")


def percent(digits: str) -> str:
    """Digits with the sign of a hundredth, as the language sets it."""
    return say("{digits} %", digits=digits)


def score(value: float | None) -> str:
    """A score of 0..1 in points of 100."""
    return MISSING if value is None else f"{100 * value:.1f}"


def plain(value: float | None) -> str:
    """A declared part of one in hundredths, as short as it was written: 0.05 is '5'."""
    return MISSING if value is None else f"{100 * value:.6g}"


def change(value: float | None) -> str:
    """A signed difference of scores in points."""
    if value is None:
        return MISSING
    rounded = round(100 * value, 1) + 0.0
    sign = _MINUS if rounded < 0 else "+" if rounded > 0 else "±"
    return f"{sign}{abs(rounded):.1f}"


def score_interval(bounds: Interval) -> str:
    """Two scores: '70.1 to 83.0'; empty when unknown."""
    return "" if not bounds else span(score(bounds[0]), score(bounds[1]))


def change_interval(bounds: Interval) -> str:
    """Two differences: '-4.1 to +2.9', with true minus signs; empty when unknown."""
    return "" if not bounds else span(change(bounds[0]), change(bounds[1]))


def span(low: str, high: str) -> str:
    """Two ends of an interval."""
    return say("{low} to {high}", low=low, high=high)


def listed(names: Iterable[str]) -> str:
    """Names one after the other."""
    return say(", ").join(names)


def duration(ms: float | None) -> str:
    """Milliseconds below a second, seconds above."""
    if ms is None:
        return MISSING
    if ms < 999.5:
        return f"{ms:.0f} ms"
    return f"{ms / 1000:.2f} s" if ms < 99_950 else f"{ms / 1000:,.0f} s"


def duration_interval(bounds: Interval) -> str:
    """Two durations; an upper limit that the data do not give is said in words."""
    if not bounds:
        return ""
    low, high = bounds
    if high is None:
        return say("no upper limit") if low is None else say("{low}, no upper limit", low=duration(low))
    return span(duration(low), duration(high))


def ratio(value: float | None) -> str:
    """A ratio of costs: '0.48x'."""
    return MISSING if value is None else say("{n}×", n=f"{value:.2f}")


def rate(value: float | None) -> str:
    """Tokens per second."""
    return MISSING if value is None else f"{value:,.0f}" if value >= 9.95 else f"{value:.1f}"


def number(value: float | None, digits: int = 0) -> str:
    """A plain number with thousands separated."""
    return MISSING if value is None else f"{value:,.{digits}f}".replace("-", _MINUS)


def count(n: int, noun: str) -> str:
    """'1 task', '3 tasks'; a catalog has the noun in its plural: '{n} tasks'."""
    if spoken() == ENGLISH:
        return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
    return say(f"{{n}} {noun}s", n=f"{n:,}")


def slug(text: str) -> str:
    """A file-name part made of a-z, 0-9 and hyphens, at most 40 characters."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40].strip("-") or "task"


def size(n_bytes: float | None) -> str:
    """A file's size: bytes, kB of 1,000, MB."""
    if n_bytes is None:
        return MISSING
    if n_bytes < 999.5:
        return say("{n} bytes", n=f"{n_bytes:.0f}")
    return f"{n_bytes / 1e3:,.0f} kB" if n_bytes < 999_500 else f"{n_bytes / 1e6:,.1f} MB"


def excerpt(text: str, most: int) -> str:
    """A text, or its beginning and how long it is."""
    if len(text) <= most:
        return text
    beginning, shown, of = text[:most].rstrip(), f"{most:,}", f"{len(text):,}"
    return say("{beginning} … ({shown} of {of} characters)", beginning=beginning, shown=shown, of=of)
