"""Notebooks from the command line: `llmbench notebook`, and the matrix of `llmbench sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from llmbench.cli_output import Json, err, out, print_json, print_table
from llmbench.errors import NotebookError, SweepError

if TYPE_CHECKING:
    from llmbench.bench.chain import Choice, Project
    from llmbench.bench.notebook_matrix import MatrixRow

Matrix = Annotated[list[str] | None, typer.Option(help="name=1,2,3: a run for each value; may be repeated.")]
Jobs = Annotated[int, typer.Option(min=1, help="Notebooks at once; each takes about a core.")]


def notebook(
    path: Annotated[Path, typer.Argument(help="The notebook; it is never written to.")],
    values: Annotated[
        list[str] | None, typer.Option("--set", help="name=value of a parameter; may be repeated.")
    ] = None,
    matrix: Matrix = None,
    jobs: Jobs = 2,
    to: Annotated[
        Path | None, typer.Option("--out", help="Folder of the copies; reports/<notebook's name> if none.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Run also what has been run before.")] = False,
    cwd: Annotated[Path | None, typer.Option(help="Folder to run in; the notebook's own if none.")] = None,
    timeout: Annotated[float, typer.Option(help="Most seconds for one notebook.")] = 3600,
    as_json: Json = False,
) -> None:
    """Run a notebook with checked parameters, or once for each combination, several at a time.

    A value is read as the notebook's own annotation wants it. What has run before, with the same notebook and
    values, is kept.
    """
    from llmbench.bench.notebook_matrix import run_matrix
    from llmbench.bench.notebook_parameters import typed_values

    given, axes = typed_values(path, _named_texts("--set", values), _named_texts("--matrix", matrix))
    done = run_matrix(
        path,
        to if to is not None else Path("reports") / path.stem,
        axes,
        given,
        jobs=jobs,
        again=again,
        cwd=cwd or path.absolute().parent,
        timeout_s=timeout,
        on_row=_tell if err.is_terminal else None,
    )
    if as_json:
        print_json([row.as_dict() for row in done.rows])
    else:
        out.print(escape(str(done)), highlight=False)
    if done.failed:
        raise NotebookError(
            f"{len(done.failed)} of {len(done.rows)} runs of {path.name} failed, first "
            f"{done.failed[0].name}: {done.failed[0].error}; the copies are in {done.out_dir}"
        )


def sweep_matrix(
    project: Project, plan: str, choice: Choice, matrix: list[str], *, jobs: int, is_json: bool
) -> None:
    """Run a plan once for each combination of `--matrix`, and print what became of each.

    Raises:
        SweepError: the matrix or a plan is wrong (nothing was run), or a run failed.
    """
    from llmbench.bench import chain
    from llmbench.bench.notebook_parameters import typed_values
    from llmbench.bench.sweep_matrix import plan_matrix, run_plans
    from llmbench.progress_bar import ProgressBar

    _, axes = typed_values(project.notebooks / chain.NOTEBOOKS[0], {}, _named_texts("--matrix", matrix))
    with chain.open_client(project, plan, replay=choice.replay) as client:
        runs = plan_matrix(project, plan, axes, choice, client)
    for notice in dict.fromkeys(notice for run in runs for notice in run.plan.notices):
        err.print(f"note: {escape(notice)}")
    with ProgressBar(err) as watch:
        rows = [row.as_dict() for row in run_plans(project, runs, watch, jobs=jobs)]
    if is_json:
        print_json(rows)
    else:
        said = [(row["summary"] or {}).get("counts") or row["error"] for row in rows]
        names = [[*row["parameters"].values(), row["run_id"], row["status"]] for row in rows]
        head = [*axes, "run", "status", "result"]
        print_table(head, [[*name, text] for name, text in zip(names, said, strict=True)])
    failed = [row["run_id"] for row in rows if row["error"]]
    if failed:
        raise SweepError(f"{len(failed)} of {len(rows)} runs failed: {', '.join(failed)}")


def _named_texts(option: str, given: list[str] | None) -> dict[str, str]:
    """Split `name=text` options.

    Raises:
        NotebookError: one has no `=` or no name, or a name is given twice.
    """
    texts: dict[str, str] = {}
    for item in given or ():
        name, is_split, text = item.partition("=")
        if not is_split or not name.strip():
            raise NotebookError(f"{option} {item}: write it as name=value")
        if name.strip() in texts:
            raise NotebookError(f"{option} {item}: `{name.strip()}` is given twice")
        texts[name.strip()] = text
    return texts


def _tell(row: MatrixRow) -> None:
    err.print(escape(f"{row.status} {row.name}"), style="dim", highlight=False)
