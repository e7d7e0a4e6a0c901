"""Pictures of telemetry as tables of shaded cells: who falls back to whom, and where calls fail."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias
from xml.etree.ElementTree import Element

from llmbench.display import wording
from llmbench.display.figures import WIDTH, add, picture, write
from llmbench.display.language import say
from llmbench.display.traffic_figures_marks import (
    brief,
    head_height,
    label,
    legend,
    level,
    percent,
    small_width,
    text_kind,
    tip,
    write_heads,
)

_NAME_ROOM: Final = 138.0  # px for the rows' names
_LEFT: Final = 8 + _NAME_ROOM + 8
_RIGHT: Final = WIDTH - 8.0
_WIDEST: Final = 72.0  # px of a column
_FALLBACK_LIMITS: Final = (0.01, 0.03, 0.10, 0.25, 0.50)
_ERROR_LIMITS: Final = (0.005, 0.02, 0.05, 0.10, 0.25)
_MOST_TOLD: Final = 12
_FEW: Final = 10  # a cell of fewer calls has them as a fraction, and no deep shade


@dataclass(frozen=True, slots=True)
class FallbackStep:
    """Calls that one model handed on to another."""

    from_model: str
    to_model: str
    calls: int


@dataclass(frozen=True, slots=True)
class HeatCell:
    """One cell of a heat map: so many failed calls of so many."""

    row: str
    column: str
    failures: int
    calls: int


def draw_fallbacks(rows: Sequence[FallbackStep], *, key: str, limit: int = 12) -> Element | None:
    """Who falls back to whom: a cell has the calls handed on and their share of all that its row handed on.

    The shade is by the share of all calls handed on, so that the ways that matter stand out.

    Args:
        rows: One row a pair of models; pairs named twice are added up.
        key: Distinguishes the ids of this picture from those of the page's others.
        limit: Most rows and most columns; the models with the fewest calls are summed up as others.

    Returns:
        The picture; None when there is nothing to draw.
    """
    steps = [row for row in rows if row.calls > 0]
    if not steps:
        return None
    given, taken = Counter[str](), Counter[str]()
    for step in steps:
        given[step.from_model] += step.calls
        taken[step.to_model] += step.calls
    froms, tos = _kept(given, limit), _kept(taken, limit)
    cells: Counter[tuple[str, str]] = Counter()
    for step in steps:
        cells[_as_kept(step.from_model, froms), _as_kept(step.to_model, tos)] += step.calls
    totals: Counter[str] = Counter()
    for (start, _), calls in cells.items():
        totals[start] += calls
    width = min((_RIGHT - _LEFT) / len(tos), _WIDEST)
    top = 24 + head_height(tos, width)
    tall = 34.0
    bottom = top + tall * len(froms)
    height = bottom + 54
    title = say("Calls handed on from model to model")
    svg = picture(height, key, title, _told_fallbacks(cells, totals))
    add(svg, "rect", {"class": "t-paper", "x": 0, "y": 0, "width": WIDTH, "height": height})
    head = say("rows: failed first · columns: tried next · % of the row")
    write(svg, 8, 13, head, "f-soft", "start")
    write_heads(svg, tos, _LEFT, width, top)
    for line, start in enumerate(froms):
        y = top + tall * line
        label(svg, _LEFT - 8, y + 14, start, _NAME_ROOM, "t-small", "end")
        label(
            svg, _LEFT - 8, y + 28, wording.count(totals[start], "call"), _NAME_ROOM, "f-soft t-small", "end"
        )
        for column, goal in enumerate(tos):
            box = (_LEFT + column * width, y, width, tall)
            shade = level(cells[start, goal] / totals.total(), _FALLBACK_LIMITS)
            _draw_step(svg, box, cells[start, goal], totals[start], shade, f"{start} → {goal}")
    write(svg, 8, bottom + 20, say("shade: share of all calls handed on"), "f-soft", "start")
    legend(svg, bottom + 40, _shades("step", _FALLBACK_LIMITS))
    return svg


def _kept(counts: Mapping[str, int], limit: int) -> list[str]:
    """The names with the most calls, the most first, and a last one for the rest."""
    ranked = sorted(counts, key=lambda name: (-counts[name], name))
    if len(ranked) <= limit:
        return ranked
    return [*ranked[: limit - 1], wording.count(len(ranked) - limit + 1, "other")]


def _as_kept(name: str, kept: Sequence[str]) -> str:
    return name if name in kept else kept[-1]


def _told_fallbacks(cells: Mapping[tuple[str, str], int], totals: Mapping[str, int]) -> str:
    ranked = sorted(cells.items(), key=lambda item: (-item[1], item[0]))
    told = say("; ").join(
        say(
            "{start} to {goal}: {calls} ({share})",
            start=start,
            goal=goal,
            calls=wording.count(calls, "call"),
            share=wording.share(calls / totals[start]),
        )
        for (start, goal), calls in ranked[:_MOST_TOLD]
    )
    more = len(ranked) - _MOST_TOLD
    return say("{told}; {n} more pairs.", told=told, n=more) if more > 0 else say("{told}.", told=told)


def _draw_step(
    svg: Element, box: tuple[float, float, float, float], calls: int, total: int, shade: int, words: str
) -> None:
    x, y, width, tall = box
    shape: dict[str, str | float] = {"class": f"t-step-{shade}" if shade else "t-none"}
    shape |= {"x": x + 0.75, "y": y + 0.75, "width": width - 1.5, "height": tall - 1.5, "rx": 2}
    if not calls:
        add(svg, "rect", shape)
        return
    handed_on = wording.listed([wording.count(calls, "call"), wording.share(calls / total)])
    tip(svg, shape, say(": ").join([words, handed_on]))
    kind = text_kind(shade)
    write(svg, x + width / 2, y + 15, brief(calls, width - 4), f"{kind} t-small", "middle")
    write(svg, x + width / 2, y + 28, f"{percent(calls, total).split('.')[0]}%", f"{kind} t-tiny", "middle")


def draw_error_heat(
    cells: Sequence[HeatCell],
    *,
    key: str,
    what: str,
    is_split: bool = True,
    most_rows: int = 14,
    most_columns: int = 11,
) -> Element | None:
    """Where requests fail: each cell has the percentage that failed, and a shade by it.

    Args:
        cells: One cell a row and column; a pair named twice is added up.
        key: Distinguishes the ids of this picture from those of the page's others.
        what: The words above: what rows and columns are, in the spoken language.
        is_split: A row's columns are kinds of failure of the same requests, and rows and columns are put in
            order of their failures. False: every cell has requests of its own, as hours have, and the order
            is the given one.
        most_rows: Most rows where `is_split`; the ones with the fewest failures are summed up.
        most_columns: Most columns where `is_split`.

    Returns:
        The picture; None when there is nothing to draw.
    """
    if not cells:
        return None
    table = _split(cells, most_rows, most_columns) if is_split else _plain(cells)
    rows, columns = list(dict.fromkeys(r for r, _ in table)), list(dict.fromkeys(c for _, c in table))
    width = min((_RIGHT - _LEFT) / len(columns), _WIDEST)
    top = 24 + head_height(columns, width)
    bottom = top + 24.0 * len(rows)
    svg = picture(bottom + 50, key, say("Failed requests in percent, {what}", what=what), _told_heat(table))
    add(svg, "rect", {"class": "t-paper", "x": 0, "y": 0, "width": WIDTH, "height": bottom + 50})
    write(svg, 8, 13, say("% of requests that failed · {what}", what=what), "f-soft", "start")
    write_heads(svg, columns, _LEFT, width, top)
    for line, row in enumerate(rows):
        label(svg, _LEFT - 8, top + 24 * line + 16, row, _NAME_ROOM, "t-small", "end")
        for at, column in enumerate(columns):
            failures, calls = table.get((row, column), (0, 0))
            requests = wording.count(calls, "request")
            words = say(
                "{row}, {column}: {n} of {requests}",
                row=row,
                column=column,
                n=f"{failures:,}",
                requests=requests,
            )
            _draw_heat(svg, (_LEFT + at * width, top + 24 * line, width, 24), failures, calls, words)
    legend(svg, bottom + 22, _shades("heat", _ERROR_LIMITS))
    if any(failures and calls < _FEW for failures, calls in table.values()):
        note = say("a fraction such as 1/2: fewer than {n} requests, never shaded deeply", n=_FEW)
        write(svg, 8, bottom + 42, note, "f-soft", "start")
    return svg


def _shades(kind: str, limits: Sequence[float]) -> list[tuple[str, str]]:
    words = [*(say("to {share}", share=wording.percent(f"{100 * limit:g}")) for limit in limits), say("more")]
    return [(f"t-{kind}-{n}", text) for n, text in enumerate(words, 1)]


Table: TypeAlias = Mapping[tuple[str, str], tuple[int, int]]


def _plain(cells: Sequence[HeatCell]) -> Table:
    rows, columns = dict.fromkeys(cell.row for cell in cells), dict.fromkeys(cell.column for cell in cells)
    sums = {(row, column): (0, 0) for row in rows for column in columns}
    for cell in cells:
        failures, calls = sums[cell.row, cell.column]
        sums[cell.row, cell.column] = (failures + cell.failures, calls + cell.calls)
    return sums


def _split(cells: Sequence[HeatCell], most_rows: int, most_columns: int) -> Table:
    """The table in order of failures, small rows and columns summed up; a row's calls count once."""
    by_row, by_column, calls = Counter[str](), Counter[str](), defaultdict[str, int](int)
    for cell in cells:
        by_row[cell.row] += cell.failures
        by_column[cell.column] += cell.failures
        calls[cell.row] = max(calls[cell.row], cell.calls)
    rows, columns = _kept(by_row, most_rows), _kept(by_column, most_columns)
    wholes: Counter[str] = Counter()
    for name, n in calls.items():
        wholes[_as_kept(name, rows)] += n
    parts: Counter[tuple[str, str]] = Counter()
    for cell in cells:
        parts[_as_kept(cell.row, rows), _as_kept(cell.column, columns)] += cell.failures
    return {(row, column): (parts[row, column], wholes[row]) for row in rows for column in columns}


