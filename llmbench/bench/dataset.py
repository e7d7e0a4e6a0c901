"""Samples and the card that describes them: read, check, hash, draw.

A dataset is a folder: `data.jsonl` holds one sample a line and never changes under a version; `card.yaml`
says what the samples are, how a prompt is made of one, how an answer is scored, and which bytes
(`sha256`) the figures of a run were computed from. Everything a person writes is checked here once;
the rest of the bench works on the frozen `Dataset`.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from llmbench.bench.card import (
    CARD_FILE,
    DATA_FILE,
    Card,
    MediaCard,
    Row,
    check_schema,
    read_bytes,
    read_card,
    read_row,
)
from llmbench.catalog import Modality
from llmbench.errors import DatasetError, ParamError
from llmbench.messages import canonical_json
from llmbench.routing.media_params import normalise

#: Checks of a picture's sample that are asked for as parameters of its call.
SHAPES: Final = ("size", "aspect_ratio")
#: The samples of a dataset are held in memory at once.
MAX_DATA_BYTES: Final = 2**30


@dataclass(frozen=True, slots=True)
class Sample:
    """One prompt's text and what a good answer to it is.

    Attributes:
        id: unique in its dataset.
        lang: `en`, `ja`, … : the language of the input.
        cluster: samples made of the same source text share one; it is the unit of the statistics.
        input: what the model is given, after the system text and the examples.
        target: the reference answer: an object for a task with a schema, else a text; None where nobody
            knows it.
        checks: what the scorer needs besides the target (required words, length caps).
        tags: kinds of difficulty, for reading results by kind.
        sha256: hash of the canonical JSON of the row; part of a call's fingerprint.
        turns: (role, text) of the turns before the input, in place of the card's system text and examples;
            None where the card's are meant.
    """

    id: str
    lang: str
    cluster: str
    input: str
    target: Any = field(hash=False)
    checks: Mapping[str, Any] = field(hash=False)
    tags: tuple[str, ...]
    sha256: str
    turns: tuple[tuple[str, str], ...] | None = None


@dataclass(frozen=True, slots=True)
class Prompt:
    """How messages are made: a system text (one, or one a language) and examples shared by all samples."""

    system: str | Mapping[str, str]
    shots: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ScorerSpec:
    """The scorer's registered name and its parameters."""

    name: str
    params: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Dataset:
    """A checked dataset.

    Attributes:
        name: the card's name.
        version: the card's version, a text.
        task: the task of the routing config that these samples stand for.
        licence: SPDX name of the samples' licence.
        languages: the languages that occur.
        description: one paragraph.
        fields: field name -> meaning, of rows and of the answer.
        samples: in file order.
        sha256: of the bytes of data.jsonl.
        output_schema: JSON Schema of an answer, or None for free text.
        scorer: which scorer, with its parameters.
        options: canonical request parameters (`max_tokens`, `stop`, `temperature`, `seed`; of a picture or a
            narration those of such a call).
        prompt: system text and examples; none of either where the answers are no text.
        source: where made samples come from, as the card says it; empty for samples written by hand.
        modality: what an answer is.
    """

    name: str
    version: str
    task: str
    licence: str
    languages: tuple[str, ...]
    description: str
    fields: Mapping[str, str]
    samples: tuple[Sample, ...]
    sha256: str
    output_schema: Mapping[str, Any] | None
    scorer: ScorerSpec
    options: Mapping[str, Any]
    prompt: Prompt
    source: Mapping[str, Any] = field(default_factory=dict)
    modality: Modality = "text"

    def messages(self, sample: Sample) -> list[dict[str, str]]:
        """The chat messages of one sample: system, the examples, the sample's input.

        Everything before the last message is the same for all samples (of one language, where the card
        has a system text a language), so that a server's prompt cache can keep it. A sample with turns of
        its own has those in place of system text and examples.
        """
        before = self._shared_turns(sample.lang) if sample.turns is None else sample.turns
        return [{"role": role, "content": text} for role, text in (*before, ("user", sample.input))]

    def options_of(self, sample: Sample) -> dict[str, Any]:
        """The request parameters of one sample.

        A picture is asked for in the size or ratio that its sample checks, a narration in its sample's
        language and as WAV, which can be measured.
        """
        if self.modality == "image":
            return {**self.options, **{name: sample.checks[name] for name in SHAPES if name in sample.checks}}
        if self.modality == "speech":
            return {"language": sample.lang, **self.options, "format": "wav"}
        return dict(self.options)

    def _shared_turns(self, lang: str) -> list[tuple[str, str]]:
        """The card's system text, if it is not empty, and its examples."""
        system = self.prompt.system if isinstance(self.prompt.system, str) else self.prompt.system[lang]
        turns = [("system", system)] if system else []
        for shot_input, shot_output in self.prompt.shots:
            turns += [("user", shot_input), ("assistant", shot_output)]
        return turns

    def take(self, limit: int | None, seed: int = 0) -> tuple[Sample, ...]:
        """Draw samples in an order that depends on `seed` and the cluster names alone.

        Clusters are put in a random order once and whole clusters follow each other. Nothing is levelled by
        language or kind: evidence that is looked at while it grows needs a next cluster that is a random one.
        A shorter draw is a prefix of a longer one, so a run can be topped up; only the last cluster of a
        draw can be incomplete.

        Args:
            limit: number of samples, at least 1; None for all of them.
            seed: of the order.

        Raises:
            DatasetError: `limit` is below 1.
        """
        if limit is not None and limit < 1:
            raise DatasetError(
                f"{self.name}: limit is {limit}; use a number of samples from 1 on, or none for all"
            )
        return tuple(_ordered(self.samples, seed)[:limit])


