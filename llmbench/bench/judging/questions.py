"""Which questions a run's results leave to a judge. Pure: rows in, questions out, in the rows' order.

Pairwise: each model against the task's reference, per sample and repeat, in both orders. Two equal answers,
or an answer and a failure, need no question. Rubric: each answer of each model, the reference's too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal, Protocol

from llmbench.bench.dataset import Dataset, Sample
from llmbench.bench.judging.plan import JudgePlan
from llmbench.bench.judging.prompts import (
    INSTRUCTIONS,
    Asked,
    Subject,
    ask_pairwise,
    ask_rubric,
    picture_subject_of,
    subject_of,
    with_pictures,
)
from llmbench.bench.media_store import answer_of, whole_file

Order = Literal["AB", "BA", "alone"]


class JudgedTask(Protocol):
    """What is needed of a planned task."""

    @property
    def task(self) -> str:
        """Its name."""

    @property
    def chain(self) -> tuple[str, ...]:
        """The reference as it is compared; its first model's answers are what others are held against."""

    @property
    def dataset(self) -> Dataset:
        """Where its prompts come from."""

    @property
    def samples(self) -> Sequence[Sample]:
        """Its samples."""

    @property
    def judge(self) -> JudgePlan | None:
        """Its judge."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question to the judge of a task.

    Attributes:
        row: the judged answer's row.
        other: the model it is compared with; None for a rubric.
        order: AB where the row's answer stands first, BA where it stands second, `alone` for a rubric.
        asked: the words.
    """

    plan: JudgePlan = field(repr=False)
    row: Mapping[str, Any] = field(repr=False, hash=False)
    other: str | None
    order: Order
    asked: Asked = field(repr=False)

    @property
    def name(self) -> str:
        """The question in words; unique within a task's."""
        row = self.row
        return f"{row['task']}/{row['sample_id']}/judge {row['model']} {row['repeat']} {self.order}"


def questions(
    task: JudgedTask, rows: Iterable[Mapping[str, Any]], media: Path | None = None
) -> list[Question]:
    """The questions that a task's rows need; none for a task without a judge.

    Args:
        task: the task.
        rows: rows of results.jsonl, of this task or of all.
        media: the folder of the pictures that the rows name; without it pictures are not attached.

    Raises:
        SweepError: a picture is missing or was changed.
    """
    plan = task.judge
    if plan is None:
        return []
    mine = [row for row in rows if row["task"] == task.task]
    samples = {sample.id: sample for sample in task.samples}
    subjects = {name: _subject(plan, task.dataset, sample) for name, sample in samples.items()}
    asked = (
        _pairwise(plan, subjects, mine, task.chain[0])
        if plan.strategy == "pairwise"
        else _rubric(plan, subjects, mine)
    )
    if task.dataset.modality == "image" and media is not None:
        return [_looking(question, mine, media) for question in asked]
    return list(asked)


def _looking(question: Question, rows: Sequence[Mapping[str, Any]], media: Path) -> Question:
    """A question with the pictures of the answers that it is about, A first."""
    row = question.row
    place = (row["sample_id"], row["repeat"])
    found = {each["model"]: each for each in rows if (each["sample_id"], each["repeat"]) == place}
    models = [row["model"], *([] if question.other is None else [question.other])]
    outputs = [found[model]["output"] for model in (models[::-1] if question.order == "BA" else models)]
    pictures = [whole_file(media, (answer_of(output) or {}).get("file")) for output in outputs]
    return replace(question, asked=with_pictures(question.asked, pictures))


def _subject(plan: JudgePlan, dataset: Dataset, sample: Sample) -> Subject:
    """The subject of a sample; the instructions that open its own chat are its task, the rest its turns."""
    if dataset.modality == "image":
        return picture_subject_of(plan, sample)
    if sample.turns is None:
        system = [each["content"] for each in dataset.messages(sample) if each["role"] == "system"]
        return subject_of(plan, sample, "\n".join(system), dataset.output_schema)
    opening = list(takewhile(lambda turn: turn[0] in INSTRUCTIONS, sample.turns))
    task = "\n".join(text for _, text in opening)
    return subject_of(plan, sample, task, dataset.output_schema, sample.turns[len(opening) :])


def _pairwise(
    plan: JudgePlan, subjects: Mapping[str, Subject], rows: Sequence[Mapping[str, Any]], reference: str
) -> Iterator[Question]:
    today = {(row["sample_id"], row["repeat"]): row for row in rows if row["model"] == reference}
    for row in rows:
        other = today.get((row["sample_id"], row["repeat"]))
        subject = subjects.get(row["sample_id"])
        if subject is None or other is None or row["model"] == reference or not needs_eyes(row, other):
            continue
        mine, theirs = str(row["output"] or ""), str(other["output"] or "")
        yield Question(plan, row, reference, "AB", ask_pairwise(plan, subject, mine, theirs))
        yield Question(plan, row, reference, "BA", ask_pairwise(plan, subject, theirs, mine))


def needs_eyes(row: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two rows' answers must be looked at to be compared: both are answers, and they differ."""
    if row["status"] != "ok" or other["status"] != "ok":
        return False
    return str(row.get("output") or "").strip() != str(other.get("output") or "").strip()


def _rubric(
    plan: JudgePlan, subjects: Mapping[str, Subject], rows: Sequence[Mapping[str, Any]]
) -> Iterator[Question]:
    for row in rows:
        subject = subjects.get(row["sample_id"])
        if subject is not None and row["status"] == "ok":
            yield Question(plan, row, None, "alone", ask_rubric(plan, subject, str(row["output"] or "")))
