"""Blind labels: a person says which of two answers is better without knowing whose they are.

A judge model is only as good as its agreement with people, so a share of the pairs goes to a person. Which
ones is drawn by a hash before anybody looks: each with the same known probability, whatever the answers are.
That is what makes the labels fit to correct a judge's mean (prediction-powered inference, Angelopoulos et
al. 2023). The answers stand left and right by another hash, and what would give a model away is left out.

Some pairs are never shown, since the label needs no eyes: two answers that look the same are a tie, and a
model that gave no answer has lost to one that did. Where such a pair is drawn, that label is written unasked.
"""

from __future__ import annotations

import hashlib
import html
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from llmbench.errors import BenchError
from llmbench.jsonl import JsonlWriter, read_jsonl
from llmbench.telemetry import utc_now
from llmbench.visible import visible

Label = Literal[-1, 0, 1]
_HELP: Final = "1 left is better · 2 right is better · 0 or space no difference · b back one · q stop: "
_KEY_NAMES: Final = ("task", "sample_id", "model", "other")


class PairKey(NamedTuple):
    """What two answers are compared: `model` is the candidate, `other` the one it is compared with."""

    task: str
    sample_id: str
    model: str
    other: str

    @property
    def id(self) -> str:
        """The name by which a pair is drawn: the same in every run, whatever it is compared with."""
        return f"{self.task}/{self.sample_id}/{self.model}"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one prompt, in one run.

    Attributes:
        answer: the candidate's; None where it gave none.
        other_answer: the other's, likewise.
        difference: score of the candidate's answer minus the other's, -1..1; None when a score is missing.
    """

    run_id: str
    key: PairKey
    lang: str
    prompt: str
    answer: str | None
    other_answer: str | None
    difference: float | None

    @property
    def plain_label(self) -> Label | None:
        """The label that needs no person: see the module's text. None where one has to look."""
        if self.answer is None or self.other_answer is None:
            return _sign(float(self.answer is not None) - float(self.other_answer is not None))
        return 0 if _shown(self.answer) == _shown(self.other_answer) else None


@dataclass(frozen=True, slots=True)
class Question:
    """What a person sees of a pair: no name of a model. `number` is 1-based, of `total` still to label."""

    number: int
    total: int
    lang: str
    prompt: str
    left: str
    right: str


@dataclass(frozen=True, slots=True)
class Labelled:
    """How far a draw is labelled: `drawn` = `plain` (never shown) + `labelled` by a person + `left`."""

    drawn: int
    plain: int
    labelled: int
    left: int


@dataclass(frozen=True, slots=True)
class Agreement:
    """How often a judge says what people say: `share` of `n` labelled pairs, None without any."""

    n: int
    share: float | None


def labelled_share(pair_ids: Iterable[str], share: float, seed: int) -> list[str]:
    """The pairs a person is asked about, in the order given: each with probability `share`, independently.

    A pair is drawn when the hash of seed and id, read as a number in [0, 1), is below `share`. So a draw
    depends on nothing but its own id: more pairs, or a larger share, only add to what was drawn before.

    Raises:
        BenchError: `share` is not above 0 and at most 1.
    """
    if not 0 < share <= 1:
        raise BenchError(f"share {share!r} of the pairs cannot be labelled; give a number above 0, at most 1")
    return [each for each in pair_ids if _uniform("draw", seed, each) < share]


def agreement(labels: Mapping[PairKey, int], verdicts: Mapping[PairKey, float | None]) -> Agreement:
    """Compare a judge with people, on the pairs that both were asked about.

    A verdict agrees when its sign is the label. No verdict (None) agrees with no label.
    """
    both = [(label, verdicts[key]) for key, label in labels.items() if key in verdicts]
    hits = sum(verdict is not None and _sign(verdict) == label for label, verdict in both)
    return Agreement(len(both), hits / len(both) if both else None)


def find_pairs(rows: Iterable[Mapping[str, Any]], task: str, model: str, other: str) -> list[Pair]:
    """The pairs of two models' answers in result rows, in the rows' order; of repeats, the first.

    A failed call is an answer that was not given; a cell that is still to be run makes no pair.

    Raises:
        BenchError: the models are one and the same, or the rows hold no pair.
    """
    if model == other:
        raise BenchError(f"{model!r} cannot be compared with itself; name two models of the task {task!r}")
    answers: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        if row.get("task") == task and row.get("model") in (model, other) and row.get("status") != "harness":
            found = answers.setdefault(str(row.get("sample_id")), {})
            kept = found.setdefault(row["model"], row)
            if _repeat(row) < _repeat(kept):
                found[row["model"]] = row
    pairs = [
        _pair(PairKey(task, sample, model, other), found[model], found[other])
        for sample, found in answers.items()
        if len(found) == 2
    ]
    if not pairs:
        raise BenchError(
            f"no sample of task {task!r} was put to both {model!r} and {other!r}; "
            "name a task and two models of the run's results.jsonl"
        )
    return pairs


