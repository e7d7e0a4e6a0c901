"""The chat JSONL files of OpenAI's fine-tuning and batch interfaces, as prompts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from llmbench.bench.datasets.chats import Chat, NotARow, plain_text, read_chat
from llmbench.bench.datasets.tables import Record, Skipped, read_json_records
from llmbench.errors import DatasetError

_LENGTH_KEYS: Final = ("max_completion_tokens", "max_tokens", "max_output_tokens")


@dataclass(frozen=True, slots=True)
class Item:
    """A prompt as it was found, before it is a row.

    Attributes:
        line: where it stands.
        chat: the prompt.
        target: the answer that the file gives, or None.
        id: the file's name for it, or None.
        cluster: likewise.
        lang: likewise.
        options: parameters that the file asks for: `max_tokens`, `temperature`, `schema`.
        dropped: keys of the file that a dataset does not hold.
    """

    line: int
    chat: Chat
    target: Any = None
    id: str | None = None
    cluster: str | None = None
    lang: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()


def read_finetune(path: Path) -> Iterator[Item | Skipped]:
    """Prompts of a fine-tuning file: the last turn is the assistant's, and the target.

    Raises:
        DatasetError: the file cannot be read.
    """
    for found in read_json_records(path):
        yield found if isinstance(found, Skipped) else _attempted(found, _finetune_item)


def read_batch(path: Path, answers: Path | None = None) -> Iterator[Item | Skipped]:
    """Prompts of a batch's input file; with its output file the answers are the targets.

    Raises:
        DatasetError: a file cannot be read, or a custom_id has two answers.
    """
    known = None if answers is None else _read_answers(answers)
    for found in read_json_records(path):
        if isinstance(found, Skipped):
            yield found
            continue
        item = _attempted(found, _batch_item)
        if known is None or isinstance(item, Skipped):
            yield item
        else:
            yield _answered(item, known)


def _answered(item: Item, known: Mapping[str, Any]) -> Item | Skipped:
    answer = known.get(item.id or "")
    if not isinstance(answer, str):
        return Skipped(item.line, f"no answer to `{item.id}`" + (f" ({answer[0]})" if answer else ""))
    return Item(item.line, item.chat, answer, item.id, options=item.options, dropped=item.dropped)


def _attempted(record: Record, read: Any) -> Item | Skipped:
    try:
        item: Item = read(record)
    except NotARow as reason:
        return Skipped(record.line, str(reason))
    return item


def _finetune_item(record: Record) -> Item:
    messages = record.values.get("messages")
    if not isinstance(messages, list) or not messages:
        raise NotARow("no messages")
    last = messages[-1]
    if not isinstance(last, Mapping) or last.get("role") != "assistant":
        raise NotARow("the last turn is not the assistant's: nothing to learn from it")
    if last.get("tool_calls") or last.get("function_call"):
        raise NotARow("the answer calls a tool")
    target = plain_text(last.get("content"))
    dropped = tuple(sorted(key for key, value in record.values.items() if key != "messages" and value))
    return Item(record.line, read_chat(messages[:-1]), target, dropped=dropped)


def _batch_item(record: Record) -> Item:
    body, name = record.values.get("body"), record.values.get("custom_id")
    if not isinstance(body, Mapping):
        raise NotARow("no body")
    if not isinstance(name, str) or not name:
        raise NotARow("no custom_id")
    if body.get("tools"):
        raise NotARow("the request offers tools")
    chat = read_chat(body.get("messages") or body.get("input"))
    if isinstance(body.get("instructions"), str):
        chat = Chat((("system", plain_text(body["instructions"])), *chat.turns), chat.input)
    options = _options(body)
    used = {
        "messages",
        "input",
        "instructions",
        "model",
        "response_format",
        "text",
        "temperature",
        *_LENGTH_KEYS,
    }
    dropped = tuple(sorted(key for key, value in body.items() if key not in used and value is not None))
    return Item(record.line, chat, id=name, options=options, dropped=dropped)


def _options(body: Mapping[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for key in _LENGTH_KEYS:
        if isinstance(body.get(key), int) and body[key] > 0:
            options["max_tokens"] = body[key]
    if isinstance(body.get("temperature"), int | float):
        options["temperature"] = body["temperature"]
    text = body.get("text")
    wanted = body.get("response_format") or (text.get("format") if isinstance(text, Mapping) else None)
    if isinstance(wanted, Mapping) and wanted.get("type") == "json_schema":
        inner = wanted.get("json_schema", wanted)
        schema = inner.get("schema") if isinstance(inner, Mapping) else None
        options |= {"schema": dict(schema)} if isinstance(schema, Mapping) else {}
    return options


def _read_answers(path: Path) -> dict[str, Any]:
    """custom_id -> the answer's text, or a tuple with the reason why it has none."""
    answers: dict[str, Any] = {}
    for found in read_json_records(path):
        if isinstance(found, Skipped):
            continue
        name = found.values.get("custom_id")
        if not isinstance(name, str):
            continue
        if name in answers:
            raise DatasetError(f"{path}:{found.line}: custom_id `{name}` has an answer already; remove one")
        answers[name] = _answer(found.values.get("response"))
    return answers


def _answer(response: Any) -> str | tuple[str]:
    if not isinstance(response, Mapping) or response.get("status_code") != 200:
        return ("the request failed",)
    text = _chat_answer(response.get("body")) or _response_answer(response.get("body"))
    return text or ("its answer holds no text",)


def _chat_answer(body: Any) -> str | None:
    """The text of a Chat Completions body."""
    try:
        text = body["choices"][0]["message"]["content"]
    except (TypeError, KeyError, IndexError):
        return None
    return text if isinstance(text, str) else None


def _response_answer(body: Any) -> str | None:
    """The text of a Responses body."""
    outputs = body.get("output") if isinstance(body, Mapping) else None
    for output in outputs if isinstance(outputs, list) else ():
        if isinstance(output, Mapping) and output.get("type") == "message":
            parts = output.get("content")
            texts = [part.get("text") for part in parts or () if isinstance(part, Mapping)]
            return "".join(text for text in texts if isinstance(text, str)) or None
    return None
