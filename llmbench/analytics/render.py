"""Run folder -> report.html, report.md, summary.md and figures/*.svg: the same inputs give the same bytes.

Each language has its own: report.ja.html, and so on. Everything shown passes two doors that no template can
leave open: `visible` (control characters, hidden marks) and then the escaping of the format, HTML or
Markdown. The page needs no script and no network.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmbench.analytics.media_pages import PAGE_BYTES, MediaPage, show_media, told_by
from llmbench.analytics.pictures import Picture, draw_strip, draw_task
from llmbench.analytics.story import Story, read_story
from llmbench.analytics.summary import render_summary
from llmbench.analytics.task_story import Candidate
from llmbench.analytics.templating import TEMPLATES, Plain, environment, language_style, page_name
from llmbench.analytics.warehouse import open_warehouse
from llmbench.display import figures, wording
from llmbench.display.language import ENGLISH, LANGUAGES, known_language, say, speaking, spoken
from llmbench.display.png import draw_png
from llmbench.errors import WarehouseError
from llmbench.own_files import own_folder, write_beside
from llmbench.visible import visible

if TYPE_CHECKING:
    from markupsafe import Markup


def render_report(
    run_dir: Path,
    *,
    extras: Mapping[str, Any] | None = None,
    languages: Sequence[str] = tuple(LANGUAGES),
    with_png: bool = False,
) -> Path:
    """Write the report, its summary and figures/*.svg into a run folder; return the path of the first page.

    Reads plan.json, results.jsonl, recommendation.json, and judgements.jsonl, labels.jsonl, extras.json and
    the files in media/ where they are there, and nothing else.

    Args:
        run_dir: the run folder.
        extras: descriptive tables by name (ranking, aiq, holm, slices), each a list of objects; extras.json
            of the folder if None.
        languages: tags of the languages to write in, each once. The pages of one call link to each other.
        with_png: write each figure as PNG too, with the colours of the light page.

    Raises:
        ConfigError: there is no such language, or the package that draws PNG is not installed.
        WarehouseError: one of the first three is missing, one of all cannot be read, or the report cannot be
            written; also where `figures` is a link to another folder.
    """
    tags = [known_language(tag) for tag in dict.fromkeys(languages)]
    media: dict[int, MediaPage] | None = None
    with open_warehouse(run_dirs=[run_dir]) as warehouse:
        for tag in tags:
            with speaking(tag):
                story = read_story(run_dir, warehouse, extras=extras)
                if media is None:  # the same thumbnails and sounds serve each language
                    media = show_media(run_dir, story.media)
                others = [other for other in tags if other != tag]
                _write_report(run_dir, story, told_by(media, story.media), others, with_png=with_png)
    return run_dir / page_name(tags[0])


def summarize(run_dir: Path, language: str = ENGLISH) -> str:
    """The Markdown of a run's summary, sized for the text of a pull request. Writes nothing.

    Raises:
        ConfigError: there is no such language.
        WarehouseError: as in `render_report`.
    """
    with speaking(language), open_warehouse(run_dirs=[run_dir]) as warehouse:
        story = read_story(run_dir, warehouse)
        return render_summary(story, _commands(story))


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


def _write_report(
    run_dir: Path, story: Story, media: Mapping[int, MediaPage], others: Sequence[str], *, with_png: bool
) -> None:
    """Write what a report has in the spoken language."""
    tag, pictures = spoken(), _draw(story)
    _write_figures(run_dir / "figures", _standalone(pictures), with_png=with_png)
    _write(run_dir / page_name(tag, "summary.md"), render_summary(story, _commands(story)))
    _write(run_dir / page_name(tag, "report.md"), render_markdown(story))
    _write(run_dir / page_name(tag), render_html(story, pictures, media, others))


def _write_figures(folder: Path, drawn: Mapping[str, str], *, with_png: bool) -> None:
    """Write the figures of the spoken language, and nothing stays of those that an older report left."""
    pngs = {name: draw_png(svg) for name, svg in drawn.items()} if with_png else {}
    try:
        own_folder(folder)
    except OSError as error:
        raise WarehouseError(f"{folder} cannot be used: {error.strerror}") from error
    for path in [*folder.glob("*.svg"), *folder.glob("*.png")]:
        if (path.suffixes[:-1] or [f".{ENGLISH}"])[-1] == f".{spoken()}":
            path.unlink()
    for name, svg in drawn.items():
        _write(folder / page_name(spoken(), f"{name}.svg"), svg)
    for name, png in pngs.items():
        _write(folder / page_name(spoken(), f"{name}.png"), png)


def _draw(story: Story) -> dict[int, list[Picture]]:
    return {task.number: draw_task(task, story.header["margin"] or 0.0) for task in story.tasks}


def _standalone(pictures: Mapping[int, Sequence[Picture]]) -> dict[str, str]:
    style = figures.style()
    return {each.name: figures.standalone(each.svg, style) for drawn in pictures.values() for each in drawn}


def render_html(
    story: Story,
    pictures: Mapping[int, Sequence[Picture]],
    media: Mapping[int, MediaPage] | None = None,
    others: Sequence[str] = (),
) -> str:
    """The page of a story in the spoken language.

    Args:
        story: what is told, read in the same language.
        pictures: the drawn figures by task number.
        media: the examples of pictures or sounds by task number.
        others: tags of the languages whose pages lie beside this one.
    """
    from markupsafe import Markup

    drawn = {
        number: [(each.caption, Markup(figures.inline(each.svg))) for each in several]  # noqa: S704 - own SVG
        for number, several in pictures.items()
    }

    def strip(candidate: Candidate | None) -> Markup:
        svg = draw_strip(candidate, story.header["margin"] or 0.0)
        return Markup("" if svg is None else figures.inline(svg))  # noqa: S704 - an SVG of numbers alone

    return (
        environment("html")
        .get_template("report.html.j2")
        .render(
            story=story,
            lang=spoken(),
            others=[(tag, LANGUAGES[tag]) for tag in others],
            figures=drawn,
            media=media or {},
            page_bytes=PAGE_BYTES,
            strip=strip,
            style=_style(),
            fewest=_fewest(story),
            commands=_commands(story),
        )
    )


def _style() -> Markup:
    """The packaged style sheets, with that of the spoken language where it has one."""
    from markupsafe import Markup

    sheets = [figures.style(), (TEMPLATES / "report.css").read_text(encoding="utf-8"), language_style()]
    return Markup("".join(sheets))  # noqa: S704 - the packaged style sheets


def _fewest(story: Story) -> list[str]:
    """The fewest units that can prove the margin, for each number of candidates."""
    text = "{units} independent units (for {candidates})"
    return [
        say(text, units=wording.number(units), candidates=wording.count(rivals, "candidate"))
        for rivals, units in story.fewest
    ]


def render_markdown(story: Story) -> str:
    """The report of a story as Markdown in the spoken language, without pictures."""
    commands = [Plain(each) for each in _commands(story)]
    template = environment("markdown").get_template("report.md.j2")
    return template.render(story=story, commands=commands, page=Plain(page_name(spoken())))


def _commands(story: Story) -> list[str]:
    """What to type to get this report again; answers already paid for come from the ledger."""
    words = ["llmbench", "sweep", str(story.plan["name"] or "default")]
    if story.header["seed"] is not None:
        words += ["--seed", str(story.header["seed"])]
    limits = {task.plan["limit"] for task in story.tasks}
    if len(limits) == 1 and None not in limits:
        words += ["--limit", str(*limits)]
    return [
        shlex.join(" ".join(visible(word).split()) for word in line)
        for line in (words, ["llmbench", "report", story.run_id])
    ]


def _write(path: Path, content: str | bytes) -> None:
    """Replace a file as a whole: a reader sees the old report or the new one."""
    try:
        write_beside(path, content if isinstance(content, bytes) else content.encode("utf-8"))
    except OSError as error:
        raise WarehouseError(f"{path} cannot be written: {error.strerror}") from error
