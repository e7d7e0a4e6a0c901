"""The verbs of `llmbench dataset`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape

from llmbench.bounded import MAX_CONFIG_BYTES, parse_json, read_json
from llmbench.cli_output import Json, err, out, print_json, print_table
from llmbench.errors import DatasetError
from llmbench.visible import visible

if TYPE_CHECKING:
    from llmbench.bench.datasets.draft import Draft
    from llmbench.bench.datasets.imports import Format, Imported

dataset_app = typer.Typer(
    help="Datasets: drawn from a log of calls, brought from a file, split, looked over.", no_args_is_help=True
)

Folder = Annotated[Path, typer.Option("--datasets", help="Folder of the datasets.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be written, and write nothing.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder to write; datasets/<name> by default.")]
Scorer = Annotated[str | None, typer.Option(help="The card's scorer; its params as JSON behind a colon.")]
Schema = Annotated[Path | None, typer.Option(help="File with the JSON Schema of an answer.")]
Licence = Annotated[str, typer.Option(help="Licence of the samples, as SPDX names it.")]
Tokens = Annotated[int | None, typer.Option(min=1, help="Longest answer in tokens.")]


@dataset_app.command("from-log")
def from_log(
    logs: Annotated[list[Path], typer.Argument(help="Telemetry with content, JSONL.")],
    task: Annotated[list[str], typer.Option(help="Calls of this task; may be given again.")],
    n: Annotated[int, typer.Option("--n", min=1, help="Samples a task.")] = 200,
    seed: Annotated[int, typer.Option(help="Which prompts are drawn.")] = 0,
    name: Annotated[str | None, typer.Option(help="Name; <task>_log by default.")] = None,
    channel: Annotated[list[str] | None, typer.Option(help="Only this channel; may be given again.")] = None,
    mask: Annotated[Path | None, typer.Option(help="YAML file of further rules for personal data.")] = None,
    target: Annotated[
        Literal["none", "output"], typer.Option(help="output: what models answered becomes the target.")
    ] = "none",
    cluster: Annotated[
        Literal["conversation", "channel"], typer.Option(help="What forms a cluster.")
    ] = "conversation",
    near: Annotated[
        float, typer.Option(min=0.5, max=1.0, help="Shared part from which a prompt repeats another.")
    ] = 0.8,
    lang: Annotated[str | None, typer.Option(help="Language of all samples; by script if not given.")] = None,
    scorer: Scorer = None,
    schema: Schema = None,
    max_tokens: Tokens = None,
    licence: Licence = "unknown",
    to: Out = None,
    datasets: Folder = Path("datasets"),
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Draw a dataset from a log of production calls, without repeats and personal data."""
    from llmbench.bench.datasets.from_log import LogDraw, draft_from_log

    if len(task) > 1 and (name is not None or to is not None):
        raise DatasetError("--name and --out are for one task; leave them out, or give one --task")
    reports = []
    for each in task:
        draw = LogDraw(
            task=each, n=n, seed=seed, name=name, channels=tuple(channel or ()), mask=mask, target=target,
            cluster=cluster, near=near, lang=lang, max_tokens=max_tokens, output_schema=_schema(schema),
            licence=licence, scorer=_scorer(scorer),
        )  # fmt: skip
        draft = draft_from_log(logs, draw)
        folder = to or datasets / draft.name
        reports.append({"dataset": draft.name, "folder": str(folder), "written": not dry_run, **draft.source})
        if not as_json:
            _say_draw(draft)
        _write({folder: draft}, dry_run=dry_run)
        if not as_json:
            _say_written(draft, folder, dry_run=dry_run)
    if as_json:
        print_json(reports)


