"""A dataset drawn from a log of production calls: stratified, without repeats, without personal data.

What is written depends on the log's calls and the seed alone. The order of lines, and how they are spread
over files, change nothing but the logs' own hashes on the card (calls need a `call_id` for that).
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from llmbench.bench.card import schema_error
from llmbench.bench.datasets.chats import Chat, chat_text
from llmbench.bench.datasets.draft import Draft, check_name, default_scorer, shared_prompt, turns_of
from llmbench.bench.datasets.log_index import (
    Entry,
    LogIndex,
    index_logs,
    model_of,
    outcome_of,
    output_of,
    output_tokens,
)
from llmbench.bench.datasets.mask_rules import mask_rules
from llmbench.bench.datasets.masking import Masker
from llmbench.bench.datasets.texts import NEAR, ChatText, NearChats, language_of, text_key
from llmbench.errors import DatasetError
from llmbench.structuring import loads_strictly

#: So many prompts tell what the pipeline's own template is.
_TEMPLATE_SAMPLE: Final = 256
_LENGTHS: Final = ("short", "middle", "long")
_LAST_STEPS: Final = (
    "calls with a prompt",
    "the same prompt again",
    "distinct prompts",
    "looked at",
    "nearly the same as one drawn",
    "drawn",
)
Stratum = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class LogDraw:
    """What to draw, and what its card shall say.

    Attributes:
        task: the calls' task, and the dataset's.
        n: samples wanted.
        name: of the dataset; `<task>_log` by default.
        seed: which prompts are drawn.
        channels: only calls of these; all by default.
        mask: a file of further rules.
        target: `none`, or `output` to take the logged answers as targets.
        cluster: prompts of one conversation, or of one channel, form a cluster.
        near: Jaccard index from which a prompt repeats another; above 1 only the same texts do.
        scorer: name and params, as in the card; by whether there are targets where it is None.
        licence: of the samples.
        lang: the samples' language; by their script where it is None.
        max_tokens: of an answer; measured on the drawn calls where it is None.
        output_schema: JSON Schema of an answer.
    """

    task: str
    n: int = 200
    name: str | None = None
    seed: int = 0
    channels: tuple[str, ...] = ()
    mask: Path | None = None
    target: Literal["none", "output"] = "none"
    cluster: Literal["conversation", "channel"] = "conversation"
    near: float = NEAR
    scorer: Mapping[str, Any] | None = None
    licence: str = "unknown"
    lang: str | None = None
    max_tokens: int | None = None
    output_schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class _Taken:
    """A call that was drawn, its texts masked without numbers."""

    stratum: Stratum
    entry: Entry
    record: Mapping[str, Any]
    chat: Chat
    plain: Chat


def draft_from_log(logs: Sequence[Path], draw: LogDraw) -> Draft:
    """Draw a dataset from logs of calls; memory holds an index of the distinct prompts, not the log.

    Raises:
        DatasetError: a log or the mask rules cannot be read, or no call of the task has a prompt that can be
            a row.
    """
    if draw.n < 1:
        raise DatasetError(f"--n {draw.n}: ask for one sample at least")
    name = check_name(draw.name or f"{draw.task}_log")
    masker = Masker(mask_rules(draw.mask))
    index = index_logs(logs, draw.task, channels=draw.channels, needs_output=draw.target == "output")
    if not index.entries:
        raise DatasetError(_nothing(index, draw))
    strata = _strata(index)
    taken = _draw(index, strata, draw, masker)
    if not taken:
        raise DatasetError(_nothing(index, draw))
    taken.sort(key=lambda one: _sample_id(one.plain))
    chats = [_masked(one.chat, masker) for one in taken]
    shared = shared_prompt(chats)
    rows = [_row(one, chat, shared, draw, masker) for one, chat in zip(taken, chats, strict=True)]
    return Draft(
        name=name,
        task=draw.task,
        rows=rows,
        lineage=[_lineage(one, index) for one in taken],
        licence=draw.licence,
        description=_description(draw),
        system=shared or "",
        output_schema=draw.output_schema,
        scorer=draw.scorer or default_scorer(rows, draw.output_schema),
        options={"max_tokens": draw.max_tokens or _measured_tokens(taken)},
        source=_source(index, strata, taken, draw, masker),
    )


def _nothing(index: LogIndex, draw: LogDraw) -> str:
    """Why nothing was drawn, with the counts that tell what to change."""
    names = ", ".join(str(log) for log in index.logs)
    if draw.task not in index.tasks:
        tasks = ", ".join(f"{task} ({count})" for task, count in index.tasks.most_common(8)) or "none"
        return f"{names}: no call of task {draw.task!r}; its tasks are {tasks}"
    said = ", ".join(f"{count} {name}" for name, count in index.counts.items())
    return (
        f"{names}: no prompt to draw ({said}); a log holds prompts when llm_router.yaml says "
        "`defaults: {log_content: true}`"
    )


# ---- which calls ---------------------------------------------------------------------------------------


def _strata(index: LogIndex) -> dict[Stratum, list[Entry]]:
    """Distinct prompts by channel, length (thirds of the log's prompts) and outcome."""
    sizes = sorted(entry.size for entry in index.entries.values())
    cuts = (sizes[len(sizes) // 3], sizes[2 * len(sizes) // 3])
    strata: dict[Stratum, list[Entry]] = {}
    for entry in index.entries.values():
        length = _LENGTHS[sum(entry.size > cut for cut in cuts)]
        strata.setdefault((entry.channel, length, entry.outcome), []).append(entry)
    return {stratum: strata[stratum] for stratum in sorted(strata)}


def allocate(sizes: Mapping[Stratum, int], n: int) -> dict[Stratum, int]:
    """How many of `n` each stratum gives: one each while they last, the rest in proportion to its size.

    No stratum gives more than it has; what is left over goes to the largest remainders. With fewer samples
    than strata the largest strata come first.
    """
    by_size = sorted((stratum for stratum in sizes if sizes[stratum]), key=lambda s: (-sizes[s], s))
    given = dict.fromkeys(sizes, 0) | dict.fromkeys(by_size[:n], 1)
    left = n - sum(given.values())
    while left > 0 and (open_ones := [s for s in by_size if given[s] < sizes[s]]):
        total = sum(sizes[s] for s in open_ones)
        shares = {s: min(left * sizes[s] // total, sizes[s] - given[s]) for s in open_ones}
        if not any(shares.values()):
            shares = dict.fromkeys(open_ones[:left], 1)
        for stratum, share in shares.items():
            given[stratum] += share
        left = n - sum(given.values())
    return given


def _draw(
    index: LogIndex, strata: Mapping[Stratum, Sequence[Entry]], draw: LogDraw, masker: Masker
) -> list[_Taken]:
    """Prompts of every stratum in a seeded order, each unless it nearly repeats one that was taken."""
    queues = {stratum: deque(_shuffled(entries, draw.seed)) for stratum, entries in strata.items()}
    near = NearChats(draw.near, _some_chats(index, masker))
    taken: list[_Taken] = []
    while len(taken) < draw.n and any(queues.values()):
        quotas = allocate({stratum: len(queue) for stratum, queue in queues.items()}, draw.n - len(taken))
        for stratum, quota in quotas.items():
            wanted = len(taken) + quota
            while len(taken) < wanted and queues[stratum]:
                found = _take(index, queues[stratum].popleft(), stratum, draw, masker, near)
                if found is not None:
                    taken.append(found)
    return taken


def _shuffled(entries: Sequence[Entry], seed: int) -> list[Entry]:
    return sorted(entries, key=lambda entry: hashlib.sha256(f"{seed}\n{entry.key}".encode()).digest())


def _some_chats(index: LogIndex, masker: Masker) -> list[ChatText]:
    some = sorted(index.entries.values(), key=lambda entry: entry.key)[:_TEMPLATE_SAMPLE]
    return [chat_text(_anonymous(chat, masker)) for _, _, chat in index.read(some)]


def _anonymous(chat: Chat, masker: Masker) -> Chat:
    turns = tuple((role, masker.anonymous(said)) for role, said in chat.turns)
    return Chat(turns, masker.anonymous(chat.input))


def _take(
    index: LogIndex, entry: Entry, stratum: Stratum, draw: LogDraw, masker: Masker, near: NearChats
) -> _Taken | None:
    """The entry's call, unless it repeats one or its answer breaks the schema; counted either way."""
    ((_, record, chat),) = index.read([entry])
    index.counts["looked at"] += 1
    if (reason := _answer_fault(record, draw)) is not None:
        index.counts[reason] += 1
        return None
    plain = _anonymous(chat, masker)
    text = chat_text(plain)
    if near.has_near(text):
        index.counts["nearly the same as one drawn"] += 1
        return None
    near.join(text)
    return _Taken(stratum, entry, record, chat, plain)


def _answer_fault(record: Mapping[str, Any], draw: LogDraw) -> str | None:
    """Why the logged answer cannot be a target, where one is wanted."""
    schema = draw.output_schema
    if draw.target == "none" or schema is None:
        return None
    try:
        value = loads_strictly(output_of(record) or "")
    except ValueError:
        return "with an answer that is not JSON"
    return None if schema_error(value, schema) is None else "with an answer that breaks the schema"


# ---- what is written -----------------------------------------------------------------------------------


def _masked(chat: Chat, masker: Masker) -> Chat:
    turns = tuple((role, masker.mask(text)) for role, text in chat.turns)
    return Chat(turns, masker.mask(chat.input))


def _sample_id(plain: Chat) -> str:
    """A name of the masked prompt: the same prompt has it in every draw, and it cannot be guessed back."""
    return f"log-{text_key((*plain.texts,))[:12]}"


def _row(one: _Taken, chat: Chat, shared: str | None, draw: LogDraw, masker: Masker) -> dict[str, Any]:
    channel, length, outcome = one.stratum
    row = {
        "id": _sample_id(one.plain),
        "lang": draw.lang or language_of(chat.input),
        "cluster": channel if draw.cluster == "channel" else f"log-{text_key(one.plain.opening)[:12]}",
        "input": chat.input,
        "target": _target(one.record, draw, masker),
        "checks": {},
        "tags": [f"channel:{channel}", f"length:{length}", f"outcome:{outcome}"],
    }
    return {**row, **turns_of(chat, shared)}


def _target(record: Mapping[str, Any], draw: LogDraw, masker: Masker) -> Any:
    if draw.target == "none":
        return None
    output = output_of(record)
    return masker.mask_all(output if draw.output_schema is None else loads_strictly(output or ""))


def _lineage(one: _Taken, index: LogIndex) -> dict[str, Any]:
    said = one.record.get("call_id")
    return {
        "sample_id": _sample_id(one.plain),
        "call_id": said if isinstance(said, str) else f"{index.logs[one.entry.file].name}:{one.entry.line}",
        "timestamp": one.record.get("timestamp") or one.record.get("ts"),
        "model": model_of(one.record),
        "outcome": outcome_of(one.record),
        "calls": index.calls[one.entry.key],
    }


def _measured_tokens(taken: Sequence[_Taken]) -> int:
    """The longest logged answer in tokens, up to the next 64; 512 where no line says its tokens."""
    most = max(output_tokens(one.record) for one in taken)
    return 64 * math.ceil(most / 64) if most else 512


def _description(draw: LogDraw) -> str:
    text = f"Prompts of production calls of the task {draw.task}, drawn by channel, length and outcome."
    if draw.target == "output":
        return (
            text + " The targets are what production models answered, right or wrong: no person checked them."
        )
    return text + " There are no targets: name a judge in the plan, or a scorer that needs none."


def _steps(index: LogIndex, drawn: int) -> dict[str, int]:
    """The count of each step, in the order of the steps."""
    counts = {**index.counts, "distinct prompts": len(index.entries), "drawn": drawn}
    first = [name for name in sorted(counts) if name not in _LAST_STEPS and name != "lines"]
    return {name: counts[name] for name in ("lines", *first, *_LAST_STEPS) if name in counts}


def _source(
    index: LogIndex,
    strata: Mapping[Stratum, Sequence[Entry]],
    taken: Sequence[_Taken],
    draw: LogDraw,
    masker: Masker,
) -> dict[str, Any]:
    """The card's account of the draw: every count is of this draw, and adds up."""
    drawn = Counter(one.stratum for one in taken)
    chosen = {
        "seed": draw.seed,
        "n": draw.n,
        "near": draw.near,
        "target": draw.target,
        "cluster": draw.cluster,
    }
    return {
        "kind": "log",
        "logs": index.hashes(),
        "chosen": chosen | ({"channels": list(draw.channels)} if draw.channels else {}),
        "counts": _steps(index, len(taken)),
        "masked": {name: masker.counts[name] for name in masker.rules},
        "strata": [
            {"channel": c, "length": length, "outcome": outcome, "prompts": len(entries), "drawn": drawn[key]}
            for key, entries in strata.items()
            for c, length, outcome in (key,)
        ],
    }
