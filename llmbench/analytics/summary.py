"""The summary of a run as Markdown for a pull request: one screen as a rule, and never over the host's limit.

What strangers chose (names, the diff's lines) can neither break out of its place nor call a person or an
issue: see `wording.pull_request`, and the fence that is longer than any in the diff.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from llmbench.analytics.story import Story, language_caveat
from llmbench.analytics.task_story import TaskStory
from llmbench.analytics.templating import Plain, environment, page_name
from llmbench.display.language import retell, spoken
from llmbench.visible import visible

MOST_CHARACTERS: Final = 60_000
"""UTF-16 units of a summary at most: below GitHub's limit of 65,536, with room for a person's own words."""


@dataclass(frozen=True, slots=True)
class _Room:
    """How much is shown: tasks, characters of a name and of a sentence, lines and characters of the diff."""

    tasks: int
    name: int
    sentence: int
    lines: int
    diff: int


#: The first is meant for people, the others for runs that would not fit; the last fits whatever is in it.
_ROOMS: Final = (
    _Room(20, 80, 1_500, 200, 16_000),
    _Room(20, 60, 300, 100, 8_000),
    _Room(8, 40, 120, 60, 4_000),
    _Room(3, 24, 60, 30, 2_000),
    _Room(0, 16, 30, 10, 500),
)
_WARNINGS: Final = 5
_NOTES: Final = 6
_FENCE: Final = re.compile("`+")


@dataclass(frozen=True, slots=True)
class _Row:
    """A task as the summary's table has it; the names are cut, `story` has the figures."""

    story: TaskStory
    name: str
    tier: str
    reference: str
    proposed_tier: str
    proposed: str
    why_not: str
    sentence: str


def render_summary(story: Story, commands: Sequence[str]) -> str:
    """The summary of a story in the spoken language.

    Args:
        story: what is told, read in the same language.
        commands: what to type to get the report again.
    """
    text = ""
    for room in _ROOMS:
        text = _rendered(story, commands, room)
        if len(text.encode("utf-16-le")) // 2 <= MOST_CHARACTERS:
            break
    return text


def _rendered(story: Story, commands: Sequence[str], room: _Room) -> str:
    shown = _shown(story.tasks, room.tasks)
    diff, hidden_lines = _diff(str(story.recommendation["diff"] or ""), room)
    notes = [retell(note) or note for note in story.notes][:_NOTES]
    typed = [_cut(" ".join(visible(each).split()), 8 * room.name) for each in commands]
    code = [*diff, *typed]
    return (
        environment("pull request")
        .get_template("summary.md.j2")
        .render(
            story=story,
            run=_cut(story.run_id, room.name),
            headline=_cut(story.headline, 4 * room.sentence),
            warnings=[_cut(each, room.sentence) for each in _warnings(story)[:_WARNINGS]],
            rows=[_row(task, room) for task in shown],
            hidden=len(story.tasks) - len(shown),
            diff=[Plain(line) for line in diff],
            hidden_lines=hidden_lines,
            notes=[_cut(note, room.sentence) for note in notes],
            commands=[Plain(each) for each in typed],
            fence=Plain(
                "`" * max(3, 1 + max((len(run) for run in _FENCE.findall("\n".join(code))), default=0))
            ),
            page=Plain(page_name(spoken())),
        )
    )


def _shown(tasks: Sequence[TaskStory], most: int) -> list[TaskStory]:
    """The tasks in the report's order. A move is what the change is about: without room it is cut last."""
    kept = sorted(range(len(tasks)), key=lambda at: not tasks[at].is_change)[:most]
    return [tasks[at] for at in sorted(kept)]


def _warnings(story: Story) -> list[str]:
    """The report's warnings, and the caveat on languages for the models that would take over."""
    moved = {
        (task.name, model)
        for task in story.tasks
        if task.is_change and task.proposed is not None
        for model in task.proposed.arm
    }
    caveat = language_caveat([row for row in story.language_rows if (row.task, row.model) in moved])
    return [*story.warnings, *([] if caveat is None else [caveat])]


def _row(task: TaskStory, room: _Room) -> _Row:
    facts = task.facts
    return _Row(
        story=task,
        name=_cut(task.name, room.name),
        tier=_cut(task.tier, room.name),
        reference=_cut(str(facts["reference"]), room.name),
        proposed_tier=_cut(str(facts["proposed_tier"]), room.name),
        proposed=_cut(str(facts["proposed_model"]), room.name),
        why_not=_cut(task.why_not, 2 * room.name),
        sentence=_cut(task.sentence, room.sentence),
    )


def _diff(diff: str, room: _Room) -> tuple[list[str], int]:
    """The lines of the diff that are shown, safe to look at, and how many are not."""
    lines = [_cut(line, 4 * room.name) for line in visible(diff).split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    shown: list[str] = []
    size = 0
    for line in lines[: room.lines]:
        size += len(line) + 1
        if size > room.diff:
            break
        shown.append(line)
    return shown, len(lines) - len(shown)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: max(most - 1, 0)] + "…"