def _told_heat(table: Table) -> str:
    worst = sorted(
        ((failures / calls, key) for key, (failures, calls) in table.items() if failures and calls),
        key=lambda item: (-item[0], item[1]),
    )
    if not worst:
        return say("No request failed.")
    told = say("; ").join(
        say(": ").join([wording.listed(key), wording.share(share)]) for share, key in worst[:_MOST_TOLD]
    )
    more = len(worst) - _MOST_TOLD
    if more > 0:
        return say("The most first: {told}; {n} more cells with failures.", told=told, n=more)
    return say("The most first: {told}.", told=told)


def _draw_heat(
    svg: Element, box: tuple[float, float, float, float], failures: int, calls: int, words: str
) -> None:
    x, y, width, tall = box
    shade = level(failures / calls if calls else 0.0, _ERROR_LIMITS)
    shade = min(shade, 2) if calls < _FEW else shade
    shape: dict[str, str | float] = {"class": f"t-heat-{shade}" if shade else "t-none"}
    shape |= {"x": x + 0.75, "y": y + 0.75, "width": width - 1.5, "height": tall - 1.5, "rx": 2}
    if not calls:
        return
    if failures:
        tip(svg, shape, words)
    else:
        add(svg, "rect", shape)
    is_few = calls < _FEW and failures > 0
    text = f"{failures}/{calls}" if is_few else percent(failures, calls)
    kind = "t-tiny" if small_width(text) > width - 3 else "t-small"
    write(svg, x + width / 2, y + 16, text, f"{text_kind(shade)} {kind}", "middle")
