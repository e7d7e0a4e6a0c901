"""The verb that writes the report of a finished run again, or prints its summary for a pull request."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from llmbench.cli_output import Json, Languages, asked_languages, out, print_json
from llmbench.errors import BenchError


def report(
    run: Annotated[str, typer.Argument(help="Run id in reports/, or the path of a run folder.")],
    lang: Languages = None,
    summary: Annotated[
        bool, typer.Option("--summary", help="Print the summary for a pull request instead.")
    ] = False,
    png: Annotated[bool, typer.Option("--png", help="Write each figure as PNG too.")] = False,
    decide: Annotated[bool, typer.Option(help="Decide again first: judgements or labels came in.")] = False,
    project: Annotated[
        Path, typer.Option("--project", help="Folder with configs/, datasets/ and notebooks/.")
    ] = Path(),
    as_json: Json = False,
) -> None:
    """Write the report of a finished run again: pages, Markdown, summary and figures in each language."""
    from llmbench.analytics.render import render_report, summarize
    from llmbench.bench.chain import Project
    from llmbench.display.language import ENGLISH, LANGUAGES

    languages = asked_languages(lang)
    folder = Path(run) if Path(run).is_dir() else Project(project).reports / run
    if not (folder / "plan.json").is_file():
        raise BenchError(f"{folder} is no run folder: plan.json is missing; run `llmbench sweep` first")
    if decide:
        from llmbench.bench.run_decisions import write_recommendation

        write_recommendation(Project(project), folder)
    if summary:
        text = summarize(folder, (languages or [ENGLISH])[0])
        print_json({"summary": text}) if as_json else _write(text)
        return
    page = render_report(folder, languages=languages or tuple(LANGUAGES), with_png=png)
    print_json({"report": str(page)}) if as_json else out.print(f"report: {page}")


def _write(text: str) -> None:
    """Print a text as it is, in UTF-8 whatever the terminal's own: another program reads it."""
    sys.stdout.buffer.write(text.encode())
    sys.stdout.buffer.flush()
