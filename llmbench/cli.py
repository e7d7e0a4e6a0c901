"""The command line: each verb parses its arguments, calls one function and prints what it returns.

Exit codes: 0 done, 1 an error said in one line, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer
from rich.markup import escape
from typer.core import TyperGroup

from llmbench.cli_apply import apply
from llmbench.cli_call import call, explain, image, speak
from llmbench.cli_dataset import dataset_app
from llmbench.cli_migrate import migrate
from llmbench.cli_models import models_app
from llmbench.cli_notebook import Jobs, Matrix, notebook, sweep_matrix
from llmbench.cli_output import Json, err, out, print_json, print_table
from llmbench.cli_query import query, usage
from llmbench.cli_report import report
from llmbench.cli_results import results_app
from llmbench.cli_rollout import rollout_app
from llmbench.cli_serve import serve
from llmbench.cli_telemetry import telemetry_app
from llmbench.errors import ConfigError, FallbackExhausted, LLMBenchError
from llmbench.visible import visible

#: Packages of the extra `lab`, as they are imported.
_LAB: Final = frozenset(
    {"bleach", "duckdb", "evalica", "ipykernel", "jinja2", "jupyter_client", "jupyter_core", "nbclient"}
    | {"nbconvert", "nbformat", "numpy", "pandas", "papermill", "ruamel", "scipy", "statsmodels"}
)


_INTERRUPTED: Final = "interrupted; what was answered is kept, run it again to go on"


class _OneLine(TyperGroup):
    """Verbs whose errors end in one line; click itself would say `Aborted!` and exit with 1."""

    def invoke(self, ctx: Any) -> Any:
        """Run a verb.

        Raises:
            SystemExit: 1 after an error of llmbench or of a file, 130 after Ctrl-C.
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
        except BrokenPipeError:
            raise  # the reader of a pipe has enough; click ends quietly
        except OSError as error:
            _fail(_said_of_file(error), 1)
        except RuntimeError as error:
            if str(error) != "Query interrupted":  # what DuckDB makes of Ctrl-C
                raise
            _fail(_INTERRUPTED, 130)
        except KeyboardInterrupt:
            _fail(_INTERRUPTED, 130)


app = typer.Typer(
    cls=_OneLine,
    name="llmbench",
    help="Route LLM tasks to tiers of models, and decide with evidence which model belongs in which tier.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(models_app, name="models")
app.add_typer(dataset_app, name="dataset")
app.add_typer(telemetry_app, name="telemetry")
app.add_typer(results_app, name="results")
app.add_typer(rollout_app, name="rollout")
app.command("notebook")(notebook)
app.command("explain")(explain)
app.command("call")(call)
app.command("image")(image)
app.command("speak")(speak)
app.command("query")(query)
app.command("usage")(usage)
app.command("migrate")(migrate)
app.command("report")(report)
app.command("apply")(apply)
app.command("serve")(serve)

Root = Annotated[Path, typer.Option("--project", help="Folder with configs/, datasets/ and notebooks/.")]


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
    rescore: Annotated[
        str, typer.Option(help="Score this run's stored answers again, after a scorer changed; send nothing.")
    ] = "",
    engine: Annotated[str, typer.Option(help="Dask scheduler whose nodes make the calls: tcp://…")] = "",
    ledger_store: Annotated[
        str, typer.Option(help="Folder in an object store that shares the ledger: s3://bucket/sweeps")
    ] = "",
    matrix: Matrix = None,
    jobs: Jobs = 2,
    project: Root = Path(),
    as_json: Json = False,
) -> None:
    """Run a sweep through the notebooks, then say where the report is.

    With --matrix seed=1,2 (or limit, or tasks) it runs once for each combination: the sweeps one after the
    other on one ledger, then their reports, several at a time.
    """
    from llmbench.bench import chain
    from llmbench.bench.ledger_store import stored_ledger
    from llmbench.bench.run_folder import CALLS_FILE
    from llmbench.progress_bar import ProgressBar

    where = chain.Project(project)
    if rescore:
        replay, run_id = where.reports / rescore / CALLS_FILE, run_id or rescore
    choice = chain.Choice(tuple(task or ()), limit, seed, run_id, replay, engine)
    if ledger_store:
        chain.refuse_shared_media(where, plan)
    shared = stored_ledger(ledger_store, where.ledger) if ledger_store else contextlib.nullcontext()
    if matrix:
        with shared:
            sweep_matrix(where, plan, choice, matrix, jobs=jobs, is_json=as_json)
        return
    with chain.open_client(where, plan, replay=replay) as client:
        frozen = chain.find_plan(where, plan, choice, client)
    for notice in frozen.notices:
        err.print(f"note: {escape(notice)}")
    with shared, ProgressBar(err) as watch:
        chain.run_plan(where, plan, frozen, choice, watch)
    summary = chain.summary(where, frozen, choice)
    if as_json:
        print_json(summary)
        return
    for notice in summary["notices"]:
        err.print(f"note: {escape(notice)}")
    for sentence in summary["sentences"]:
        out.print(f"- {escape(sentence)}")
    out.print(f"{summary['counts']}\nreport: {summary['report']}")


