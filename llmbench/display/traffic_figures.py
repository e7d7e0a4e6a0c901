"""Pictures of telemetry over time and on the clock: dollars by tier, and how long calls took."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final
from xml.etree.ElementTree import Element

from llmbench.display import wording
from llmbench.display.figures import WIDTH, Scale, add, dollars, log_ticks, picture, ticks, write
from llmbench.display.language import mark, say
from llmbench.display.traffic_figures_marks import COLOURS, label, legend, small_width, tip

_LEFT: Final = 62.0
_RIGHT: Final = WIDTH - 8.0
_MOST_BARS: Final = 31
_STEPS: Final = (1, 7, 28, 91, 364)  # days in a bar
_BARS_HIGH: Final = 170.0
_NO_COST: Final = 1e-9  # dollars in a bar; less is a rounding error
_UNITS: Final = (  # from so many dollars in the tallest bar on, what one at the axis is
    (1e9, 1e-9, mark("billions of US dollars")),
    (1e6, 1e-6, mark("millions of US dollars")),
    (1e4, 1e-3, mark("thousands of US dollars")),
    (1e-3, 1.0, mark("US dollars")),
    (_NO_COST, 1e6, mark("millionths of a US dollar")),
    (0.0, 1.0, mark("US dollars")),
)
_STRIP: Final = 18.0  # height of the strip of calls without a known cost, px
_COUNT_ROOM: Final = 84.0  # px to the left of a row's bars
_ROW: Final = 58.0
_ROWS: Final = {"model": mark("model"), "tier": mark("tier"), "task": mark("task")}


@dataclass(frozen=True, slots=True)
class CostDay:
    """What one tier cost on one day.

    Attributes:
        day: The day, UTC.
        tier: The tier.
        cost_usd: US dollars, known costs only.
        calls: Calls.
        unpriced: Calls whose cost is not known.
    """

    day: date
    tier: str
    cost_usd: float
    calls: int
    unpriced: int


@dataclass(frozen=True, slots=True)
class LatencyRow:
    """How long the calls of one model or tier took; all times in ms.

    Attributes:
        name: The model or tier.
        n: Calls measured.
        p50_ms: Median.
        p95_ms: The time within which 95 % ended.
        p99_ms: The time within which 99 % ended.
        bins: Lower edge, upper edge and calls of each bin that is not empty.
        p95_low_ms: Lower limit of the p95; None when unknown.
        p95_high_ms: Upper limit of the p95; None when unknown.
    """

    name: str
    n: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    bins: Sequence[tuple[float, float, int]]
    p95_low_ms: float | None = None
    p95_high_ms: float | None = None


@dataclass(frozen=True, slots=True)
class _Bars:
    """Dollars in bars of some days: `costs[bar][tier]`; unknown is (calls without a cost, calls)."""

    first: date
    step: int
    count: int
    tiers: Sequence[str]
    costs: Sequence[Mapping[str, float]]
    unknown: Sequence[tuple[int, int]]

    def name(self, at: int) -> str:
        """The days that a bar stands for."""
        start = self.first + timedelta(days=at * self.step)
        if self.step == 1:
            return start.isoformat()
        return wording.span(start.isoformat(), (start + timedelta(days=self.step - 1)).isoformat())

    def unit(self) -> str:
        """How long each is, as it stands after an amount."""
        if self.step == 1:
            return say("a day")
        return say("a week") if self.step == 7 else say("in {n} days", n=self.step)

    def unpriced(self) -> tuple[int, int]:
        """Calls without a known cost, and all calls."""
        return sum(n for n, _ in self.unknown), sum(n for _, n in self.unknown)


def draw_cost_by_tier(rows: Sequence[CostDay], *, key: str) -> Element | None:
    """Dollars over time as bars stacked by tier, and below them the share of calls without a known cost.

    More than 31 days are grouped by seven days, by four weeks and so on; more than five tiers leave the
    cheapest to be summed up.

    Args:
        rows: One row a day and tier; days without a row cost nothing.
        key: Distinguishes the ids of this picture from those of the page's others.

    Returns:
        The picture; None when there is nothing to draw.
    """
    if not rows:
        return None
    bars = _group(rows)
    totals = {tier: sum(costs.get(tier, 0.0) for costs in bars.costs) for tier in bars.tiers}
    entries = [(f"t-{_colour(bars, tier)}", f"{tier} {wording.money(totals[tier])}") for tier in bars.tiers]
    unit = bars.unit()
    has_unknown = bars.unpriced()[0] > 0
    top = 48.0 + legend(Element("svg"), 0, entries)
    bottom = top + _BARS_HIGH
    height = bottom + 26 + (_STRIP + 30 if has_unknown else 0)
    svg = picture(height, key, say("US dollars {unit} by tier", unit=unit), _told_cost(bars, totals))
    add(svg, "rect", {"class": "t-paper", "x": 0, "y": 0, "width": WIDTH, "height": height})
    legend(svg, 34, entries)
    most = max(sum(costs.values()) for costs in bars.costs)
    up = Scale(0.0, 1.06 * most if most > _NO_COST else 1.0, bottom, top)
    money = _draw_dollars(svg, up, most)
    write(svg, 8, 13, say("{money} {unit}, known costs", money=money, unit=unit), "f-soft", "start")
    for at, costs in enumerate(bars.costs):
        _draw_stack(svg, bars, at, costs, up)
    add(svg, "line", {"class": "f-axis", "x1": _LEFT, "x2": _RIGHT, "y1": bottom, "y2": bottom})
    if most <= _NO_COST:
        words = say("no known cost above $0")
        write(svg, (_LEFT + _RIGHT) / 2, (top + bottom) / 2, words, "f-soft", "middle")
    _write_days(svg, bars, bottom)
    if has_unknown:
        _draw_unknown(svg, bars, bottom + 50)
    return svg


def _draw_dollars(svg: Element, up: Scale, most: float) -> str:
    """Grid lines with round amounts of few digits; returns what they count."""
    factor, words = next((factor, words) for least, factor, words in _UNITS if most >= least)
    levels = ticks(0, factor * up.stop, 4) if most > _NO_COST else [0.0]
    digits = max(len(dollars(tick).partition(".")[2]) for tick in levels)
    for tick in levels:
        y = up(tick / factor)
        add(svg, "line", {"class": "f-grid", "x1": _LEFT, "x2": _RIGHT, "y1": y, "y2": y})
        label(
            svg,
            _LEFT - 6,
            y + 4,
            f"${tick:,.{digits}f}" if factor == 1 else f"{tick:,g}",
            54,
            "f-soft",
            "end",
        )
    return say(words)


def _group(rows: Sequence[CostDay]) -> _Bars:
    first, last = min(row.day for row in rows), max(row.day for row in rows)
    days = (last - first).days + 1
    step = next((n for n in _STEPS if -(-days // n) <= _MOST_BARS), -(-days // _MOST_BARS))
    totals: dict[str, float] = defaultdict(float)
    for row in rows:
        totals[row.tier] += row.cost_usd
    ranked = sorted(totals, key=lambda tier: (-totals[tier], tier))
    kept = ranked if len(ranked) <= COLOURS else ranked[: COLOURS - 1]
    tiers = kept if len(kept) == len(ranked) else [*kept, wording.count(len(ranked) - len(kept), "other")]
    count = -(-days // step)
    costs: list[dict[str, float]] = [defaultdict(float) for _ in range(count)]
    unknown = [(0, 0)] * count
    for row in rows:
        at = (row.day - first).days // step
        costs[at][row.tier if row.tier in kept else tiers[-1]] += row.cost_usd
        unknown[at] = (unknown[at][0] + row.unpriced, unknown[at][1] + row.calls)
    return _Bars(first, step, count, tiers, costs, unknown)


def _colour(bars: _Bars, tier: str) -> int:
    return min(bars.tiers.index(tier), COLOURS - 1)


def _told_cost(bars: _Bars, totals: Mapping[str, float]) -> str:
    sums = [sum(costs.values()) for costs in bars.costs]
    at = max(range(bars.count), key=lambda n: sums[n])
    spent = say(
        "{whole} in all: {parts}. Most {unit}: {most} ({days}).",
        whole=wording.money(sum(totals.values())),
        parts=say("; ").join(f"{tier} {wording.money(cost)}" for tier, cost in totals.items()),
        unit=bars.unit(),
        most=wording.money(sums[at]),
        days=bars.name(at),
    )
    unpriced, calls = bars.unpriced()
    unknown = say("The cost of {n} of {calls} calls is not known.", n=f"{unpriced:,}", calls=f"{calls:,}")
    return say(" ").join([spent, unknown])


def _span(bars: _Bars, at: int) -> tuple[float, float]:
    """Left edge and width of a bar, px."""
    width = (_RIGHT - _LEFT) / bars.count
    gap = min(3.0, 0.2 * width)
    bar = min(width - gap, 56.0)
    return _LEFT + (at + 0.5) * width - bar / 2, bar


def _draw_stack(svg: Element, bars: _Bars, at: int, costs: Mapping[str, float], up: Scale) -> None:
    left, width = _span(bars, at)
    below = 0.0
    for tier in bars.tiers:
        cost = costs.get(tier, 0.0)
        if cost <= 0:
            continue
        top, bottom = up(below + cost), up(below)
        shape: dict[str, str | float] = {"class": f"t-{_colour(bars, tier)}", "x": left, "y": top}
        shape |= {"width": width, "height": max(bottom - top, 0.5)}
        tip(svg, shape, say(": ").join([bars.name(at), f"{tier} {wording.money(cost)}"]))
        below += cost


def _write_days(svg: Element, bars: _Bars, bottom: float) -> None:
    """Dates below the bars; one that would touch the one before it is left out."""
    free = 0.0
    for at in range(bars.count):
        left, width = _span(bars, at)
        day = bars.first + timedelta(days=at * bars.step)
        text = day.isoformat() if free == 0.0 else day.isoformat()[5:]
        half = small_width(text) / 2
        x = min(max(left + width / 2, half + 2), _RIGHT - half)
        if x - half >= free:
            write(svg, x, bottom + 18, text, "f-soft", "middle")
            free = x + half + 8


def _draw_unknown(svg: Element, bars: _Bars, top: float) -> None:
    """The share of calls whose cost nobody knows, as small bars on a common scale of 0 to 100 %."""
    unpriced, calls = bars.unpriced()
    share = wording.share(unpriced / max(calls, 1))
    text = say("cost not known: {calls} ({share})", calls=_part(unpriced, calls), share=share)
    write(svg, _RIGHT, top - 6, text, "f-soft", "end")
    label(svg, _LEFT - 6, top + _STRIP - 4, wording.percent("0–100"), _LEFT - 8, "f-soft", "end")
    add(svg, "rect", {"class": "t-none", "x": _LEFT, "y": top, "width": _RIGHT - _LEFT, "height": _STRIP})
    for at, (missing, all_calls) in enumerate(bars.unknown):
        if not missing:
            continue
        left, width = _span(bars, at)
        high = max(_STRIP * missing / all_calls, 1.0)
        shape: dict[str, str | float] = {"class": "t-unknown", "x": left, "y": top + _STRIP - high}
        words = say(": ").join([bars.name(at), _part(missing, all_calls)])
        tip(svg, shape | {"width": width, "height": high}, words)


def _part(n: int, of: int) -> str:
    return say("{n} of {of} calls", n=f"{n:,}", of=f"{of:,}")


def draw_latency(
    rows: Sequence[LatencyRow], *, key: str, what: str = "model", limit: int = 12
) -> Element | None:
    """How long calls took, a histogram a row on one logarithmic axis, with p50, p95 and p99 marked.

    Args:
        rows: One row a model or tier; drawn from the most calls to the fewest.
        key: Distinguishes the ids of this picture from those of the page's others.
        what: What a row is: model, tier or task.
        limit: Most rows; a line below says how many more there are.

    Returns:
        The picture; None when there is nothing to draw.
    """
    rows = sorted((row for row in rows if row.n > 0 and row.bins), key=lambda row: (-row.n, row.name))
    if not rows:
        return None
    drawn, left_out = rows[:limit], rows[limit:]
    bottom = 30.0 + _ROW * len(drawn)
    height = bottom + (58 if left_out else 40)
    rows_are = say(_ROWS[what])
    title = say("Time per call by {what}", what=rows_are)
    svg = picture(height, key, title, _told_latency(drawn, left_out, what))
    add(svg, "rect", {"class": "t-paper", "x": 0, "y": 0, "width": WIDTH, "height": height})
    low = max(min(edge for row in drawn for edge, _, _ in row.bins), 0.01)
    ends = [edge for row in drawn for _, edge, _ in row.bins]
    high = max(*ends, *(row.p99_ms for row in drawn), 1.5 * low)
    scale = Scale(low / 1.05, high * 1.05, _COUNT_ROOM, _RIGHT, is_log=True)
    for tick in log_ticks(scale.start, scale.stop):
        x = scale(tick)
        add(svg, "line", {"class": "f-grid", "x1": x, "x2": x, "y1": 22, "y2": bottom})
    _write_times(svg, scale, bottom)
    head = say("time per call by {what}, logarithmic · bars: how many took so long", what=rows_are)
    write(svg, 8, 13, head, "f-soft", "start")
    for at, row in enumerate(drawn):
        _draw_latency(svg, scale, row, 40 + _ROW * at)
    if left_out:
        calls = wording.count(sum(row.n for row in left_out), "call")
        text = say("{rows} with {calls} not drawn", rows=_more(len(left_out), what), calls=calls)
        write(svg, 8, bottom + 46, text, "f-soft", "start")
    return svg


def _more(n: int, what: str) -> str:
    if what == "model":
        return wording.count(n, "more model")
    return wording.count(n, "more tier" if what == "tier" else "more task")


def _told_latency(drawn: Sequence[LatencyRow], left_out: Sequence[LatencyRow], what: str) -> str:
    told = say("; ").join(
        say(
            "{name} p50 {p50}, p95 {p95}, p99 {p99} of {calls}",
            name=row.name,
            p50=wording.duration(row.p50_ms),
            p95=wording.duration(row.p95_ms),
            p99=wording.duration(row.p99_ms),
            calls=wording.count(row.n, "call"),
        )
        for row in drawn
    )
    if left_out:
        return say("{told}. {rows} not drawn.", told=told, rows=_more(len(left_out), what))
    return say("{told}.", told=told)


def _write_times(svg: Element, scale: Scale, bottom: float) -> None:
    add(svg, "line", {"class": "f-axis", "x1": scale.left, "x2": scale.right, "y1": bottom, "y2": bottom})
    free = 0.0
    for tick in log_ticks(scale.start, scale.stop):
        text = f"{tick:g} ms" if tick < 1000 else f"{tick / 1000:g} s"
        half = small_width(text) / 2
        x = min(scale(tick), WIDTH - half - 2)
        add(
            svg,
            "line",
            {"class": "f-tick", "x1": scale(tick), "x2": scale(tick), "y1": bottom, "y2": bottom + 4},
        )
        if x - half >= free:
            write(svg, x, bottom + 18, text, "f-soft", "middle")
            free = x + half + 6


def _draw_latency(svg: Element, scale: Scale, row: LatencyRow, y: float) -> None:
    """One row: its name and three times, below them the bars with three marks."""
    x = _RIGHT
    for name, value, kind in (
        ("p99", row.p99_ms, "f-bad"),
        ("p95", row.p95_ms, "f-accent"),
        ("p50", row.p50_ms, "t-small"),
    ):
        text = f"{name} {wording.duration(value)}"
        write(svg, x, y, text, kind, "end")
        x -= small_width(text) + 8
    label(svg, 8, y, row.name, x - 8, "f-name", "start", bold=True)
    top, bottom = y + 8, y + 40
    calls = say("n = {n}", n=f"{row.n:,}")
    label(svg, _COUNT_ROOM - 8, bottom - 4, calls, _COUNT_ROOM - 10, "f-soft", "end")
    most = max(count for _, _, count in row.bins)
    for low, high, count in row.bins:
        left, right = scale(low), scale(high)
        tall = max((bottom - top - 4) * count / most, 1.0)
        shape: dict[str, str | float] = {"class": "t-bars", "x": left, "y": bottom - tall}
        shape |= {"width": max(right - left - 0.6, 0.6), "height": tall}
        times = wording.span(wording.duration(low), wording.duration(high))
        tip(svg, shape, say(": ").join([times, wording.count(count, "call")]))
    add(svg, "line", {"class": "f-grid", "x1": scale.left, "x2": scale.right, "y1": bottom, "y2": bottom})
    if row.p95_low_ms is not None and row.p95_high_ms is not None:
        ends = {"x1": scale(row.p95_low_ms), "x2": scale(row.p95_high_ms)}
        add(svg, "line", {"class": "t-span", "y1": bottom + 2, "y2": bottom + 2, **ends})
    for value, rank in ((row.p50_ms, 50), (row.p95_ms, 95), (row.p99_ms, 99)):
        at = scale(value)
        kind = f"t-mark t-mark-{rank}"
        add(svg, "line", {"class": kind, "x1": at, "x2": at, "y1": top, "y2": bottom + 3})
