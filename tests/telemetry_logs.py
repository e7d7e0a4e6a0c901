"""Generated telemetry logs, as the bytes of their files, with the calls that a loader must find in them.

Lines stand in any order, in today's and in older spellings, with duplicates, torn lines and lines that are no
telemetry between them. The same seed makes the same log.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

#: A call as `stg_calls` has it, by column; only the columns that a mart reads.
Record = dict[str, Any]

TASKS = ("caption", "route_ticket", "要約する", "tri 🧵 'age'")
TIERS = ("cheap", "standard", "heavy_reasoning")
MODELS = ("or_small", "fw_deep", "モデル🌸", 'az "quoted"')
PROVIDERS = ("local", "openrouter", "京都")
KINDS = (
    *("connect", "timeout", "auth", "rate_limit", "server_error", "empty", "malformed", "truncated"),
    *("invalid_output", "refusal", "content_filter", "circuit_open", "cancelled", "no_media"),
)
NEWEST = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)
_TOKENS = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
_OLDER_TOKENS = ("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens")
#: Columns that a line of today's form spells as they are called.
_PLAIN = (
    *("task", "channel", "provider", "latency_ms", "ttft_ms", "queued_ms", "cost_usd", "cost_source"),
    *("wasted_ms", "wasted_cost_usd", "finish_reason", "error", "error_kind", "status_code", "attempts"),
    *("routing_key", "run_id"),
)


@dataclass(frozen=True, slots=True)
class Log:
    """Files as (name, bytes) in the order of loading, and what is in them.

    `records` are the calls to be loaded, in the order of the lines; `lines` counts blank ones too, and the
    tail of a file that ends without a newline.
    """

    files: tuple[tuple[str, bytes], ...]
    records: tuple[Record, ...]
    lines: int
    quarantined: int
    blank: int

    def write(self, folder: Path) -> list[Path]:
        """Write the files into a folder and return their paths in the order of loading."""
        for name, content in self.files:
            (folder / name).write_bytes(content)
        return [folder / name for name, _ in self.files]


@dataclass(frozen=True, slots=True)
class _Line:
    text: bytes
    record: Record | None = None  # None: no telemetry

    @property
    def is_blank(self) -> bool:
        return not self.text.strip()


def make_log(seed: int, calls: int, *, files: int = 1, spoiled: float = 0.15, days: float = 20.0) -> Log:
    """A log of `calls` calls over `days` days up to `NEWEST`, in so many files.

    Args:
        seed: of the generator.
        calls: lines of telemetry before duplicates.
        files: number of files; some may be empty.
        spoiled: share of the lines beside which a line stands that is a duplicate, blank or no telemetry.
        days: the span of the calls' times.
    """
    draw = random.Random(seed)
    lines: list[_Line] = []
    for number in range(calls):
        record = _record(draw, number, days)
        lines.append(_spelled(draw, record))
        if draw.random() < spoiled:
            lines += _beside(draw, record, lines[-1])
    draw.shuffle(lines)
    cuts = sorted(draw.randint(0, len(lines)) for _ in range(files - 1))
    parts = [lines[start:end] for start, end in zip([0, *cuts], [*cuts, len(lines)], strict=True)]
    torn = [draw.random() < spoiled for _ in parts]
    contents = [
        b"".join(line.text + b"\n" for line in part) + (b'{"schema": 1, "status": "succ' if is_torn else b"")
        for part, is_torn in zip(parts, torn, strict=True)
    ]
    records = tuple(_first_of_each(line.record for part in parts for line in part if line.record))
    blank = sum(line.is_blank for line in lines)
    total = len(lines) + sum(torn)
    named = tuple((f"usage-{at}.jsonl", content) for at, content in enumerate(contents))
    return Log(named, records, total, total - blank - len(records), blank)


#: Small logs for properties; a failing one shrinks to few calls in one file.
logs = st.builds(make_log, st.integers(0, 1 << 32), st.integers(0, 40), files=st.integers(1, 3))


def _first_of_each(records: Iterable[Record]) -> Iterable[Record]:
    seen: set[str] = set()
    for record in records:
        if record["call_id"] is None or record["call_id"] not in seen:
            yield record
        seen.add(record["call_id"])


def _record(draw: random.Random, number: int, days: float) -> Record:
    fails = draw.random() < 0.25
    chain = draw.sample(MODELS, draw.choice([1, 1, 1, 1, 2, 3]))
    at = NEWEST - timedelta(milliseconds=draw.randrange(max(1, int(days * 86_400_000))))
    attempts = _attempts(draw, chain, fails=fails)
    tokens = _counts(draw, fails=fails)
    kind = attempts[-1]["error_kind"] if draw.random() < 0.9 else None
    cost = None if fails or draw.random() < 0.2 else round(draw.random() / 50, 8)
    return {
        "call_id": f"call-{number:05d}",
        "called_at": at,
        "is_failure": fails,
        "task": draw.choice(TASKS),
        "tier": draw.choice(TIERS),
        "channel": draw.choice((None, "CH01", "チャンネル")),
        "provider": None if fails else draw.choice((None, *PROVIDERS)),
        "chain": chain,
        "last_model": chain[-1],
        "latency_ms": _maybe(draw, draw.choice((0.0, round(draw.lognormvariate(6.5, 0.8), 3))), 0.03),
        "ttft_ms": _maybe(draw, round(draw.lognormvariate(5, 0.5), 3), 0.5),
        "queued_ms": _maybe(draw, round(draw.random() * 20, 3), 0.1),
        **dict(zip(_TOKENS, tokens, strict=True)),
        "cost_usd": cost,
        "cost_source": None if fails else draw.choice(("registry", "genai-prices", "unknown: no price")),
        "wasted_ms": _maybe(draw, round(draw.random() * 900, 3), 0.1),
        "wasted_cost_usd": _maybe(draw, round(draw.random() / 500, 8), 0.6),
        "finish_reason": None if fails else draw.choice(("stop", "stop", "length", None)),
        "error": draw.choice(("壊れた: 失敗", "no answer", "no answer at all", "500 🙈")) if fails else None,
        "error_kind": kind if fails else None,
        "status_code": draw.choice((None, 429, 500)) if fails else None,
        "attempts": attempts,
        "routing_key": draw.choice((None, None, "split-a", "分割")),
        "run_id": draw.choice((None, None, None, "run-1", "run-2")),
        **dict.fromkeys(("media_kind", "images", "audio_s", "spoken_characters")),
    }


def _maybe(draw: random.Random, value: Any, absent: float) -> Any:
    return None if draw.random() < absent else value


def _attempts(draw: random.Random, chain: Sequence[str], *, fails: bool) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for model in chain:
        kind = draw.choice(KINDS)
        for _ in range(draw.choice((1, 1, 2, 3))):
            kind = kind if draw.random() < 0.6 else draw.choice(KINDS)
            found.append(
                {
                    "model": model,
                    "error_kind": kind,
                    "status_code": draw.choice((None, 429, 500)),
                    "error": draw.choice((None, "混雑")),
                    "latency_ms": round(draw.random() * 400, 3),
                    "waited_ms": draw.choice((None, 0.0, 250.0)),
                    "cost_usd": draw.choice((None, 0.0004)),
                }
            )
    if not fails:
        found[-1] = {"model": chain[-1], "error_kind": None, "latency_ms": round(draw.random() * 400, 3)}
    return found if draw.random() < 0.95 else found[::-1]


def _counts(draw: random.Random, *, fails: bool) -> list[int | None]:
    """Input, output, cached and reasoning tokens; some are unknown, some cannot be."""
    if fails:
        return draw.choice(([0] * 4, [None] * 4))
    if draw.random() < 0.1:
        return [None] * 4
    sent, received = draw.choice((0, 100, 900)), draw.choice((0, 7, 300))
    cached, reasoning = (
        draw.choice((None, 0, sent // 2, sent + 1)),
        draw.choice((None, 0, received // 3, 400)),
    )
    return [_maybe(draw, sent, 0.05), _maybe(draw, received, 0.05), cached, reasoning]


def _spelled(draw: random.Random, record: Record) -> _Line:
    """A line that says a call, in one of the ways that readers accept; what it leaves out is unknown."""
    line: dict[str, Any] = {name: record[name] for name in _PLAIN}
    is_older = draw.random() < 0.4
    line |= _identity(draw, record, is_older=is_older)
    line |= _models(draw, record, is_older=is_older)
    line |= _usage(draw, record)
    line |= _media(draw, record)
    if is_older:
        for name in (
            "attempts",
            "cost_usd",
            "cost_source",
            "ttft_ms",
            "channel",
            "provider",
            "wasted_cost_usd",
        ):
            if draw.random() < 0.5:
                del line[name]
                record[name] = None
    if draw.random() < 0.1:
        line["attempts"] = record["attempts"] = draw.choice((None, []))
    if draw.random() < 0.3:
        line = {name: value for name, value in line.items() if value is not None or name == "model"}
    line["x-note"] = draw.choice((None, {"a": None}, [None]))
    names = list(line)
    draw.shuffle(names)
    text = json.dumps({name: line[name] for name in names}, ensure_ascii=draw.random() < 0.5)
    return _Line(text.encode(), record)


def _identity(draw: random.Random, record: Record, *, is_older: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"call_id": record["call_id"], "tier": record["tier"]}
    stamp = _stamp(draw, record["called_at"], is_older=is_older)
    found[draw.choice(("timestamp", "ts")) if is_older else "timestamp"] = stamp
    if is_older and draw.random() < 0.5:
        del found["call_id"]
        record["call_id"] = None
    if is_older and draw.random() < 0.5:
        del found["tier"]
        record["tier"] = "unknown"
    if not is_older or draw.random() < 0.5:
        found["schema"] = 1
    if not is_older or draw.random() < 0.7:
        names = ("fail", "error", "FAIL") if record["is_failure"] else ("success", "ok", "Success")
        found["status"] = draw.choice(names) if is_older else names[0]
    return found


def _stamp(draw: random.Random, at: datetime, *, is_older: bool) -> str | float:
    if is_older and draw.random() < 0.6:
        millis = round(at.timestamp() * 1000)
        return draw.choice((millis, millis / 1000))
    zone = draw.choice((UTC, timezone(timedelta(hours=9))))
    text = at.astimezone(zone).isoformat(timespec="milliseconds")
    return text.replace("+00:00", draw.choice(("Z", "+00:00")))


def _models(draw: random.Random, record: Record, *, is_older: bool) -> dict[str, Any]:
    """The model that answered and those that were tried; with neither, nobody knows."""
    chain, model = record["chain"], None if record["is_failure"] else record["last_model"]
    found: dict[str, Any] = {"selected_model" if is_older and draw.random() < 0.5 else "model": model}
    name = "chain" if is_older and draw.random() < 0.5 else "fallback_chain"
    if is_older and draw.random() < 0.3:
        record["chain"] = [model] if model else []
        record["last_model"] = model or "(none)"
        return found | draw.choice(({}, {name: None}))
    return found | {name: [None, *chain] if draw.random() < 0.1 else chain}


def _usage(draw: random.Random, record: Record) -> dict[str, Any]:
    counts = [record[name] for name in _TOKENS]
    if counts == [None] * 4:
        return draw.choice(({}, {"usage": None}, {"usage": {}}, {"usage": dict.fromkeys(_TOKENS)}))
    names = _OLDER_TOKENS if draw.random() < 0.3 else _TOKENS
    usage: dict[str, Any] = dict(zip(names, counts, strict=True)) | {"total_tokens": 1}
    if draw.random() < 0.3:
        usage = {name: count for name, count in usage.items() if count is not None}
    return {"usage": usage}


def _media(draw: random.Random, record: Record) -> dict[str, Any]:
    """What the line says of pictures or speech, in four of ten; some of it cannot be, and is left out."""
    if draw.random() < 0.6:
        return {}
    if draw.random() < 0.2:
        return {
            "media": draw.choice((None, {}, "poster.png", [1], 7, {"modality": "hologram"}, {"images": [2]}))
        }
    kind = draw.choice(("image", "speech"))
    record["media_kind"] = kind
    if record["is_failure"]:
        return {"media": {"modality": kind}}
    facts: dict[str, Any] = {"modality": kind, "bytes": 5, "pieces": None}
    if kind == "image":
        record["images"] = draw.choice((0, 1, 4, None))
        facts |= {"images": draw.choice((None, -1, "many")) if record["images"] is None else record["images"]}
    else:
        record["audio_s"] = draw.choice((0.0, 2.5, 61.25, None))
        record["spoken_characters"] = draw.choice((None, 0, 40))
        facts |= {"duration_s": -0.5 if record["audio_s"] is None else record["audio_s"]}
        facts |= {"characters": record["spoken_characters"]}
    return {"media": facts}


def _beside(draw: random.Random, record: Record, line: _Line) -> list[_Line]:
    """What stands near a line: a second line of the same call, a blank one, or one that is no telemetry."""
    if draw.random() < 0.3 and record["call_id"] is not None:
        again = record | {"latency_ms": 77_777.0, "cost_usd": 7.0, "is_failure": record["is_failure"]}
        value = {**json.loads(line.text), "latency_ms": 77_777.0, "cost_usd": 7.0}
        return [_Line(json.dumps(value).encode(), again)]
    if draw.random() < 0.3:
        return [_Line(draw.choice((b"", b"  ", b"\t")))]
    return [_Line(draw.choice(_SPOILS)(line.text))]


def _changed(**values: Any) -> Callable[[bytes], bytes]:
    return lambda text: json.dumps(json.loads(text) | values).encode()


_SPOILS: tuple[Callable[[bytes], bytes], ...] = (
    lambda text: text[: len(text) // 2],
    lambda text: text + text,
    lambda text: b"[" + text + b"]",
    lambda _: b'"no object"',
    lambda _: b"null",
    lambda _: b'{"a": 1}',
    lambda text: text[:-1] + b', "error": "\xff\xfe"}',
    _changed(task=None),
    _changed(timestamp="yesterday", ts=None),
    _changed(schema=2),
    _changed(latency_ms=-1.0),
    _changed(latency_ms="fast"),
    _changed(usage="many"),
    _changed(attempts={"model": "or_small"}),
)


# ---- a mart's rows against those that were computed another way


def hops(record: Record) -> int:
    """Models tried before the last one."""
    return max(len(record["chain"]) - 1, 0)


def known(records: Iterable[Mapping[str, Any]], name: str) -> list[Any]:
    """The values of a column that are not unknown."""
    return [record[name] for record in records if record[name] is not None]


def total(records: Iterable[Mapping[str, Any]], name: str) -> Any:
    """The sum of a column's known values; None where none is known."""
    values = known(records, name)
    return math.fsum(values) if values else None


def grouped(
    records: Iterable[Record], key: Callable[[Record], tuple[Any, ...]]
) -> dict[tuple[Any, ...], list[Record]]:
    """Records by key."""
    found: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        found.setdefault(key(record), []).append(record)
    return found


def naive(at: datetime) -> datetime:
    """A time as a mart has it: UTC without saying so."""
    return at.astimezone(UTC).replace(tzinfo=None)


def check_rows(
    got: Sequence[Mapping[str, Any]], want: Mapping[tuple[Any, ...], Mapping[str, Any]], key: str
) -> None:
    """Hold a mart's rows against the wanted ones, by the mart's key, column by column.

    Figures may differ by a billionth; the columns must be the same but for their order.
    """
    names = key.split(", ")
    found = {tuple(row[name] for name in names): row for row in got}
    assert len(found) == len(got)
    assert found.keys() == want.keys()
    for place, row in want.items():
        rest = {name: value for name, value in found[place].items() if name not in names}
        assert rest.keys() == row.keys()
        for name, value in row.items():
            is_figure = isinstance(value, float) and not isinstance(rest[name], str)
            expected = pytest.approx(value, rel=1e-9, abs=1e-12) if is_figure else value
            assert rest[name] == expected, (place, name)
