"""What a report tells of one task: its decision as it was made, and the marts' rows beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from llmbench.analytics.json_objects import as_number, as_object, as_objects, as_texts
from llmbench.analytics.run_marts import RunMarts
from llmbench.display import decision_text, wording
from llmbench.display.decision_text import Said, finding_reason, limits_in_words, task_sentence
from llmbench.display.language import ENGLISH, mark, say, spoken
from llmbench.display.said_decision import SaidDecision, read_decision

OUTCOMES: Final = {
    "promote": mark("Move"),
    "demote": mark("Replace"),
    "keep": mark("Keep"),
    "inconclusive": mark("Not proved yet"),
}
STATES: Final = {**decision_text.STATES, "reference": mark("current")}
LANGUAGES: Final = {"ja": mark("Japanese"), "en": mark("English"), "und": mark("unnamed")}
_WHY_NOT: Final = {
    "worse": mark("{model} loses too much"),
    "slow": mark("{model} is too slow"),
    "costly": mark("{model} is not shown to be cheaper"),
    "unlikely": mark("{model} is unlikely to be proved"),
    "promote": mark("{model} is proved"),
}
_LANG: Final = re.compile(r"\A[a-z]{2,3}(-[A-Za-z0-9]{1,8}){0,3}\Z")


@dataclass(frozen=True, slots=True)
class Candidate:
    """One model or chain on one task.

    `facts` is its row in recommendation.json, absent values as None; `word` is its state and `reason` why it
    has it, both as they are told here.
    """

    model: str
    arm: Sequence[str]
    label: str
    state: str
    word: str
    facts: Mapping[str, Any]
    reason: str
    tokens_per_s: float | None
    mean_cpu_s: float | None
    throttled: int | None

    @property
    def is_compared(self) -> bool:
        """Whether there is a difference to the model in use."""
        return self.facts["delta"] is not None


@dataclass(frozen=True, slots=True)
class LanguageRow:
    """Quality of one model on one task: language -> (mean score, samples)."""

    task: str
    model: str
    role: str
    cells: Mapping[str, tuple[float | None, int]]


@dataclass(frozen=True, slots=True)
class TaskStory:
    """Everything shown of one task.

    Attributes:
        why_not: in a few words why nothing changes; empty where something does.
        proposed: the candidate to use; the current one unless another is proved.
        decisive: the candidate that the decision rests on, or None.
        threshold: how often the stake of a candidate must grow, or None.
        rivals: candidates that share the error rate.
    """

    number: int
    name: str
    tier: str
    outcome: str
    verdict: str
    sentence: str
    why_not: str
    facts: Mapping[str, Any]
    plan: Mapping[str, Any]
    current: Candidate | None
    proposed: Candidate | None
    decisive: Candidate | None
    candidates: Sequence[Candidate]
    threshold: float | None
    rivals: int
    languages: Sequence[str]
    language_rows: Sequence[LanguageRow]
    disagreements: Sequence[Mapping[str, Any]]
    failures: Sequence[Mapping[str, Any]]
    truncations: Sequence[Mapping[str, Any]]
    judges: Sequence[Mapping[str, Any]]
    win_rates: Sequence[Mapping[str, Any]]

    @property
    def is_change(self) -> bool:
        """Whether another model is proposed than the one in use."""
        return self.proposed is not None and self.current is not None and self.proposed != self.current


def tell_task(
    number: int,
    entry: Mapping[str, Any],
    plan: Mapping[str, Any],
    marts: RunMarts,
    judge: Mapping[str, Any],
) -> TaskStory:
    """Put together what is shown of one task of recommendation.json; `judge` is the part of it so named."""
    name = str(entry["task"])
    said = _said_anew(entry, judge)
    rows = as_objects(entry["candidates"])
    candidates = [_tell_candidate(entry, row, as_object(plan["models"]), marts, said) for row in rows]
    by_model = {each.model: each for each in candidates}
    current = by_model.get(str(entry["reference"]))
    proposed = by_model.get(str(entry["choice"] or entry["proposed_model"])) or current
    others = [each for each in candidates if each != current]
    decisive = proposed if proposed != current else _nearest(others)
    outcome = str(entry["outcome"])
    language = _of_task(marts.language, name)
    limits = [n for row in rows if (n := as_number(row["threshold"])) is not None]
    return TaskStory(
        number=number,
        name=name,
        tier=str(entry["tier"]),
        outcome=outcome if outcome in OUTCOMES else "keep",
        verdict=say(OUTCOMES[outcome]) if outcome in OUTCOMES else outcome,
        sentence=_sentence(entry, said),
        why_not=_why_not(entry, others, decisive) if proposed == current else "",
        facts=entry,
        plan=as_object(as_object(plan["tasks"])[name]),
        current=current,
        proposed=proposed,
        decisive=decisive,
        candidates=candidates,
        threshold=max(limits, default=None),
        rivals=len(others),
        languages=in_order(language),
        language_rows=_language_rows(name, language, candidates, current, proposed),
        disagreements=[_with_order(row, candidates) for row in _of_task(marts.disagreements, name)],
        failures=_of_task(marts.failures, name),
        truncations=_of_task(marts.truncations, name),
        judges=_of_task(marts.judges, name),
        win_rates=_of_task(marts.win_rates, name),
    )


def in_order(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The rows' languages by name, Japanese first: it is the one to look at."""
    return sorted({row["lang"] for row in rows}, key=lambda lang: (lang != "ja", lang == "und", lang))