def _repeat(row: Mapping[str, Any]) -> int:
    number = row.get("repeat")
    return number if isinstance(number, int) else 0


def read_pairs(run_dir: Path, task: str, model: str, other: str) -> list[Pair]:
    """The pairs of a run folder: those that a judge was asked about, or all when no judge was asked at all.

    Raises:
        BenchError: the folder has no results.jsonl, or `find_pairs` finds nothing.
    """
    pairs = find_pairs(_records(run_dir / "results.jsonl"), task, model, other)
    if not (run_dir / "judgements.jsonl").exists():
        return pairs
    judged = {_key(record) for record in _records(run_dir / "judgements.jsonl")}
    chosen = [pair for pair in pairs if pair.key in judged]
    if not chosen:
        raise BenchError(
            f"{run_dir / 'judgements.jsonl'}: no judge compared {model!r} with {other!r} on task {task!r}; "
            "name a task and two models of that file"
        )
    return chosen


def read_labels(path: Path, run_id: str) -> dict[PairKey, Label]:
    """The labels of one run, the last one of each pair; empty when there is no file yet.

    Lines that are no label are passed over here; the warehouse shows them in `quarantine`.

    Raises:
        BenchError: the file cannot be read.
    """
    labels: dict[PairKey, Label] = {}
    for record in _records(path) if path.exists() else ():
        key, label = _key(record), record.get("label")
        if record.get("run_id") == run_id and key is not None and label in (-1, 0, 1):
            labels[key] = label
    return labels


