"""What a report tells of pictures and narrations: figures of each candidate, and examples side by side.

An answer's JSON in results.jsonl is taken for a stranger's text: a figure that is none is left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from llmbench.analytics.json_objects import Facts, as_object
from llmbench.analytics.media_figures import FigureRow, figure_headings, figure_rows, measured
from llmbench.analytics.task_story import TaskStory, checked_language
from llmbench.analytics.warehouse import Warehouse
from llmbench.display import wording
from llmbench.display.language import say

MODALITIES: Final = ("image", "speech")
SAMPLES_SHOWN: Final = 8
"""Samples of a task whose answers stand side by side, the widest differences of score first."""
_PROMPT_CHARACTERS: Final = 600
_LABEL_CHARACTERS: Final = 120
_DETAILS: Final = 8


@dataclass(frozen=True, slots=True)
class MediaAnswer:
    """One candidate's answer to one sample.

    Attributes:
        file: the name that the answer gives its file, unchecked; None without an answer.
        facts: what was measured of it, a short line each.
        trouble: why there is no picture or sound to show, in English until it is shown; empty where there
            is one.
    """

    model: str
    score: float | None
    file: object
    facts: Sequence[str]
    trouble: str


@dataclass(frozen=True, slots=True)
class MediaSample:
    """One sample with every candidate's answer; `tag` is its language tag, empty when there is none.

    `label` is the prompt on one line, short enough to name a picture or a player.
    """

    sample_id: str
    lang: str
    tag: str
    prompt: str
    label: str
    target: str
    lowest: float | None
    highest: float | None
    answers: Mapping[str, MediaAnswer]


@dataclass(frozen=True, slots=True)
class MediaTask:
    """The pictures or narrations of one task.

    Attributes:
        modality: image or speech.
        models: the candidates in the task's order.
        samples: the examples, the widest differences of score first.
        of: samples that were answered.
        headings: of the figures; rows: a candidate's figures each, or those of one language.
    """

    modality: str
    models: Sequence[str]
    samples: Sequence[MediaSample]
    of: int
    headings: Sequence[str]
    rows: Sequence[FigureRow]

    @property
    def is_by_language(self) -> bool:
        """Whether the figures have a row for each language."""
        return any(row.lang for row in self.rows)


def read_media(
    warehouse: Warehouse, run_id: str, modality: object, tasks: Sequence[TaskStory]
) -> dict[int, MediaTask]:
    """The media of each task by its number; empty for a run of texts."""
    if modality not in MODALITIES:
        return {}
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in warehouse.rows(_ROWS, {"run": run_id}):
        found.setdefault(row["task"], []).append(row)
    return {task.number: _tell(str(modality), task, found.get(task.name, [])) for task in tasks}


_ROWS: Final = """
    select task, sample_id, cluster, lang, model, status, error_kind, score, prompt, target, output,
        cast(score_details as varchar) as details
    from stg_results where run_id = $run and not is_pending
    order by task, sample_id, model, repeat"""


def _tell(modality: str, task: TaskStory, rows: Sequence[Mapping[str, Any]]) -> MediaTask:
    models = list(dict.fromkeys(model for each in task.candidates for model in each.arm))
    read = [
        {**row, "answer": answer_of(row["output"], modality), "details": _object(row["details"])}
        for row in rows
    ]
    samples: dict[str, list[Mapping[str, Any]]] = {}
    for row in read:
        samples.setdefault(row["sample_id"], []).append(row)
    told = sorted((_sample(name, each, modality) for name, each in samples.items()), key=_widest_first)
    return MediaTask(
        modality=modality,
        models=models,
        samples=told[:SAMPLES_SHOWN],
        of=len(told),
        headings=figure_headings(modality),
        rows=[
            figures
            for model in models
            for figures in figure_rows(modality, model, [row for row in read if row["model"] == model])
        ],
    )


def _widest_first(sample: MediaSample) -> tuple[float, float, str]:
    low, high = sample.lowest or 0.0, sample.highest or 0.0
    return low - high, low, sample.sample_id


def _sample(name: str, rows: Sequence[Mapping[str, Any]], modality: str) -> MediaSample:
    """The first repeat stands for the others; the score is their mean."""
    by_model: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_model.setdefault(row["model"], []).append(row)
    answers = {model: _answer(model, mine, modality) for model, mine in by_model.items()}
    scores = [each.score for each in answers.values() if each.score is not None]
    prompt, target = str(rows[0]["prompt"] or ""), rows[0]["target"]
    return MediaSample(
        sample_id=name,
        lang=rows[0]["lang"],
        tag=checked_language(rows[0]["lang"]),
        prompt=wording.excerpt(prompt, _PROMPT_CHARACTERS),
        label=wording.excerpt(" ".join(prompt.split()), _LABEL_CHARACTERS),
        target="" if target in (None, prompt) else wording.excerpt(str(target), _PROMPT_CHARACTERS),
        lowest=min(scores, default=None),
        highest=max(scores, default=None),
        answers=answers,
    )


def _answer(model: str, rows: Sequence[Mapping[str, Any]], modality: str) -> MediaAnswer:
    scores = [row["score"] for row in rows if row["score"] is not None]
    mean = sum(scores) / len(scores) if scores else None
    first = rows[0]
    if first["output"] is None:
        kind = f": {first['error_kind']}" if first["error_kind"] else ""
        return MediaAnswer(model, mean, None, (), f"no answer ({first['status']}{kind})")
    answer: Facts | None = first["answer"]
    if answer is None:
        what = "picture" if modality == "image" else "sound"
        return MediaAnswer(model, mean, None, (), f"the answer tells of no {what}")
    facts = _picture_facts(answer, str(first["prompt"])) if modality == "image" else _sound_facts(answer)
    return MediaAnswer(model, mean, answer["file"], [*facts, *_score_facts(first["details"])], "")


def answer_of(output: object, modality: str) -> Facts | None:
    """The JSON of a media answer; None for any other text."""
    found = _object(output)
    return found if found["media"] == modality else None


def _object(text: object) -> Facts:
    try:
        return as_object(json.loads(text, parse_constant=lambda _: None) if isinstance(text, str) else None)
    except (ValueError, RecursionError):
        return Facts()


def _picture_facts(answer: Facts, prompt: str) -> list[str]:
    width, height = measured(answer["width"]), measured(answer["height"])
    about = (
        []
        if width is None or height is None
        else [say("{width} × {height} pixels", width=f"{width:,.0f}", height=f"{height:,.0f}")]
    )
    about += _if_known(measured(answer["bytes"]), wording.size)
    about += _if_known(
        measured(answer["contrast"]), lambda value: say("contrast {value}", value=f"{value:.2f}")
    )
    about += _if_known(measured(answer["seed"]), lambda _: say("seed {seed}", seed=answer["seed"]))
    revised = answer["revised_prompt"]
    is_revised = isinstance(revised, str) and revised.strip() not in ("", prompt.strip())
    short = wording.excerpt(" ".join(str(revised).split()), _LABEL_CHARACTERS)
    asked = say("asked as: {prompt}", prompt=short)
    return _lines(" · ".join(about), asked if is_revised else "")


def _sound_facts(answer: Facts) -> list[str]:
    about = _if_known(measured(answer["duration_s"]), lambda value: say("{value} s", value=f"{value:,.1f}"))
    about += _if_known(measured(answer["rate_hz"]), lambda value: f"{value / 1000:g} kHz")
    about += _if_known(measured(answer["bytes"]), wording.size)
    factor = measured(answer["real_time_factor"])
    clipped, silence = measured(answer["clipped"]), measured(answer["silence"])
    heard = _if_known(factor, lambda value: say("real-time factor {value}", value=f"{value:.2f}"))
    heard += _if_known(clipped, lambda value: say("clipped {share}", share=wording.share(value)))
    heard += _if_known(silence, lambda value: say("silent {share}", share=wording.share(value)))
    return _lines(" · ".join(about), " · ".join(heard))


def _lines(*lines: str) -> list[str]:
    return [line for line in lines if line]


def _if_known(value: float | None, words: Any) -> list[str]:
    return [] if value is None else [words(value)]


def _score_facts(details: Mapping[str, Any]) -> list[str]:
    """What the score is made of, in points of 100."""
    parts = [(name, measured(value)) for name, value in details.items()][:_DETAILS]
    told = [f"{name} {wording.score(value)}" for name, value in parts if value is not None]
    return [say("scored: {points}", points=wording.listed(told))] if told else []
