"""`llmbench migrate`: an older config folder becomes the present one, and every route is compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from llmbench.check import check_folder
from llmbench.cli_output import Json, out, print_json
from llmbench.display.wording import markdown
from llmbench.errors import ConfigError
from llmbench.visible import visible

if TYPE_CHECKING:
    from llmbench.migration.values import Migration

#: What a review of the move reads, in the new folder.
REPORT: Final = "MIGRATION.md"
_COLUMNS: Final = ("task", "from", "old", "tier", "new")
#: Columns of a terminal that has room for the file that decided; MIGRATION.md and --json always name it.
_WIDE: Final = 120
_WRONG: Final = ("Other route", "Other option", "To do")


def migrate(
    old: Annotated[Path, typer.Argument(metavar="OLD_DIR", help="Folder of the older files; only read.")],
    to: Annotated[Path, typer.Option("--to", help="Folder to write; empty, or not there yet.")] = Path(
        "configs"
    ),
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Exit with 1 if a route or option differs. A full folder is only compared."
        ),
    ] = False,
    tier: Annotated[
        list[str] | None,
        typer.Option(help="TASK=TIER for a task that is not to be standard; may be given again."),
    ] = None,
    not_a_task: Annotated[
        list[str] | None,
        typer.Option("--not-a-task", help="A name in the older files that is no task; may be given again."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Set a folder that is full aside.")] = False,
    as_json: Json = False,
) -> None:
    """Carry an older config folder over: every task keeps its model, nothing is dropped silently."""
    from llmbench.migration import migrate as run
    from llmbench.migration import prove_folder

    is_full = to.is_dir() and any(to.iterdir())
    others = not_a_task or []
    if check and is_full and not force:
        if tier:
            raise typer.BadParameter(f"--tier has no effect: {to} is full and only compared; leave it out")
        done = prove_folder(old, to, not_tasks=others)
    else:
        done = run(old, to, tiers=_tiers(tier or []), not_tasks=others, force=force)
    errors = [str(finding) for finding in check_folder(to) if finding.severity == "error"]
    if done.files:
        _write_report(done, errors)
    if as_json:
        print_json({**done.to_dict(), "check": errors})
    else:
        _show(done, errors)
    raise typer.Exit(1 if (check and not done.is_same) or errors else 0)


def _tiers(given: list[str]) -> dict[str, str]:
    """`TASK=TIER` as a mapping.

    Raises:
        BadParameter: one of them is not of that form.
    """
    parts = [each.partition("=") for each in given]
    if wrong := next((each for each in parts if not (each[0] and each[2])), None):
        raise typer.BadParameter(f"{''.join(wrong)!r} is not TASK=TIER, such as caption=cheap")
    return {task.strip(): tier.strip() for task, _, tier in parts}


def _show(done: Migration, errors: Sequence[str]) -> None:
    wide = out if out.is_terminal else Console(width=1000)  # a pipe has no edge to fold at
    columns = range(len(_COLUMNS)) if wide.width >= _WIDE else (0, 2, 3, 4)
    table = Table(header_style="bold")
    for column in columns:
        table.add_column(_COLUMNS[column], overflow="fold")
    for row in _rows(done):  # a model a line: a chain is as wide as its longest name
        table.add_row(*(escape(row[column]).replace(" > ", "\n> ") for column in columns))
    wide.print(table, soft_wrap=False)
    for title, lines in _lists(done, errors):
        style = "bold red" if title in _WRONG else "bold"
        for line in lines:
            out.print(f"[{style}]{title.lower()}:[/] {escape(visible(line))}")
    if done.kept is not None:
        out.print(escape(f"the earlier folder is now {done.kept}"))
    if done.files:
        written = f"{', '.join(done.files)} and {REPORT} written to {done.folder}"
        out.print(escape(f"{written}; {REPORT} has this table and these lists"))
    out.print(escape(visible(_count(done))))
    if errors:
        out.print(f"[bold red]{escape(visible(_to_do(errors)))}[/]")


def _rows(done: Migration) -> list[tuple[str, ...]]:
    """One row a task, old -> new, as texts on one line."""
    rows = [
        (
            each["task"],
            PurePath(each["file"]).name,
            " > ".join(each["old"]),
            each["tier"],
            " > ".join(each["new"]),
        )
        for each in done.to_dict()["tasks"]
    ]
    return [tuple(" ".join(visible(cell).split()) or "none" for cell in row) for row in rows]


def _lists(done: Migration, errors: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Everything else that a person should read, by title."""
    return [
        ("Hidden model", [str(each) for each in done.hidden]),
        ("Not carried", [str(each) for each in done.losses]),
        ("Note", [str(each) for each in done.notes]),
        ("Other route", [str(each) for each in done.differences]),
        ("Other option", [str(each) for each in done.changes]),
        ("To do", list(errors)),
    ]


def _count(done: Migration) -> str:
    lost = f"; {len(done.losses)} not carried" if done.files else ""  # a folder that is only compared
    return (
        f"{len(done.moves)} tasks; {done.compared} routes compared, {len(done.differences)} differ; "
        f"{len(done.changes)} options differ{lost}"
    )


def _to_do(errors: Sequence[str]) -> str:
    """What keeps the client from starting in the new folder, in one line; each error says what to do."""
    return f"The client does not start until this is put right ({len(errors)}): {'; '.join(errors)}"


def _write_report(done: Migration, errors: Sequence[str]) -> None:
    """Write the table and the lists beside the new files, for a review. The loader does not read it."""
    rows = [_COLUMNS, ("---",) * len(_COLUMNS), *(map(markdown, row) for row in _rows(done))]
    parts = [
        "# Moved from older files",
        markdown(_count(done)) + ".",
        *([f"**{markdown(_to_do(errors))}**"] if errors else []),
        "\n".join(f"| {' | '.join(row)} |" for row in rows),
    ]
    for title, lines in _lists(done, errors):
        if lines:
            parts += [f"## {title}", "\n".join(f"- {markdown(line)}" for line in lines)]
    path = done.folder / REPORT
    try:
        path.write_text("\n\n".join(parts) + "\n", encoding="utf-8", newline="\n")
    except OSError as error:
        raise ConfigError(f"the report cannot be written: {error.strerror}", path=str(path)) from error
