"""`llmbench apply`: a proved recommendation becomes a change of the config files, and can be taken back."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.text import Text

from llmbench.check import check_folder
from llmbench.cli_output import Json, err, out, print_json, print_table
from llmbench.errors import ApplyError
from llmbench.visible import visible

if TYPE_CHECKING:
    from llmbench.bench.applied import Applied
    from llmbench.bench.chain import Project
    from llmbench.bench.prepared import Prepared

_COLOURS = {"+": "green", "-": "red", "@": "cyan"}


def apply(
    recommendation: Annotated[
        str | None,
        typer.Argument(
            metavar="[RECOMMENDATION]",
            help="A recommendation.json, a run folder or a run id. With --undo: an id of the log.",
        ),
    ] = None,
    task: Annotated[list[str] | None, typer.Option(help="Move only this task; may be given again.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Write without asking.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the change.")] = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="Take back the last apply, or the one of the id that is given.")
    ] = False,
    log: Annotated[bool, typer.Option("--log", help="Show the decision log.")] = False,
    by: Annotated[str | None, typer.Option(help="Who decides; the login name if none.")] = None,
    reason: Annotated[str, typer.Option(help="Why, for the decision log.")] = "",
    accept_uncalibrated: Annotated[
        bool,
        typer.Option("--accept-uncalibrated", help="Also move tasks scored by a judge that nobody checked."),
    ] = False,
    accept_unproved: Annotated[
        bool,
        typer.Option("--accept-unproved", help="Also apply a recommendation.json without its run beside it."),
    ] = False,
    max_age_days: Annotated[
        float, typer.Option(min=0, help="Most days since the oldest call of the moved tasks.")
    ] = 30.0,
    project: Annotated[Path, typer.Option("--project", help="Folder with configs/ and reports/.")] = Path(),
    as_json: Json = False,
) -> None:
    """Show what a recommendation changes in the config files, ask, and write it; or take it back."""
    from llmbench.bench.apply import prepare
    from llmbench.bench.chain import Project
    from llmbench.bench.prepared import finish_interrupted
    from llmbench.bench.undo import prepare_undo

    _check_usage(recommendation, yes=yes, dry_run=dry_run, undo=undo, log=log, tasks=task)
    where = Project(project)
    if log:
        _show_log(where, is_json=as_json)
        return
    if not dry_run and (finished := finish_interrupted(where)):
        err.print(f"note: {escape(visible(finished))}")
    prepared = (
        prepare_undo(where, recommendation, check=check_folder)
        if undo
        else prepare(
            str(recommendation),
            where,
            task or (),
            accept_uncalibrated=accept_uncalibrated,
            accept_unproved=accept_unproved or dry_run,
            max_age_days=max_age_days,
            check=check_folder,
        )
    )
    if not as_json:
        _show(prepared.shown)
    if dry_run:
        _end(prepared.shown, is_json=as_json)
        return
    is_asked = sys.stdin.isatty() and not as_json
    if not yes and not is_asked:
        if as_json:
            print_json(prepared.shown.to_dict())
        raise ApplyError("nothing was written: there is nobody to ask here; give --yes to write it")
    if not yes and not typer.confirm(_question(prepared), err=True):
        raise ApplyError("nothing was written")
    _write(prepared, by, reason, is_json=as_json)


def _check_usage(
    recommendation: str | None, *, yes: bool, dry_run: bool, undo: bool, log: bool, tasks: list[str] | None
) -> None:
    """Refuse options that contradict each other.

    Raises:
        BadParameter: they do.
    """
    if not (recommendation or undo or log):
        raise typer.BadParameter("give a recommendation.json, a run folder or a run id, or --undo or --log")
    if yes and dry_run:
        raise typer.BadParameter("--yes writes and --dry-run does not: give one of them")
    if log and (recommendation or undo or yes):
        raise typer.BadParameter("--log only shows the decision log: give it alone")
    if undo and tasks:
        raise typer.BadParameter("--undo takes a whole apply back: leave --task out")


def _question(prepared: Prepared) -> str:
    doubt = (
        "" if prepared.is_proved else "Its run does not lie beside it: nothing shows that it was measured. "
    )
    return f"{doubt}Write this change?"


def _write(prepared: Prepared, by: str | None, reason: str, *, is_json: bool) -> None:
    from llmbench.bench.prepared import commit

    _end(commit(prepared, by=by, reason=reason), is_json=is_json)


def _show(shown: Applied) -> None:
    """The change in words, then line by line."""
    for move in shown.moves:
        out.print(escape(visible(str(move))), style="bold")
        if move.sentence:
            out.print(escape(visible(move.sentence)))
    for note in shown.notes:
        err.print(f"note: {escape(visible(note))}")
    for line in shown.diff.split("\n")[:-1]:
        is_head = line.startswith(("+++ ", "--- ", "diff "))
        out.print(Text(visible(line), style="bold" if is_head else _COLOURS.get(line[:1], "")))


def _end(shown: Applied, *, is_json: bool) -> None:
    print_json(shown.to_dict()) if is_json else out.print(escape(shown.state))


def _show_log(project: Project, *, is_json: bool) -> None:
    from llmbench.bench.decision_log import HEAD, read_decisions, table
    from llmbench.bench.prepared import clear_leftovers
    from llmbench.config.load import config_folder

    config_folder(project.configs)
    clear_leftovers(project)
    log = read_decisions(project.configs)
    for doubt in log.doubts():
        err.print(f"note: {escape(visible(doubt))}")
    if is_json:
        print_json([entry.facts() for entry in log.entries])
        return
    print_table(list(HEAD), table(log.entries))
