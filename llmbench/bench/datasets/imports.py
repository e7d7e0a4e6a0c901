"""A dataset out of a file that people or other tools wrote; every line that is left out is named."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from llmbench.bench.card import check_json_schema, has_control, schema_error
from llmbench.bench.datasets.chats import NotARow, is_writable, read_chat
from llmbench.bench.datasets.draft import Draft, check_name, default_scorer, shared_prompt, turns_of
from llmbench.bench.datasets.openai_files import Item, read_batch, read_finetune
from llmbench.bench.datasets.tables import (
    Record,
    Skipped,
    decode_csv,
    read_csv_records,
    read_json_records,
    read_parquet_records,
    unreadable,
)
from llmbench.bench.datasets.texts import language_of, text_key
from llmbench.errors import DatasetError
from llmbench.messages import canonical_json
from llmbench.structuring import loads_strictly

Format = Literal["csv", "jsonl", "parquet", "openai-finetune", "openai-batch"]
FORMATS: Final[tuple[Format, ...]] = ("csv", "jsonl", "parquet", "openai-finetune", "openai-batch")
#: Column -> names it is known by, the first that is there is taken.
_KNOWN: Final[Mapping[str, tuple[str, ...]]] = {
    "input": ("input", "prompt", "question", "query", "instruction", "text", "messages"),
    "target": ("target", "output", "answer", "expected", "reference", "ideal", "completion", "label"),
    "cluster": ("cluster", "source", "document", "doc_id"),
    "id": ("id", "sample_id", "question_id"),
}


@dataclass(frozen=True, slots=True)
class Import:
    """What to make of a file.

    Attributes:
        name: of the dataset.
        task: that its samples stand for.
        format: of the file; by its content where it is None.
        columns: of `input`, `target`, `cluster`, `id`: the column's name; by usual names where it is missing.
        lang: a column, or the language of all; by their script where it is None.
        answers: the output file of a batch.
        encoding: of a CSV file; UTF-8 or Shift_JIS where it is None.
        scorer: name and params, as in the card; by whether there are targets where it is None.
        output_schema: JSON Schema of an answer; texts of the file are then read as JSON.
        max_tokens: of an answer; by the file, or the longest target, where it is None.
        licence: of the samples.
    """

    name: str
    task: str
    format: Format | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    lang: str | None = None
    answers: Path | None = None
    encoding: str | None = None
    scorer: Mapping[str, Any] | None = None
    output_schema: Mapping[str, Any] | None = None
    max_tokens: int | None = None
    licence: str = "unknown"


@dataclass(frozen=True, slots=True)
class Imported:
    """The dataset that a file makes, what was left out of it, and what was chosen on the way."""

    draft: Draft
    skipped: tuple[Skipped, ...]
    notices: tuple[str, ...]


def import_file(path: Path, wanted: Import) -> Imported:
    """Make a dataset of a file.

    Raises:
        DatasetError: the file cannot be read, has no such column, or none of its lines can be a row.
    """
    check_name(wanted.name)
    kind = wanted.format or guess_format(path)
    if wanted.answers is not None and kind != "openai-batch":
        raise DatasetError(f"{path}: is {kind}; only a batch's input file has --answers beside it")
    notices = [f"read as {kind}"]
    found = list(_items(path, kind, wanted, notices))
    items = [item for item in found if isinstance(item, Item)]
    skipped = [item for item in found if isinstance(item, Skipped)]
    schema = wanted.output_schema or _agreed(items, "schema")
    if schema is not None:
        check_json_schema(schema, f"{path}")
    rows, kept = _rows(items, schema, wanted, skipped)
    if not rows:
        first = f"; line {skipped[0].line}: {skipped[0].reason}" if skipped else ""
        raise DatasetError(f"{path}: no line of it can be a row{first}; name its --format and columns")
    dropped = Counter(key for item in kept for key in item.dropped)
    notices += [
        f"`{key}` of {count} lines is not kept: a dataset has no such field" for key, count in dropped.items()
    ]
    skipped.sort(key=lambda one: one.line)
    source = {
        "kind": "file",
        "file": path.name,
        "sha256": _sha256(path),
        "format": kind,
        "rows": len(rows),
        "skipped": len(skipped),
    }
    if wanted.answers is not None:
        source["answers"] = {"file": wanted.answers.name, "sha256": _sha256(wanted.answers)}
    return Imported(_draft(rows, kept, schema, wanted, source), tuple(skipped), tuple(notices))


def guess_format(path: Path) -> Format:
    """What a file is, by its first bytes and line.

    Raises:
        DatasetError: it cannot be read, is empty, or is one JSON value over many lines.
    """
    try:
        with path.open("rb") as file:
            head = file.read(4)
            file.seek(0)
            first = next((line for line in file if line.strip()), b"")
    except OSError as error:
        raise unreadable(path, error) from error
    if head == b"PAR1":
        return "parquet"
    if not first:
        raise DatasetError(f"{path}: is empty; name a file with samples")
    try:
        value = loads_strictly(first.decode("utf-8-sig"))
    except ValueError:
        if first.lstrip()[:1] in (b"{", b"["):
            raise DatasetError(f"{path}:1: JSON, but not one object a line; write it as JSONL") from None
        return "csv"
    if isinstance(value, dict):
        if "custom_id" in value and "body" in value:
            return "openai-batch"
        return "openai-finetune" if _is_finetune(value) else "jsonl"
    if isinstance(value, list):
        raise DatasetError(f"{path}:1: a JSON array; write one object a line (JSONL)")
    return "csv"


def _is_finetune(value: Mapping[str, Any]) -> bool:
    messages = value.get("messages")
    last = messages[-1] if isinstance(messages, list) and messages else None
    return isinstance(last, Mapping) and last.get("role") == "assistant"


# ---- lines to items ------------------------------------------------------------------------------------


def _items(path: Path, kind: Format, wanted: Import, notices: list[str]) -> Iterator[Item | Skipped]:
    if kind == "openai-finetune":
        yield from read_finetune(path)
    elif kind == "openai-batch":
        yield from read_batch(path, wanted.answers)
    else:
        yield from _table_items(path, _records(path, kind, wanted, notices), wanted, notices)


def _records(path: Path, kind: Format, wanted: Import, notices: list[str]) -> Iterator[Record | Skipped]:
    if kind == "csv":
        source = decode_csv(path, wanted.encoding)
        if source.encoding != "utf-8-sig":
            notices.append(f"decoded as {source.encoding}")
        return read_csv_records(path, source)
    return read_parquet_records(path) if kind == "parquet" else read_json_records(path)


def _table_items(
    path: Path, records: Iterable[Record | Skipped], wanted: Import, notices: list[str]
) -> Iterator[Item | Skipped]:
    columns: dict[str, str] | None = None
    for found in records:
        if isinstance(found, Skipped):
            yield found
            continue
        if columns is None:
            columns = _columns(path, found, wanted, notices)
        try:
            yield _table_item(found, columns, wanted)
        except NotARow as reason:
            yield Skipped(found.line, str(reason))


def _columns(path: Path, first: Record, wanted: Import, notices: list[str]) -> dict[str, str]:
    """The column of each field: as it was asked for, or by a usual name, which is said."""
    there = list(first.values)
    columns: dict[str, str] = {}
    for name, known in _KNOWN.items():
        asked = wanted.columns.get(name)
        if asked is not None and asked not in there:
            listed = ", ".join(f"`{column}`" for column in there)
            raise DatasetError(f"{path}:{first.line}: no column `{asked}` for --{name}; there are {listed}")
        usual = next((column for column in known if column in there and column not in columns.values()), None)
        if asked is not None or usual is not None:
            columns[name] = asked or usual or ""
    if "input" not in columns:
        listed = ", ".join(f"`{column}`" for column in there)
        raise DatasetError(f"{path}:{first.line}: which column is the prompt? name it by --input ({listed})")
    notices.append(", ".join(f"{name} from `{column}`" for name, column in columns.items()))
    return columns


def _table_item(record: Record, columns: Mapping[str, str], wanted: Import) -> Item:
    values = record.values
    target = values.get(columns["target"]) if "target" in columns else None
    if "target" in columns and (target is None or target == ""):
        raise NotARow("no target")
    lang = wanted.lang
    if lang is not None and lang in values:
        lang = _named(values[lang], "lang")
    cluster = _named(values.get(columns["cluster"]), "cluster") if "cluster" in columns else None
    name = _named(values.get(columns["id"]), "id") if "id" in columns else None
    return Item(record.line, read_chat(values.get(columns["input"])), target, name, cluster, lang)


def _named(value: Any, what: str) -> str:
    """A cell that names something, as text: 007 stays as it was written, a whole number loses no digit."""
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
    if not text.strip() or not is_writable(text):
        raise NotARow(f"no {what}")
    return text.strip()


# ---- items to rows -------------------------------------------------------------------------------------


def _rows(
    items: Sequence[Item], schema: Mapping[str, Any] | None, wanted: Import, skipped: list[Skipped]
) -> tuple[list[dict[str, Any]], list[Item]]:
    """The rows of items that do not contradict each other; the others are added to `skipped`."""
    shared = shared_prompt([item.chat for item in items]) if items else None
    seen = _Seen()
    rows: list[dict[str, Any]] = []
    kept: list[Item] = []
    for item in items:
        try:
            row = _row(item, shared, schema, wanted)
            seen.add(item, row)
        except NotARow as reason:
            skipped.append(Skipped(item.line, str(reason)))
        else:
            rows.append(row)
            kept.append(item)
    return rows, kept


def _row(item: Item, shared: str | None, schema: Mapping[str, Any] | None, wanted: Import) -> dict[str, Any]:
    target = item.target if schema is None else _parsed(item.target, schema)
    lang = item.lang or wanted.lang or language_of(item.chat.input)
    if len(lang) < 2:
        raise NotARow(f"lang {lang!r} is no language's code")
    row = {
        "id": _printable(item.id) or f"{wanted.name}-{item.line:05}",
        "lang": lang,
        "cluster": item.cluster or f"text-{text_key(item.chat.texts)[:12]}",
        "input": item.chat.input,
        "target": target,
        "checks": {},
        "tags": [],
    }
    return {**row, **turns_of(item.chat, shared)}


def _printable(name: str | None) -> str | None:
    if name is not None and has_control(name):
        raise NotARow("the id has a control character")
    return name


def _parsed(target: Any, schema: Mapping[str, Any]) -> Any:
    """A target under a schema: a text is read as JSON, unless the schema wants a text."""
    if isinstance(target, str) and schema.get("type") != "string":
        try:
            target = loads_strictly(target)
        except ValueError as error:
            raise NotARow("the target is not JSON, as the schema asks") from error
    message = None if target is None else schema_error(target, schema)
    if message is not None:
        raise NotARow(f"the target breaks the schema ({message})")
    return target


class _Seen:
    """Ids, rows and texts so far, by the line they stand on."""

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self._rows: dict[str, int] = {}
        self._clusters: dict[str, tuple[str, int]] = {}

    def add(self, item: Item, row: Mapping[str, Any]) -> None:
        """Take a row.

        Raises:
            NotARow: its id is taken, it is a row again, or its text is already in another cluster.
        """
        if row["id"] in self._ids:
            raise NotARow(f"id `{row['id']}` is on line {self._ids[row['id']]} already")
        text = text_key(f"{role}: {said}" for role, said in (*item.chat.turns, ("user", item.chat.input)))
        same = text + canonical_json(row["target"])
        if same in self._rows:
            raise NotARow(f"the same prompt and target as line {self._rows[same]}")
        cluster, line = self._clusters.setdefault(text, (row["cluster"], item.line))
        if cluster != row["cluster"]:
            raise NotARow(f"the text of line {line}, but in cluster `{row['cluster']}`, not `{cluster}`")
        self._ids[row["id"]] = self._rows[same] = item.line


def _draft(
    rows: Sequence[dict[str, Any]],
    items: Sequence[Item],
    schema: Mapping[str, Any] | None,
    wanted: Import,
    source: Mapping[str, Any],
) -> Draft:
    has_targets = all(row["target"] is not None for row in rows)
    options: dict[str, Any] = {"max_tokens": wanted.max_tokens or _longest(items)}
    if (temperature := _agreed(items, "temperature")) is not None:
        options["temperature"] = float(temperature)
    said = (
        "with the file's targets"
        if has_targets
        else "without targets: name a judge in the plan, or a scorer that needs none"
    )
    if wanted.answers is not None:
        said = "with the batch's answers as targets, right or wrong: no person checked them"
    return Draft(
        name=wanted.name,
        task=wanted.task,
        rows=rows,
        licence=wanted.licence,
        description=f"Prompts of {source['file']}, {said}.",
        system=shared_prompt([item.chat for item in items]) or "",
        scorer=wanted.scorer or default_scorer(rows, schema),
        output_schema=schema,
        options=options,
        source=source,
    )


def _agreed(items: Sequence[Item], key: str) -> Any:
    """An option that every item asks for with one value; else None."""
    values = {canonical_json(item.options.get(key)) for item in items}
    return items[0].options.get(key) if len(values) == 1 else None


def _longest(items: Sequence[Item]) -> int:
    """The most tokens that the file asks for; else the characters of the longest target, up to the next 64.

    A token is seldom less than a character, in any language.
    """
    asked = [item.options["max_tokens"] for item in items if "max_tokens" in item.options]
    if asked:
        return int(max(asked))
    lengths = [len(_text(item.target)) for item in items if item.target is not None]
    return 64 * math.ceil(max(lengths) / 64) if lengths else 512


def _text(target: Any) -> str:
    return target if isinstance(target, str) else json.dumps(target, ensure_ascii=False)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
