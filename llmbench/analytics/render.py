"""Run folder -> report.html, report.md and figures/*.svg: the same inputs give the same bytes.

Everything shown passes two doors that no template can leave open: `visible` (control characters, hidden
marks) and then the escaping of the format, HTML or Markdown. The page needs no script and no network.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from xml.etree.ElementTree import Element

from llmbench.analytics.story import LANGUAGES, Candidate, Story, TaskStory, read_story
from llmbench.analytics.warehouse import open_warehouse
from llmbench.display import figures, wording

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES: Final = Path(__file__).parent / "templates"
_FILTERS: Final[Mapping[str, Callable[..., str]]] = {
    "money": wording.money,
    "share": wording.share,
    "points": wording.score,
    "plain": wording.plain,
    "change": wording.change,
    "points_interval": wording.score_interval,
    "change_interval": wording.change_interval,
    "duration": wording.duration,
    "duration_interval": wording.duration_interval,
    "ratio": wording.ratio,
    "rate": wording.rate,
    "number": wording.number,
    "count_of": wording.count,
    "language": lambda tag: LANGUAGES.get(str(tag), str(tag)),
}


class _Plain(str):
    """Text of our own that is Markdown already."""

    __slots__ = ()


def render_report(run_dir: Path) -> Path:
    """Write report.html, report.md and figures/*.svg into a run folder; return the path of report.html.

    Reads plan.json, results.jsonl and recommendation.json of that folder and nothing else.

    Raises:
        WarehouseError: one of the three is missing or cannot be read.
    """
    with open_warehouse(run_dirs=[run_dir]) as warehouse:
        story = read_story(run_dir, warehouse)
    pictures = {task.number: _draw(story, task) for task in story.tasks}
    style = (TEMPLATES / "figure.css").read_text(encoding="utf-8")
    folder = run_dir / "figures"
    folder.mkdir(exist_ok=True)
    for stale in folder.glob("*.svg"):
        stale.unlink()
    for drawn in pictures.values():
        for name, svg in drawn.items():
            _write(folder / f"{name}.svg", figures.standalone(svg, style))
    _write(run_dir / "report.md", render_markdown(story))
    _write(run_dir / "report.html", render_html(story, pictures))
    return run_dir / "report.html"


def draw_figures(run_dir: Path, recommendation: Mapping[str, Any] | None = None) -> dict[str, str]:
    """The report's pictures as SVG texts by name, each with its own style sheet. Writes nothing.

    Args:
        run_dir: folder with plan.json and results.jsonl.
        recommendation: the content of recommendation.json; read from the folder if None.

    Raises:
        WarehouseError: a file is missing or cannot be read.
    """
    with open_warehouse(run_dirs=[run_dir]) as warehouse:
        story = read_story(run_dir, warehouse, recommendation)
    style = (TEMPLATES / "figure.css").read_text(encoding="utf-8")
    drawn = {name: svg for task in story.tasks for name, svg in _draw(story, task).items()}
    return {name: figures.standalone(svg, style) for name, svg in drawn.items()}


def render_html(story: Story, pictures: Mapping[int, Mapping[str, Element]]) -> str:
    """The page of a story; `pictures` are the drawn figures by task number and file name."""
    from markupsafe import Markup

    page = _environment(is_html=True)
    drawn = {
        number: [(name, Markup(figures.inline(svg))) for name, svg in each.items()]  # noqa: S704 - own SVG
        for number, each in pictures.items()
    }
    style = "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in ("figure.css", "report.css"))

    def strip(candidate: Candidate | None) -> Markup:
        return Markup(_strip(story, candidate))  # noqa: S704 - an SVG of numbers alone

    return page.get_template("report.html.j2").render(
        story=story,
        figures=drawn,
        strip=strip,
        style=Markup(style),  # noqa: S704 - the packaged style sheets
        commands=_commands(story),
    )


def render_markdown(story: Story) -> str:
    """The summary of a story, fit for the text of a pull request."""
    return (
        _environment(is_html=False)
        .get_template("report.md.j2")
        .render(story=story, commands=[_Plain(each) for each in _commands(story)])
    )


def _environment(*, is_html: bool) -> Environment:
    """A template environment in which every plain string is made visible and escaped by default."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, Undefined
    from markupsafe import Markup

    def clean(value: object) -> object:
        if isinstance(value, Markup | _Plain | Undefined):  # through their door already, or an error
            return value
        return wording.visible(str(value)) if is_html else wording.markdown(str(value))

    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=is_html,  # noqa: S701 - Markdown has its own escaping, in `clean`
        undefined=StrictUndefined,
        finalize=clean,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    for name, words in _FILTERS.items():
        made.filters[name] = words if is_html else _as_plain(words)
    made.filters["language"] = _FILTERS["language"]
    return made


def _as_plain(words: Callable[..., str]) -> Callable[..., str]:
    return lambda *args: _Plain(words(*args))


def _draw(story: Story, task: TaskStory) -> dict[str, Element]:
    """The task's pictures by file name, without those that have nothing to show."""
    margin = float(story.plan["margin"] or 0)
    reference = task.current.model if task.current else "the current model"
    tail = f"{task.number:02d}-{wording.slug(task.name)}"
    drawn = {
        f"difference-{tail}": figures.draw_differences(
            [each for each in map(_interval, task.candidates) if each],
            reference=reference,
            margin=margin,
            key=f"difference-{task.number}",
        ),
        f"tradeoff-{tail}": figures.draw_tradeoff(
            [each for each in map(_spot, task.candidates) if each],
            reference=reference,
            margin=margin,
            key=f"tradeoff-{task.number}",
        ),
    }
    return {name: svg for name, svg in drawn.items() if svg is not None}


def _interval(candidate: Candidate) -> figures.Interval | None:
    delta, bounds = candidate.facts["delta"], candidate.facts["delta_interval"]
    if delta is None or not bounds or None in bounds:
        return None
    return figures.Interval(candidate.model, candidate.state, bounds[0], delta, bounds[1])


def _spot(candidate: Candidate) -> figures.Spot | None:
    facts = candidate.facts
    quality, cost = facts["quality"], facts["cost_usd_per_1000"]
    if quality is None or cost is None:
        return None
    low, high = facts["quality_interval"] or (quality, quality)
    return figures.Spot(candidate.model, candidate.state, cost, quality, low, high)


def _strip(story: Story, candidate: Candidate | None) -> str:
    row = _interval(candidate) if candidate else None
    margin = float(story.plan["margin"] or 0)
    if row is None or not margin:
        return ""
    svg = figures.draw_strip(row.low, row.middle, row.high, margin=margin, state=row.state)
    return figures.inline(svg)


def _commands(story: Story) -> list[str]:
    """What to type to get this report again; answers already paid for come from the ledger."""
    words = ["llmbench", "sweep", str(story.plan["name"] or "default")]
    if story.plan["seed"] is not None:
        words += ["--seed", str(story.plan["seed"])]
    limits = {task.plan["limit"] for task in story.tasks}
    if len(limits) == 1 and None not in limits:
        words += ["--limit", str(*limits)]
    return [
        shlex.join(" ".join(wording.visible(word).split()) for word in line)
        for line in (words, ["llmbench", "report", story.run_id])
    ]


def _write(path: Path, text: str) -> None:
    """Replace a file as a whole: a reader sees the old report or the new one."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8", newline="\n")
    os.replace(partial, path)  # noqa: PTH105 - the atomic one
