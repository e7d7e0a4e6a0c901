"""Telemetry as OpenTelemetry spans: by the conventions' names, with derived times, ids that stay the same."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from typer import Typer
from typer.testing import CliRunner

from llmbench import FallbackExhausted
from llmbench.cli_interop import export_verb
from llmbench.errors import BenchError
from llmbench.interop.otel import export_spans, otlp_exporter
from llmbench.interop.spans import spans_of
from tests.servers.chat_server import Step, completion, failure
from tests.servers.otlp_receiver import Receiver, values

ROOT = Path(__file__).parents[1]
END = datetime(2026, 11, 22, 9, 0, 0, 123000, tzinfo=UTC)
SUCCESS = {
    "schema": 1, "status": "success", "timestamp": "2026-11-22T09:00:00.123Z", "call_id": "c-1",
    "task": "字幕", "tier": "cheap", "channel": "CH01", "env": None, "slot": 2, "model": "fw_deep",
    "model_id": "accounts/deep", "model_version": "deep-1106", "provider": "azure",
    "fallback_chain": ["or_small", "fw_deep"], "reason": "tier cheap; or_small: rate_limit",
    "latency_ms": 812.4, "ttft_ms": 250.0, "queued_ms": 12.0,
    "usage": {"input_tokens": 120, "output_tokens": 40, "cached_tokens": 64, "reasoning_tokens": 0},
    "cost_usd": 0.00011, "cost_source": "genai-prices", "wasted_ms": 130.2, "wasted_cost_usd": None,
    "finish_reason": "stop", "request_id": "chatcmpl-9",
    "attempts": [
        {"model": "or_small", "error_kind": "rate_limit", "status_code": 429, "latency_ms": 100.0,
         "waited_ms": 0, "queued_ms": 12.0, "error": "SECRET"},
        {"model": "fw_deep", "latency_ms": 600.5, "waited_ms": 30.0, "queued_ms": 0, "ttft_ms": 250.0},
    ],
    "adjustments": [{"param": "max_tokens", "action": "clamped", "from": 9, "to": 8, "rule": "r"}],
    "routing_key": None, "config_hash": "ab12", "prompt_sha256": "cd34", "run_id": "run-7", "cell": None,
    "messages": [{"role": "user", "content": "SECRET"}], "output": "SECRET",
}  # fmt: skip
FAILED = SUCCESS | {
    "status": "fail", "call_id": "c-2", "model": None, "model_id": None, "model_version": None,
    "provider": None, "latency_ms": 130.0, "ttft_ms": None, "usage": {"input_tokens": 0, "output_tokens": 0},
    "cost_usd": None, "finish_reason": None, "request_id": None, "fallback_chain": ["or_small"],
    "error": "SECRET", "error_class": "FallbackExhausted", "error_kind": "rate_limit", "status_code": 429,
    "attempts": SUCCESS["attempts"][:1],
}  # fmt: skip
OLD = {
    "ts": 1795338000.5, "task": "qa", "selected_model": "m2", "chain": ["m1", "m2"],
    "usage": {"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11},
}  # fmt: skip


def test_every_span_of_a_call_in_a_rollout_says_which_and_others_say_nothing():
    part = {"name": "caption_small", "mode": "shadow", "arm": "challenger", "models": ["x"], "of": "c-0"}
    for span in spans_of(SUCCESS | {"rollout": part}, "x"):
        said = {name: value for name, value in span.attributes.items() if ".rollout." in name}
        assert said == {f"llmbench.rollout.{name}": part[name] for name in ("name", "mode", "arm", "of")}
    for other in (None, "x", [part]):
        spans = spans_of(SUCCESS | {"rollout": other}, "x")
        assert not any(".rollout." in name for span in spans for name in span.attributes)


def ns(milliseconds):
    """Nanoseconds since 1970 of so many milliseconds before the end."""
    return round(END.timestamp() * 1000 - milliseconds) * 1_000_000


def written(tmp_path, *lines, name="log.jsonl"):
    path = tmp_path / name
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    return path


def exported(*paths, **options):
    memory = InMemorySpanExporter()
    return export_spans(paths, memory, **options), memory.get_finished_spans()


# ---- what a span says -----------------------------------------------------------------------------------


def test_a_call_is_a_client_span_by_the_conventions_without_any_text(tmp_path):
    done, (call, *tries) = exported(written(tmp_path, SUCCESS))
    assert (done.lines, done.calls, done.spans, done.skipped) == (1, 1, 3, {})
    assert (call.name, call.kind, call.parent) == ("chat accounts/deep", SpanKind.CLIENT, None)
    assert call.status.status_code is StatusCode.UNSET
    assert call.resource.attributes["service.name"] == "llmbench"
    assert dict(call.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "azure.ai.openai",
        "gen_ai.request.model": "accounts/deep",
        "gen_ai.request.stream": True,
        "gen_ai.response.model": "deep-1106",
        "gen_ai.response.id": "chatcmpl-9",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.response.time_to_first_chunk": 0.25,
        "gen_ai.usage.input_tokens": 120,
        "gen_ai.usage.output_tokens": 40,
        "gen_ai.usage.cache_read.input_tokens": 64,
        "llmbench.call_id": "c-1",
        "llmbench.status": "success",
        "llmbench.task": "字幕",
        "llmbench.tier": "cheap",
        "llmbench.channel": "CH01",
        "llmbench.slot": 2,
        "llmbench.model": "fw_deep",
        "llmbench.provider": "azure",
        "llmbench.reason": "tier cheap; or_small: rate_limit",
        "llmbench.latency_ms": 812.4,
        "llmbench.queued_ms": 12.0,
        "llmbench.cost_usd": 0.00011,
        "llmbench.cost_source": "genai-prices",
        "llmbench.wasted_ms": 130.2,
        "llmbench.fallback_chain": ("or_small", "fw_deep"),
        "llmbench.adjustments": ("max_tokens clamped",),
        "llmbench.config_hash": "ab12",
        "llmbench.prompt_sha256": "cd34",
        "llmbench.run_id": "run-7",
    }
    assert not any("SECRET" in span.to_json() for span in (call, *tries))


def test_each_attempt_is_a_child_with_its_own_times_and_error(tmp_path):
    _, (call, first, second) = exported(written(tmp_path, SUCCESS))
    assert (call.start_time, call.end_time) == (ns(812.4) - 400_000, ns(0))
    end = call.end_time  # before it: 600.5 ms, a wait of 30 ms, 100 ms, a queue of 12 ms
    assert (end - first.start_time, end - first.end_time) == (730_500_000, 630_500_000)
    assert (end - second.start_time, end - second.end_time) == (600_500_000, 0)
    for span in (first, second):
        assert span.context.trace_id == call.context.trace_id
        assert span.parent.span_id == call.context.span_id
        assert not any(name.startswith("gen_ai.") for name in span.attributes)  # else tokens count twice
    assert (first.name, first.status.status_code) == ("attempt or_small", StatusCode.ERROR)
    assert first.status.description == "rate_limit"
    assert first.attributes["error.type"] == "rate_limit"
    assert first.attributes["http.response.status_code"] == 429
    assert second.status.status_code is StatusCode.UNSET
    assert second.attributes["llmbench.attempt.ttft_ms"] == 250.0


def test_a_failed_call_is_an_error_of_its_kind_and_counts_no_tokens(tmp_path):
    _, (call, _) = exported(written(tmp_path, FAILED))
    assert (call.name, call.status.status_code) == ("chat or_small", StatusCode.ERROR)
    assert call.status.description == call.attributes["error.type"] == "rate_limit"
    assert call.attributes["llmbench.error_class"] == "FallbackExhausted"
    assert call.attributes["gen_ai.provider.name"] == "unknown"
    assert "gen_ai.response.model" not in call.attributes
    assert not any(name.startswith("gen_ai.usage.") for name in call.attributes)


def test_lines_of_older_spelling_are_calls_too(tmp_path):
    _, (call,) = exported(written(tmp_path, OLD))
    assert (call.name, call.end_time) == ("chat m2", 1795338000_500_000_000)
    assert call.start_time == call.end_time  # how long it took nobody wrote down
    assert call.attributes["gen_ai.usage.input_tokens"] == 5
    assert call.attributes["llmbench.call_id"] == "log.jsonl:1"


def test_attempts_that_are_longer_than_the_call_end_with_it():
    line = SUCCESS | {"latency_ms": 50.0}
    call, *tries = spans_of(line, "x")
    assert len(tries) == 2
    assert all(call.start_ns <= one.start_ns <= one.end_ns <= call.end_ns for one in tries)


@pytest.mark.parametrize(
    ("tier", "operation", "output"), [("image", "generate_content", "image"), ("cheap", "chat", None)]
)
def test_media_are_no_chats(tier, operation, output):
    call = spans_of(SUCCESS | {"tier": tier}, "x")[0]
    assert call.attributes["gen_ai.operation.name"] == operation
    assert call.attributes.get("gen_ai.output.type") == output


# ---- ids, batches, bad lines ----------------------------------------------------------------------------


def ids(spans):
    return [(span.context.trace_id, span.context.span_id) for span in spans]


def test_exporting_twice_gives_the_same_ids_and_other_calls_have_others(tmp_path):
    lines = [SUCCESS | {"call_id": f"c-{number}"} for number in range(50)]
    first, again = (exported(written(tmp_path, *lines, name=name))[1] for name in ("a.jsonl", "b.jsonl"))
    assert ids(first) == ids(again)
    assert len(set(ids(first))) == 150
    assert len({trace for trace, _ in ids(first)}) == 50


class Batches(SpanExporter):
    """Counts spans, and fails from a batch on."""

    def __init__(self, fails_at=None):
        self.sizes = []
        self.fails_at = fails_at

    def export(self, spans):
        self.sizes.append(len(spans))
        failed = self.fails_at is not None and len(self.sizes) > self.fails_at
        return SpanExportResult.FAILURE if failed else SpanExportResult.SUCCESS


def test_spans_are_sent_in_batches_that_keep_a_call_together(tmp_path):
    batches = Batches()
    done = export_spans([written(tmp_path, *[SUCCESS] * 10)], batches, batch=7)
    assert batches.sizes == [9, 9, 9, 3]
    assert (done.calls, done.spans) == (10, 30)


def test_an_exporter_that_refuses_is_an_error_that_says_how_far_it_came(tmp_path):
    with pytest.raises(BenchError, match=r"refused spans 10 to 18; 9 before them have arrived"):
        export_spans([written(tmp_path, *[SUCCESS] * 10)], Batches(fails_at=1), batch=7)


def test_lines_that_are_no_calls_are_counted_by_their_reason(tmp_path):
    path = written(
        tmp_path, SUCCESS, {"task": "x"}, SUCCESS | {"timestamp": "soon"}, {"timestamp": 1795338000}
    )
    path.write_bytes(path.read_bytes() + b"\n[1]\n{torn")
    done, spans = exported(path)
    assert (done.lines, done.calls, len(spans)) == (6, 1, 3)
    assert done.skipped == {"not a call": 2, "no time": 1, "not_object": 1, "torn": 1}


@pytest.mark.parametrize("latency_ms", [2e12, 1e300, 1e308, 10**20])
def test_a_call_that_began_before_1970_is_counted_and_the_others_arrive(tmp_path, latency_ms):
    odd = SUCCESS | {"call_id": "odd", "latency_ms": latency_ms}
    with Receiver() as receiver:
        done = run(written(tmp_path, SUCCESS, odd, FAILED), "--otlp", receiver.url)
        assert done.exit_code == 0, done.output
        assert "2 calls as 5 spans" in done.output
        assert "1 lines are no calls: a start before 1970" in done.output
        assert len(list(receiver.spans())) == 5


def test_half_characters_are_replaced_and_the_spans_arrive(tmp_path):
    half = "\ud800字"
    odd = SUCCESS | dict.fromkeys(("call_id", "task", "model", "model_id", "reason", "finish_reason"), half)
    odd |= {"fallback_chain": [half], "attempts": [{"model": half, "error_kind": half, "latency_ms": 1}]}
    odd |= {"adjustments": [{"param": half, "action": "dropped"}], "status": "fail", "error_kind": half}
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps(odd | {"run_id": {"a": half}}) + "\n", encoding="utf-8")
    with Receiver() as receiver:
        export_spans([path], otlp_exporter(receiver.url))
        (call, _), (attempt, _) = receiver.spans()
    assert (call.name, attempt.name) == ("chat \ufffd字", "attempt \ufffd字")
    assert (call.status.message, attempt.status.message) == ("\ufffd字",) * 2
    found = values(call.attributes)
    assert (found["llmbench.task"], found["llmbench.fallback_chain"]) == ("\ufffd字", ["\ufffd字"])
    assert found["llmbench.run_id"] == '{"a": "\ufffd字"}'


def test_whole_numbers_without_room_are_left_out_and_counted(tmp_path):
    odd = SUCCESS | {"call_id": "odd", "slot": -(2**63) - 1, "cost_usd": 10**400}
    odd |= {"usage": {"input_tokens": 2**63, "output_tokens": 2**63 - 1}}
    odd |= {"attempts": [{"model": "m", "status_code": 2**70, "latency_ms": 10**400}]}
    with Receiver() as receiver:
        done = export_spans([written(tmp_path, odd, SUCCESS)], otlp_exporter(receiver.url))
        (call, _), (attempt, _), *others = receiver.spans()
    names = ("gen_ai.usage.input_tokens", "llmbench.slot", "llmbench.cost_usd", "http.response.status_code")
    assert done.left_out == dict.fromkeys((*names, "llmbench.attempt.latency_ms"), 1)
    found = values(call.attributes) | values(attempt.attributes)
    assert not done.left_out.keys() & found.keys()
    assert found["gen_ai.usage.output_tokens"] == 2**63 - 1
    assert (len(others), done.calls) == (3, 2)


def test_a_log_that_is_not_there_is_an_error_that_names_it(tmp_path):
    with pytest.raises(BenchError, match=r"none\.jsonl: no such log"):
        exported(tmp_path / "none.jsonl")


def test_a_missing_package_is_said_with_what_to_install():
    program = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from llmbench.interop.otel import export_spans, otlp_exporter\n"
        "for attempt in (lambda: export_spans([], None), lambda: otlp_exporter('http://localhost:4318')):\n"
        "    try: attempt()\n"
        "    except Exception as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("BenchError ") and 'pip install "llmbench[otel]"' in line for line in lines)


# ---- over the wire --------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    """Settings of the person who runs the tests must not lead spans elsewhere."""
    for name in ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_SERVICE_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def run(*args):
    app = Typer()
    app.command("export")(export_verb)
    return CliRunner().invoke(app, list(map(str, args)))


def test_spans_arrive_at_a_real_otlp_receiver_with_parents_times_and_attributes(tmp_path):
    with Receiver() as receiver:
        done = run(written(tmp_path, SUCCESS, FAILED), "--otlp", receiver.url, "--service", "字幕 pipeline")
        assert done.exit_code == 0, done.output
        assert f"2 calls as 5 spans to {receiver.url}" in done.output
    ((path, headers, _),) = receiver.requests
    assert (path, headers["content-type"]) == ("/v1/traces", "application/x-protobuf")
    (call, resource), (first, _), (second, _), (failed, _), (only, _) = receiver.spans()
    assert resource["service.name"] == "字幕 pipeline"
    assert (call.name, call.kind, call.parent_span_id) == ("chat accounts/deep", call.SPAN_KIND_CLIENT, b"")
    assert call.end_time_unix_nano == ns(0)
    assert call.end_time_unix_nano - call.start_time_unix_nano == 812_400_000
    for child, parent in ((first, call), (second, call), (only, failed)):
        assert (child.parent_span_id, child.trace_id) == (parent.span_id, parent.trace_id)
        assert parent.start_time_unix_nano <= child.start_time_unix_nano <= child.end_time_unix_nano
    assert first.end_time_unix_nano - first.start_time_unix_nano == 100_000_000
    assert (first.status.code, first.status.message) == (2, "rate_limit")
    assert (call.status.code, failed.status.code) == (0, 2)
    found = values(call.attributes)
    assert found["gen_ai.usage.input_tokens"] == 120
    assert found["gen_ai.response.finish_reasons"] == ["stop"]
    assert found["llmbench.fallback_chain"] == ["or_small", "fw_deep"]
    assert found["llmbench.task"] == "字幕"
    assert values(first.attributes)["http.response.status_code"] == 429
    assert b"SECRET" not in b"".join(body for _, _, body in receiver.requests)


def test_what_arrives_twice_has_the_same_ids(tmp_path):
    with Receiver() as receiver:
        for _ in range(2):
            run(written(tmp_path, SUCCESS), "--otlp", f"{receiver.url}/v1/traces")
    found = [(span.trace_id, span.span_id) for span, _ in receiver.spans()]
    assert found[:3] == found[3:]
    assert [path for path, _, _ in receiver.requests] == ["/v1/traces"] * 2


def test_a_receiver_that_refuses_is_an_error_and_headers_are_sent(tmp_path):
    with Receiver(status=400) as receiver:
        exporter = otlp_exporter(receiver.url + "/otlp/", headers={"authorization": "k"}, timeout_s=2)
        with pytest.raises(BenchError, match="refused spans 1 to 3"):
            export_spans([written(tmp_path, SUCCESS)], exporter)
        exporter.shutdown()
    path, headers, _ = receiver.requests[0]
    assert (path, headers["authorization"]) == ("/otlp/v1/traces", "k")


def test_what_is_no_url_is_refused():
    with pytest.raises(BenchError, match="no http URL"):
        otlp_exporter("localhost:4318")
    with pytest.raises(BenchError, match="would be shown") as caught:
        otlp_exporter("https://me:SECRET@127.0.0.1:4318")
    assert "SECRET" not in str(caught.value)


# ---- with lines that the router wrote -------------------------------------------------------------------


def test_spans_of_a_real_call_lie_where_the_call_was(open_client, server, tmp_path):
    server.script["m-a"] = [failure(429)]
    server.script["m-b"] = [Step(completion("ok"), delay_s=0.3)]
    arrived, answer = [], server.answer
    server.answer = lambda request: (arrived.append(time.time_ns()), answer(request))[1]
    client = open_client()
    before = time.time_ns()
    client.call("caption", "SECRET words")
    after = time.time_ns()
    _, (call, *tries) = exported(tmp_path / "log.jsonl")
    slack = 50_000_000  # nanoseconds: a busy machine, and a timestamp of whole milliseconds
    assert before - slack <= call.start_time <= call.end_time <= after + slack
    assert [span.attributes["llmbench.attempt.model"] for span in tries] == ["a", "a", "b"]
    assert tries[0].attributes["error.type"] == "rate_limit"
    answered = tries[2]
    assert answered.end_time - answered.start_time >= 300_000_000
    assert tries[0].end_time <= tries[1].start_time <= tries[1].end_time <= answered.start_time
    for span, seen in zip(tries, arrived, strict=True):  # as the server saw it
        assert abs(span.start_time - seen) < 100_000_000
    assert call.attributes["gen_ai.usage.output_tokens"] == 4
    assert "SECRET" not in call.to_json()


def test_a_real_failure_has_its_kind_on_the_call_and_on_every_attempt(open_client, server, tmp_path):
    server.answer = lambda _: failure(401)
    with pytest.raises(FallbackExhausted):
        open_client().call("caption", "words")
    _, (call, *tries) = exported(tmp_path / "log.jsonl")
    assert [span.status.description for span in (call, *tries)] == ["auth"] * 4
