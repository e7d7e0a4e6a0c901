"""`llmbench usage` and `llmbench query`: what the calls add up to, and any question in SQL."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from llmbench.cli_output import Json, err, out, print_csv, print_json, print_table
from llmbench.cli_sources import telemetry_warehouse
from llmbench.display.wording import count, duration, money, share
from llmbench.visible import visible

if TYPE_CHECKING:
    from llmbench.analytics.usage import UsageReport

_BAD_LINES = """
    select file, count(*) as lines, min(line_no) as first from quarantine group by file order by file
"""

Project = Annotated[Path, typer.Option("--project", help="Folder with configs/, reports/ and workspaces/.")]
Log = Annotated[
    list[str] | None, typer.Option(help="Log or glob, read afresh and not from the store; may be repeated.")
]
Store = Annotated[
    Path | None, typer.Option(help="The store; workspaces/telemetry.duckdb of the project if it is there.")
]
Archive = Annotated[Path | None, typer.Option(help="Folder of archived telemetry, read beside the store.")]


def query(
    sql: Annotated[
        str, typer.Argument(help="One select statement over the views; `show tables` lists them.")
    ],
    run: Annotated[list[str] | None, typer.Option(help="Run id or folder; all of reports/ if none.")] = None,
    log: Log = None,
    store: Store = None,
    archive: Archive = None,
    project: Project = Path(),
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV; no cell begins a formula.")] = False,
) -> None:
    """Ask the warehouse: results, ledger and telemetry as SQL views, read-only."""
    from llmbench.bench import chain

    sources = chain.warehouse_sources(chain.Project(project), run or ())
    options = {"run_dirs": sources.run_dirs, "ledgers": sources.ledgers, **_settings(project / "configs")}
    with telemetry_warehouse(log or [], store, archive, project, is_needed=False, **options) as warehouse:
        frame = warehouse.query(sql)
        for bad in warehouse.rows(_BAD_LINES):
            note = f"{bad['file']}: {bad['lines']} lines are no records (first: line {bad['first']})"
            err.print(f"note: {escape(note)}; they are in the table quarantine")
    if as_json:
        print_json(json.loads(frame.to_json(orient="records", date_format="iso")))
        return
    rows = frame.astype(object).itertuples(index=False)
    if as_csv:
        print_csv(list(frame.columns), rows)
        return
    print_table([visible(name) for name in frame.columns], (map(_shown, row) for row in rows))


def _shown(cell: object) -> object:
    """A cell that a terminal can be given: a stored text may hold commands to it."""
    return None if cell is None else visible(str(cell))


def _settings(configs: Path) -> dict[str, Any]:
    """Prices and limits of a config folder; none where there is no folder."""
    if not configs.is_dir():
        return {}
    from llmbench.analytics.traffic_prices import candidate_prices
    from llmbench.config import load_config

    config = load_config(configs)
    return {"prices": candidate_prices(config)[0], "budgets": config.budgets}


def usage(
    log: Annotated[list[str] | None, typer.Option(help="Log or glob, read afresh; may be repeated.")] = None,
    store: Store = None,
    archive: Archive = None,
    days: Annotated[int | None, typer.Option(min=1, help="Only so many days up to the newest call.")] = None,
    top: Annotated[int, typer.Option(min=1, help="Rows of each table.")] = 10,
    project: Project = Path(),
    as_json: Json = False,
) -> None:
    """What tasks and models cost, how slow and how flaky they are, and which fallbacks fired."""
    from llmbench.analytics.usage import usage_report

    with telemetry_warehouse(log or [], store, archive, project, days=days) as warehouse:
        found = usage_report(warehouse)
    if as_json:
        print_json(found.to_dict(top))
    else:
        _print_usage(found, top)


def _print_usage(found: UsageReport, top: int) -> None:
    whole = found.whole
    calls, first, last = whole["calls"], whole["first_at"], whole["last_at"]
    period = "" if first is None else f", {first:%Y-%m-%d} to {last:%Y-%m-%d}"
    out.print(
        escape(
            f"{count(calls, 'call')} of {count(found.files, 'file')}{period}: {whole['failures']} failed, "
            f"{whole['fell_back']} fell back; mean {duration(whole['mean_ms'])}, "
            f"p95 {duration(whole['p95_ms'])}; {money(whole['cost_usd'])} "
            f"({calls - whole['priced']} calls of unknown cost, {money(whole['wasted_cost_usd'])} wasted)"
        ),
        highlight=False,
    )
    head = ["calls", "failed", "fell back", "mean", "p95", "cost", "unpriced", "tokens in", "tokens out"]
    for kind, rows in (("model", found.by_model), ("task", found.by_task)):
        print_table([kind, *head], [_cells(row) for row in rows[:top]])
        _say_rest(len(rows) - top, f"{kind}s")
    _print_media(found, top)
    if found.chains:
        print_table(
            ["fallback chain", "calls", "failed", "mean wasted"],
            [
                [visible(row["chain"]), row["calls"], row["failures"], duration(row["mean_wasted_ms"])]
                for row in found.chains[:top]
            ],
        )
        _say_rest(len(found.chains) - top, "chains")
    if found.failures:
        print_table(
            ["failure", "status", "calls", "share"],
            [
                [
                    visible(row["error_kind"]),
                    row["status_code"],
                    row["calls"],
                    share(row["calls"] / whole["calls"]),
                ]
                for row in found.failures[:top]
            ],
        )
    if found.shadows["calls"]:
        cost = money(found.shadows["cost_usd"])
        beside = f"{count(found.shadows['calls'], 'shadow call')} of rollouts cost {cost}"
        out.print(f"beside these, {beside}", highlight=False)
    if found.quarantined:
        err.print(f"note: {found.quarantined} lines are no records; they are in the table quarantine")
    if whole["dropped"]:
        err.print(f"note: writers lost {whole['dropped']} lines to a full or missing disk")


def _print_media(found: UsageReport, top: int) -> None:
    """How many pictures and how much audio came, at what price, and how fast."""
    heads = {
        "image": ("model of pictures", "pictures", "a picture", "time a picture"),
        "speech": ("model of speech", "audio", "a minute", "work a second"),
    }
    for kind, rows in found.of_kinds().items():
        model, amount, price, speed = heads[kind]
        cells = _picture_cells if kind == "image" else _speech_cells
        print_table(
            [model, "calls", "failed", amount, "cost", "unpriced", price, speed],
            [[visible(row["model"]), row["calls"], row["failures"], *cells(row)] for row in rows[:top]],
        )
        _say_rest(len(rows) - top, "models")


def _picture_cells(row: dict[str, Any]) -> list[object]:
    each = [money(row["cost_per_image_usd"]), duration(row["ms_per_image"])]
    return [row["images"], money(row["cost_usd"]), row["counted"] - row["priced"], *each]


def _speech_cells(row: dict[str, Any]) -> list[object]:
    audio, factor = row["audio_s"], row["real_time_factor"]
    each = [money(row["cost_per_minute_usd"]), duration(None if factor is None else 1000 * factor)]
    length = duration(None if audio is None else 1000 * audio)
    return [length, money(row["cost_usd"]), row["counted"] - row["priced"], *each]


def _cells(row: dict[str, Any]) -> list[object]:
    figures = [duration(row["mean_ms"]), duration(row["p95_ms"]), money(row["cost_usd"])]
    tokens = [row["input_tokens"], row["output_tokens"]]
    return [
        visible(row["name"]), row["calls"], row["failures"], row["fell_back"], *figures,
        row["calls"] - row["priced"], *tokens,
    ]  # fmt: skip


def _say_rest(left: int, noun: str) -> None:
    if left > 0:
        out.print(f"and {left} more {noun}; --top shows more", style="dim")
