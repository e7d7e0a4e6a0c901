"""`llmbench telemetry verify`: whether production keeps what a recommendation promised."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from llmbench.cli_output import Json, out, print_json
from llmbench.cli_sources import telemetry_warehouse
from llmbench.errors import WarehouseError

_RESULTS = "results.jsonl"


def verify_verb(
    recommendation: Annotated[Path, typer.Argument(help="recommendation.json of the run that proposed it.")],
    store: Annotated[
        Path | None,
        typer.Option(help="Loaded telemetry; workspaces/telemetry.duckdb of the project if none."),
    ] = None,
    log: Annotated[
        list[str] | None,
        typer.Option(help="Telemetry log or glob, read instead of a store; may be repeated."),
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="When the change was made, ISO 8601, UTC; found if not given.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Leave out calls from then on, ISO 8601, UTC.")] = None,
    run_dir: Annotated[
        Path | None, typer.Option("--run-dir", help="Run folder; the recommendation's own if it has results.")
    ] = None,
    min_calls: Annotated[int, typer.Option("--min-calls", min=1, help="Fewer calls take no verdict.")] = 30,
    archive: Annotated[
        Path | None, typer.Option(help="Folder of archived telemetry, read beside the store.")
    ] = None,
    project: Annotated[Path, typer.Option("--project", help="Folder that holds workspaces/.")] = Path(),
    as_json: Json = False,
) -> None:
    """Hold the promises of a change of tiers against the telemetry after it: cost, p95, failures, answers.

    Exits with 1 where a promise is broken, or where there is no page to be made, so that a scheduled job can
    raise an alarm.
    """
    from llmbench.analytics.verification import verify

    from_, to = _time("--since", since), _time("--until", until)
    if run_dir is None and (recommendation.parent / _RESULTS).is_file():
        run_dir = recommendation.parent
    run_dirs = [] if run_dir is None else [run_dir]
    with telemetry_warehouse(log or (), store, archive, project, run_dirs=run_dirs) as warehouse:
        page = verify(recommendation, warehouse, since=from_, until=to, min_calls=min_calls)
    if as_json:
        print_json(page.to_dict())
    else:
        out.print(str(page), markup=False, highlight=False, emoji=False)
    raise typer.Exit(1 if page.is_broken else 0)


def _time(option: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise WarehouseError(
            f"{option} {text!r} is no time: write it as 2026-11-22 or 2026-11-22T09:00:00Z"
        ) from error
