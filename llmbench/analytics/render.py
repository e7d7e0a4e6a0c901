"""Run folder -> report.html, report.md and figures/*.svg: the same inputs give the same bytes.

Everything shown passes two doors that no template can leave open: `visible` (control characters, hidden
marks) and then the escaping of the format, HTML or Markdown. The page needs no script and no network.
"""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from llmbench.analytics.media_pages import PAGE_BYTES, MediaPage, show_media
from llmbench.analytics.pictures import Picture, draw_strip, draw_task
from llmbench.analytics.story import Story, read_story
from llmbench.analytics.task_story import LANGUAGES, Candidate
from llmbench.analytics.warehouse import open_warehouse
from llmbench.display import figures, wording

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES: Final = Path(__file__).parent / "templates"


def stake(evidence: float | None) -> str:
    """How often a stake grew, in few digits."""
    if evidence is None:
        return wording.MISSING
    if evidence >= 1e6:
        return "over a million"
    return wording.number(evidence, 0 if evidence >= 10 else 1)


def goal(threshold: float | None) -> str:
    """How often a stake must grow: the next whole number, as a threshold is reached and not rounded to."""
    return wording.MISSING if threshold is None else wording.number(math.ceil(threshold - 1e-6))


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
    "size": wording.size,
    "stake": stake,
    "goal": goal,
    "language": lambda tag: LANGUAGES.get(str(tag), str(tag)),
}


class _Plain(str):
    """Text of our own that is Markdown already."""

    __slots__ = ()


def render_report(run_dir: Path, *, extras: Mapping[str, Any] | None = None) -> Path:
    """Write report.html, report.md and figures/*.svg into a run folder; return the path of report.html.

    Reads plan.json, results.jsonl, recommendation.json, and judgements.jsonl, labels.jsonl, extras.json and
    the files in media/ where they are there, and nothing else.

    Args:
        run_dir: the run folder.
        extras: descriptive tables by name (ranking, aiq, holm, slices), each a list of objects; extras.json
            of the folder if None.

    Raises:
        WarehouseError: one of the first three is missing, or one of all cannot be read.
    """
    with open_warehouse(run_dirs=[run_dir]) as warehouse:
        story = read_story(run_dir, warehouse, extras=extras)
    pictures = _draw(story)
    folder = run_dir / "figures"
    folder.mkdir(exist_ok=True)
    for stale in folder.glob("*.svg"):
        stale.unlink()
    for name, svg in _standalone(pictures).items():
        _write(folder / f"{name}.svg", svg)
    _write(run_dir / "report.md", render_markdown(story))
    _write(run_dir / "report.html", render_html(story, pictures, show_media(run_dir, story.media)))
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
        return _standalone(_draw(read_story(run_dir, warehouse, recommendation)))


def _draw(story: Story) -> dict[int, list[Picture]]:
    return {task.number: draw_task(task, story.header["margin"] or 0.0) for task in story.tasks}


def _standalone(pictures: Mapping[int, Sequence[Picture]]) -> dict[str, str]:
    style = figures.style()
    return {each.name: figures.standalone(each.svg, style) for drawn in pictures.values() for each in drawn}


def render_html(
    story: Story, pictures: Mapping[int, Sequence[Picture]], media: Mapping[int, MediaPage] | None = None
) -> str:
    """The page of a story; `pictures` are the drawn figures and `media` the examples, by task number."""
    from markupsafe import Markup

    page = _environment(is_html=True)
    drawn = {
        number: [(each.caption, Markup(figures.inline(each.svg))) for each in several]  # noqa: S704 - own SVG
        for number, several in pictures.items()
    }
    style = figures.style() + (TEMPLATES / "report.css").read_text(encoding="utf-8")

    def strip(candidate: Candidate | None) -> Markup:
        svg = draw_strip(candidate, story.header["margin"] or 0.0)
        return Markup("" if svg is None else figures.inline(svg))  # noqa: S704 - an SVG of numbers alone

    return page.get_template("report.html.j2").render(
        story=story,
        figures=drawn,
        media=media or {},
        page_bytes=PAGE_BYTES,
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


def _commands(story: Story) -> list[str]:
    """What to type to get this report again; answers already paid for come from the ledger."""
    words = ["llmbench", "sweep", str(story.plan["name"] or "default")]
    if story.header["seed"] is not None:
        words += ["--seed", str(story.header["seed"])]
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
