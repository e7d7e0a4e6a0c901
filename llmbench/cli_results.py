"""`llmbench results import`: what another tool measured as a table for `llmbench decide`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from llmbench.cli_output import Json, err, out, print_json, print_table
from llmbench.errors import DatasetError
from llmbench.visible import visible

if TYPE_CHECKING:
    from llmbench.interop.inspect_results import LogSummary

results_app = typer.Typer(help="Tables of results that another tool measured.", no_args_is_help=True)


@results_app.callback()
def results() -> None:
    """Tables of results that another tool measured."""


@results_app.command("import")
def import_verb(
    format_: Annotated[Literal["inspect"], typer.Argument(metavar="FORMAT", help="inspect.")],
    logs: Annotated[list[Path], typer.Argument(help="Logs, .eval or .json, or folders of .eval logs.")],
    to: Annotated[Path, typer.Option("--out", help="Table to write: JSON lines.")],
    scorer: Annotated[
        str | None, typer.Option(help="Whose score counts: NAME, or NAME/KEY of a score with several values.")
    ] = None,
    scale: Annotated[
        tuple[float, float] | None, typer.Option(metavar="WORST BEST", help="Range of the scorer's numbers.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="Task of the rows; the log's own by default.")] = None,
    cluster: Annotated[
        str | None, typer.Option(help="Field of the samples' metadata that names what belongs together.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(metavar="THEIRS=OURS", help="Another name for a log's model.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make one table of logs of Inspect AI, one log a model; every sample is a row, failures too.

    Exits with 1 where no row is a result.
    """
    del format_  # one so far; typer refuses another
    try:
        from llmbench.interop.inspect_results import import_results
        from llmbench.interop.inspect_rows import Terms
        from llmbench.interop.inspect_scores import Scale
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "inspect_ai":
            raise
        raise DatasetError('logs of Inspect need inspect-ai: pip install "llmbench[inspect]"') from error

    names = dict(_renamed(pair) for pair in model or ())
    terms = Terms(scorer, Scale(*scale) if scale else Scale(), task, cluster, names)
    done = import_results(logs, to, terms)
    if as_json:
        print_json([{name: getattr(one, name) for name in type(one).__slots__} for one in done])
    else:
        _say(done, to)
    if not any(one.ok or one.failed for one in done):
        raise typer.Exit(1)


def _renamed(pair: str) -> tuple[str, str]:
    theirs, separator, ours = pair.partition("=")
    if not (separator and theirs and ours):
        raise DatasetError(
            f"--model {pair!r:.80}: write the log's model and its new name: openai/gpt-4o=gpt4o"
        )
    return theirs, ours


def _say(done: list[LogSummary], to: Path) -> None:
    columns = ("log", "task", "model", "rows", "ok", "failed", "pending")
    rows = [(one.source.name, one.task, one.model, one.rows, one.ok, one.failed, one.pending) for one in done]
    print_table(columns, [[visible(str(cell)) for cell in row] for row in rows])
    for one in done:
        for note, count in one.notes.items():
            err.print(f"{_shown(one.source.name)}: {count:,} {_shown(note)}")
    out.print(f"{sum(one.rows for one in done):,} rows written to {_shown(str(to))}")


def _shown(text: str) -> str:
    return escape(visible(" ".join(text.split())))