def _ordered(samples: Sequence[Sample], seed: int) -> list[Sample]:
    """All samples, their clusters shuffled by a hash of seed and name."""
    clusters: dict[str, list[Sample]] = {}
    for sample in samples:
        clusters.setdefault(sample.cluster, []).append(sample)
    names = sorted(clusters, key=lambda name: hashlib.sha256(f"{seed}\n{name}".encode()).digest())
    return [sample for name in names for sample in clusters[name]]


def load_dataset(path: str | Path) -> Dataset:
    """Read and check the dataset in a folder.

    Args:
        path: the folder that holds card.yaml and data.jsonl (the card's own path is accepted too).

    Raises:
        DatasetError: a file is missing or unreadable, a key is unknown or missing, a line is not a sample, an
            id occurs twice, one text is in two clusters, a target breaks the output schema, or the data is
            not the data the card was written for. The text begins with file and line.
    """
    folder = Path(path)
    folder = folder.parent if folder.name == CARD_FILE else folder
    card_path, data_path = folder / CARD_FILE, folder / DATA_FILE
    card, lines = read_card(card_path)
    raw = read_bytes(data_path, MAX_DATA_BYTES)
    samples = _read_rows(data_path, raw, card)
    sha256 = hashlib.sha256(raw).hexdigest()
    if sha256 != card.sha256:
        raise DatasetError(
            f"{data_path}: its sha256 is {sha256[:12]}…, but {card_path}:{lines[('sha256',)]} declares "
            f"{card.sha256[:12]}…; restore the file, or give the new data a new version and its sha256"
        )
    clusters = len({s.cluster for s in samples})
    for key, declared, found in (
        ("samples", card.samples, len(samples)),
        ("clusters", card.clusters, clusters),
    ):
        if declared != found:
            raise DatasetError(
                f"{card_path}:{lines[(key,)]}: {key} is {declared}, but the data has {found}; correct it"
            )
    return Dataset(
        name=card.name,
        version=card.version,
        task=card.task,
        licence=card.licence,
        languages=tuple(card.languages),
        description=card.description,
        fields=card.fields,
        samples=samples,
        sha256=sha256,
        output_schema=card.output_schema if isinstance(card, Card) else None,
        scorer=ScorerSpec(card.scorer.name, card.scorer.params),
        options=card.options.model_dump(exclude_none=True) if isinstance(card, Card) else card.options,
        prompt=_prompt(card),
        source=card.source or {},
        modality=card.modality,
    )


def _prompt(card: Card | MediaCard) -> Prompt:
    if isinstance(card, MediaCard):
        return Prompt("", ())
    return Prompt(card.prompt.system, tuple((shot.input, shot.output) for shot in card.prompt.shots))


def _read_rows(path: Path, raw: bytes, card: Card | MediaCard) -> tuple[Sample, ...]:
    samples: list[Sample] = []
    ids: dict[str, int] = {}
    texts: dict[str, tuple[str, int]] = {}
    lines = raw.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    if not lines:
        raise DatasetError(f"{path}:1: no samples; write one JSON object a line")
    for number, line in enumerate(lines, 1):
        row = read_row(path, number, line)
        place = f"{path}:{number}"
        if row.id in ids:
            raise DatasetError(
                f"{place}: id `{row.id}` is already on line {ids[row.id]}; give each sample its own"
            )
        if row.lang not in card.languages:
            raise DatasetError(f"{place}: lang `{row.lang}` is not among the card's languages; add it there")
        if isinstance(card, MediaCard):
            row = _media_row(row, card, place)
        elif card.output_schema is not None and row.target is not None:
            check_schema(row.target, card.output_schema, f"{place}: the target")
        text = _whole_text(row)
        cluster, first = texts.setdefault(text, (row.cluster, number))
        if cluster != row.cluster:
            raise DatasetError(
                f"{place}: the text of line {first} again, in cluster `{row.cluster}`, not `{cluster}`; "
                "samples of one text belong to one cluster"
            )
        ids[row.id] = number
        samples.append(_sample(row))
    return tuple(samples)


def _media_row(row: Row, card: MediaCard, place: str) -> Row:
    """A row of pictures or narrations; what is to be spoken is its own target.

    Raises:
        DatasetError: it has turns, its target is no text, or it checks a shape that cannot be asked for.
    """
    if row.turns is not None:
        raise DatasetError(f"{place}: `turns` have no place before {card.modality}; remove them")
    try:
        normalise("image", {name: row.checks[name] for name in SHAPES if name in row.checks})
    except ParamError as exc:
        raise DatasetError(f"{place}: checks: {exc}") from exc
    if not isinstance(row.target, str | None):
        raise DatasetError(f"{place}: the target is no text; write what is to be heard, or null")
    own = row.input if card.modality == "speech" else None
    return row.model_copy(update={"target": own}) if row.target is None else row


def _whole_text(row: Row) -> str:
    """All of a prompt that is the row's own, in one spelling: a short last turn needs the chat before it."""
    texts = (*(f"{turn.role}: {turn.content}" for turn in row.turns or ()), row.input)
    return "\n".join(" ".join(unicodedata.normalize("NFKC", text).split()) for text in texts)


def _sample(row: Row) -> Sample:
    """The checked row as a value; a row without turns has the hash it had before rows could have them."""
    facts = row.model_dump(exclude={"turns"} if row.turns is None else None)
    return Sample(
        id=row.id,
        lang=row.lang,
        cluster=row.cluster,
        input=row.input,
        target=row.target,
        checks=row.checks,
        tags=tuple(row.tags),
        sha256=hashlib.sha256(canonical_json(facts).encode()).hexdigest(),
        turns=None if row.turns is None else tuple((turn.role, turn.content) for turn in row.turns),
    )