@app.command()
def plan(
    plan: Annotated[str, typer.Argument(help="Plan name in configs/sweeps, or a path.")] = "default",
    task: Annotated[list[str] | None, typer.Option(help="Only this task; may be given again.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many samples a task.")] = None,
    seed: Annotated[int | None, typer.Option(help="Order of samples.")] = None,
    chart: Annotated[Path | None, typer.Option(help="Write the charts to this SVG file.")] = None,
    project: Root = Path(),
    as_json: Json = False,
) -> None:
    """Before spending: calls, tokens, dollars and time, and what larger pools would prove. Sends nothing."""
    from llmbench.bench import chain, forecast_page, planning_page
    from llmbench.bench.planning import forecast_sweep
    from llmbench.bench.results import write_whole

    where = chain.Project(project)
    with chain.open_client(where, plan) as client:
        frozen = chain.find_plan(where, plan, chain.Choice(tuple(task or ()), limit, seed), client)
        found = forecast_sweep(frozen, client, where.ledger)
    for notice in frozen.notices:
        err.print(f"note: {escape(notice)}")
    if chart is not None:
        write_whole(chart, [found.chart()])
    if as_json:
        print_json(found.to_dict())
        return
    for text in found.warnings():
        err.print(f"[bold red]WARNING[/] {escape(text)}")
    out.print(escape(forecast_page.total_line(found.calls)))
    print_table(forecast_page.HEAD, forecast_page.table(found.calls))
    for note in forecast_page.notes(found.calls):
        out.print(escape(note), style="dim")
    for each in found.tasks:
        out.print(f"- {escape(planning_page.task_line(each))}")
    print_table(planning_page.HEAD, planning_page.table(found))


@app.command()
def decide(
    results: Annotated[Path, typer.Argument(help="Parquet, CSV or JSONL; results.jsonl needs no more.")],
    reference: Annotated[str | None, typer.Option(help="Model used today, or a chain `a > b`.")] = None,
    candidate: Annotated[list[str] | None, typer.Option(help="Could take over; all others if none.")] = None,
    task: Annotated[list[str] | None, typer.Option(help="Only this task; may be given again.")] = None,
    margin: Annotated[float, typer.Option(help="Loss of quality accepted; 0.05 is 5 points.")] = 0.05,
    alpha: Annotated[float, typer.Option(help="Chance allowed of a false move.")] = 0.05,
    slo_ms: Annotated[float | None, typer.Option(help="Latency limit, milliseconds.")] = None,
    slo_share: Annotated[float, typer.Option(help="Share of calls that must keep it.")] = 0.95,
    floor: Annotated[float | None, typer.Option(help="Mean score that must be kept.")] = None,
    max_failure: Annotated[float | None, typer.Option(help="Share of failed calls allowed.")] = None,
    min_saving: Annotated[float, typer.Option(help="Share of the cost that must be saved.")] = 0.0,
    max_cost_usd: Annotated[float | None, typer.Option(help="US dollars a call may cost on average.")] = None,
    upgrade: Annotated[float | None, typer.Option(help="Gain that lets a dearer model take over.")] = None,
    human_share: Annotated[
        float | None, typer.Option(help="Share of prompts with a label in `human`.")
    ] = None,
    batch: Annotated[int, typer.Option(help="Prompts between two looks.")] = 10,
    pilot: Annotated[int, typer.Option(help="Prompts that every candidate gets first.")] = 10,
    family: Annotated[str, typer.Option(help="task, or report: alpha for all tasks together.")] = "task",
    stop: Annotated[str, typer.Option(help="decided, or grid: use every row.")] = "decided",
    budget: Annotated[list[int] | None, typer.Option(help="Clusters planned, if it has fewer.")] = None,
    seed: Annotated[int | None, typer.Option(help="Order of clusters; the table's own if none.")] = None,
    as_json: Json = False,
) -> None:
    """Decide over a finished table which model may take a task over, at a stated error rate."""
    from llmbench.bench.decide_file import decide_file
    from llmbench.bench.terms import Terms

    terms = Terms(
        reference=(), candidates=(), margin=margin, alpha=alpha, floor=floor, max_failure=max_failure,
        slo=None if slo_ms is None else (slo_ms, slo_share), min_saving=min_saving, upgrade=upgrade,
        max_cost_usd=max_cost_usd, human_share=human_share, batch=batch, pilot=pilot,
        family=family, stop=stop,  # type: ignore[arg-type]  # checked with the other terms
    )  # fmt: skip
    found = decide_file(
        results, reference=reference, candidates=candidate or (), tasks=task or (), terms=terms,
        budgets=budget or (), seed=seed,
    )  # fmt: skip
    if as_json:
        facts = {name: decision.to_dict() for name, decision in found.items()}
        print_json(next(iter(facts.values())) if len(facts) == 1 else {"tasks": facts})
        return
    for name, decision in found.items():
        out.print(escape(f"{name}: {decision}" if name else str(decision)))


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
        print_json({"ok": not errors, "findings": rows})
    else:
        for finding in findings:
            out.print(escape(str(finding)))
        notes = sum(finding.severity == "info" for finding in findings)
        rest = len(findings) - len(errors) - notes
        out.print(f"{configs}: {len(errors)} errors, {rest} warnings, {notes} notes")
    raise typer.Exit(1 if errors else 0)


def _said_of_file(error: OSError) -> str:
    """One line: the file, where it is known, and what the system says of it."""
    if error.filename is None or error.strerror is None:
        return " ".join(str(error).split())
    return " ".join(f"{error.filename}: {error.strerror}".split())


def _fail(message: str, code: int) -> NoReturn:
    sys.stderr.write(f"llmbench: {visible(message)}\n")
    raise SystemExit(code)


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
