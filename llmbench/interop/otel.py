"""Telemetry lines to OpenTelemetry: read-only spans to any exporter, OTLP over HTTP among them.

Ids come from the call's id: what is exported twice is the same trace, not another one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from llmbench.analytics.block_copies import copies_folder
from llmbench.analytics.known_logs import find_logs, is_moved, stat_of, with_late_parts
from llmbench.analytics.log_text import LogText
from llmbench.errors import BenchError, WarehouseError
from llmbench.interop.conversions import Unmapped
from llmbench.interop.spans import SpanFacts, spans_of
from llmbench.jsonl import read_jsonl

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter

#: The log's name, and the line's number, record, or reason why it is none.
_Line = tuple[str, int, dict[str, Any] | None, str | None]
BATCH: Final = 512
_TRACES: Final = "/v1/traces"
_INSTALL: Final = 'pip install "llmbench[otel]"'


@dataclass(frozen=True, slots=True)
class ExportSummary:
    """What was exported.

    Attributes:
        lines: lines read that are not blank.
        calls: lines that became a call's span.
        spans: spans of calls and attempts.
        skipped: reason -> lines that are no call, or none that a span can hold.
        left_out: attribute -> spans without it, since its whole number has no room in 64 bits.
        files: files read, parts of a rotated log among them.
    """

    lines: int
    calls: int
    spans: int
    skipped: Mapping[str, int]
    left_out: Mapping[str, int] = field(default_factory=dict)
    files: int = 0


def export_spans(
    paths: Iterable[str | Path], exporter: SpanExporter, *, batch: int = BATCH, service: str = "llmbench"
) -> ExportSummary:
    """Send every call of telemetry logs as spans. Memory holds one batch. The exporter is not shut down.

    Args:
        paths: telemetry logs and globs, plain, gzip or Zstandard; a log's rotated parts are sent with it.
        exporter: where spans go.
        batch: spans in one request; a call's spans stay together, so that it may be a few more.
        service: `service.name` of the resource.

    Raises:
        BenchError: a log cannot be read, a package is missing, or the exporter refused a batch; those before
            it have arrived, and sending them again does no harm.
    """
    resource = _resource(service)
    counts: Counter[str] = Counter()
    skipped: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    pending: list[ReadableSpan] = []
    for facts in _calls(paths, counts, skipped):
        pending += [_span(one, resource) for one in facts]
        left_out.update(name for one in facts for name in one.left_out)
        counts["calls"] += 1
        if len(pending) >= batch:
            counts["spans"] += _send(exporter, pending, counts["spans"])
            pending = []
    if pending:
        counts["spans"] += _send(exporter, pending, counts["spans"])
    sums = counts["lines"], counts["calls"], counts["spans"]
    reasons, missing = dict(skipped.most_common()), dict(left_out.most_common())
    return ExportSummary(*sums, reasons, missing, counts["files"])


def otlp_exporter(
    endpoint: str, *, headers: Mapping[str, str] | None = None, timeout_s: float = 10.0
) -> SpanExporter:
    """An exporter by OTLP over HTTP.

    Args:
        endpoint: URL of the collector; `/v1/traces` is added where it is missing.
        headers: of each request; without them those of `OTEL_EXPORTER_OTLP_HEADERS`, which the SDK reads.
        timeout_s: of each request, its repeats included.

    Raises:
        BenchError: it is no http URL or holds a password, or the package is missing.
    """
    parts = urlsplit(endpoint)
    if parts.username is not None:
        raise BenchError("--otlp: a password in a URL would be shown; use OTEL_EXPORTER_OTLP_HEADERS")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BenchError(f"--otlp {endpoint!r}: no http URL; write it like http://localhost:4318")
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        raise _missing(error) from error
    path = parts.path.rstrip("/")
    whole = parts._replace(path=path if path.endswith(_TRACES) else path + _TRACES).geturl()
    return OTLPSpanExporter(endpoint=whole, headers=dict(headers) if headers else None, timeout=timeout_s)


def _calls(
    paths: Iterable[str | Path], counts: Counter[str], skipped: Counter[str]
) -> Iterator[Sequence[SpanFacts]]:
    """The spans of one line after another; what is no call is counted."""
    for name, number, record, reason in _lines(find_logs(list(paths)), counts):
        counts["lines"] += 1
        if record is None:
            skipped[reason or "not_json"] += 1
            continue
        try:
            yield spans_of(record, f"{name}:{number}")
        except Unmapped as unmapped:
            skipped[unmapped.kind] += 1


def _lines(logs: Sequence[Path], counts: Counter[str]) -> Iterator[_Line]:
    """The lines of logs, each file once: a log that is rotated while it is read becomes a part."""
    seen: set[tuple[int, int]] = set()
    with copies_folder() as copies:
        for path in with_late_parts(logs):
            try:
                text = LogText(path)
            except WarehouseError as error:
                if is_moved(path, error):
                    continue
                raise
            with text:
                if stat_of(text)[:2] not in seen:
                    seen.add(stat_of(text)[:2])
                    counts["files"] += 1
                    yield from _lines_of(text, copies)


def _lines_of(text: LogText, copies: Path) -> Iterator[_Line]:
    """The lines of one log that are not blank, block by block, and what is behind its last line end."""
    name, before = text.path.name.removesuffix(".gz").removesuffix(".zst"), 0
    for block in text.blocks(copies, 1):
        for line in read_jsonl(block.path):
            yield name, before + line.number, line.record, "too_long" if block.is_long else line.reason
        before += block.newlines
        if block.rest.strip():
            yield name, before + 1, None, "too_long" if block.is_long else "torn"
        if block.broken:
            yield name, before + 1, None, "unreadable"


def _send(exporter: SpanExporter, spans: Sequence[ReadableSpan], sent: int) -> int:
    from opentelemetry.sdk.trace.export import SpanExportResult

    if exporter.export(spans) is not SpanExportResult.SUCCESS:
        raise BenchError(
            f"the exporter refused spans {sent + 1} to {sent + len(spans)}; {sent} before them have arrived. "
            "See that the receiver runs and takes OTLP, then export again: the ids stay the same"
        )
    return len(spans)


def _resource(service: str) -> Resource:
    try:
        from opentelemetry.sdk.resources import Resource
    except ImportError as error:
        raise _missing(error) from error
    return Resource.create({"service.name": service})


def _span(facts: SpanFacts, resource: Resource) -> ReadableSpan:
    """The SDK's own span value, with our ids and times in place of the clock's and chance's."""
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanKind, Status, StatusCode

    from llmbench import __version__

    attributes: dict[str, Any] = dict(facts.attributes)
    return ReadableSpan(
        name=facts.name,
        context=_context(facts.trace_id, facts.span_id),
        parent=None if facts.parent_id is None else _context(facts.trace_id, facts.parent_id),
        resource=resource,
        attributes=attributes,
        kind=SpanKind.CLIENT if facts.parent_id is None else SpanKind.INTERNAL,
        status=Status(StatusCode.UNSET) if facts.error is None else Status(StatusCode.ERROR, facts.error),
        start_time=facts.start_ns,
        end_time=facts.end_ns,
        instrumentation_scope=InstrumentationScope("llmbench", __version__),
    )


def _context(trace_id: int, span_id: int) -> Any:
    from opentelemetry.trace import SpanContext, TraceFlags

    return SpanContext(trace_id, span_id, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _missing(error: ImportError) -> BenchError:
    return BenchError(f"export to OpenTelemetry needs {error.name or 'opentelemetry'}: {_INSTALL}")
