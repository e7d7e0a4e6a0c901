"""Which examples of pictures and sounds a page has room for, and what it shows of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from llmbench.analytics.media_files import FOLDER, Shown, show_picture, show_sound
from llmbench.analytics.media_story import MediaSample, MediaTask

PAGE_BYTES: Final = 8_000_000
"""Bytes of a page that its pictures and sounds may take together."""


@dataclass(frozen=True, slots=True)
class Example:
    """One sample and what the page shows of each candidate's answer."""

    sample: MediaSample
    shown: Mapping[str, Shown]


@dataclass(frozen=True, slots=True)
class MediaPage:
    """The examples of one task; `left_out` had no room."""

    examples: Sequence[Example]
    left_out: int


def show_media(run_dir: Path, media: Mapping[int, MediaTask], most: int = PAGE_BYTES) -> dict[int, MediaPage]:
    """Make every task's examples ready for a page; each task has an equal part of what room is left.

    Args:
        run_dir: the run folder, with the files in its `media`.
        media: the tasks by number.
        most: bytes that all data URIs may take.
    """
    pages: dict[int, MediaPage] = {}
    for place, (number, task) in enumerate(media.items()):
        pages[number], used = _page(run_dir / FOLDER, task, most // (len(media) - place))
        most -= used
    return pages


def told_by(pages: Mapping[int, MediaPage], media: Mapping[int, MediaTask]) -> dict[int, MediaPage]:
    """The same pictures and sounds beside the words of another story of the run, in its language."""
    samples = {number: {each.sample_id: each for each in task.samples} for number, task in media.items()}
    return {
        number: replace(
            page,
            examples=[replace(each, sample=samples[number][each.sample.sample_id]) for each in page.examples],
        )
        for number, page in pages.items()
    }


def _page(folder: Path, task: MediaTask, room: int) -> tuple[MediaPage, int]:
    """The examples that fit, the first ones first, and the bytes that they take."""
    examples: list[Example] = []
    used = 0
    for sample in task.samples:
        shown = _show(folder, task.modality, sample)
        size = sum(each.size for each in shown.values())
        if used + size > room:
            break
        examples.append(Example(sample, shown))
        used += size
    return MediaPage(examples, len(task.samples) - len(examples)), used


def _show(folder: Path, modality: str, sample: MediaSample) -> dict[str, Shown]:
    show = show_picture if modality == "image" else show_sound
    return {
        model: Shown(None, answer.trouble) if answer.trouble else show(folder, answer.file)
        for model, answer in sample.answers.items()
    }
