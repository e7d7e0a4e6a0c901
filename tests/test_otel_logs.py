"""What an export of telemetry reads: all that a load reads, parts and compressed ones too, and in pieces."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from llmbench.analytics import log_text
from llmbench.interop.otel import export_spans
from llmbench.jsonl import JsonlWriter, rotated_parts
from tests.test_log_steps import older
from tests.test_telemetry_store import a_line, lines

ROOT = Path(__file__).parents[1]


def exported(*paths: str | Path) -> tuple[int, int, dict[str, int]]:
    """Files, calls, and what was skipped."""
    done = export_spans(paths, InMemorySpanExporter())
    assert done.lines == done.calls + sum(done.skipped.values())
    return done.files, done.calls, dict(done.skipped)


def test_the_parts_of_a_rotated_log_are_exported_with_it(tmp_path):
    log = tmp_path / "a.jsonl"
    writer = JsonlWriter(log, rotate_bytes=5000)
    for at in range(40):
        writer.append(json.loads(a_line(at)))
    parts = len(rotated_parts(log))
    assert parts >= 3
    assert exported(log) == (parts + 1, 40, {})


class Rotates(SpanExporter):
    """Takes spans, and gives the log the name of a part when the first ones come."""

    def __init__(self, log: Path) -> None:
        self.log, self.calls = log, list[str]()

    def export(self, spans):
        if not self.calls:
            self.log.rename(self.log.with_name(f"{self.log.name}.20261128T213000Z-1"))
            self.log.write_bytes(lines(100, 103))
        self.calls += [span.attributes["llmbench.call_id"] for span in spans if span.parent is None]
        return SpanExportResult.SUCCESS


def test_a_log_that_is_rotated_while_it_is_exported_is_sent_once(tmp_path):
    log = tmp_path / "a.jsonl"
    log.write_bytes(lines(0, 20))
    exporter = Rotates(log)
    done = export_spans([log], exporter, batch=4)
    assert exporter.calls == [f"call-{at}" for at in range(20)]
    assert (done.files, done.calls) == (1, 20)


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_compressed_log_is_exported(tmp_path, pack):
    log = tmp_path / "a.jsonl.packed"
    log.write_bytes(pack(lines(0, 30) + b"torn\n" + lines(30, 40)[:-1]))
    assert exported(log) == (1, 40, {"not_json": 1})


def test_a_compressed_log_that_was_cut_is_exported_as_far_as_it_can_be_read(tmp_path):
    log = tmp_path / "a.gz"
    packed = gzip.compress(lines(0, 3000), 1)
    log.write_bytes(packed[: len(packed) // 2])
    _, calls, skipped = exported(log)
    assert calls > 500
    assert skipped["unreadable"] == 1


def test_globs_are_exported_and_blocks_change_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(log_text, "_BLOCK_BYTES", 1 << 12)
    (tmp_path / "a.jsonl").write_bytes(lines(0, 60) + a_line(60, error="長" * 9000) + b"\n \n[1]\n{torn")
    (tmp_path / "b.jsonl").write_bytes(lines(100, 110))
    assert exported(tmp_path / "*.jsonl") == (2, 71, {"not_object": 1, "torn": 1})


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_line_without_an_id_is_known_by_its_file_and_number_also_when_it_is_compressed(
    tmp_path, monkeypatch, pack
):
    monkeypatch.setattr(log_text, "_BLOCK_BYTES", 1 << 12)
    log = tmp_path / ("a.jsonl" if pack is bytes else "a.jsonl.gz")
    log.write_bytes(pack(b"\n" + b"".join(map(older, range(200)))))
    memory = InMemorySpanExporter()
    export_spans([log], memory)
    ids = [span.attributes["llmbench.call_id"] for span in memory.get_finished_spans()]
    assert ids == [f"a.jsonl:{at}" for at in range(2, 202)]


def test_a_line_over_the_limit_is_skipped_and_the_others_arrive(tmp_path, monkeypatch):
    monkeypatch.setattr(log_text, "MAX_LINE_BYTES", 1 << 13)
    monkeypatch.setattr(log_text, "_BLOCK_BYTES", 1 << 12)
    log = tmp_path / "a.jsonl"
    log.write_bytes(
        lines(0, 3) + a_line(3, error="x" * 20_000) + lines(4, 6) + a_line(7, error="x" * 20_000)[:-9]
    )
    assert exported(log) == (1, 5, {"too_long": 2})


def test_an_export_needs_neither_duckdb_nor_numpy(tmp_path):
    log = tmp_path / "a.jsonl.gz"
    log.write_bytes(gzip.compress(lines(0, 20)))
    program = (
        "import sys; sys.modules |= dict.fromkeys(('numpy', 'duckdb', 'pandas'))\n"
        "from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter\n"
        "from llmbench.interop.otel import export_spans\n"
        "print(export_spans(sys.argv[1:], InMemorySpanExporter()).calls)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(log)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "20\n"
