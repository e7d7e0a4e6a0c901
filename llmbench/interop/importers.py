"""Logs of other tools into telemetry lines, by a mapping file; a row that makes none is kept with its reason.

No text of a prompt or a reply is read: a line holds names, numbers and times, and so does a rejected row.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Sequence
from collections.abc import Mapping as AnyMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from llmbench.errors import DatasetError
from llmbench.interop.conversions import (
    Unmapped,
    as_name,
    as_number,
    as_time,
    convert,
    is_missing,
    iso_utc,
    milliseconds,
    opened,
    value_at,
)
from llmbench.interop.mapping import KINDS, Failure, Mapping, Refusal, Source, load_mapping
from llmbench.interop.sources import Broken, Row, read_rows
from llmbench.jsonl import JsonlWriter, read_jsonl
from llmbench.messages import canonical_json
from llmbench.telemetry import SCHEMA

__all__ = ["ImportSummary", "import_log", "known_calls", "line_of", "load_mapping", "rejected_path"]

#: Fields that a line can do without: what cannot be read is left out, and said.
_LENIENT: Final = frozenset({"status_code", "error_class", "request_id", "ttft_ms"})
_TOKENS: Final = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
_LONGEST_SHOWN: Final = 80
_MOST_NOTICES: Final = 50


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """What became of the rows of one source.

    Attributes:
        source: the file.
        format: the mapping's name.
        rows: rows found; the sum of the next three.
        imported: rows that became lines.
        repeated: rows whose call stands in the log already.
        rejected: rows that make no line.
        reasons: reason -> rejected rows.
        notices: what was left out of imported lines -> how often.
        rejected_path: where rejected rows stand, None when there are none.
    """

    source: Path
    format: str
    rows: int
    imported: int
    repeated: int
    rejected: int
    reasons: AnyMapping[str, int]
    notices: AnyMapping[str, int]
    rejected_path: Path | None


@dataclass(slots=True)
class _Counts:
    imported: int = 0
    repeated: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    notices: Counter[str] = field(default_factory=Counter)


def import_log(
    source: Path,
    mapping: Mapping,
    out: Path,
    *,
    task: str | None = None,
    known: set[bytes] | None = None,
) -> ImportSummary:
    """Append the calls of a foreign log to a telemetry log.

    A call that stands in `out` already is not written again. A row that makes no line goes to
    `<out>.rejected.jsonl`, once, as {source, row, reason, format, raw}, where `raw` holds the values that the
    mapping reads.

    Args:
        source: JSON lines, a JSON array or page, or CSV; plain or gzipped.
        mapping: which field is which.
        out: the telemetry log, made when it is not there.
        task: of rows that name none.
        known: what `known_calls(out)` returned, and is kept up to date; read here where it is None.

    Raises:
        DatasetError: the source cannot be read, is the log itself, or the log cannot be written.
    """
    if source.resolve() == out.resolve():
        raise DatasetError(f"{source}: is the log to write to; name another --out")
    seen = known_calls(out) if known is None else known
    refused = _marks(rejected_path(out), _reject_key)
    counts = _Counts()
    log, rejects = JsonlWriter(out), JsonlWriter(rejected_path(out))
    try:
        for row in read_rows(source):
            try:
                line = _line(row, mapping, task, source.name, counts.notices)
            except Unmapped as reason:
                counts.reasons[reason.kind] += 1
                record = _rejected(source, row, str(reason), mapping)
                if _mark(_reject_key(record)) not in refused:
                    rejects.append(record)
                continue
            if (mark := _mark(line["call_id"])) in seen:
                counts.repeated += 1
                continue
            log.append(line)
            seen.add(mark)
            counts.imported += 1
    except OSError as error:
        cause = error.strerror or str(error)
        said = f"cannot be written ({cause}); what was written stays, the same import goes on from there"
        raise DatasetError(f"{out}: {said}") from error
    finally:
        log.close()
        rejects.close()
    rejected = counts.reasons.total()
    return ImportSummary(
        source=source,
        format=mapping.name,
        rows=counts.imported + counts.repeated + rejected,
        imported=counts.imported,
        repeated=counts.repeated,
        rejected=rejected,
        reasons=dict(counts.reasons.most_common()),
        notices=dict(counts.notices.most_common()),
        rejected_path=rejected_path(out) if rejected else None,
    )


def rejected_path(out: Path) -> Path:
    """Where the rows stand that made no line of this log."""
    return out.with_name(out.name + ".rejected.jsonl")


def known_calls(out: Path) -> set[bytes]:
    """The calls of a log, as eight bytes each; about 70 bytes of memory a call.

    Raises:
        DatasetError: the log is there and cannot be read.
    """
    return _marks(out, lambda record: record.get("call_id"))


def _marks(path: Path, key: Callable[[AnyMapping[str, Any]], Any]) -> set[bytes]:
    """The marks of a file's records that have a key; none where there is no file."""
    try:
        keys = (key(line.record) for line in read_jsonl(path) if line.record is not None)
        return {_mark(str(one)) for one in keys if one is not None}
    except FileNotFoundError:
        return set()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}); name another --out") from error


