"""`llmbench telemetry report`: run the telemetry notebook and write what it says as a page in each language.

It joins the notebook wrapper (bench) and the page (analytics), which do not know each other. A line for cron,
every Monday at 6:15; what is new is loaded first, and a run that fails leaves the last page as it was:

    15 6 * * 1  cd my-project && llmbench telemetry load LOG && llmbench telemetry report --days 28
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from llmbench.cli_output import Languages, asked_languages, out
from llmbench.display.language import ENGLISH, LANGUAGES, known_language, speaking
from llmbench.errors import NotebookError


def report_verb(
    log: Annotated[str | None, typer.Option(help="A log file, or a glob in quotes.")] = None,
    store: Annotated[Path | None, typer.Option(help="A store made by `llmbench telemetry load`.")] = None,
    archive: Annotated[Path | None, typer.Option(help="A folder of Parquet, read beside the others.")] = None,
    to: Annotated[
        Path, typer.Option("--out", help="Folder of the pages and of the executed notebooks.")
    ] = Path("reports/telemetry"),
    days: Annotated[int, typer.Option(min=1, help="Days (UTC) up to that of the newest call.")] = 28,
    configs: Annotated[Path | None, typer.Option(help="Config folder with the candidates' prices.")] = None,
    lang: Languages = None,
    notebook: Annotated[Path, typer.Option(help="The notebook; it is never written to.")] = Path(
        "notebooks/05_telemetry.ipynb"
    ),
    timeout: Annotated[float, typer.Option(help="Most seconds for each run of the notebook.")] = 1800,
) -> None:
    """Write the telemetry report as one HTML page for each language, from a log or a store.

    A run that fails leaves the last page as it was, so that cron can call it.
    """
    page = telemetry_report(
        to,
        log=log,
        store=store,
        archive=archive,
        days=days,
        configs=configs,
        languages=asked_languages(lang) or spoken_by(notebook),
        notebook=notebook,
        timeout_s=timeout,
    )
    out.print(escape(f"{page} is written; open it in a browser"), highlight=False)


def spoken_by(notebook: Path) -> tuple[str, ...]:
    """The languages that a notebook can be run in: English alone where it has no parameter `language`.

    Raises:
        NotebookError: it is missing, or no notebook with parameters.
    """
    from llmbench.bench.notebook_parameters import parameter_names

    _check_there(notebook)
    return tuple(LANGUAGES) if "language" in parameter_names(notebook) else (ENGLISH,)


def _check_there(notebook: Path) -> None:
    if not notebook.is_file():
        raise NotebookError(f"{notebook} is missing; run this in the project's folder, or give --notebook")


def telemetry_report(
    out_dir: Path,
    *,
    log: str | None = None,
    store: Path | None = None,
    archive: Path | None = None,
    days: int = 28,
    configs: Path | None = None,
    languages: Sequence[str] = (ENGLISH,),
    notebook: Path = Path("notebooks/05_telemetry.ipynb"),
    timeout_s: float = 1800,
) -> Path:
    """Run the notebook in each language and write `telemetry.html`, `telemetry.ja.html` beside the copies.

    Args:
        out_dir: Folder of pages and executed copies; it is made.
        log: A log file or a glob.
        store: A store on disk; where neither log, store nor archive is named, the usual one.
        archive: A folder of Parquet.
        days: Days (UTC) up to that of the newest call.
        configs: Config folder with prices and budgets; the project's own where there is one.
        languages: Tags of the languages to write in, each once. The pages of one call link to each other.
        notebook: The notebook to run; for another language than English it has a parameter `language`.
        timeout_s: Most seconds for each run.

    Returns:
        The page in the first of the languages.

    Raises:
        ConfigError: there is no such language.
        NotebookError: there is no notebook or no telemetry, or the notebook did not run to its end. A page of
            an earlier run is then left as it was, in every language.
        WarehouseError: the page cannot be written.
    """
    from llmbench.analytics.templating import page_name
    from llmbench.analytics.traffic_report import PAGE, write_page
    from llmbench.bench.notebooks import run_notebook

    tags = [known_language(tag) for tag in dict.fromkeys(languages)]
    _check_there(notebook)
    if configs is None:
        own = notebook.absolute().parent.parent / "configs"
        configs = own if own.is_dir() else None
    parameters = {
        **_sources(log, store, archive),
        "days": days,
        "configs": str(configs.absolute()) if configs else "",
    }
    for tag in tags:
        spoken = {} if tag == ENGLISH else {"language": tag}
        run_notebook(
            notebook,
            out_dir / page_name(tag, notebook.name),
            parameters | spoken,
            cwd=notebook.absolute().parent,
            timeout_s=timeout_s,
        )
    for tag in tags:
        with speaking(tag):
            others = [other for other in tags if other != tag]
            write_page(out_dir / page_name(tag, notebook.name), out_dir / page_name(tag, PAGE), others=others)
    return out_dir / page_name(tags[0], PAGE)


def _sources(log: str | None, store: Path | None, archive: Path | None) -> dict[str, str]:
    """The parameters that say what is read; the usual store where nothing was named.

    Raises:
        NotebookError: two sources were named that exclude each other, or there is none.
    """
    from llmbench.analytics.telemetry_store import DEFAULT_STORE

    if log and store:
        raise NotebookError("give --log or --store, not both: a log is loaded into the store first")
    if not (log or store):
        store = DEFAULT_STORE if DEFAULT_STORE.is_file() else None
        if store is None and archive is None:
            raise NotebookError(
                f"no telemetry named and no store at {DEFAULT_STORE}; give --log, "
                "or run `llmbench telemetry load LOG`"
            )
    return {
        "log_path": str(Path(log).absolute()) if log else "",
        "store_path": str(store.absolute()) if store else "",
        "archive_path": str(archive.absolute()) if archive else "",
    }
