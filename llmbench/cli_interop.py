"""`llmbench telemetry import` and `export`: logs of other tools in, spans of ours out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from llmbench.cli_output import Json, err, out, print_json, print_table
from llmbench.display.wording import count as counted
from llmbench.visible import visible

if TYPE_CHECKING:
    from llmbench.interop.importers import ImportSummary
    from llmbench.interop.otel import ExportSummary


def import_verb(
    format_: Annotated[
        str,
        typer.Argument(metavar="FORMAT", help="litellm, openrouter, langfuse, or a mapping file."),
    ],
    sources: Annotated[list[Path], typer.Argument(help="Exports: JSON, JSONL or CSV, each may be gzipped.")],
    to: Annotated[Path, typer.Option("--out", help="Telemetry log to append to.")],
    task: Annotated[str | None, typer.Option(help="Task of rows that name none.")] = None,
    task_field: Annotated[
        str | None, typer.Option("--task-field", help="Path of the task in a row, before the mapping's own.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Bring in calls that another tool logged; none is written twice, none is left out in silence.

    Rows that make no line stand in <out>.rejected.jsonl with their reason. Exits with 1 where rows were found
    and none of them is in the log.
    """
    from llmbench.interop.importers import import_log, known_calls, load_mapping

    mapping = load_mapping(format_)
    if task_field is not None:
        mapping = mapping.with_task_at(task_field)
    known = known_calls(to)
    done = [import_log(source, mapping, to, task=task, known=known) for source in sources]
    if as_json:
        print_json([_import_facts(one) for one in done])
    else:
        _say_import(done, to)
    if any(one.rows for one in done) and not any(one.imported or one.repeated for one in done):
        raise typer.Exit(1)


def export_verb(
    logs: Annotated[list[Path], typer.Argument(help="Telemetry logs or globs, also .gz and .zst.")],
    otlp: Annotated[str, typer.Option("--otlp", help="URL of a collector that takes OTLP over HTTP.")],
    service: Annotated[str, typer.Option(help="service.name of the spans.")] = "llmbench",
    as_json: Json = False,
) -> None:
    """Send telemetry to a collector as OpenTelemetry GenAI spans; sent again, they are the same spans.

    Headers, such as a key, come from OTEL_EXPORTER_OTLP_HEADERS.
    """
    from llmbench.interop.otel import export_spans, otlp_exporter

    exporter = otlp_exporter(otlp)
    try:
        done = export_spans(logs, exporter, service=service)
    finally:
        exporter.shutdown()
    if as_json:
        print_json(_export_facts(done))
        return
    files = counted(done.files, "file")
    out.print(escape(visible(f"{done.calls:,} calls as {done.spans:,} spans to {otlp}, from {files}")))
    for name, count in done.left_out.items():
        err.print(f"note: {count:,} with {_shown(name)} left out: too large a number")
    for reason, count in done.skipped.items():
        err.print(f"note: {count:,} lines are no calls: {escape(visible(reason))}")


def _say_import(done: list[ImportSummary], to: Path) -> None:
    columns = ("source", "rows", "imported", "there already", "rejected")
    rows = [(one.source.name, one.rows, one.imported, one.repeated, one.rejected) for one in done]
    print_table(columns, [[visible(str(cell)) for cell in row] for row in rows])
    for one in done:
        for reason, count in one.reasons.items():
            err.print(f"{_shown(one.source.name)}: {count:,} rejected: {_shown(reason)}")
        for notice, count in one.notices.items():
            err.print(f"{_shown(one.source.name)}: {count:,} with {_shown(notice)}")
    if rejects := next((one.rejected_path for one in done if one.rejected_path), None):
        err.print(f"rejected rows stand in {_shown(str(rejects))}")
    out.print(f"{sum(one.imported for one in done):,} calls written to {_shown(str(to))}")


def _shown(text: str) -> str:
    return escape(visible(text))


def _import_facts(done: ImportSummary) -> dict[str, Any]:
    names = ("source", "format", "rows", "imported", "repeated", "rejected", "reasons", "notices")
    return {name: getattr(done, name) for name in (*names, "rejected_path")}


def _export_facts(done: ExportSummary) -> dict[str, Any]:
    return {name: getattr(done, name) for name in ("files", "lines", "calls", "spans", "skipped", "left_out")}