def _reject_key(record: AnyMapping[str, Any]) -> str:
    """What is the same when the same row of the same source is rejected again."""
    return canonical_json([record.get(name) for name in ("source", "row", "reason", "raw")])


def _mark(call_id: str) -> bytes:
    return hashlib.blake2b(call_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _line(
    row: Row | Broken, mapping: Mapping, task: str | None, source: str, notices: Counter[str]
) -> dict[str, Any]:
    if isinstance(row, Broken):
        raise Unmapped(row.reason)
    line, said = line_of(row.values, mapping, task=task)
    for notice in said:
        if notice in notices or len(notices) < _MOST_NOTICES:
            notices[notice] += 1
    line["imported"] = {"format": mapping.name, "source": source, "row": row.number}
    return line


def line_of(
    row: AnyMapping[str, Any], mapping: Mapping, *, task: str | None = None
) -> tuple[dict[str, Any], list[str]]:
    """The telemetry line of one row, and what was left out of it.

    Raises:
        Unmapped: the row is no call, lacks what a line needs, or has a value that cannot be read.
    """
    row = _unwrapped(row, mapping)
    for refusal in mapping.refuse:
        if _holds(refusal, row):
            raise Unmapped(refusal.reason)
    notices: list[str] = []
    found = {name: _value(row, mapping, name, notices) for name in KINDS}
    if found["call_id"] is None:
        said = f"{_named(mapping, 'call_id')}; without it a second import would count it twice"
        raise Unmapped("no id", said)
    if found["timestamp"] is None:
        raise Unmapped("no time", _named(mapping, "timestamp"))
    found["task"] = task if found["task"] is None else found["task"]
    if found["task"] is None:
        raise Unmapped("no task", f"{_named(mapping, 'task')}; give a task for such rows (--task)")
    if found["ttft_ms"] is not None and found["ttft_ms"] == found["latency_ms"]:
        found["ttft_ms"] = None  # tools write the end of a reply that was not streamed as its first token
    failed = next((rule for rule in mapping.failure if _holds(rule, row)), None)
    if failed is None and found["model"] is None:
        raise Unmapped("no model", _named(mapping, "model"))
    return _assembled(found, mapping.name, failed), notices


def _unwrapped(row: AnyMapping[str, Any], mapping: Mapping) -> AnyMapping[str, Any]:
    for key in mapping.unwrap:
        inner = opened(row.get(key))
        if isinstance(inner, AnyMapping):
            return inner
    return row


def _named(mapping: Mapping, name: str) -> str:
    paths = [path for source in mapping.sources(name) for path in source.paths]
    listed = ", ".join(f"`{path}`" for path in paths)
    return f"nothing at {listed}" if paths else f"the mapping has no `{name}`"


def _holds(test: Refusal | Failure, row: AnyMapping[str, Any]) -> bool:
    value = next((value for path in test.when if not is_missing(value := value_at(row, path))), None)
    word = "" if isinstance(value, AnyMapping | list) else str(value).strip().lower()
    if test.is_not is not None:
        return word not in {one.lower() for one in test.is_not}
    if test.is_ is not None:
        return value is not None and word in {one.lower() for one in test.is_}
    return value is not None


def _value(row: AnyMapping[str, Any], mapping: Mapping, name: str, notices: list[str]) -> Any:
    """The value of one field: of the first source that holds something."""
    unknown: list[str] = []
    for source in mapping.sources(name):
        try:
            value = _from_source(row, source, mapping, name, unknown)
        except Unmapped as reason:
            if name not in _LENIENT:
                raise
            notices.append(f"{name} left out: {reason.kind}")
            continue
        if value is not None:
            return value
    if unknown:
        notices.append(f"{name} left out: unknown word {unknown[0]!r}")
    return None


def _from_source(
    row: AnyMapping[str, Any], source: Source, mapping: Mapping, name: str, unknown: list[str]
) -> Any:
    values = [value_at(row, path) for path in source.paths]
    if source.add is not None:
        parts = zip(values, source.add, strict=True)
        numbers = [as_number(value, path) for value, path in parts if not is_missing(value)]
        return math.fsum(numbers) if numbers else None
    if any(is_missing(value) for value in values):
        return None
    if source.between is not None:
        start, end = (as_time(value, path) for value, path in zip(values, source.between, strict=True))
        return milliseconds(start, end, source.between[1])
    path, value = source.paths[0], values[0]
    if source.tag is not None:
        return _tagged(value, source.tag, path)
    if source.words is not None:
        return _word(as_name(value, path), mapping.words[source.words], unknown)
    return convert(value, source.convert or KINDS[name], path)


def _tagged(value: Any, prefix: str, path: str) -> str | None:
    """What follows the prefix in the first text that has it."""
    value = opened(value)
    texts = [one for one in value if isinstance(one, str)] if isinstance(value, list) else [value]
    found = (text for text in texts if isinstance(text, str) and text.startswith(prefix))
    return as_name(next(found, prefix)[len(prefix) :], path) or None


def _word(text: str, table: AnyMapping[str, str], unknown: list[str]) -> str | None:
    """Our word for theirs, by its exact or its lower-case spelling."""
    found = table.get(text) or table.get(text.lower())
    if found is None:
        unknown.append(text[:_LONGEST_SHOWN])
    return found


def _assembled(found: AnyMapping[str, Any], name: str, failed: Failure | None) -> dict[str, Any]:
    """A line as the contract has it."""
    model, cost = found["model"], found["cost_usd"]
    line: dict[str, Any] = {
        "schema": SCHEMA,
        "status": "success" if failed is None else "fail",
        "timestamp": iso_utc(found["timestamp"]),
        "call_id": f"{name}:{found['call_id']}",
        **{key: found[key] for key in ("task", "tier", "channel", "env")},
        "slot": None,
        **{key: found[key] if failed is None else None for key in ("model", "model_id", "provider")},
        "fallback_chain": [] if model is None else [model],
        "reason": f"imported from {name}",
        **{key: found[key] for key in ("latency_ms", "ttft_ms", "queued_ms")},
        "usage": {key: found[key] for key in _TOKENS},
        "cost_usd": cost if failed is None else None,
        "cost_source": _cost_source(name, cost, failed),
        "wasted_ms": 0.0 if failed is None else found["latency_ms"],
        "wasted_cost_usd": None if failed is None else cost,
        "finish_reason": found["finish_reason"],
        "request_id": found["request_id"],
        "attempts": [],
        "adjustments": [],
        **dict.fromkeys(("routing_key", "config_hash", "prompt_sha256", "run_id", "cell")),
    }
    attempt = {"model": model, "latency_ms": found["latency_ms"]}
    if failed is not None:
        kind = found["error_kind"] or failed.kind
        facts = {"error_kind": kind, "status_code": found["status_code"]}
        line |= {"error": _said(found), "error_class": found["error_class"], **facts}
        attempt |= facts
        if found["provider"] is not None:
            line["reason"] += f", sent to {found['provider']}"
    if model is not None and found["latency_ms"] is not None and (failed is None or attempt["error_kind"]):
        line["attempts"] = [attempt]
    return line


def _cost_source(name: str, cost: float | None, failed: Failure | None) -> str:
    if failed is not None:
        return "unknown: the call failed"
    return f"unknown: import:{name} has no cost" if cost is None else f"import:{name}"


def _said(found: AnyMapping[str, Any]) -> str:
    """The error in the tool's own words, without its message: that may quote the prompt."""
    known = [found["error_class"], None if found["status_code"] is None else f"status {found['status_code']}"]
    return ", ".join(part for part in known if part) or "failed, as the export says"


def _rejected(source: Path, row: Row | Broken, reason: str, mapping: Mapping) -> dict[str, Any]:
    raw = None if isinstance(row, Broken) else _read_values(row.values, mapping)
    return {"source": str(source), "row": row.number, "reason": reason, "format": mapping.name, "raw": raw}


def _read_values(row: AnyMapping[str, Any], mapping: Mapping) -> dict[str, Any]:
    """The values of a row that the mapping reads, long ones by their size: a row also holds prompts."""
    inner = _unwrapped(row, mapping)
    found = {path: value_at(inner, path) for path in mapping.paths()}
    return {path: _short(value) for path, value in found.items() if value is not None}


def _short(value: Any) -> Any:
    if isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, float):
        return str(value)
    if isinstance(value, str):
        return value if len(value) <= _LONGEST_SHOWN else f"({len(value)} characters)"
    size: Sequence[Any] | AnyMapping[str, Any] = value
    return f"({'object' if isinstance(value, AnyMapping) else 'list'} of {len(size)})"
