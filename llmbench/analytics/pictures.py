"""The report's pictures of one task, each with the words below its title."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from llmbench.analytics.json_objects import as_number
from llmbench.analytics.task_story import Candidate, TaskStory
from llmbench.display import figures, wording
from llmbench.display.evidence_figures import EvidencePath, draw_evidence, draw_paired
from llmbench.display.language import say
from llmbench.display.planning_figures import FrontierSpot, draw_frontier


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawn figure: the name of its file, what it shows, and the SVG."""

    name: str
    caption: str
    svg: Element


def draw_task(task: TaskStory, margin: float) -> list[Picture]:
    """The task's pictures, without those that have nothing to show."""
    drawn = (
        ("paired", *_paired(task, margin)),
        ("evidence", *_evidence(task)),
        ("difference", *_differences(task, margin)),
        ("frontier", *_frontier(task, margin)),
    )
    tail = f"{task.number:02d}-{wording.slug(task.name)}"
    return [Picture(f"{kind}-{tail}", caption, svg) for kind, caption, svg in drawn if svg is not None]


def draw_strip(candidate: Candidate | None, margin: float) -> Element | None:
    """A word-sized picture of a candidate's difference; None without one."""
    row = _interval(candidate) if candidate else None
    if row is None or not margin:
        return None
    return figures.draw_strip(row.low, row.middle, row.high, margin=margin, state=row.state)


def _reference(task: TaskStory) -> str:
    return task.current.model if task.current else say("the current model")


def _paired(task: TaskStory, margin: float) -> tuple[str, Element | None]:
    decisive = task.decisive
    if decisive is None:
        return "", None
    values = [n for each in decisive.facts["differences"] or () if (n := as_number(each)) is not None]
    svg = draw_paired(
        values,
        reference=_reference(task),
        candidate=decisive.model,
        margin=margin,
        key=f"paired-{task.number}",
    )
    caption = say(
        "Paired differences of {model}, one for each independent unit: all that its evidence rests on. A "
        "mean right of the dashed margin is allowed; the next picture tells whether it is proved.",
        model=decisive.model,
    )
    return caption, svg


def _evidence(task: TaskStory) -> tuple[str, Element | None]:
    if task.threshold is None:
        return "", None
    paths = [
        EvidencePath(each.model, each.state, points)
        for each in task.candidates
        if (points := _points(each.facts["path"])) and points[-1][0] > 0
    ]
    svg = draw_evidence(paths, threshold=task.threshold, key=f"evidence-{task.number}")
    caption = say(
        "Evidence that a candidate loses less than the margin, after each batch of prompts. It may be looked "
        "at any time: a path that has once crossed the green line is proved."
    )
    return caption, svg


def _points(path: object) -> list[tuple[int, float]]:
    """A path's points; evidence without end has no number in JSON."""
    if not isinstance(path, Sequence):
        return []
    pairs = [tuple(each) for each in path if isinstance(each, Sequence) and len(each) == 2]
    return [(int(n), math.inf if value is None else float(value)) for n, value in pairs]


def _differences(task: TaskStory, margin: float) -> tuple[str, Element | None]:
    svg = figures.draw_differences(
        [row for each in task.candidates if (row := _interval(each)) is not None],
        reference=_reference(task),
        margin=margin,
        key=f"difference-{task.number}",
    )
    caption = say(
        "Quality difference with its always-valid interval. An interval wholly right of the dashed margin is "
        "proved."
    )
    return caption, svg


def _frontier(task: TaskStory, margin: float) -> tuple[str, Element | None]:
    svg = draw_frontier(
        [spot for each in task.candidates if (spot := _spot(each)) is not None],
        reference=_reference(task),
        margin=margin,
        hull=(),
        key=f"frontier-{task.number}",
    )
    caption = say(
        "Quality, cost and p95 latency. Up and left is better. Upright lines: interval of the quality; level "
        "lines: interval of the cost against the current model's; dashed: current quality less the margin."
    )
    return caption, svg


def _interval(candidate: Candidate) -> figures.Interval | None:
    delta, bounds = candidate.facts["delta"], candidate.facts["delta_interval"]
    if delta is None or not bounds or None in bounds:
        return None
    return figures.Interval(candidate.model, candidate.state, bounds[0], delta, bounds[1])


def _spot(candidate: Candidate) -> FrontierSpot | None:
    facts = candidate.facts
    quality, cost, ratio = facts["quality"], facts["cost_usd_per_1000"], facts["cost_ratio"]
    if quality is None or cost is None:
        return None
    low, high = facts["quality_interval"] or (quality, quality)
    # The interval is one of the ratio to the reference: stretched about the cost, it has the same shape.
    limits = [cost * bound / ratio for bound in (facts["cost_ratio_interval"] or ()) if ratio]
    cost_low, cost_high = limits if len(limits) == 2 else (None, None)
    return FrontierSpot(
        candidate.model, candidate.state, cost, cost_low, cost_high, quality, low, high, facts["p95_ms"]
    )
