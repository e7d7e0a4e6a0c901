"""A forecast in words, as a table and as charts. Every name is a stranger's and is escaped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from xml.etree.ElementTree import Element

from llmbench import markup
from llmbench.bench import forecast_page
from llmbench.bench.pools import EQUAL, NEVER_DIFFER
from llmbench.display import figures, wording
from llmbench.display.planning_figures import PlanningCurve, draw_planning
from llmbench.visible import visible

if TYPE_CHECKING:
    from llmbench.bench.planning import Need, PoolRow, SweepForecast, TaskForecast

_MARGINS: Final = {NEVER_DIFFER.key: "proves at best"} | {
    each.key: f"80 %: differ {each.variance:.0%}" for each in EQUAL
}
HEAD: Final = (
    *("task", "pool", "prompts", "clusters"),
    *_MARGINS.values(),
    *("calls expected", "$ expected", "calls at most", "$ at most"),
)
"""Columns of `table`. Margins are in points of 100."""
_TITLE_ROOM: Final = 30.0


def pool_row(task: TaskForecast, row: PoolRow) -> dict[str, Any]:
    """A row as data: margins as shares, dollars or None."""
    return {
        "task": task.task,
        "factor": row.factor,
        "prompts": row.prompts,
        "clusters": row.units,
        **{f"margin_{key}": row.provable.get(key) for key in _MARGINS},
        "expected_calls": row.expected_calls,
        "expected_usd": row.expected_usd,
        "most_calls": row.most_calls,
        "most_usd": row.most_usd,
    }


def table(forecast: SweepForecast) -> list[tuple[str, ...]]:
    """The same rows in words, under `HEAD`."""
    return [
        (
            visible(task.task),
            f"{row.factor:g}×",
            wording.number(row.prompts),
            wording.number(row.units),
            *(wording.plain(row.provable.get(key)) for key in _MARGINS),
            wording.number(row.expected_calls),
            wording.money(row.expected_usd),
            wording.number(row.most_calls),
            wording.money(row.most_usd),
        )
        for task in forecast.tasks
        for row in task.pools
    ]


def task_line(task: TaskForecast) -> str:
    """One task in one line."""
    return f"{visible(task.task)}: {_pool(task)}; {_proof(task)}{_calls(task)}"


def _pool(task: TaskForecast) -> str:
    prompts, units = task.pool.prompts, len(task.pool.weights)
    clusters = "" if units == prompts else f" in {wording.count(units, 'cluster')}"
    named = visible(", ".join(task.candidates))
    against = f"{wording.count(len(task.candidates), 'candidate')} ({named})" if named else "no candidate"
    return f"{wording.count(prompts, 'prompt')}{clusters}, {against} against {visible(task.reference)}"


def _proof(task: TaskForecast) -> str:
    if not task.needs:
        return ""
    best = task.needs[0]
    proved = best.provable
    reach = "can prove no margin" if proved is None else f"can prove {wording.plain(proved)} points at best"
    chances = ", ".join(
        f"{_needed(task, need)} if {visible(need.assumption.name)}" for need in task.needs[1:]
    )
    least = f"{wording.plain(task.margin)} points need at least {_needed(task, best)}"
    return f"{least}, and for a chance of 80 % {chances}; {reach}; "


def _needed(task: TaskForecast, need: Need) -> str:
    if need.units is None or need.prompts is None:
        return "no number of prompts would do"
    prompts = wording.count(need.prompts, "prompt")
    is_single = len(task.pool.weights) == task.pool.prompts
    return prompts if is_single else f"{wording.count(need.units, 'cluster')} ({prompts})"


def _calls(task: TaskForecast) -> str:
    now = task.pools[0]
    calls = f"{wording.count(now.expected_calls, 'call')} expected"
    if task.is_undecided:
        reason = " (all there are: too few to decide with a chance of 80 % if "
        reason += f"{visible(task.expected_from)})"
    elif task.expected_from:
        reason = f" (about {wording.count(task.expected_prompts, 'prompt')} if "
        reason += f"{visible(task.expected_from)})"
    else:
        reason = ""
    return f"{calls}{reason} of {wording.number(now.most_calls)} in the whole grid."


def need_lines(task: TaskForecast) -> list[str]:
    """What each assumption needs, a line each."""
    return [
        f"if {visible(need.assumption.name)}: {_needed(task, need)} for "
        f"{wording.plain(task.margin)} points; this pool proves {wording.plain(need.provable)} points"
        for need in task.needs
    ]


def warning(task: TaskForecast) -> str | None:
    """What must not be overlooked before spending on a task, or None."""
    if not task.needs or task.can_prove:
        return None
    best = task.needs[0]
    smallest = (
        "" if best.provable is None else f", or accept a margin of {wording.plain(best.provable)} points"
    )
    units = wording.count(len(task.pool.weights), "independent cluster")
    return (
        f"{visible(task.task)}: this pool can NEVER prove a margin of {wording.plain(task.margin)} "
        f"points, whatever is spent: it has {units} and "
        f"{wording.number(best.units)} are needed even if the models never differ (only a candidate "
        f"that clearly beats the reference could do with fewer). Add prompts{smallest}."
    )


def draw(task: TaskForecast, key: str) -> Element | None:
    """The chart of a task; None when there is nothing to draw."""
    curves = [PlanningCurve(name, points) for name, points in task.curves.items()]
    return draw_planning(curves, pool=task.pool.prompts, margin=task.margin, key=key)


def charts_svg(forecast: SweepForecast) -> str:
    """The charts of all tasks below each other, as the text of one SVG file."""
    drawn = [(task.task, draw(task, f"planning-{at}")) for at, task in enumerate(forecast.tasks)]
    charts = [(name, svg) for name, svg in drawn if svg is not None]
    heights = [float(svg.attrib["viewBox"].split()[3]) for _, svg in charts]
    names = ", ".join(name for name, _ in charts) or "no task has a candidate"
    whole = figures.picture(
        sum(heights) + _TITLE_ROOM * max(len(charts), 1), "planning", f"Planning {forecast.name}", names
    )
    top = 0.0
    for (name, svg), height in zip(charts, heights, strict=True):
        figures.write(whole, 8, top + 20, figures.short(name, 50), "f-name", "start")
        svg.attrib |= {"x": "0", "y": f"{top + _TITLE_ROOM:g}"}
        svg.attrib |= {"width": f"{figures.WIDTH:g}", "height": f"{height:g}"}
        whole.append(svg)
        top += height + _TITLE_ROOM
    return figures.standalone(whole, figures.style())


def forecast_html(forecast: SweepForecast) -> str:
    """What the plan takes; a paragraph and a chart a task; the table of larger pools."""
    parts = list[str]()
    if forecast.refusal is not None:
        parts.append(f"<p><strong>{markup.escaped(forecast.refusal)}</strong></p>")
    parts.append(forecast_page.html_table(forecast.calls))
    for at, task in enumerate(forecast.tasks):
        parts.append(markup.paragraph(task_line(task)))
        if (text := warning(task)) is not None:
            parts.append(f"<p><strong>{markup.escaped(text)}</strong></p>")
        parts.append(markup.listing(need_lines(task)))
        if (svg := draw(task, f"planning-{at}")) is not None:
            parts.append(f"<div style='max-width:36em'>{figures.for_notebook(svg, figures.style())}</div>")
    caption = "What larger pools would prove, in points: at best, and with a chance of about 80 %"
    return "".join(parts) + markup.table(HEAD, table(forecast), caption)
