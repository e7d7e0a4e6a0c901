"""One pass over logs of calls: which prompts are there, how often, and where each stands.

Nothing of a prompt stays in memory: an entry is a hash, an offset and a few short words.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from sys import intern
from typing import Any, Final

from llmbench.bench.datasets.chats import Chat, NotARow, is_writable, read_chat
from llmbench.bench.datasets.texts import text_key
from llmbench.errors import DatasetError
from llmbench.jsonl import JsonlLine, read_jsonl
from llmbench.structuring import loads_strictly

_SUCCESS: Final = frozenset({"success", "ok"})


@dataclass(frozen=True, slots=True)
class Entry:
    """A distinct prompt by one of its calls.

    Attributes:
        key: what calls of one prompt share, whatever width, case and punctuation it is written in.
        order: decides which of these calls stands for them, by a hash that no order of lines changes.
        file: number of the log.
        line: 1-based line.
        offset: where it begins, in bytes.
        length: of the line, in bytes.
        channel: the caller's channel, `none` where the line has none.
        outcome: `success`, `fallback` (another model than the first answered) or `fail:<kind>`.
        size: characters of the prompt.
    """

    key: str
    order: bytes
    file: int
    line: int
    offset: int
    length: int
    channel: str
    outcome: str
    size: int


@dataclass(slots=True)
class LogIndex:
    """What a pass over logs found: entries by key, calls by key, and the count of each step."""

    logs: tuple[Path, ...]
    entries: dict[str, Entry] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    tasks: Counter[str] = field(default_factory=Counter)
    ends: list[int] = field(default_factory=list)

    def read(self, entries: Sequence[Entry]) -> Iterator[tuple[Entry, Mapping[str, Any], Chat]]:
        """The calls of entries, read again from their logs."""
        for entry in entries:
            record = _at(self.logs[entry.file], entry)
            yield entry, record, read_chat(_messages(record))

    def hashes(self) -> list[dict[str, Any]]:
        """The name, bytes and sha256 of each log, up to where it was read."""
        return [
            {"file": log.name, "bytes": end, "sha256": _sha256(log, end)}
            for log, end in zip(self.logs, self.ends, strict=True)
        ]


def index_logs(
    logs: Sequence[Path], task: str, *, channels: Collection[str] = (), needs_output: bool = False
) -> LogIndex:
    """Read logs once and keep where the distinct prompts of a task stand.

    Args:
        logs: JSONL files of telemetry with content.
        task: only its calls.
        channels: only calls of these; of all by default.
        needs_output: only calls that were answered.

    Raises:
        DatasetError: a log cannot be read.
    """
    index = LogIndex(tuple(logs))
    for number, log in enumerate(logs):
        end = 0
        try:
            for line in read_jsonl(log):
                end = line.end
                _add(index, number, line, (task, channels, needs_output))
        except OSError as error:
            raise DatasetError(f"{log}: cannot be read ({error.strerror}); name a log of calls") from error
        index.ends.append(end)
    return index


def _add(index: LogIndex, file: int, line: JsonlLine, wanted: tuple[str, Collection[str], bool]) -> None:
    task, channels, needs_output = wanted
    counts, record = index.counts, line.record
    counts["lines"] += 1
    if record is None:
        counts[f"bad line: {line.reason}"] += 1
        return
    if is_shadow(record):
        counts["a rollout's shadow of a call"] += 1
        return
    index.tasks[str(record.get("task"))] += 1
    channel = intern(str(record.get("channel") or "none"))
    if record.get("task") != task:
        counts["of another task"] += 1
    elif channels and channel not in channels:
        counts["of another channel"] += 1
    elif (messages := _messages(record)) is None:
        counts["without content"] += 1
    elif needs_output and not output_of(record):
        counts["without an answer"] += 1
    else:
        try:
            chat = read_chat(messages)
        except NotARow as reason:
            counts[f"no row: {reason}"] += 1
            return
        _keep(index, _entry(file, line, record, chat, channel))


def _entry(file: int, line: JsonlLine, record: Mapping[str, Any], chat: Chat, channel: str) -> Entry:
    said = record.get("call_id")
    order = hashlib.sha256(said.encode("utf-8", "backslashreplace") if isinstance(said, str) else line.raw)
    return Entry(
        key=text_key(f"{role}: {text}" for role, text in (*chat.turns, ("user", chat.input))),
        order=order.digest()[:16],
        file=file,
        line=line.number,
        offset=line.offset,
        length=len(line.raw),
        channel=channel,
        outcome=intern(outcome_of(record)),
        size=sum(map(len, chat.texts)),
    )


def _keep(index: LogIndex, entry: Entry) -> None:
    index.calls[entry.key] += 1
    index.counts["calls with a prompt"] += 1
    held = index.entries.get(entry.key)
    if held is not None:
        index.counts["the same prompt again"] += 1
    if held is None or entry.order < held.order:
        index.entries[entry.key] = entry


def _messages(record: Mapping[str, Any]) -> Any:
    return record.get("messages") or record.get("prompt") or None


def output_of(record: Mapping[str, Any]) -> str | None:
    """The answer of a call that ended well; None where there is none."""
    output = record.get("output")
    is_answer = isinstance(output, str) and output.strip() and is_writable(output)
    return output if is_answer and not outcome_of(record).startswith("fail") else None


def outcome_of(record: Mapping[str, Any]) -> str:
    """How a call ended, in one word; older spellings of the telemetry line are read too."""
    status = str(record.get("status") or ("fail" if record.get("error") else "success")).lower()
    if status not in _SUCCESS:
        return f"fail:{record.get('error_kind') or 'unknown'}"
    chain = record.get("fallback_chain") or record.get("chain")
    return "fallback" if isinstance(chain, list) and len(chain) > 1 else "success"


def is_shadow(record: Mapping[str, Any]) -> bool:
    """Whether a line is a rollout's shadow of a caller's call, whose own line is there too."""
    rollout = record.get("rollout")
    return isinstance(rollout, Mapping) and rollout.get("of") is not None


def model_of(record: Mapping[str, Any]) -> str | None:
    """The model that answered, None where none did."""
    model = record.get("model") or record.get("selected_model")
    return model if isinstance(model, str) else None


def output_tokens(record: Mapping[str, Any]) -> int:
    """Tokens of the answer, 0 where the line does not say."""
    usage = record.get("usage")
    count = usage.get("output_tokens", usage.get("completion_tokens")) if isinstance(usage, Mapping) else None
    return count if isinstance(count, int) and count > 0 else 0


def _at(log: Path, entry: Entry) -> Mapping[str, Any]:
    try:
        with log.open("rb") as file:
            file.seek(entry.offset)
            record = loads_strictly(file.read(entry.length).decode())
    except (OSError, ValueError) as error:
        raise DatasetError(f"{log}:{entry.line}: the log changed while it was read; run it again") from error
    if not isinstance(record, dict):
        raise DatasetError(f"{log}:{entry.line}: the log changed while it was read; run it again")
    return record


def _sha256(log: Path, end: int) -> str:
    digest, left = hashlib.sha256(), end
    with log.open("rb") as file:
        while left > 0 and (block := file.read(min(left, 1 << 20))):
            digest.update(block)
            left -= len(block)
    return digest.hexdigest()
