"""What an apply or an undo did, or would do: in words, as HTML, and as facts for a machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmbench.bench.decision_log import Entry, Moved
from llmbench.markup import escaped, folded, table
from llmbench.visible import visible


@dataclass(frozen=True, slots=True)
class Applied:
    """A change of the config files.

    Attributes:
        entry: its line of the decision log; who and when are empty while it is not written.
        notes: what a person should know of it.
        is_written: whether the files were changed.
    """

    entry: Entry
    notes: tuple[str, ...] = ()
    is_written: bool = False

    @property
    def id(self) -> str | None:
        """Its name in the decision log; None while it is not written."""
        return self.entry.id if self.is_written else None

    @property
    def moves(self) -> tuple[Moved, ...]:
        """The tasks that it moves."""
        return self.entry.moves

    @property
    def files(self) -> tuple[str, ...]:
        """The names of the files that it changes."""
        return tuple(name for name, _, _ in self.entry.files)

    @property
    def diff(self) -> str:
        """The change, as a unified diff."""
        return self.entry.diff

    @property
    def state(self) -> str:
        """One line: whether it is done, and how it is taken back."""
        if not self.is_written:
            return "not written"
        who = f"{visible(self.entry.by)} on {self.entry.when}"
        if self.entry.undoes is not None:
            return visible(f"undone: {self.entry.undoes} was taken back by {who}")
        way_back = f"llmbench apply --undo {self.entry.id}"
        return visible(f"applied as {self.entry.id} by {who}; take it back with: {way_back}")

    def __str__(self) -> str:
        lines = []
        for move in self.moves:
            lines.append(visible(str(move)))
            lines += [f"  {visible(move.sentence)}"] if move.sentence else []
        lines.append(visible(f"files: {', '.join(self.files)}"))
        lines += [f"note: {visible(note)}" for note in self.notes]
        return "\n".join([*lines, self.state])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head = ("task", "from", "to", "evidence")
        rows = [
            (
                move.task,
                f"{move.from_model} ({move.from_tier})",
                f"{move.to_model} ({move.to_tier})",
                move.sentence,
            )
            for move in self.moves
        ]
        notes = "".join(f"<p>{escaped(note)}</p>" for note in self.notes)
        return "".join(
            (
                f"<p><strong>{escaped(self.state)}</strong></p>",
                table(head, rows),
                folded("what to hold against it", notes),
                folded(f"the change of {', '.join(self.files)}", f"<pre>{escaped(self.diff)}</pre>"),
            )
        )

    def to_dict(self) -> dict[str, Any]:
        """The facts: those of the log's line, the sentences, the notes, and whether it is written."""
        facts = self.entry.facts()
        tasks = [
            {**fact, "sentence": move.sentence} for fact, move in zip(facts["tasks"], self.moves, strict=True)
        ]
        return {**facts, "tasks": tasks, "notes": list(self.notes), "is_written": self.is_written}