class LabelSession:
    """Asks a person about the drawn pairs that have no label yet; every label is on disk before the next one.

    Stop and start as you like: what `path` holds is not asked again, and a pair always has the same sides.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        path: Path,
        *,
        share: float,
        seed: int,
        read: Callable[[str], str] = input,
        show: Callable[[Question], None] | None = None,
    ) -> None:
        """Draw the pairs.

        Args:
            pairs: every pair that might be drawn, all of one run.
            path: the labels.jsonl to read and to append to.
            share: probability that a pair is drawn, above 0 and at most 1.
            seed: of the draw and of the sides; the same in every session of a run.
            read: asks for a key, given what to say. EOFError or KeyboardInterrupt stops.
            show: shows a question; `show_text` by default, `show_html` in a notebook.

        Raises:
            BenchError: the share is out of range, pairs are of several runs, or `path` cannot be read.
        """
        runs = {pair.run_id for pair in pairs}
        if len(runs) > 1:
            raise BenchError(f"pairs of {len(runs)} runs cannot share one labels file; give those of one run")
        drawn = set(labelled_share([pair.key.id for pair in pairs], share, seed))
        self._drawn = [pair for pair in pairs if pair.key.id in drawn]
        self._path = path
        self._seed = seed
        self._read = read
        self._show = show or show_text
        self._run_id = next(iter(runs), "")
        self.labels: dict[PairKey, Label] = read_labels(path, self._run_id)

    def run(self) -> Labelled:
        """Ask until every drawn pair has its label or the person stops; return where it stands.

        Raises:
            BenchError: a label cannot be written.
        """
        writer = JsonlWriter(self._path)
        try:
            for pair in self._drawn:
                if pair.key not in self.labels and (label := pair.plain_label) is not None:
                    self._keep(writer, pair, label)
            self._ask_about(writer, [pair for pair in self._drawn if pair.key not in self.labels])
        finally:
            writer.close()
        return self.standing()

    def _ask_about(self, writer: JsonlWriter, pairs: Sequence[Pair]) -> None:
        """Show one pair after the other; `b` goes back among those of this session."""
        at = 0
        while at < len(pairs):
            pair = pairs[at]
            is_left = _uniform("side", self._seed, pair.key.id) < 0.5
            self._show(_question(pair, at + 1, len(pairs), is_left=is_left))
            key = self._ask()
            if key == "q":
                return
            if key == "b":
                at = max(at - 1, 0)
                continue
            self._keep(writer, pair, _label(key, is_left=is_left))
            at += 1

    def standing(self) -> Labelled:
        """Where the labelling stands now."""
        plain = sum(pair.plain_label is not None for pair in self._drawn)
        left = sum(pair.plain_label is None and pair.key not in self.labels for pair in self._drawn)
        return Labelled(len(self._drawn), plain, len(self._drawn) - plain - left, left)

    def _ask(self) -> str:
        """One of 1, 2, 0, b and q. Full-width keys, as a Japanese keyboard types them, are taken too."""
        while True:
            try:
                typed = unicodedata.normalize("NFKC", self._read(_HELP)).lower()
            except (EOFError, KeyboardInterrupt):
                return "q"
            key = typed.strip() or ("0" if typed else "")  # a bare Enter says nothing
            if key in ("0", "1", "2", "b", "q"):
                return key

    def _keep(self, writer: JsonlWriter, pair: Pair, label: Label) -> None:
        record = {"schema": 1, "run_id": pair.run_id, **pair.key._asdict()}
        try:
            writer.append(record | {"label": label, "timestamp": utc_now()})
        except OSError as error:
            raise BenchError(
                f"{self._path}: the label cannot be written ({error.strerror}); name another file"
            ) from error
        self.labels[pair.key] = label


def typed_keys(keys: str) -> Callable[[str], str]:
    """Read keys from a text, one character each, instead of a keyboard; its end stops the session."""
    left: Iterator[str] = iter(keys)

    def read(_: str) -> str:
        try:
            return next(left)
        except StopIteration:
            raise EOFError from None

    return read


def show_text(question: Question) -> None:
    """Print a question in a terminal."""
    print(
        f"\n{question.number} of {question.total} · {_shown(question.lang)}\n{_shown(question.prompt)}\n"
        f"\n[1] left\n{_shown(question.left)}\n\n[2] right\n{_shown(question.right)}\n"
    )


def show_html(question: Question) -> None:
    """Display a question in a notebook."""
    from IPython.display import HTML, display

    display(HTML(as_html(question)))  # type: ignore[no-untyped-call]


def as_html(question: Question) -> str:
    """A question as HTML: prompt above, the two answers side by side, all texts escaped."""
    lang, prompt, left, right = (
        html.escape(_shown(text)) for text in (question.lang, question.prompt, question.left, question.right)
    )
    cell = 'style="width:50%;text-align:left;vertical-align:top;white-space:pre-wrap" dir="auto"'
    return (
        f"<p>{question.number} of {question.total} · {lang}</p>"
        f'<p style="white-space:pre-wrap" dir="auto">{prompt}</p>'
        f'<table style="width:100%"><tr><th scope="col">1 left</th><th scope="col">2 right</th></tr>'
        f'<tr lang="{lang}"><td {cell}>{left}</td><td {cell}>{right}</td></tr></table>'
    )


def _question(pair: Pair, number: int, total: int, *, is_left: bool) -> Question:
    """The pair as shown; `is_left` puts the candidate's answer left."""
    mine, theirs = pair.answer or "", pair.other_answer or ""
    left, right = (mine, theirs) if is_left else (theirs, mine)
    return Question(number, total, pair.lang, pair.prompt, left, right)


def _label(key: str, *, is_left: bool) -> Label:
    if key == "0":
        return 0
    return 1 if (key == "1") == is_left else -1


def _sign(verdict: float) -> Label:
    return 1 if verdict > 0 else -1 if verdict < 0 else 0


def _uniform(purpose: str, seed: int, pair_id: str) -> float:
    """A number in [0, 1) that looks random and is always the same for the same words."""
    digest = hashlib.sha256(f"{purpose}\n{seed}\n{pair_id}".encode()).digest()
    return int.from_bytes(digest[:6]) * 2.0**-48


def _shown(text: str) -> str:
    """A text as it is shown: a model that always starts with a space would be known by it."""
    return visible(text).strip()


def _pair(key: PairKey, row: Mapping[str, Any], other: Mapping[str, Any]) -> Pair:
    scores = [value for each in (row, other) if isinstance(value := each.get("score"), int | float)]
    difference = scores[0] - scores[1] if len(scores) == 2 else None
    texts = [str(each.get("output") or "") if each.get("status") == "ok" else None for each in (row, other)]
    lang, prompt = str(row.get("lang") or "und"), str(row.get("prompt") or "")
    return Pair(str(row.get("run_id")), key, lang, prompt, texts[0], texts[1], difference)


def _key(record: Mapping[str, Any]) -> PairKey | None:
    values = [record.get(name) for name in _KEY_NAMES]
    if not all(isinstance(value, str) for value in values):
        return None
    return PairKey(*(str(value) for value in values))


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """The sound records of a JSON lines file."""
    try:
        for line in read_jsonl(path):
            if line.record is not None:
                yield line.record
    except OSError as error:
        raise BenchError(f"{path}: {error.strerror}; name a run folder that a sweep has written") from error
