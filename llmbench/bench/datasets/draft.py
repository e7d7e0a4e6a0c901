"""A dataset that is being made: its rows and card, and the folder that is written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from llmbench.bench.card import CARD_FILE, DATA_FILE
from llmbench.bench.dataset import Dataset, load_dataset
from llmbench.bench.datasets.chats import Chat
from llmbench.catalog import Modality
from llmbench.errors import DatasetError

LINEAGE_FILE: Final = "lineage.jsonl"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
#: The scorer where there is no target: it tells an answer from none. What an answer is worth, a judge says.
ANY_ANSWER: Final[Mapping[str, Any]] = {"name": "format", "params": {"min_chars": 1}}
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Draft:
    """What a new dataset will hold; keys as in card.yaml. `lineage` has one object a sample, or nothing."""

    name: str
    task: str
    rows: Sequence[Row]
    description: str
    source: Mapping[str, Any]
    scorer: Mapping[str, Any]
    options: Mapping[str, Any]
    licence: str = "unknown"
    version: str = "1.0"
    system: str | Mapping[str, str] = ""
    shots: Sequence[Mapping[str, str]] = ()
    fields: Mapping[str, str] = field(default_factory=lambda: {"input": "the user's last text"})
    output_schema: Mapping[str, Any] | None = None
    lineage: Sequence[Mapping[str, Any]] = ()
    modality: Modality = "text"


class _Plain(yaml.SafeDumper):
    """Writes every value out: a card may hold no YAML alias."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


def check_name(name: str) -> str:
    """The name of a dataset, which is also its folder's.

    Raises:
        DatasetError: it could name another place, or none.
    """
    if not _NAME.fullmatch(name):
        raise DatasetError(f"{name!r} is no name for a dataset; use letters, digits, `-` and `_`, at most 64")
    return name


def files_of(draft: Draft) -> dict[str, bytes]:
    """The folder's files as they will be written: name -> bytes."""
    data = _jsonl(draft.rows)
    card: dict[str, Any] = {
        "name": draft.name,
        "version": draft.version,
        "licence": draft.licence,
        "task": draft.task,
        "languages": sorted({row["lang"] for row in draft.rows}),
        "description": draft.description,
        "sha256": hashlib.sha256(data).hexdigest(),
        "samples": len(draft.rows),
        "clusters": len({row["cluster"] for row in draft.rows}),
        "fields": dict(draft.fields),
        "scorer": {"name": draft.scorer["name"], "params": dict(draft.scorer.get("params", {}))},
        "output_schema": draft.output_schema,
        "prompt": {"system": draft.system, "shots": [dict(shot) for shot in draft.shots]},
        "options": dict(draft.options),
        "source": dict(draft.source),
    }
    if draft.output_schema is None:
        del card["output_schema"]
    if draft.modality != "text":
        del card["prompt"]
        card["modality"] = draft.modality
    text = yaml.dump(card, Dumper=_Plain, allow_unicode=True, sort_keys=False, width=110)
    files = {DATA_FILE: data, CARD_FILE: text.encode()}
    return {**files, LINEAGE_FILE: _jsonl(draft.lineage)} if draft.lineage else files


def _jsonl(records: Iterable[Mapping[str, Any]]) -> bytes:
    lines = (json.dumps(record, ensure_ascii=False, allow_nan=False) for record in records)
    return "".join(f"{line}\n" for line in lines).encode()


def write_dataset(draft: Draft, folder: Path) -> Dataset:
    """Write a dataset that loads, in one step: a folder that is there is left as it is.

    Raises:
        DatasetError: the folder holds something else, cannot be written, or the dataset would not load.
    """
    files = files_of(draft)
    if _is_there(folder, files):
        return load_dataset(folder)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        for name, data in files.items():
            (partial / name).write_bytes(data)
        dataset = load_dataset(partial)
        partial.rename(folder)
    except OSError as error:
        raise DatasetError(f"{folder}: cannot be written ({error.strerror}); choose another --out") from error
    except DatasetError as error:
        raise DatasetError(str(error).replace(str(partial), str(folder))) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return dataset


def refuse_other(draft: Draft, folder: Path) -> None:
    """Keep a dataset that is there from being written over by another; the same one may stand there.

    Raises:
        DatasetError: the folder exists and holds other bytes.
    """
    _is_there(folder, files_of(draft))


def _is_there(folder: Path, files: Mapping[str, bytes]) -> bool:
    """Whether the folder holds these very files."""
    if not folder.exists():
        return False
    try:
        held = {name: (folder / name).read_bytes() for name in files}
    except OSError:
        held = {}
    if held != files:
        raise DatasetError(
            f"{folder}: exists and is not the same dataset; runs may depend on it: choose another --out or "
            "--name, or remove that folder first"
        )
    return True


def shared_prompt(chats: Sequence[Chat]) -> str | None:
    """The system text that all chats have as their only turn before the input ("" for none); else None."""
    heads = {chat.turns for chat in chats}
    if len(heads) != 1:
        return None
    (head,) = heads
    if not head:
        return ""
    return head[0][1] if len(head) == 1 and head[0][0] == "system" and head[0][1] else None


def turns_of(chat: Chat, shared: str | None) -> dict[str, Any]:
    """The row's key `turns`, unless the card's prompt says it."""
    if shared is not None:
        return {}
    return {"turns": [{"role": role, "content": text} for role, text in chat.turns]}


def default_scorer(rows: Sequence[Row], schema: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Whole texts compared, objects field by field; any answer will do where a row has no target."""
    targets = [row["target"] for row in rows]
    if any(target is None for target in targets):
        return ANY_ANSWER
    if schema is None:
        kinds = {"exact": str, "fields": dict, "numeric": (int, float)}
        return {"name": next((name for name, kind in kinds.items() if _are(targets, kind)), "exact")}
    return {"name": "fields" if _are(targets, dict) else "json_schema"}


def _are(values: Sequence[Any], kind: Any) -> bool:
    return all(isinstance(value, kind) for value in values)
