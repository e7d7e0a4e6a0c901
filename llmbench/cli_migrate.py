"""`llmbench migrate`: an older config folder becomes the present one, and every route is compared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from llmbench.check import check_folder
from llmbench.cli_output import Json, err, out, print_json, print_table

if TYPE_CHECKING:
    from llmbench.migration.values import Migration


def migrate(
    old: Annotated[Path, typer.Argument(metavar="OLD_DIR", help="Folder of the older files; only read.")],
    to: Annotated[Path, typer.Option("--to", help="Folder to write; empty, or not there yet.")] = Path(
        "configs"
    ),
    check: Annotated[
        bool,
        typer.Option("--check", help="Exit with 1 if a route differs. Only compares a folder that is full."),
    ] = False,
    tier: Annotated[
        list[str] | None,
        typer.Option(help="TASK=TIER for a task that is not to be standard; may be given again."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Set a folder that is full aside.")] = False,
    as_json: Json = False,
) -> None:
    """Carry an older config folder over: every task keeps its model, nothing is dropped silently."""
    from llmbench.migration import migrate as run
    from llmbench.migration import prove_folder

    is_full = to.is_dir() and any(to.iterdir())
    done = prove_folder(old, to) if check and is_full and not force else run(
        old, to, tiers=_tiers(tier or []), force=force
    )  # fmt: skip
    findings = [finding for finding in check_folder(to) if finding.severity == "error"]
    if as_json:
        print_json({**done.to_dict(), "check": [str(finding) for finding in findings]})
    else:
        _show(done)
        for finding in findings:
            err.print(f"[bold red]to do[/] {escape(str(finding))}")
    raise typer.Exit(1 if (check and done.differences) or findings else 0)


def _tiers(given: list[str]) -> dict[str, str]:
    """`TASK=TIER` as a mapping.

    Raises:
        BadParameter: one of them is not of that form.
    """
    parts = [each.partition("=") for each in given]
    if wrong := next((each for each in parts if not (each[0] and each[2])), None):
        raise typer.BadParameter(f"{''.join(wrong)!r} is not TASK=TIER, such as caption=cheap")
    return {task.strip(): tier.strip() for task, _, tier in parts}


def _show(done: Migration) -> None:
    facts = done.to_dict()
    rows = [
        (each["task"], each["file"], " > ".join(each["old"]), each["tier"], " > ".join(each["new"]))
        for each in facts["tasks"]
    ]
    print_table(["task", "from", "old", "tier", "new"], rows)
    for hidden in done.hidden:
        out.print(
            escape(
                f"note: model {hidden.key}: {hidden.name!r} reads like another model than {hidden.asked!r}"
            )
        )
    for loss in done.losses:
        out.print(escape(f"not carried: {loss}"))
    if done.kept is not None:
        out.print(escape(f"the earlier folder is now {done.kept}"))
    for difference in done.differences:
        out.print(escape(f"differs: {difference}"))
    written = f"{', '.join(done.files)} written to {done.folder}; " if done.files else ""
    counts = (
        f"{done.compared} routes compared, {len(done.differences)} differ, {len(done.losses)} not carried"
    )
    out.print(escape(written + counts))
