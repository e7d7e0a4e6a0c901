"""The verbs of `llmbench telemetry`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from llmbench.cli_interop import export_verb, import_verb
from llmbench.cli_output import Json, err, out, print_json
from llmbench.cli_telemetry_report import report_verb
from llmbench.cli_verify import verify_verb
from llmbench.display.wording import count
from llmbench.errors import WarehouseError

telemetry_app = typer.Typer(
    help="Telemetry: load logs into a store, archive it, hold promises against it, bring in and send out.",
    no_args_is_help=True,
)
telemetry_app.command("import")(import_verb)
telemetry_app.command("export")(export_verb)
telemetry_app.command("verify")(verify_verb)
telemetry_app.command("report")(report_verb)

Project = Annotated[Path, typer.Option("--project", help="Folder that holds workspaces/.")]
Store = Annotated[
    Path | None, typer.Option(help="The store; workspaces/telemetry.duckdb of the project if none.")
]


@telemetry_app.command("load")
def load(
    logs: Annotated[
        list[str] | None, typer.Argument(help="Logs or globs, also .gz and .zst; the project's own if none.")
    ] = None,
    store: Store = None,
    retry: Annotated[
        bool, typer.Option("--retry", help="Judge quarantined lines again first, after an upgrade say.")
    ] = False,
    project: Project = Path(),
    as_json: Json = False,
) -> None:
    """Load what is new in logs into the store, also while they are written to.

    Lines that are no records are kept in the table `quarantine`; a torn one is taken up when it is whole.
    """
    from llmbench.analytics.telemetry_store import (
        DEFAULT_STORE,
        cut_lines,
        load_store,
        open_store,
        retry_quarantine,
    )
    from llmbench.telemetry import DEFAULT_LOG_PATH

    where = store or project / DEFAULT_STORE
    taken_up = cut = 0
    if retry:
        _check_there(where)
        with open_store(where) as con:
            taken_up, cut = retry_quarantine(con), cut_lines(con)
    done = load_store(where, logs or [str(project / DEFAULT_LOG_PATH)])
    facts = {"store": str(where), "files": done.files, "lines": done.lines, "rows": done.calls}
    facts |= {"quarantined": done.quarantined, "blank": done.blank, "taken_up": taken_up, "cut": cut}
    if as_json:
        print_json(facts)
        return
    if retry:
        out.print(escape(f"{where}: {count(taken_up, 'quarantined line')} taken up"), highlight=False)
    if cut:
        err.print(
            f"note: of {count(cut, 'quarantined line')} over 1 MiB only the beginning is kept: to take "
            "these up, load their log into a new store",
            highlight=False,
        )
    out.print(
        escape(
            f"{where}: {count(done.lines, 'new line')} of {count(done.files, 'file')}: "
            f"{count(done.calls, 'call')}, {done.quarantined:+d} in quarantine (blank lines: {done.blank})"
        ),
        highlight=False,
    )


@telemetry_app.command("archive")
def archive(
    to: Annotated[Path, typer.Argument(help="Folder of the archive: day=YYYY-MM-DD/*.parquet.")],
    keep_days: Annotated[int, typer.Option("--keep-days", min=1, help="Newest days that stay.")] = 30,
    store: Store = None,
    project: Project = Path(),
    as_json: Json = False,
) -> None:
    """Move older days out of the store into Parquet files; `--archive` of other verbs reads them."""
    from llmbench.analytics.archive import archive_days
    from llmbench.analytics.telemetry_store import DEFAULT_STORE, open_store

    where = store or project / DEFAULT_STORE
    _check_there(where)
    with open_store(where) as con:
        done = archive_days(con, to, keep_days)
    if as_json:
        print_json({"store": str(where), "archive": str(to), "days": done.days, "rows": done.calls})
        return
    out.print(escape(f"{to}: {count(done.days, 'day')} moved, {count(done.calls, 'call')}"), highlight=False)


def _check_there(store: Path) -> None:
    """These verbs change a store that there is; a wrong name is not to make an empty one."""
    if not store.is_file():
        raise WarehouseError(f"{store}: no such store; make it with `llmbench telemetry load LOG`")
