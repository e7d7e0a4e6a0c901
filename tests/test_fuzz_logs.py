"""Whatever stands in logs, ledgers, results, exports and recordings, it is read, set apart or refused."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from llmbench.analytics.json_objects import read_object
from llmbench.analytics.telemetry_store import load_store
from llmbench.analytics.usage import usage_report
from llmbench.analytics.warehouse import open_warehouse
from llmbench.bench.datasets.from_log import LogDraw, draft_from_log
from llmbench.bench.datasets.imports import FORMATS, Import, import_file
from llmbench.bench.decide_file import decide_file
from llmbench.bench.labels import read_labels, read_pairs
from llmbench.bench.ledger import read_ledger
from llmbench.bench.run_decisions import decisions
from llmbench.interop.importers import import_log, load_mapping
from llmbench.interop.otel import export_spans
from llmbench.jsonl import read_jsonl
from llmbench.providers.recordings import ReplayTransport, recorded_versions
from tests.fuzzing import as_bytes, fuzz, json_text, one_of, patient, spliced
from tests.run_folders import telemetry_lines, write_run_folder

INTEROP = Path(__file__).parent / "data_interop"
CONTENT = {"messages": [{"role": "user", "content": "Write a title for: a cat"}], "output": "A cat"}


def some_lines(rows: Sequence[Any], draw: random.Random) -> bytes:
    """Lines of a log, some of them changed, torn, blank or joined."""
    lines = [json_text(row, draw) if draw.random() < 0.3 else json.dumps(row) for row in rows]
    return as_bytes(draw.choice(("\n", "\n", "\r\n", "\n\n")).join(lines) + draw.choice(("\n", "")), draw)


@patient
def test_a_log_is_loaded_and_counted_and_what_is_no_call_is_set_apart(tmp_path):
    rows = [{**line, **CONTENT} for line in telemetry_lines(6)]
    log, store = tmp_path / "log.jsonl", tmp_path / "store.duckdb"

    def act(draw: random.Random) -> None:
        log.write_bytes(some_lines(rows, draw))
        with open_warehouse(telemetry=[log]) as warehouse:
            found = usage_report(warehouse)
            lines = log.read_bytes().strip()
            held = found.whole["calls"] + found.quarantined
            assert held or not lines
        if draw.random() < 0.2:
            store.unlink(missing_ok=True)
            load_store(store, [log])

    fuzz(act, examples=6)


@patient
def test_a_log_becomes_spans_or_a_dataset_or_is_refused(tmp_path):
    rows = [{**line, **CONTENT, "task": "caption"} for line in telemetry_lines(6)]
    log = tmp_path / "log.jsonl"

    def act(draw: random.Random) -> None:
        log.write_bytes(some_lines(rows, draw))
        export_spans([log], InMemorySpanExporter())
        draft_from_log([log], LogDraw(task="caption", n=3, cluster=draw.choice(("conversation", "channel"))))

    fuzz(act, examples=40)


@patient
def test_a_ledger_and_a_recording_are_read_or_refused(tmp_path):
    folder = write_run_folder(tmp_path, samples=2)
    rows = [json.loads(line) for line in folder.ledger.read_text().splitlines()][:8]
    taken = {
        "method": "POST",
        "path": "/v1/chat/completions",
        "request_sha256": "a" * 64,
        "status": 200,
        "headers": {"x": "y"},
        "body": "{}",
        "model_id": "m",
        "latency_ms": 3.0,
    }

    def act(draw: random.Random) -> None:
        folder.ledger.write_bytes(some_lines(draw.choice((rows, [taken, taken])), draw))
        state = read_ledger(folder.ledger, None, "2026-11-22-tiers")
        assert state is not None
        recorded_versions(folder.ledger)
        ReplayTransport(folder.ledger)

    fuzz(act, examples=80)


@patient
@pytest.mark.filterwarnings("ignore:The inplace keyword")  # of pandas, about DuckDB's own use of it
@pytest.mark.parametrize("name", ["results.jsonl", "plan.json", "recommendation.json"])
def test_a_run_folder_is_decided_or_refused(tmp_path, name):
    folder = write_run_folder(tmp_path, samples=4).run_dir
    whole = (folder / name).read_text()
    rows = [json.loads(line) for line in whole.splitlines()] if name.endswith("jsonl") else json.loads(whole)

    def act(draw: random.Random) -> None:
        data = some_lines(rows, draw) if isinstance(rows, list) else as_bytes(json_text(rows, draw), draw)
        (folder / name).write_bytes(data)
        readers = [
            lambda: decisions(folder),
            lambda: decide_file(folder / "results.jsonl", reference="gemma_json"),
        ]
        readers += [lambda: read_pairs(folder, "caption", "gemma_json", "smol_json")]
        readers += [lambda: read_labels(folder / "results.jsonl", "2026-11-22-tiers")]
        readers += [lambda: read_object(folder / name, "make it again")] if name.endswith(".json") else []
        one_of(readers, draw)()

    fuzz(act, examples=25)


@patient
@pytest.mark.parametrize("path", sorted(INTEROP.iterdir()), ids=lambda path: path.name)
def test_an_export_of_another_tool_is_imported_or_refused(tmp_path, path):
    text = path.read_text(encoding="utf-8")
    source, out = tmp_path / path.name, tmp_path / "log.jsonl"
    mapping = load_mapping(path.name.partition("_")[0])

    def act(draw: random.Random) -> None:
        if path.suffix == ".csv" or draw.random() < 0.3:
            source.write_bytes(as_bytes(spliced(text, draw), draw))
        elif path.suffix == ".jsonl":
            source.write_bytes(some_lines([line.record for line in read_jsonl(path) if line.record], draw))
        else:
            source.write_bytes(as_bytes(json_text(json.loads(text), draw), draw))
        out.unlink(missing_ok=True)
        import_log(source, mapping, out)
        for line in read_jsonl(out) if out.exists() else ():
            assert line.record is not None

    fuzz(act, examples=20)


@patient
def test_a_file_of_samples_is_imported_or_refused(tmp_path):
    chat = {
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": "a"},
        ]
    }
    batch = {
        "custom_id": "1",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "m", **chat, "max_tokens": 3},
    }
    lines = {
        "plain.jsonl": [{"input": "q", "target": "a", "id": "1"}, {"input": "r", "target": {"x": 1}}],
        "chat.jsonl": [chat, chat],
        "batch.jsonl": [batch, {**batch, "custom_id": "2"}],
        "eval.jsonl": [{"input": [{"role": "user", "content": "q"}], "ideal": ["a", "b"]}],
    }
    table = 'id,input,target,lang\n1,hello,world,en\n2,"a,b\nc",日本,ja\n'

    def act(draw: random.Random) -> None:
        name = draw.choice(("table.csv", *lines))
        path = tmp_path / name
        path.write_bytes(
            as_bytes(spliced(table, draw), draw) if name == "table.csv" else some_lines(lines[name], draw)
        )
        import_file(path, Import("made", "t", format=draw.choice((None, None, *FORMATS))))

    fuzz(act, examples=80)