@dataset_app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="CSV, JSONL, Parquet, or chat JSONL of OpenAI.")],
    name: Annotated[str, typer.Option(help="The dataset's name.")],
    task: Annotated[str, typer.Option(help="The task that its samples stand for.")],
    format_: Annotated[
        str | None, typer.Option("--format", help="csv, jsonl, parquet, openai-finetune, openai-batch.")
    ] = None,
    input_: Annotated[str | None, typer.Option("--input", help="Column of the prompt.")] = None,
    target: Annotated[str | None, typer.Option(help="Column of the right answer.")] = None,
    cluster: Annotated[str | None, typer.Option(help="Column of the source document.")] = None,
    id_: Annotated[str | None, typer.Option("--id", help="Column of the samples' names.")] = None,
    lang: Annotated[str | None, typer.Option(help="Column of the language, or en, ja, …")] = None,
    answers: Annotated[Path | None, typer.Option(help="A batch's output file, joined by custom_id.")] = None,
    encoding: Annotated[str | None, typer.Option(help="Of a CSV file, when it is not found out.")] = None,
    scorer: Scorer = None,
    schema: Schema = None,
    max_tokens: Tokens = None,
    licence: Licence = "unknown",
    to: Out = None,
    datasets: Folder = Path("datasets"),
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Make a dataset of a file; every line that is left out is named with its reason."""
    from llmbench.bench.datasets.imports import Import, import_file

    columns = {"input": input_, "target": target, "cluster": cluster, "id": id_}
    wanted = Import(
        name=name, task=task, format=_format(format_), lang=lang, answers=answers, encoding=encoding,
        columns={key: column for key, column in columns.items() if column is not None},
        scorer=_scorer(scorer), output_schema=_schema(schema), max_tokens=max_tokens,
        licence=licence,
    )  # fmt: skip
    made = import_file(file, wanted)
    folder = to or datasets / name
    if not as_json:
        _say_import(file, made)
    _write({folder: made.draft}, dry_run=dry_run)
    if as_json:
        facts = {"dataset": name, "folder": str(folder), "written": not dry_run, **made.draft.source}
        print_json({**facts, "left_out": [asdict(one) for one in made.skipped], "notices": made.notices})
        return
    _say_written(made.draft, folder, dry_run=dry_run)


@dataset_app.command("split")
def split(
    name: Annotated[str, typer.Argument(help="Dataset in the folder of datasets, or a path.")],
    shares: Annotated[str, typer.Option(help="Parts and their shares.")] = "train=0.8,test=0.2",
    by: Annotated[str, typer.Option(help="cluster, or a tag's key such as channel.")] = "cluster",
    seed: Annotated[int, typer.Option(help="Which clusters go where.")] = 0,
    near: Annotated[
        Literal["merge", "refuse"], typer.Option(help="What to do with two clusters of nearly one text.")
    ] = "merge",
    datasets: Folder = Path("datasets"),
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Part a dataset by whole clusters into <name>-<part>, for samples that nobody tuned on."""
    from llmbench.bench.dataset import load_dataset
    from llmbench.bench.datasets.split import SHOWN_PAIRS, Split, parse_shares, split_dataset

    folder = _found(name, datasets)
    dataset = load_dataset(folder)
    parts = split_dataset(folder, dataset, Split(parse_shares(shares), seed, by, near))
    _write({folder.parent / draft.name: draft for draft in parts.drafts.values()}, dry_run=dry_run)
    rows = [
        {
            "dataset": draft.name,
            "samples": len(draft.rows),
            "clusters": len({row["cluster"] for row in draft.rows}),
            "share": round(len(draft.rows) / len(dataset.samples), 3),
        }
        for draft in parts.drafts.values()
    ]
    shown = parts.merged[:SHOWN_PAIRS]
    if as_json:
        merged = {"merged": list(map(str, shown)), "merged_pairs": len(parts.merged)}
        print_json({"parts": rows, **merged, "written": not dry_run})
        return
    print_table(list(rows[0]), [list(row.values()) for row in rows])
    for pair in shown:
        err.print(f"note: went together: {escape(str(pair))}")
    if len(parts.merged) > len(shown):
        err.print(f"note: {len(parts.merged) - len(shown)} more pairs of clusters went together")
    out.print("nothing written" if dry_run else "a plan names them as `dataset:` of a task")