def language_name(tag: str) -> str:
    """A language's name in the spoken one; a tag without one stays as it is."""
    return say(LANGUAGES[tag]) if tag in LANGUAGES else tag


def checked_language(name: str) -> str:
    """A row's language as a page may declare it; empty when it is unnamed or no language tag."""
    return name if name != "und" and _LANG.match(name) else ""


def _of_task(rows: Sequence[Mapping[str, Any]], task: str) -> list[Mapping[str, Any]]:
    return [row for row in rows if row["task"] == task]


def _said_anew(entry: Mapping[str, Any], judge: Mapping[str, Any]) -> SaidDecision | None:
    """The decision to tell in another language; None in English, whose sentences stand in the file."""
    if spoken() == ENGLISH:
        return None
    judged, unchecked = (
        entry["task"] in as_texts(judge[f"{kind}_tasks"]) for kind in ("judged", "uncalibrated")
    )
    return read_decision(entry, is_judged=judged, is_calibrated=not unchecked)


def _sentence(entry: Mapping[str, Any], said: SaidDecision | None) -> str:
    if said is None:
        return str(entry["sentence"] or "")
    names = ("task", "tier", "reference", "proposed_tier", "proposed_model")
    return task_sentence(Said(*(str(entry[name]) for name in names)), said)


def _reason(row: Mapping[str, Any], said: SaidDecision | None) -> str:
    told = None if said is None else next((each for each in said.rows if each.name == row["model"]), None)
    if said is not None and told is not None:
        return say("{reason}.", reason=finding_reason(told, said))
    if said is not None and row["state"] == "reference":
        return say("what the task is routed to today")
    return str(row["reason"] or "")


def _tell_candidate(
    entry: Mapping[str, Any],
    row: Mapping[str, Any],
    models: Mapping[str, Any],
    marts: RunMarts,
    said: SaidDecision | None,
) -> Candidate:
    model, state = str(row["model"]), str(row["state"])
    mart = as_object(marts.candidates.get((str(entry["task"]), model)))
    is_left = row["was_tried_to_the_end"] is False and entry["choice"] not in (None, entry["reference"])
    return Candidate(
        model=model,
        arm=as_texts(row["arm"]) or [model],
        label=str(as_object(models.get(model))["label"] or model),
        state=state if state in STATES else "open",
        word=say("not needed") if is_left else say(STATES[state]) if state in STATES else state,
        facts=row,
        reason=_reason(row, said),
        tokens_per_s=mart["tokens_per_s"],
        mean_cpu_s=mart["mean_cpu_s"],
        throttled=mart["throttled"],
    )


def _nearest(others: Sequence[Candidate]) -> Candidate | None:
    """The compared candidate with most evidence; one that was tried to the end comes before the others."""

    def rank(each: Candidate) -> tuple[bool, float]:
        return each.facts["was_tried_to_the_end"] is not False, as_number(each.facts["evidence"]) or 0.0

    return max((each for each in others if each.is_compared), key=rank, default=None)


def _why_not(entry: Mapping[str, Any], others: Sequence[Candidate], nearest: Candidate | None) -> str:
    """Why nothing changes, in a few words: from the outcome, and from the candidate that came nearest."""
    missed = as_texts(entry["limits_missed"])
    if missed:
        return say("misses its {limits}; no candidate is proved", limits=limits_in_words(missed))
    if not others:
        return say("no other model was compared")
    if nearest is None:
        return say("no candidate has a result yet")
    if nearest.state in _WHY_NOT:
        return say(_WHY_NOT[nearest.state], model=nearest.model)
    facts = nearest.facts
    if (evidence := as_number(facts["evidence"])) is not None and facts["threshold"]:
        text = "{model} is not decided: evidence {evidence} of {threshold}"
        growth = {"evidence": wording.number(evidence), "threshold": wording.number(facts["threshold"])}
        seen = say(text, model=nearest.model, **growth)
    else:
        seen = say("{model} is not decided", model=nearest.model)
    more = as_number(facts["needs_more"])
    return (
        seen
        if more is None
        else say("{seen}, about {more} prompts more", seen=seen, more=wording.number(more))
    )


def _language_rows(
    task: str,
    language: Sequence[Mapping[str, Any]],
    candidates: Sequence[Candidate],
    current: Candidate | None,
    proposed: Candidate | None,
) -> list[LanguageRow]:
    """A row for each model that was called, those of chains too."""
    now, then = (each.arm if each else () for each in (current, proposed))
    rows = []
    for model in dict.fromkeys(model for each in candidates for model in each.arm):
        cells = {row["lang"]: (row["mean_score"], row["n"]) for row in language if row["model"] == model}
        role = say("now") if model in now else say("proposed") if model in then else ""
        rows.append(LanguageRow(task, model, role, cells))
    return rows


def _with_order(row: Mapping[str, Any], candidates: Sequence[Candidate]) -> dict[str, Any]:
    """A disagreement with its answers in the order of the task's candidates, and a checked language tag."""
    order = dict.fromkeys(model for each in candidates for model in each.arm)
    rank = {model: at for at, model in enumerate(order)}
    answers = sorted(row["answers"], key=lambda each: (rank.get(each["model"], len(rank)), each["model"]))
    return {**row, "answers": answers, "tag": checked_language(row["lang"])}
