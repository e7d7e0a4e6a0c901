"""Tables of telemetry as a reader wants them: amounts with units, missing values as dashes, all text escaped.

How a value is written follows from its column's name, as everywhere in the marts: `_usd`, `_ms`, `_rate`,
`_share`, `_at`. Where there is a column `measure` the means and bounds are written as that measure wants it.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from llmbench.analytics.templating import action
from llmbench.display import wording
from llmbench.display.language import mark, say, translated
from llmbench.visible import visible

if TYPE_CHECKING:
    import pandas as pd

_MEASURED: Final = ("this_mean", "last_mean", "change", "low", "high")
_SIGNED: Final = ("change", "low", "high")
_RENAMED: Final = {
    "last_mean": "week before",
    "this_mean": "last week",
    "n": "calls",
    "why": "reasons",
    "is_change": "changed",
}
_WORDS: Final[Mapping[str, Sequence[str]]] = {
    "scope": (mark("run"), mark("routing_key"), mark("month")),
    "measure": (
        mark("failure_rate"),
        mark("fallback_rate"),
        mark("truncated_rate"),
        mark("latency_ms"),
        mark("cost_usd"),
        mark("output_tokens"),
    ),
}
"""Words of ours in a column, by its name: all that the marts can put there."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table to look at.

    Attributes:
        heads: The columns' heads.
        rows: The written cells; the first of each row names it.
        is_number: For each column, whether it is set to the right.
        left_out: Rows that are not shown.
    """

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    is_number: Sequence[bool]
    left_out: int = 0

    def _repr_html_(self) -> str:
        kinds = [' class="num" style="text-align: right"' if right else "" for right in self.is_number]
        named = zip(self.heads, kinds, strict=True)
        head = "".join(f'<th scope="col"{kind}>{html.escape(head)}</th>' for head, kind in named)
        body = "".join(f"<tr>{self._row(cells, kinds)}</tr>" for cells in self.rows)
        if not self.rows:
            body = f'<tr><td colspan="{len(self.heads)}">{html.escape(say("nothing"))}</td></tr>'
        more = f"<p>{html.escape(self._more())}</p>" if self.left_out else ""
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"

    def _row(self, cells: Sequence[str], kinds: Sequence[str]) -> str:
        first = f'<th scope="row" style="text-align: left">{html.escape(cells[0])}</th>'
        rest = zip(cells[1:], kinds[1:], strict=True)
        return first + "".join(f"<td{kind}>{html.escape(cell)}</td>" for cell, kind in rest)

    def _more(self) -> str:
        return say("{rows} not shown.", rows=wording.count(self.left_out, "more row"))

    def __str__(self) -> str:
        lines = [" | ".join(cells) for cells in (self.heads, *self.rows)]
        return "\n".join([*lines, *([self._more()] if self.left_out else [])])

    __repr__ = __str__


def table(frame: pd.DataFrame, columns: Sequence[str] = (), *, limit: int = 20) -> Table:
    """Write a frame's rows for a reader.

    Args:
        frame: Rows of a mart.
        columns: The columns to show, in order; all when empty.
        limit: Most rows; the table says how many more there are.
    """
    names = list(columns) or [str(name) for name in frame.columns]
    shown = frame.loc[
        :, names if "measure" in names or "measure" not in frame.columns else [*names, "measure"]
    ]
    rows = [{str(key): value for key, value in row.items()} for row in shown.head(limit).to_dict("records")]
    return Table(
        heads=[_head(name) for name in names],
        rows=[[written(name, row[name], row) for name in names] for row in rows],
        is_number=[_is_number(frame[name]) for name in names],
        left_out=max(len(frame) - limit, 0),
    )


def written(name: str, value: Any, row: Mapping[str, Any]) -> str:
    """One value as a reader wants it, by its column's name; a dash where it is missing."""
    if _is_missing(value):
        return wording.MISSING
    if name in _MEASURED and "measure" in row:
        return _measured(str(row["measure"]), float(value), is_signed=name in _SIGNED)
    if isinstance(value, bool) or type(value).__name__ == "bool":
        return say("yes") if value else say("no")
    write = _by_name(name)
    if write is not None:
        return write(value)
    if isinstance(value, str):
        return visible(" ".join(_ours(name, value).split()))
    if not hasattr(value, "__float__"):
        return str(value)
    return wording.number(value, 0 if float(value) == round(float(value)) else 2)


def _ours(name: str, value: str) -> str:
    """A word of ours in the spoken language; every other text stays as it is."""
    if name == "action":
        return action(value)
    return say(value) if value in _WORDS.get(name, ()) else value


def _by_name(name: str) -> Callable[[Any], str] | None:
    """How values of a column are written, where its name says so."""
    if name == "ratio":
        return wording.ratio
    if name in ("share", "hit_rate") or name.endswith(("_rate", "_share")):
        return wording.share
    if name.endswith("_usd"):
        return lambda value: _signed(wording.money, value, is_always=False)
    if name.endswith("_ms"):
        return wording.duration
    if name.endswith("_at"):
        return lambda value: f"{value:%Y-%m-%d %H:%M}"
    if name == "status_code":
        return lambda value: f"{value:.0f}"
    return (lambda value: f"{value:%Y-%m-%d}") if name == "day" else None


def _is_missing(value: Any) -> bool:
    """None, NaN, NaT and pandas' NA: each but None is unequal to itself or cannot say."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and value != value  # of floats NaN alone


def _measured(measure: str, value: float, *, is_signed: bool) -> str:
    """A mean, a change or its bound, as its measure is written."""
    if measure.endswith("_rate") or (measure == "latency_ms" and is_signed):
        write: Callable[[float], str] = wording.share
    elif measure == "latency_ms":
        write = wording.duration
    elif measure.endswith("_usd"):
        write = wording.money
    else:
        write = lambda n: wording.number(n, 1)  # noqa: E731 - one of five ways
    return _signed(write, value, is_always=is_signed)


def _signed(write: Callable[[float], str], value: float, *, is_always: bool) -> str:
    sign = "−" if value < 0 else "+" if is_always and value > 0 else ""
    return sign + write(abs(value))


def _head(name: str) -> str:
    """A column's name as a head in the spoken language: its unit stands with the values."""
    if name in _RENAMED:
        return translated(_RENAMED[name])
    for tail in ("_usd", "_ms", "_at"):
        name = name.removesuffix(tail)
    return translated(name.removeprefix("is_").replace("_", " "))


def _is_number(column: pd.Series[Any]) -> bool:
    return column.dtype.kind in "iufM"