@dataset_app.command("check")
def check(
    name: Annotated[str, typer.Argument(help="Dataset in the folder of datasets, or a path.")],
    mask: Annotated[Path | None, typer.Option(help="YAML file of further rules for personal data.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 on a notice too.")] = False,
    datasets: Folder = Path("datasets"),
    as_json: Json = False,
) -> None:
    """Look a dataset over: counts, repeats, leaks between its parts, personal data, its own targets."""
    from llmbench.bench.datasets.mask_rules import mask_rules
    from llmbench.bench.datasets.review import review_dataset

    review = review_dataset(_found(name, datasets), mask_rules(mask))
    if as_json:
        print_json(asdict(review))
    else:
        languages = ", ".join(f"{count} {lang}" for lang, count in review.languages.items())
        out.print(
            f"{escape(review.name)}: {review.samples} samples ({languages}) in {review.clusters} clusters, "
            f"{review.targets} with a target"
        )
        for finding in review.findings:
            out.print(f"{finding.level}: {escape(visible(finding.text))}")
        out.print(f"{len(review.faults)} faults, {len(review.findings) - len(review.faults)} notices")
    if review.faults or (strict and review.findings):
        raise typer.Exit(1)


@dataset_app.command("scorers")
def scorers(as_json: Json = False) -> None:
    """List the scorers that a card can name, those of installed plug-ins too, with their parameters."""
    from llmbench.bench.scorers import scorer_rows

    rows = scorer_rows()
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    params = (", ".join(f"{name}={value}" for name, value in row.params.items()) for row in rows)
    table = [(row.name, row.summary, said, row.source) for row, said in zip(rows, params, strict=True)]
    print_table(("scorer", "what it scores", "parameters", "from"), table)


def _write(drafts: Mapping[Path, Draft], *, dry_run: bool) -> None:
    """Write all datasets, or none where one of them would replace another."""
    from llmbench.bench.datasets.draft import refuse_other, write_dataset

    for folder, draft in drafts.items():
        refuse_other(draft, folder)
    if not dry_run:
        for folder, draft in drafts.items():
            write_dataset(draft, folder)


def _found(name: str, datasets: Path) -> Path:
    return datasets / name if (datasets / name).is_dir() else Path(name)


def _format(name: str | None) -> Format | None:
    from llmbench.bench.datasets.imports import FORMATS

    found = next((known for known in FORMATS if known == name), None)
    if name is not None and found is None:
        raise DatasetError(f"--format {name!r}: there are {', '.join(FORMATS)}")
    return found


def _scorer(text: str | None) -> dict[str, Any] | None:
    """`name`, or `name:{"param": value}`, of a scorer that there is."""
    from llmbench.bench.scorers import check_params

    if text is None:
        return None
    name, colon, params = text.partition(":")
    try:
        value = parse_json(params) if colon else {}
    except ValueError:
        value = None
    if not name or not isinstance(value, dict):
        raise DatasetError(f'--scorer {text!r}: write the name, or name:{{"param": value}}')
    check_params(name, value)
    return {"name": name, "params": value} if value else {"name": name}


def _schema(path: Path | None) -> dict[str, Any] | None:
    if path is None:
        return None
    from llmbench.bench.card import check_json_schema

    try:
        value = read_json(path, MAX_CONFIG_BYTES)
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: no JSON that can be read; name a file with a JSON Schema") from error
    if not isinstance(value, dict):
        raise DatasetError(f"{path}:1: a JSON Schema is an object; correct the file")
    check_json_schema(value, str(path))
    return value


def _say_draw(draft: Draft) -> None:
    source = draft.source
    for step, count in source["counts"].items():
        out.print(f"{count:>9,} {escape(step)}")
    masked = ", ".join(f"{count} {rule}" for rule, count in source["masked"].items() if count)
    out.print(f"masked: {escape(masked) or 'nothing'}")
    columns = ["channel", "length", "outcome", "prompts", "drawn"]
    print_table(
        columns, [[visible(str(stratum[column])) for column in columns] for stratum in source["strata"]]
    )


def _say_import(file: Path, made: Imported) -> None:
    for notice in made.notices:
        out.print(escape(visible(notice)))
    for one in made.skipped:
        err.print(f"{escape(str(file))}:{one.line}: left out: {escape(visible(one.reason))}")


def _say_written(draft: Draft, folder: Path, *, dry_run: bool) -> None:
    verb = "would write" if dry_run else "wrote"
    said = f"{verb} {folder}: {len(draft.rows)} samples, scorer {draft.scorer['name']}"
    out.print(escape(f"{said}, at most {draft.options['max_tokens']} tokens an answer"))
